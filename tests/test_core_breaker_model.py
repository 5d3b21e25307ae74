"""The breaker against its rules told once more: every short sequence of events, and long ones at random."""

from __future__ import annotations

import copy
import math
from collections import Counter, deque
from collections.abc import Iterator
from fractions import Fraction
from itertools import takewhile
from typing import Literal

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from apex_llm_core.models.candidates import BreakerState
from apex_llm_core.policies.breaker import BreakerRules, CircuitBreaker
from apex_llm_core.testing import FakeClock

RESET = 4.0
SLOW = 2.0
HOUR = 3600.0
HOME: dict[str, BreakerState] = {"enforce": "closed", "metrics_only": "metrics_only", "disabled": "disabled"}


# -- the reference: every call and outcome is remembered by what it was and when, nothing is counted along the way ----------


@attrs.frozen
class Outcome:
    at: float
    succeeded: bool
    slow: bool = False
    advice: float = 0.0


@attrs.frozen
class Call:
    kind: Literal["ordinary", "probe", "forced"]
    era: int
    permit: int


@attrs.define(eq=False)
class Reference:
    rules: BreakerRules
    state: BreakerState = "closed"
    era: int = 0
    #: What it goes by while it is closed or watches.
    log: tuple[Outcome, ...] = ()
    #: So many of them came before the present window.
    left_out: int = 0
    #: All that was ever heeded.
    seen: tuple[Outcome, ...] = ()
    open_until: float = 0.0
    #: The times in a row for which rules opened it.
    in_row: tuple[float, ...] = ()
    closed_at: float = -math.inf
    probes_out: int = 0
    probes_well: int = 0
    patience: float = 0.0
    impatient_at: float = 0.0

    def may(self, now: float) -> Literal["ordinary", "probe"] | None:
        if self.state == "forced_open":
            return None
        if self.state == "open":
            if now < self.open_until:
                return None
            self.enter("half_open")
            self.patience = max((RESET, *self.in_row[-1:]))
            self.impatient_at = now + self.patience
        if self.state != "half_open":
            return "ordinary"
        if self.probes_out + self.probes_well == self.rules.half_open_permits and now >= self.impatient_at:
            self.enter("half_open")
            self.patience = min(self.patience * 2, HOUR)
            self.impatient_at = now + self.patience
        return "probe" if self.probes_out + self.probes_well < self.rules.half_open_permits else None

    def ended(self, call: Call, outcome: Outcome | None) -> None:
        if call.era != self.era or call.kind == "forced":
            if call.era == self.era and outcome is not None and outcome.succeeded:
                self.shut(outcome.at)
            elif self.state == "open" and outcome is not None and outcome.advice:
                self.open_until = max(self.open_until, outcome.at + outcome.advice)
            return
        self.probes_out -= call.kind == "probe"
        if outcome is None or self.state == "disabled":
            return
        self.seen += (outcome,)
        if call.kind == "ordinary":
            self.log += (outcome,)
            if self.state == "closed":
                self.judge(outcome)
        elif outcome.advice:
            self.open(outcome.at, outcome.at + outcome.advice)
        elif outcome.slow or not outcome.succeeded:
            self.open(outcome.at)
        else:
            self.probes_well += 1
            if self.probes_well == self.rules.half_open_permits:
                self.shut(outcome.at)

    def judge(self, last: Outcome) -> None:
        if last.advice and (self.in_a_row() or not self.mostly_serves(last.at)):
            self.open(last.at, last.at + last.advice)
        elif self.in_a_row() or self.at_a_rate():
            self.open(last.at)

    def streak(self) -> list[Outcome]:
        return list(takewhile(lambda outcome: not outcome.succeeded, reversed(self.log)))

    def in_a_row(self) -> bool:
        return len(self.streak()) >= self.rules.threshold

    def advised(self) -> float:
        if self.state not in {"closed", "metrics_only"}:
            return 0.0
        return max((outcome.at + outcome.advice for outcome in self.streak()), default=0.0)

    def window(self, now: float) -> list[Outcome]:
        log = self.log[self.left_out :]
        if self.rules.window == "count":
            return list(log[-self.rules.window_size :])
        return [outcome for outcome in log if int(outcome.at) > int(now) - self.rules.window_size]

    def at_a_rate(self) -> bool:
        # Nothing is judged but when something came.
        calls = self.window(self.log[-1].at)
        if len(calls) < self.rules.minimum_calls:
            return False
        failed = Fraction(sum(not outcome.succeeded for outcome in calls), len(calls))
        slow = Fraction(sum(outcome.slow for outcome in calls), len(calls))
        return failed >= Fraction(str(self.rules.failure_rate)) or slow >= Fraction(str(self.rules.slow_call_rate))

    def mostly_serves(self, now: float) -> bool:
        recent = [outcome.succeeded for outcome in self.seen if int(outcome.at) > int(now) - 10]
        return len(recent) >= 5 and recent.count(True) >= recent.count(False)

    def open(self, now: float, until: float | None = None) -> None:
        if self.state == "closed" and now - self.closed_at >= sum(self.in_row[-1:]):
            self.in_row = ()
        if until is None:
            growth = self.rules.open_time_growth ** len(self.in_row)
            self.in_row += (min(RESET * growth, max(RESET, self.rules.max_open_time)),)
            until = now + self.in_row[-1]
        already = self.open_until if self.state == "open" else self.advised()
        self.enter("open", max(until, already))

    def shut(self, now: float) -> None:
        self.closed_at = now
        self.enter(HOME[self.rules.mode])

    def enter(self, state: BreakerState, until: float = 0.0) -> None:
        if state not in ("open", "half_open", "forced_open"):
            self.log, self.left_out = (), 0
        self.state, self.open_until = state, until
        self.era += 1
        self.probes_out = self.probes_well = 0


# -- both together ----------------------------------------------------------------------------------------------------------


@attrs.define(eq=False)
class Pair:
    """The breaker and its reference, driven together and compared after every event."""

    breaker: CircuitBreaker
    reference: Reference
    clock: FakeClock
    calls: tuple[Call, ...] = ()

    def ask(self, *, force: bool = False) -> None:
        before, due = self.breaker.state, self.breaker.retry_after() == 0
        admits = self.breaker.admits()
        kind = self.reference.may(self.clock())
        permit = self.breaker.force() if force else self.breaker.acquire()
        assert admits is (kind is not None)
        assert self.breaker.state == before or (before, self.breaker.state, due) == ("open", "half_open", True)
        if kind is None and (not force or self.reference.state == "forced_open"):
            assert permit is None
        else:
            assert permit is not None
            self.reference.probes_out += kind == "probe"
            self.calls += (Call(kind or "forced", self.reference.era, permit),)
        self.check()

    def end(
        self, position: int, succeeded: bool | None, *, seconds: float | None = None, advice: float | None = None
    ) -> None:
        call = self.calls[position]
        self.calls = self.calls[:position] + self.calls[position + 1 :]
        before, late = self.breaker.state, call.era != self.reference.era
        slow = seconds is not None and seconds > SLOW and self.reference.rules.slow_call_seconds > 0
        outcome = None if succeeded is None else Outcome(self.clock(), succeeded, slow, min(max(advice or 0, 0), HOUR))
        self.reference.ended(call, outcome)
        if succeeded is None:
            self.breaker.release(call.permit)
        elif succeeded:
            self.breaker.success(call.permit, seconds)
        else:
            self.breaker.failure(call.permit, retry_after=advice, seconds=seconds)
        if late or succeeded is None:
            assert self.breaker.state == before
        elif before == "open":
            assert call.kind == "forced"
            assert self.breaker.state == (HOME[self.reference.rules.mode] if succeeded else "open")
        self.check()

    def wait(self, seconds: float) -> None:
        before = self.breaker.state
        self.clock.advance(seconds)
        assert self.breaker.state == before
        self.check()

    def check(self) -> None:
        state, now = self.reference.state, self.clock()
        assert self.breaker.state == state
        if state == "open":
            assert self.breaker.retry_after() == max(0.0, self.reference.open_until - now)
        else:
            assert self.breaker.retry_after() == (math.inf if state == "forced_open" else 0)
        out = sum(call.kind == "probe" and call.era == self.reference.era for call in self.calls)
        assert out + self.reference.probes_well <= self.reference.rules.half_open_permits
        if state == "half_open":
            # Neither cancelled probes nor those that hang may leave it half-open with nothing to ask with.
            assert self.breaker.admits() or (out and self.reference.impatient_at > now)
        status = self.breaker.status()
        assert status.permits_out == out
        if state in {"closed", "metrics_only"}:
            window = self.reference.window(now)
            assert status.calls == len(window)
            if window:
                assert status.failure_rate == sum(not outcome.succeeded for outcome in window) / len(window)
                assert status.slow_call_rate == sum(outcome.slow for outcome in window) / len(window)
            assert status.consecutive_failures == len(self.reference.streak())

    def fork(self) -> Pair:
        clock = FakeClock(self.clock())
        breaker = copy.copy(self.breaker)
        breaker._clock = clock
        breaker._window = copy.deepcopy(breaker._window)
        breaker._recent = copy.deepcopy(breaker._recent)
        breaker._history = deque(maxlen=0)
        return Pair(breaker, copy.copy(self.reference), clock, self.calls)

    def key(self) -> object:
        """All that what happens next depends on."""
        breaker = self.breaker
        own = [getattr(breaker, name) for name in breaker.__slots__ if name not in _TOLD]
        windows = [
            str([getattr(window, name) for name in window.__slots__]) for window in (breaker._window, breaker._recent)
        ]
        return (
            self.clock(),
            *own,
            *windows,
            frozenset(Counter(self.calls).items()),
            *attrs.astuple(self.reference, recurse=False),
        )


#: Parts of the breaker that only tell, or that `Pair.key` takes apart.
_TOLD = {"_clock", "_history", "_recent", "_rules", "_times_opened", "_window", "on_change", "reason"}


def pair(rules: BreakerRules) -> Pair:
    clock = FakeClock(100.0)
    breaker = CircuitBreaker(rules, clock=clock, on_change=lambda previous, current, reason: None)
    return Pair(breaker, Reference(rules, breaker.state), clock)


# -- every short sequence ---------------------------------------------------------------------------------------------------


def successors(before: Pair) -> Iterator[Pair]:
    for force in (False, True):
        after = before.fork()
        after.ask(force=force)
        yield after
    for seconds in (RESET / 2, RESET):
        after = before.fork()
        after.wait(seconds)
        yield after
    # Calls of one kind and era are alike, so this covers the oldest and the newest, too.
    alike = {(call.kind, call.era): position for position, call in enumerate(before.calls)}
    for position in alike.values():
        for succeeded, seconds, advice in (
            (True, None, None),
            (True, SLOW + 1, None),
            (False, None, None),
            (False, None, 1.0),
            (False, None, 9.0),
            (None, None, None),
        ):
            after = before.fork()
            after.end(position, succeeded, seconds=seconds, advice=advice)
            yield after


def explore(first: Pair, depth: int) -> Counter[BreakerState]:
    """Go through all sequences of *depth* events; ways that lead to the same are gone on from once."""
    reached: Counter[BreakerState] = Counter()
    frontier = {first.key(): first}
    for _ in range(depth):
        following: dict[object, Pair] = {}
        for before in frontier.values():
            for after in successors(before):
                reached[after.breaker.state] += 1
                following.setdefault(after.key(), after)
        frontier = following
    return reached


SMALL = {
    "one": BreakerRules(threshold=1, reset_timeout=RESET, max_open_time=10, slow_call_seconds=0),
    "two": BreakerRules(threshold=2, reset_timeout=RESET, half_open_permits=2, slow_call_seconds=SLOW),
    "rates": BreakerRules(
        threshold=9,
        reset_timeout=RESET,
        window="time",
        window_size=6,
        minimum_calls=2,
        slow_call_rate=0.5,
        slow_call_seconds=SLOW,
    ),
}


@pytest.mark.parametrize("rules", SMALL.values(), ids=SMALL)
@pytest.mark.parametrize("start", ["closed", "open", "half_open"])
def test_every_sequence_of_six_events_agrees_with_the_reference(start, rules):
    first = pair(rules)
    if start != "closed":
        while first.breaker.state == "closed":
            first.ask()
            first.end(0, succeeded=False)
    if start == "half_open":
        first.wait(RESET)
        first.ask()
    assert first.breaker.state == start
    reached = explore(first, 6)
    assert {"closed", "open", "half_open"} <= set(reached)
    assert sum(reached.values()) > 1000


# -- long sequences at random -----------------------------------------------------------------------------------------------


RATES = st.sampled_from([0.1, 0.3, 0.5, 0.7, 1.0])
RULES = st.builds(
    BreakerRules,
    mode=st.sampled_from(["enforce", "enforce", "enforce", "metrics_only", "disabled"]),
    threshold=st.integers(1, 6),
    reset_timeout=st.just(RESET),
    open_time_growth=st.sampled_from([1.0, 1.5, 2.0]),
    max_open_time=st.sampled_from([RESET, 7.0, 300.0]),
    half_open_permits=st.integers(1, 3),
    window=st.sampled_from(["count", "time"]),
    window_size=st.integers(1, 8),
    minimum_calls=st.integers(1, 6),
    failure_rate=RATES,
    slow_call_rate=RATES,
    slow_call_seconds=st.sampled_from([0.0, SLOW]),
)


class BreakerAgainstReference(RuleBasedStateMachine):
    @initialize(rules=RULES)
    def begin(self, rules):
        self.pair = pair(rules)

    @rule(count=st.integers(1, 4))
    def acquire(self, count):
        for _ in range(count):
            self.pair.ask()

    @rule()
    def force(self):
        self.pair.ask(force=True)

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, RESET / 2, RESET, 2 * RESET, 11.0, 400.0]))
    def wait(self, seconds):
        self.pair.wait(seconds)

    @precondition(lambda self: self.pair.calls)
    @rule(data=st.data(), succeeded=st.sampled_from([True, True, False, False, None]))
    def end(self, data, succeeded):
        position = data.draw(st.integers(0, len(self.pair.calls) - 1))
        seconds = data.draw(st.sampled_from([None, None, SLOW, SLOW + 0.1]))
        advice = None if succeeded else data.draw(st.sampled_from([None, None, 0.0, 0.5, 3.0, 30.0, 9999.0, -1.0]))
        self.pair.end(position, succeeded, seconds=seconds, advice=advice)

    @rule(
        calls=st.lists(st.tuples(st.booleans(), st.sampled_from([None, SLOW + 0.1])), min_size=2, max_size=8),
        advice=st.sampled_from([None, 2.0]),
    )
    def traffic(self, calls, advice):
        for succeeded, seconds in calls:
            before = len(self.pair.calls)
            self.pair.ask()
            if len(self.pair.calls) > before:
                self.pair.end(before, succeeded, seconds=seconds, advice=None if succeeded else advice)

    @rule()
    def recover(self):
        both = self.pair
        if both.reference.state not in {"open", "half_open"}:
            return
        both.wait(2 * HOUR)
        # Probes of an epoch that has some left come before those of the next one.
        for _ in range(2 * both.reference.rules.half_open_permits):
            both.ask()
            both.end(len(both.calls) - 1, succeeded=True)
        assert both.breaker.state == HOME[both.reference.rules.mode]

    @rule(action=st.sampled_from(["open", "isolate", "close", "watch", "disable"]))
    def by_hand(self, action):
        breaker, reference, now = self.pair.breaker, self.pair.reference, self.pair.clock()
        getattr(breaker, action)()
        if action == "open":
            reference.open(now, now + RESET)
        elif action == "close":
            reference.in_row = ()
            reference.enter("closed")
        else:
            states = {"isolate": "forced_open", "watch": "metrics_only", "disable": "disabled"}
            reference.enter(states[action])
        self.pair.check()

    @rule(rules=RULES)
    def adopt(self, rules):
        breaker, reference, now = self.pair.breaker, self.pair.reference, self.pair.clock()
        before, reference.rules = reference.rules, rules
        breaker.adopt(rules)
        if (before.window, before.window_size) != (rules.window, rules.window_size):
            reference.left_out = len(reference.log)
        if (before.open_time_growth, before.max_open_time) != (rules.open_time_growth, rules.max_open_time):
            reference.in_row = ()
        if before.mode != rules.mode:
            reference.enter(HOME[rules.mode])
        elif reference.state == "half_open" and before.half_open_permits != rules.half_open_permits:
            reference.enter("half_open")
            reference.impatient_at = now + reference.patience
        self.pair.check()


BreakerAgainstReference.TestCase.settings = settings(max_examples=300, stateful_step_count=30, deadline=None)
TestBreakerAgainstReference = BreakerAgainstReference.TestCase
