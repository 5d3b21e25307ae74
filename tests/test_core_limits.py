from __future__ import annotations

import math
from fnmatch import fnmatchcase

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apex_llm_core.config.schema import LimitConfig
from apex_llm_core.policies.limits import Actual, Charge, Limiter, LimitStanding, Refusal, Standing, Ticket
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
        moments = limits._limits[0].moments
        assert len(moments) == 1000
        clock.advance(10)
        for number in range(700):
            clock.advance(1)
            admitted(limits.enter({"user": f"user-{number % 7}"}))
        assert len(moments) == 7

    def test_a_subject_keeps_no_more_moments_than_requests(self):
        limits, clock = limiter(LimitConfig(name="pace", requests=3, per=1))
        for _ in range(100):
            clock.advance(0.5)
            limits.enter({"all": ""})
        assert len(limits._limits[0].moments._admitted[""]) <= 3

    def test_a_window_below_the_resolution_of_the_clock_is_no_limit(self):
        limits, _ = limiter(LimitConfig(name="pace", requests=1, per=1e-15))
        for _ in range(3):
            admitted(limits.enter({"all": ""}))


class TestInFlight:
    def test_admits_so_many_until_one_leaves(self):
        limits, _ = limiter(LimitConfig(name="slots", concurrent=2))
        first = admitted(limits.enter({"all": ""}))
        admitted(limits.enter({"all": ""}))
        answer = refused(limits.enter({"all": ""}))
        assert answer == Refusal(limit="slots", subject="", retry_after=None, kind="concurrent")
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


def chat(prompt, output=0, *, input_price=None, output_price=None):
    return Charge(prompt_tokens=prompt, output_tokens=output, input_price=input_price, output_price=output_price)


def standing(limits: Limiter, **subject: str) -> LimitStanding:
    (found,) = (one for one in limits.standing() if all(getattr(one, name) == text for name, text in subject.items()))
    return found


class TestTokens:
    def test_five_parallel_calls_do_not_pass_together(self):
        # Whoever only counts what has been used lets all five of them in.
        limits, _ = limiter(LimitConfig(name="tpm", tokens=100))
        answers = [limits.enter({"all": ""}, chat(20, 20)) for _ in range(5)]
        assert [isinstance(answer, Ticket) for answer in answers] == [True, True, False, False, False]
        assert {answer.kind for answer in answers[2:]} == {"tokens"}

    def test_what_was_used_takes_the_place_of_what_was_reserved(self):
        limits, _ = limiter(LimitConfig(name="tpm", tokens=100))
        ticket = admitted(limits.enter({"all": ""}, chat(20, 80)))
        refused(limits.enter({"all": ""}, chat(1, 0)))
        limits.settle(ticket, Actual(tokens=30))
        assert standing(limits).tokens == Standing(limit=100, used=30, remaining=70)
        admitted(limits.enter({"all": ""}, chat(20, 50)))
        refused(limits.enter({"all": ""}, chat(1, 0)))

    def test_more_than_was_reserved_makes_the_next_wait(self):
        limits, clock = limiter(LimitConfig(name="tpm", tokens=100, per=60))
        limits.settle(admitted(limits.enter({"all": ""}, chat(10, 10))), Actual(tokens=150))
        assert standing(limits).tokens == Standing(limit=100, used=150, remaining=0)
        wait = refused(limits.enter({"all": ""}, chat(1, 0))).retry_after
        assert 60 <= wait <= 61
        clock.advance(wait)
        admitted(limits.enter({"all": ""}, chat(100, 0)))

    def test_what_nobody_knows_stays_reserved(self):
        limits, _ = limiter(LimitConfig(name="tpm", tokens=100))
        limits.settle(admitted(limits.enter({"all": ""}, chat(10, 50))), None)
        assert standing(limits).tokens.used == 60

    def test_leaving_gives_tokens_and_money_back_and_no_request(self):
        limits, _ = limiter(LimitConfig(name="all three", requests=9, tokens=100, cost=1.0))
        limits.leave(admitted(limits.enter({"all": ""}, chat(10, 50, input_price=0.01, output_price=0.01))))
        found = standing(limits)
        assert (found.requests.used, found.tokens.used, found.cost.used) == (1, 0, 0)

    def test_settling_twice_counts_once(self):
        limits, _ = limiter(LimitConfig(name="tpm", tokens=100, concurrent=9))
        ticket = admitted(limits.enter({"all": ""}, chat(10, 50)))
        limits.settle(ticket, Actual(tokens=30))
        limits.settle(ticket, Actual(tokens=30))
        limits.leave(ticket)
        found = standing(limits)
        assert (found.tokens.used, found.concurrent.used) == (30, 0)

    def test_an_answer_of_unsaid_length_is_assumed(self):
        limits, _ = limiter(LimitConfig(name="tpm", tokens=1000, assumed_output_tokens=300))
        admitted(limits.enter({"all": ""}, chat(100, None)))
        assert standing(limits).tokens.used == 400

    def test_alone_comes_in_what_is_only_assumed_to_be_too_long(self):
        limits, _ = limiter(LimitConfig(name="tpm", tokens=500, assumed_output_tokens=1000))
        ticket = admitted(limits.enter({"all": ""}, chat(100, None)))
        assert standing(limits).tokens == Standing(limit=500, used=500, remaining=0)
        assert refused(limits.enter({"all": ""}, chat(1, None))).kind == "tokens"
        limits.settle(ticket, Actual(tokens=200))
        # It is not alone any more.
        refused(limits.enter({"all": ""}, chat(100, None)))
        admitted(limits.enter({"all": ""}, chat(100, 200)))

    @pytest.mark.parametrize("charge", [chat(100, 1000), chat(501, None), chat(501, 0)])
    def test_what_is_said_to_be_too_long_never_comes_in(self, charge):
        limits, _ = limiter(LimitConfig(name="tpm", tokens=500))
        assert refused(limits.enter({"all": ""}, charge)).retry_after is None

    def test_alone_is_who_is_left_after_binary_fractions_were_given_back(self):
        limits, _ = limiter(LimitConfig(name="money", cost=0.5, assumed_output_tokens=100))
        for price in (0.1, 0.2, 0.05):
            limits.leave(admitted(limits.enter({"all": ""}, chat(1, 0, input_price=price))))
        tickets = [admitted(limits.enter({"all": ""}, chat(1, 0, input_price=price))) for price in (0.1, 0.2)]
        for ticket in tickets:
            limits.leave(ticket)
        admitted(limits.enter({"all": ""}, chat(1, None, input_price=0.1, output_price=0.1)))

    def test_what_reserved_nothing_is_settled_after_others_came(self):
        # A subject whose reservation is zero must not be forgotten while its request is under way.
        limits, _ = limiter(LimitConfig(name="tpm", scope="user", tokens=100))
        ticket = admitted(limits.enter({"user": "alice"}, chat(0, 0)))
        for number in range(10):
            admitted(limits.enter({"user": f"user-{number}"}, chat(1, 0)))
        limits.settle(ticket, Actual(tokens=90))
        assert standing(limits, subject="alice").tokens.used == 90

    def test_expired_subjects_are_forgotten(self):
        limits, clock = limiter(LimitConfig(name="tpm", scope="user", tokens=100, per=10))
        for number in range(1000):
            admitted(limits.enter({"user": f"user-{number}"}, chat(1)))
        amounts = limits._limits[0].tokens
        assert len(amounts) == 1000
        clock.advance(11)
        for number in range(700):
            admitted(limits.enter({"user": f"user-{number % 7}"}, chat(1)))
            clock.advance(0.01)
        assert len(amounts) == 7


class TestMoney:
    def test_the_price_of_prompt_and_answer_is_reserved(self):
        limits, _ = limiter(LimitConfig(name="budget", cost=1.0, assumed_output_tokens=10))
        admitted(limits.enter({"all": ""}, chat(20, None, input_price=0.01, output_price=0.04)))
        assert standing(limits).cost.used == pytest.approx(0.6)
        answer = refused(limits.enter({"all": ""}, chat(20, None, input_price=0.01, output_price=0.04)))
        assert (answer.kind, answer.quota) == ("cost", True)

    @pytest.mark.parametrize(
        ("charge", "known"),
        [
            (chat(10, 5, output_price=0.01), False),
            (chat(10, 5, input_price=0.01), False),
            (chat(10, 5), False),
            (chat(10, 0, input_price=0.01), True),
            (chat(0, 5, output_price=0.01), True),
            (chat(10, 5, input_price=0.0, output_price=0.0), True),
        ],
    )
    def test_an_unknown_price_is_not_free(self, charge, known):
        limits, _ = limiter(LimitConfig(name="budget", cost=1.0))
        answer = limits.enter({"all": ""}, charge)
        if known:
            admitted(answer)
        else:
            assert answer == Refusal(limit="budget", subject="", retry_after=None, kind="price_unknown", quota=True)

    def test_an_unknown_price_in_shadow_is_told_and_settled(self):
        limits, _ = limiter(LimitConfig(name="budget", cost=1.0, shadow=True))
        ticket = admitted(limits.enter({"all": ""}, chat(10, 5)))
        assert [refusal.kind for refusal in ticket.shadowed] == ["price_unknown"]
        limits.settle(ticket, Actual(tokens=15, cost=0.25))
        assert standing(limits).cost.used == 0.25

    def test_a_cost_that_nobody_knows_leaves_the_reservation(self):
        limits, _ = limiter(LimitConfig(name="budget", cost=1.0))
        limits.settle(
            admitted(limits.enter({"all": ""}, chat(10, 5, input_price=0.01, output_price=0.01))),
            Actual(tokens=3, cost=None),
        )
        assert standing(limits).cost.used == pytest.approx(0.15)

    def test_a_limit_over_a_day_is_a_quota(self):
        day = LimitConfig(name="day", requests=1, per=86_400)
        minute = LimitConfig(name="minute", requests=1, per=60)
        for table, quota in ((day, True), (minute, False)):
            limits, _ = limiter(table)
            admitted(limits.enter({"all": ""}))
            assert refused(limits.enter({"all": ""})).quota is quota


class TestShadow:
    def test_counts_and_tells_and_refuses_nobody(self):
        limits, clock = limiter(LimitConfig(name="trial", requests=2, tokens=50, concurrent=3, per=10, shadow=True))
        tickets = [admitted(limits.enter({"all": ""}, chat(10))) for _ in range(6)]
        kinds = [[refusal.kind for refusal in ticket.shadowed] for ticket in tickets]
        assert kinds == [[], [], ["requests"], ["requests"], ["requests"], ["tokens"]]
        found = standing(limits)
        assert (found.shadow, found.tokens.used, found.concurrent.used, found.tokens.remaining) == (True, 60, 6, 0)
        clock.advance(11)
        assert [refusal.kind for refusal in admitted(limits.enter({"all": ""})).shadowed] == ["concurrent"]

    def test_does_not_hide_who_refuses(self):
        limits, _ = limiter(
            LimitConfig(name="trial", requests=1, per=500, shadow=True), LimitConfig(name="real", requests=1, per=5)
        )
        admitted(limits.enter({"all": ""}))
        assert refused(limits.enter({"all": ""})).limit == "real"

    def test_keeps_no_more_moments_than_it_needs(self):
        limits, clock = limiter(LimitConfig(name="trial", requests=3, per=1000, shadow=True))
        for _ in range(100):
            clock.advance(0.01)
            admitted(limits.enter({"all": ""}))
        assert len(limits._limits[0].moments._admitted[""]) == 3


class TestPeek:
    def test_says_what_enter_would_and_changes_nothing(self):
        limits, _ = limiter(LimitConfig(name="pace", requests=1), LimitConfig(name="tpm", tokens=100))
        for _ in range(3):
            assert limits.peek({"all": ""}, chat(10)) is None
        assert limits.peek({"all": ""}, chat(101)).kind == "tokens"
        before = limits.standing()
        assert all(one.resets_in is None for one in before)
        admitted(limits.enter({"all": ""}, chat(10)))
        assert limits.peek({"all": ""}, chat(10)).kind == "requests"


class TestStanding:
    def test_names_each_subject_and_those_that_a_pattern_names(self):
        limits, clock = limiter(
            LimitConfig(name="each", scope="user", requests=5, per=10),
            LimitConfig(name="one", scope="key", match="ci", tokens=100),
            LimitConfig(name="total", concurrent=4),
        )
        admitted(limits.enter({"all": "", "user": "alice"}))
        clock.advance(4)
        admitted(limits.enter({"all": "", "user": "alice"}))
        admitted(limits.enter({"all": "", "user": "bob"}))
        assert [(one.limit, one.subject) for one in limits.standing()] == [
            ("each", "alice"),
            ("each", "bob"),
            ("one", "ci"),
            ("total", ""),
        ]
        alice = standing(limits, subject="alice")
        assert (alice.requests, alice.resets_in) == (Standing(limit=5, used=2, remaining=3), 6.0)
        assert standing(limits, limit="one").tokens == Standing(limit=100, used=0, remaining=100)
        assert standing(limits, limit="total").concurrent.used == 3
        clock.advance(8)
        assert standing(limits, subject="alice").requests.used == 1


class TestReload:
    def reloaded(self, before: LimitConfig, after: LimitConfig) -> tuple[Limiter, Limiter, FakeClock]:
        old, clock = limiter(before)
        new = Limiter([after], clock)
        return old, new, clock

    def test_an_unchanged_limit_goes_on(self):
        table = LimitConfig(name="all", requests=2, tokens=100, cost=1.0, concurrent=2)
        old, new, _ = self.reloaded(table, table)
        ticket = admitted(old.enter({"all": ""}, chat(40, 0, input_price=0.01)))
        new.adopt(old)
        found = standing(new)
        assert (found.requests.used, found.tokens.used, found.cost.used, found.concurrent.used) == (1, 40, 0.4, 1)
        old.settle(ticket, Actual(tokens=10, cost=0.1))
        found = standing(new)
        assert (found.requests.used, found.tokens.used, found.concurrent.used) == (1, 10, 0)
        assert found.cost.used == pytest.approx(0.1)

    def test_another_number_does_not_forget(self):
        old, new, _ = self.reloaded(
            LimitConfig(name="all", requests=2, tokens=100, concurrent=2),
            LimitConfig(name="all", requests=4, tokens=200, concurrent=4),
        )
        for _ in range(2):
            admitted(old.enter({"all": ""}, chat(50)))
        new.adopt(old)
        for _ in range(2):
            admitted(new.enter({"all": ""}, chat(50)))
        assert refused(new.enter({"all": ""})).limit == "all"
        # What is still under way in the earlier generation is under its numbers.
        refused(old.enter({"all": ""}))

    def test_a_lower_number_holds_at_once(self):
        old, new, clock = self.reloaded(
            LimitConfig(name="pace", requests=4, per=10), LimitConfig(name="pace", requests=2, per=10)
        )
        for _ in range(4):
            admitted(old.enter({"all": ""}))
            clock.advance(1)
        new.adopt(old)
        # Only one of the four may be left: those of the seconds 0 to 2 have to go.
        assert refused(new.enter({"all": ""})).retry_after == 8.0
        clock.advance(8)
        admitted(new.enter({"all": ""}))

    @pytest.mark.parametrize("change", [{"name": "other"}, {"scope": "user"}, {"per": 30}])
    def test_another_name_scope_or_window_is_another_limit(self, change):
        table = LimitConfig(name="pace", requests=1)
        old, new, _ = self.reloaded(table, attrs.evolve(table, **change))
        admitted(old.enter({"all": "", "user": "a"}))
        new.adopt(old)
        admitted(new.enter({"all": "", "user": "a"}))

    def test_a_narrower_pattern_shows_only_whom_it_concerns(self):
        old, new, _ = self.reloaded(
            LimitConfig(name="pace", scope="user", requests=1),
            LimitConfig(name="pace", scope="user", match="a*", requests=1),
        )
        for user in ("alice", "bob"):
            admitted(old.enter({"user": user}))
        new.adopt(old)
        assert [one.subject for one in new.standing()] == ["alice"]


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
