from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Literal

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from apex_llm_core.errors import LLMErrorType
from apex_llm_core.models.candidates import BreakerState
from apex_llm_core.policies.breaker import CircuitBreaker, blames_provider
from apex_llm_core.testing import FakeClock

RESET = 30.0
Change = tuple[BreakerState, BreakerState]


def make(clock: FakeClock, *, threshold: int = 3, permits: int = 1) -> tuple[CircuitBreaker, list[Change]]:
    changes: list[Change] = []
    breaker = CircuitBreaker(
        threshold=threshold,
        reset_timeout=RESET,
        half_open_permits=permits,
        clock=clock,
        on_change=lambda previous, current: changes.append((previous, current)),
    )
    return breaker, changes


def take(breaker: CircuitBreaker) -> int:
    permit = breaker.acquire()
    assert permit is not None
    return permit


def trip(breaker: CircuitBreaker, threshold: int = 3) -> None:
    for _ in range(threshold):
        breaker.failure(take(breaker))


def half_open(*, permits: int = 1) -> tuple[CircuitBreaker, FakeClock, int]:
    clock = FakeClock()
    breaker, _ = make(clock, permits=permits)
    trip(breaker)
    clock.advance(RESET)
    return breaker, clock, take(breaker)


class TestRules:
    def test_opens_at_the_threshold_and_not_before(self):
        breaker, changes = make(FakeClock())
        trip(breaker, 2)
        assert breaker.state == "closed"
        trip(breaker, 1)
        assert breaker.state == "open"
        assert changes == [("closed", "open")]

    def test_a_success_between_failures_begins_the_count_anew(self):
        breaker, _ = make(FakeClock())
        trip(breaker, 2)
        breaker.success(take(breaker))
        trip(breaker, 2)
        assert breaker.state == "closed"

    def test_a_release_between_failures_does_not(self):
        breaker, _ = make(FakeClock())
        trip(breaker, 2)
        breaker.release(take(breaker))
        trip(breaker, 1)
        assert breaker.state == "open"

    def test_open_refuses_until_the_reset_timeout(self):
        clock = FakeClock()
        breaker, changes = make(clock)
        trip(breaker)
        clock.advance(RESET / 2)
        assert breaker.acquire() is None
        assert breaker.retry_after() == RESET / 2
        clock.advance(RESET / 2)
        assert breaker.retry_after() == 0.0
        assert breaker.state == "open"
        assert breaker.acquire() is not None
        assert breaker.state == "half_open"
        assert changes == [("closed", "open"), ("open", "half_open")]

    def test_a_closed_breaker_has_nothing_to_wait_for(self):
        breaker, _ = make(FakeClock())
        assert breaker.retry_after() == 0.0

    def test_half_open_admits_no_more_than_its_permits(self):
        breaker, _, _ = half_open(permits=2)
        assert breaker.acquire() is not None
        assert breaker.acquire() is None
        assert breaker.retry_after() == 0.0

    def test_the_only_probe_closes(self):
        breaker, _, probe = half_open()
        breaker.success(probe)
        assert breaker.state == "closed"

    def test_all_probes_must_succeed(self):
        breaker, _, first = half_open(permits=2)
        breaker.success(first)
        assert breaker.state == "half_open"
        second = take(breaker)
        assert breaker.acquire() is None
        breaker.success(second)
        assert breaker.state == "closed"

    def test_one_failed_probe_opens_for_the_full_time_again(self):
        breaker, clock, first = half_open(permits=2)
        breaker.success(first)
        clock.advance(7)
        breaker.failure(take(breaker))
        assert breaker.state == "open"
        assert breaker.retry_after() == RESET

    def test_a_cancelled_probe_gives_its_permit_back(self):
        breaker, _, probe = half_open()
        for _ in range(5):
            assert breaker.acquire() is None
            breaker.release(probe)
            probe = take(breaker)
        breaker.success(probe)
        assert breaker.state == "closed"

    def test_results_of_calls_from_before_the_opening_are_ignored(self):
        clock = FakeClock()
        breaker, _ = make(clock)
        late = [take(breaker) for _ in range(4)]
        trip(breaker)
        breaker.success(late[0])
        assert breaker.state == "open"
        clock.advance(RESET)
        probe = take(breaker)
        breaker.success(late[1])
        breaker.failure(late[2])
        breaker.release(late[3])
        assert breaker.state == "half_open"
        assert breaker.acquire() is None
        breaker.success(probe)
        assert breaker.state == "closed"

    def test_failures_before_the_opening_do_not_count_after_the_closing(self):
        breaker, _, probe = half_open()
        breaker.success(probe)
        trip(breaker, 2)
        assert breaker.state == "closed"


class TestForce:
    def test_gives_an_ordinary_permit_when_closed(self):
        breaker, _ = make(FakeClock())
        for _ in range(3):
            breaker.failure(breaker.force())
        assert breaker.state == "open"

    def test_success_closes_an_open_breaker(self):
        breaker, _ = make(FakeClock())
        trip(breaker)
        breaker.success(breaker.force())
        assert breaker.state == "closed"
        trip(breaker, 2)
        assert breaker.state == "closed"

    def test_failure_does_not_prolong_the_open_time(self):
        clock = FakeClock()
        breaker, changes = make(clock)
        trip(breaker)
        clock.advance(10)
        breaker.failure(breaker.force())
        breaker.release(breaker.force())
        assert breaker.retry_after() == RESET - 10
        assert changes == [("closed", "open")]

    def test_spends_no_probe(self):
        breaker, _, probe = half_open()
        forced = breaker.force()
        breaker.failure(forced)
        assert breaker.state == "half_open"
        breaker.release(forced)
        assert breaker.acquire() is None
        breaker.success(probe)
        assert breaker.state == "closed"

    def test_success_closes_a_half_open_breaker(self):
        breaker, _, probe = half_open()
        breaker.success(breaker.force())
        assert breaker.state == "closed"
        breaker.failure(probe)
        trip(breaker, 2)
        assert breaker.state == "closed"

    def test_takes_the_probe_that_is_due(self):
        clock = FakeClock()
        breaker, _ = make(clock)
        trip(breaker)
        clock.advance(RESET)
        breaker.failure(breaker.force())
        assert breaker.state == "open"
        assert breaker.retry_after() == RESET

    def test_a_late_forced_result_is_ignored(self):
        clock = FakeClock()
        breaker, _ = make(clock)
        trip(breaker)
        forced = breaker.force()
        clock.advance(RESET)
        breaker.failure(take(breaker))
        breaker.success(forced)
        assert breaker.state == "open"


@pytest.mark.parametrize("error_type", LLMErrorType)
def test_every_error_type_has_its_blame(error_type):
    callers = {
        "invalid_request_error",
        "model_not_found_error",
        "context_length_exceeded_error",
        "content_filter_error",
    }
    assert blames_provider(error_type) is (error_type.value not in callers)


# -- the reference: the rules once more, with every call remembered by what it was and when, not by a number ----------------


@attrs.define(eq=False)
class Call:
    kind: Literal["ordinary", "probe", "forced"]
    era: int
    permit: int


@attrs.define(eq=False)
class Reference:
    threshold: int
    permits: int
    state: BreakerState = "closed"
    era: int = 0
    #: What the calls of this era came to, in order: True is success.
    outcomes: tuple[bool, ...] = ()
    probes_out: int = 0
    closes_its_eyes_until: float = 0.0

    def may(self, now: float) -> Literal["ordinary", "probe"] | None:
        if self.state == "closed":
            return "ordinary"
        if self.state == "open":
            if now < self.closes_its_eyes_until:
                return None
            self._enter("half_open")
        return "probe" if self.probes_out + len(self.outcomes) < self.permits else None

    def ended(self, call: Call, success: bool | None, now: float) -> None:
        if call.era != self.era:
            return
        if call.kind == "forced":
            if success:
                self._enter("closed")
            return
        if call.kind == "probe":
            self.probes_out -= 1
        if success is None:
            return
        self.outcomes += (success,)
        if call.kind == "probe":
            if not success:
                self._enter("open", now + RESET)
            elif len(self.outcomes) == self.permits:
                self._enter("closed")
        elif len(self.outcomes) >= self.threshold and not any(self.outcomes[-self.threshold :]):
            self._enter("open", now + RESET)

    def _enter(self, state: BreakerState, until: float = 0.0) -> None:
        self.state = state
        self.era += 1
        self.outcomes = ()
        self.probes_out = 0
        self.closes_its_eyes_until = until


@attrs.define(eq=False)
class Pair:
    """The breaker and its reference, driven together."""

    breaker: CircuitBreaker
    reference: Reference
    clock: FakeClock
    calls: tuple[Call, ...] = ()

    def ask(self, *, force: bool = False) -> None:
        kind = self.reference.may(self.clock())
        permit = self.breaker.force() if force else self.breaker.acquire()
        if kind is None and not force:
            assert permit is None
        else:
            assert permit is not None
            if kind == "probe":
                self.reference.probes_out += 1
            self.calls += (Call(kind or "forced", self.reference.era, permit),)
        self.check()

    def end(self, position: int, success: bool | None) -> None:
        call = self.calls[position]
        self.calls = self.calls[:position] + self.calls[position + 1 :]
        self.reference.ended(call, success, self.clock())
        if success is None:
            self.breaker.release(call.permit)
        elif success:
            self.breaker.success(call.permit)
        else:
            self.breaker.failure(call.permit)
        self.check()

    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.check()

    def check(self) -> None:
        assert self.breaker.state == self.reference.state
        left = self.reference.closes_its_eyes_until - self.clock() if self.reference.state == "open" else 0.0
        assert self.breaker.retry_after() == max(0.0, left)
        probes = [call for call in self.calls if call.kind == "probe" and call.era == self.reference.era]
        assert len(probes) <= self.reference.permits
        if self.reference.state == "half_open" and not probes:
            # No sequence of cancellations may leave it half-open with nothing left to ask with.
            assert copy.copy(self.breaker).acquire() is not None

    def fork(self) -> Pair:
        clock = FakeClock(self.clock())
        breaker = copy.copy(self.breaker)
        breaker._clock = clock
        breaker.on_change = lambda previous, current: None
        return Pair(breaker, copy.copy(self.reference), clock, self.calls)


def pair(threshold: int, permits: int) -> Pair:
    clock = FakeClock(0.0)
    breaker, _ = make(clock, threshold=threshold, permits=permits)
    return Pair(breaker, Reference(threshold, permits), clock)


def successors(before: Pair) -> Iterator[Pair]:
    for force in (False, True):
        after = before.fork()
        after.ask(force=force)
        yield after
    for seconds in (RESET / 2, RESET):
        after = before.fork()
        after.wait(seconds)
        yield after
    alike: set[tuple[str, int]] = set()
    for position, call in enumerate(before.calls):
        # Calls of one kind and era are interchangeable.
        if (call.kind, call.era) in alike:
            continue
        alike.add((call.kind, call.era))
        for success in (True, False, None):
            after = before.fork()
            after.end(position, success)
            yield after


def walk(before: Pair, depth: int) -> int:
    if not depth:
        return 1
    return sum(walk(after, depth - 1) for after in successors(before))


@pytest.mark.parametrize(("threshold", "permits"), [(1, 1), (2, 2)])
@pytest.mark.parametrize("start", ["closed", "open", "half_open"])
def test_every_sequence_of_six_events_agrees_with_the_reference(start, threshold, permits):
    first = pair(threshold, permits)
    if start != "closed":
        for _ in range(threshold):
            first.ask()
            first.end(0, success=False)
    if start == "half_open":
        first.wait(RESET)
        first.ask()
    assert first.breaker.state == start
    # Four events are always possible; those that end a call come on top.
    assert walk(first, 6) > 4**6


class BreakerAgainstReference(RuleBasedStateMachine):
    @initialize(threshold=st.integers(1, 4), permits=st.integers(1, 3))
    def begin(self, threshold, permits):
        self.pair = pair(threshold, permits)

    @rule()
    def acquire(self):
        self.pair.ask()

    @rule()
    def force(self):
        self.pair.ask(force=True)

    @rule(seconds=st.sampled_from([0.0, 1.0, RESET / 2, RESET, 2 * RESET]))
    def wait(self, seconds):
        self.pair.wait(seconds)

    @precondition(lambda self: self.pair.calls)
    @rule(data=st.data(), success=st.sampled_from([True, False, False, False, None]))
    def end(self, data, success):
        self.pair.end(data.draw(st.integers(0, len(self.pair.calls) - 1)), success)

    @invariant()
    def agrees(self):
        if hasattr(self, "pair"):
            self.pair.check()


BreakerAgainstReference.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestBreakerAgainstReference = BreakerAgainstReference.TestCase
