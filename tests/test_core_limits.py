from __future__ import annotations

import math
from fnmatch import fnmatchcase

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apex_llm_core.config.schema import LimitConfig
from apex_llm_core.policies.limits import Limiter, Refusal, Ticket
from apex_llm_core.testing import FakeClock


def limiter(*limits: LimitConfig) -> tuple[Limiter, FakeClock]:
    clock = FakeClock()
    return Limiter(limits, clock), clock


def admitted(answer: Ticket | Refusal) -> Ticket:
    assert isinstance(answer, Ticket), answer
    return answer


def refused(answer: Ticket | Refusal) -> Refusal:
    assert isinstance(answer, Refusal), answer
    return answer


class TestWindow:
    def test_admits_so_many_and_names_the_exact_wait(self):
        limits, clock = limiter(LimitConfig(name="pace", requests=2, per=60))
        admitted(limits.enter({"all": ""}))
        clock.advance(10)
        admitted(limits.enter({"all": ""}))
        clock.advance(5)
        assert refused(limits.enter({"all": ""})) == Refusal(limit="pace", subject="", retry_after=45.0)
        clock.advance(45)
        admitted(limits.enter({"all": ""}))
        assert refused(limits.enter({"all": ""})).retry_after == 10.0

    def test_does_not_double_at_the_border_of_a_fixed_window(self):
        limits, clock = limiter(LimitConfig(name="pace", requests=3, per=10))
        clock.advance(9)
        for _ in range(3):
            admitted(limits.enter({"all": ""}))
        clock.advance(2)
        assert refused(limits.enter({"all": ""})).retry_after == 8.0

    def test_a_refused_request_does_not_count(self):
        limits, clock = limiter(LimitConfig(name="pace", requests=1, per=10))
        admitted(limits.enter({"all": ""}))
        clock.advance(9)
        refused(limits.enter({"all": ""}))
        clock.advance(1)
        admitted(limits.enter({"all": ""}))

    def test_leaving_gives_no_request_back(self):
        limits, _ = limiter(LimitConfig(name="pace", requests=1, per=10))
        limits.leave(admitted(limits.enter({"all": ""})))
        refused(limits.enter({"all": ""}))

    def test_expired_subjects_are_forgotten(self):
        limits, clock = limiter(LimitConfig(name="pace", scope="user", requests=5, per=10))
        for number in range(1000):
            admitted(limits.enter({"user": f"user-{number}"}))
        window = limits._limits[0].window
        assert len(window) == 1000
        clock.advance(10)
        for number in range(700):
            clock.advance(1)
            admitted(limits.enter({"user": f"user-{number % 7}"}))
        assert len(window) == 7

    def test_a_subject_keeps_no_more_moments_than_requests(self):
        limits, clock = limiter(LimitConfig(name="pace", requests=3, per=1))
        for _ in range(100):
            clock.advance(0.5)
            limits.enter({"all": ""})
        assert len(limits._limits[0].window._admitted[""]) <= 3

    def test_a_window_below_the_resolution_of_the_clock_is_no_limit(self):
        limits, _ = limiter(LimitConfig(name="pace", requests=1, per=1e-15))
        for _ in range(3):
            admitted(limits.enter({"all": ""}))


class TestInFlight:
    def test_admits_so_many_until_one_leaves(self):
        limits, _ = limiter(LimitConfig(name="slots", concurrent=2))
        first = admitted(limits.enter({"all": ""}))
        admitted(limits.enter({"all": ""}))
        assert refused(limits.enter({"all": ""})) == Refusal(limit="slots", subject="", retry_after=None)
        limits.leave(first)
        admitted(limits.enter({"all": ""}))

    def test_leaving_twice_frees_once(self):
        limits, _ = limiter(LimitConfig(name="slots", concurrent=2))
        first = admitted(limits.enter({"all": ""}))
        admitted(limits.enter({"all": ""}))
        limits.leave(first)
        limits.leave(first)
        admitted(limits.enter({"all": ""}))
        refused(limits.enter({"all": ""}))

    def test_idle_subjects_are_forgotten(self):
        limits, _ = limiter(LimitConfig(name="slots", scope="user", concurrent=1))
        for number in range(100):
            limits.leave(admitted(limits.enter({"user": f"user-{number}"})))
        assert len(limits._limits[0].in_flight) == 0


class TestScopes:
    def test_without_limits_nothing_is_active(self):
        limits, _ = limiter()
        assert limits.active is False
        limits.leave(admitted(limits.enter({"all": ""})))

    def test_every_subject_has_its_own_share(self):
        limits, _ = limiter(LimitConfig(name="share", scope="user", requests=1))
        admitted(limits.enter({"all": "", "user": "alice"}))
        admitted(limits.enter({"all": "", "user": "bob"}))
        assert refused(limits.enter({"all": "", "user": "alice"})).subject == "alice"

    def test_all_counts_everything_together_whatever_its_text(self):
        limits, _ = limiter(LimitConfig(name="total", requests=1))
        assert limits.active is True
        admitted(limits.enter({"all": "a"}))
        refused(limits.enter({"all": "b"}))

    def test_a_pattern_without_a_scope_is_refused(self):
        with pytest.raises(ValueError, match="scope 'all'"):
            LimitConfig(name="total", requests=1, match="gpt-*")

    @pytest.mark.parametrize(
        ("pattern", "subject", "counts"),
        [
            ("gpt-*", "gpt-4o", True),
            ("gpt-*", "claude", False),
            ("gpt-?", "gpt-4o", False),
            ("gpt-4o", "GPT-4o", False),
            ("*", "anything\nat all", True),
        ],
    )
    def test_the_pattern_decides(self, pattern, subject, counts):
        limits, _ = limiter(LimitConfig(name="some", scope="model", match=pattern, requests=1))
        admitted(limits.enter({"model": subject}))
        assert isinstance(limits.enter({"model": subject}), Refusal) is counts

    def test_limits_of_missing_scopes_are_not_asked(self):
        limits, _ = limiter(LimitConfig(name="some", scope="provider", requests=1))
        for _ in range(3):
            admitted(limits.enter({"all": "", "model": "gpt-4o"}))

    def test_one_refusal_leaves_every_other_limit_untouched(self):
        limits, _ = limiter(
            LimitConfig(name="total", requests=2, concurrent=2),
            LimitConfig(name="alone", scope="user", concurrent=1),
        )
        admitted(limits.enter({"all": "", "user": "alice"}))
        for _ in range(5):
            assert refused(limits.enter({"all": "", "user": "alice"})).limit == "alone"
        admitted(limits.enter({"all": "", "user": "bob"}))
        assert refused(limits.enter({"all": "", "user": "carol"})).limit == "total"

    def test_the_longest_known_wait_is_named(self):
        limits, _ = limiter(
            LimitConfig(name="slots", concurrent=1),
            LimitConfig(name="short", requests=1, per=5),
            LimitConfig(name="long", requests=1, per=50),
            LimitConfig(name="middle", requests=1, per=20),
        )
        admitted(limits.enter({"all": ""}))
        assert refused(limits.enter({"all": ""})) == Refusal(limit="long", subject="", retry_after=50.0)


# -- against a reference that remembers everything and counts by hand --------------------------------------------------------


@attrs.define(eq=False)
class Admission:
    moment: float
    subjects: dict[str, str]
    ticket: Ticket
    left: bool = False


def concerned(limit: LimitConfig, subjects: dict[str, str]) -> bool:
    return limit.scope == "all" or (limit.scope in subjects and fnmatchcase(subjects[limit.scope], limit.match))


def same_share(limit: LimitConfig, one: dict[str, str], other: dict[str, str]) -> bool:
    return (
        concerned(limit, one)
        and concerned(limit, other)
        and (limit.scope == "all" or one[limit.scope] == other[limit.scope])
    )


def expected_wait(
    limits: list[LimitConfig], history: list[Admission], subjects: dict[str, str], now: float
) -> float | None:
    """Return 0 for an admission, the wait in seconds, None when only the end of another request helps."""
    waits, full = [0.0], False
    for limit in (limit for limit in limits if concerned(limit, subjects)):
        share = [admission for admission in history if same_share(limit, admission.subjects, subjects)]
        if limit.concurrent is not None and sum(not admission.left for admission in share) >= limit.concurrent:
            full = True
        if limit.requests is not None:
            moments = [admission.moment for admission in share]
            candidates = [now, *(moment + limit.per for moment in moments if moment + limit.per > now)]
            waits.append(
                min(c for c in candidates if sum(c - limit.per < m <= c for m in moments) < limit.requests) - now
            )
    return None if full and max(waits) == 0 else max(waits)


#: Quarters of seconds are exact in binary: the comparison needs no tolerance.
quarters = st.integers(0, 40).map(lambda number: number / 4)
names = st.sampled_from(["a", "b", "ab"])
patterns = st.sampled_from(["*", "a*", "b", "?"])
limit_tables = st.lists(
    st.builds(
        lambda scope, match, requests, per, concurrent: LimitConfig(
            name=f"{scope}/{match}/{requests}/{per}/{concurrent}",
            scope=scope,
            match="*" if scope == "all" else match,
            requests=requests if requests or concurrent else 1,
            per=per,
            concurrent=concurrent,
        ),
        st.sampled_from(["all", "provider", "model", "user"]),
        patterns,
        st.none() | st.integers(1, 4),
        quarters.filter(bool),
        st.none() | st.integers(1, 3),
    ),
    min_size=1,
    max_size=4,
)
subject_maps = st.fixed_dictionaries({"all": st.just("")}, optional={"model": names, "user": names, "provider": names})
steps = st.lists(st.one_of(subject_maps, quarters, st.integers(0, 100)), min_size=1, max_size=60)


@settings(max_examples=400, deadline=None)
@given(tables=limit_tables, events=steps)
def test_any_history_agrees_with_counting_by_hand(tables, events):
    limits, clock = limiter(*tables)
    history: list[Admission] = []
    for event in events:
        if isinstance(event, float):
            clock.advance(event)
        elif isinstance(event, int):
            if history:
                admission = history[event % len(history)]
                limits.leave(admission.ticket)
                admission.left = True
        else:
            wait = expected_wait(tables, history, event, clock())
            answer = limits.enter(event)
            if wait == 0:
                history.append(Admission(clock(), event, admitted(answer)))
            else:
                assert refused(answer).retry_after == wait
    for table in (table for table in tables if table.requests is not None):
        for last in history:
            window = [
                admission
                for admission in history
                if same_share(table, admission.subjects, last.subjects)
                and last.moment - table.per < admission.moment <= last.moment
            ]
            assert len(window) <= table.requests


@settings(max_examples=200, deadline=None)
@given(
    requests=st.integers(1, 5),
    per=st.floats(1e-3, 1e6),
    pauses=st.lists(st.floats(0, 1e6), min_size=5, max_size=40),
)
def test_retry_after_is_the_first_moment_that_admits(requests, per, pauses):
    limits, clock = limiter(LimitConfig(name="pace", requests=requests, per=per))
    for pause in pauses:
        answer = limits.enter({"all": ""})
        if isinstance(answer, Refusal):
            assert answer.retry_after is not None
            assert 0 < answer.retry_after <= per * (1 + 1e-9) + 1e-9
            almost = FakeClock(clock() + answer.retry_after * 0.99)
            due = FakeClock(clock() + answer.retry_after + 2 * math.ulp(clock() + per))
            limits._clock = almost
            refused(limits.enter({"all": ""}))
            limits._clock = clock = due
            admitted(limits.enter({"all": ""}))
        clock.advance(pause)
