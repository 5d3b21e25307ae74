from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

import attrs
import pytest

from apex_llm_core.config.policies import BreakerConfig
from apex_llm_core.config.schema import ManagerConfig
from apex_llm_core.converters import dumps
from apex_llm_core.errors import LLMErrorType
from apex_llm_core.policies.breaker import BreakerRules, BreakerTransition, CircuitBreaker, blames_provider
from apex_llm_core.testing import FakeClock

RESET = 30.0
SLOW = 60.0
MODES = {
    "disabled": CircuitBreaker.disable,
    "metrics_only": CircuitBreaker.watch,
    "forced_open": CircuitBreaker.isolate,
}


@attrs.define(eq=False)
class Scene:
    """A breaker, its clock and the changes that were told."""

    breaker: CircuitBreaker
    clock: FakeClock
    changes: list[tuple[str, str, str]]

    def take(self) -> int:
        permit = self.breaker.acquire()
        assert permit is not None
        return permit

    def succeed(self, times: int = 1, seconds: float | None = None) -> None:
        for _ in range(times):
            self.breaker.success(self.take(), seconds)

    def fail(self, times: int = 1, retry_after: float | None = None, seconds: float | None = None) -> None:
        for _ in range(times):
            self.breaker.failure(self.take(), retry_after=retry_after, seconds=seconds)

    def trip(self) -> None:
        while self.breaker.state != "open":
            self.fail()

    def half_open(self) -> int:
        self.trip()
        self.clock.advance(self.breaker.retry_after())
        return self.take()

    def recover(self) -> None:
        self.clock.advance(self.breaker.retry_after())
        while self.breaker.state != "closed":
            self.succeed()


def scene(**rules) -> Scene:
    clock = FakeClock()
    changes: list[tuple[str, str, str]] = []
    breaker = CircuitBreaker(
        BreakerRules(**{"threshold": 3, **rules}),
        clock=clock,
        on_change=lambda previous, current, reason: changes.append((previous, current, reason)),
    )
    return Scene(breaker, clock, changes)


class TestInARow:
    def test_opens_at_the_threshold_and_not_before(self):
        it = scene()
        it.fail(2)
        assert it.breaker.state == "closed"
        it.fail()
        assert it.changes == [("closed", "open", "failures in a row")]

    def test_a_success_between_failures_begins_the_count_anew(self):
        it = scene()
        it.fail(2)
        it.succeed()
        it.fail(2)
        assert it.breaker.state == "closed"

    def test_a_release_between_failures_does_not(self):
        it = scene()
        it.fail(2)
        it.breaker.release(it.take())
        it.fail()
        assert it.breaker.state == "open"

    def test_results_of_calls_from_before_the_opening_are_ignored(self):
        it = scene()
        late = [it.take() for _ in range(4)]
        it.trip()
        it.breaker.success(late[0])
        assert it.breaker.state == "open"
        it.clock.advance(RESET)
        probe = it.take()
        it.breaker.success(late[1])
        it.breaker.failure(late[2])
        it.breaker.release(late[3])
        assert it.breaker.state == "half_open"
        assert it.breaker.acquire() is None
        it.breaker.success(probe)
        assert it.breaker.state == "closed"

    def test_failures_before_the_opening_do_not_count_after_the_closing(self):
        it = scene()
        it.breaker.success(it.half_open())
        it.fail(2)
        assert it.breaker.state == "closed"


class TestRates:
    def test_the_share_of_failures_opens_at_its_rate(self):
        it = scene(threshold=9, minimum_calls=4, window_size=8, failure_rate=0.25)
        it.succeed(7)
        it.fail()
        assert it.breaker.state == "closed"
        it.fail()
        assert it.changes == [("closed", "open", "failure rate")]

    @pytest.mark.parametrize("calls", [10, 20, 30, 70, 100])
    @pytest.mark.parametrize("tenths", range(1, 11))
    def test_the_rate_is_met_exactly(self, calls, tenths):
        it = scene(threshold=1000, minimum_calls=calls, window_size=calls, failure_rate=tenths / 10)
        failures = calls * tenths // 10
        it.succeed(calls - failures)
        it.fail(failures - 1)
        assert it.breaker.state == "closed"
        it.fail()
        assert it.breaker.state == "open"

    def test_fewer_calls_than_the_minimum_decide_nothing(self):
        it = scene(threshold=99, minimum_calls=10)
        it.fail(9)
        assert it.breaker.state == "closed"
        it.fail()
        assert it.breaker.state == "open"

    def test_the_call_that_makes_them_enough_may_be_a_success(self):
        it = scene(threshold=99, minimum_calls=10)
        it.fail(9)
        it.succeed()
        assert it.changes == [("closed", "open", "failure rate")]

    def test_old_calls_leave_a_window_of_calls(self):
        it = scene(threshold=99, minimum_calls=1, window_size=4, failure_rate=0.75)
        it.succeed(2)
        for _ in range(20):
            it.fail()
            it.succeed()
        assert it.breaker.state == "closed"
        assert it.breaker.status().calls == 4

    def test_old_calls_leave_a_window_of_time(self):
        it = scene(threshold=99, minimum_calls=4, window="time", window_size=10, failure_rate=0.5)
        it.fail(3)
        it.clock.advance(9)
        assert it.breaker.status().calls == 3
        it.clock.advance(1)
        assert it.breaker.status().calls == 0
        it.fail(3)
        assert it.breaker.state == "closed"
        it.fail()
        assert it.breaker.state == "open"

    def test_slow_is_longer_than_the_bound(self):
        it = scene(minimum_calls=2)
        it.succeed(9, seconds=SLOW)
        assert it.breaker.status().slow_call_rate == 0
        it = scene(minimum_calls=2)
        it.succeed(2, seconds=SLOW + 1)
        assert it.changes == [("closed", "open", "slow calls")]

    def test_slow_failures_are_slow(self):
        it = scene(threshold=9, failure_rate=1.0, minimum_calls=3, slow_call_rate=0.3)
        it.succeed()
        it.fail(seconds=SLOW)
        assert it.breaker.status().slow_call_rate == 0
        it.fail(seconds=SLOW + 1)
        assert it.changes == [("closed", "open", "slow calls")]

    def test_nothing_is_slow_without_a_bound(self):
        it = scene(minimum_calls=1, slow_call_rate=0.1, slow_call_seconds=0)
        it.succeed(9, seconds=1e9)
        assert it.breaker.state == "closed"

    def test_they_begin_anew_when_it_closes(self):
        it = scene(threshold=99, minimum_calls=4)
        it.trip()
        assert it.breaker.status().failure_rate == 1
        it.recover()
        it.fail(3)
        assert it.breaker.state == "closed"
        assert it.breaker.status().calls == 3


class TestOpen:
    def test_refuses_until_the_reset_timeout(self):
        it = scene()
        it.trip()
        it.clock.advance(RESET / 2)
        assert it.breaker.acquire() is None
        assert not it.breaker.admits()
        assert it.breaker.retry_after() == RESET / 2
        it.clock.advance(RESET / 2)
        assert it.breaker.retry_after() == 0.0
        assert it.breaker.admits()
        # Nothing happens by itself, and asking whether something would happen is not asking for it.
        assert it.breaker.state == "open"
        assert it.breaker.acquire() is not None
        assert it.changes[1:] == [("open", "half_open", "its time was over")]

    def test_a_closed_breaker_has_nothing_to_wait_for(self):
        assert scene().breaker.retry_after() == 0.0

    def test_each_further_time_in_a_row_is_longer(self):
        it = scene(max_open_time=100)
        it.trip()
        times = []
        for _ in range(5):
            times.append(it.breaker.retry_after())
            it.clock.advance(times[-1])
            it.fail()
        assert times == [30, 60, 100, 100, 100]

    def test_closing_alone_does_not_forget_it(self):
        it = scene()
        it.trip()
        it.recover()
        it.clock.advance(RESET - 1)
        it.trip()
        assert it.breaker.retry_after() == 2 * RESET

    def test_staying_closed_as_long_as_it_was_open_does(self):
        it = scene()
        it.breaker.failure(it.half_open())
        assert it.breaker.retry_after() == 2 * RESET
        it.recover()
        it.clock.advance(2 * RESET)
        it.trip()
        assert it.breaker.retry_after() == RESET

    def test_huge_growth_is_bounded(self):
        it = scene(open_time_growth=1e300, max_open_time=1e6)
        it.trip()
        for _ in range(3):
            it.clock.advance(it.breaker.retry_after())
            it.fail()
        assert it.breaker.retry_after() == 1e6


class TestHalfOpen:
    def test_admits_no_more_than_its_permits(self):
        it = scene(half_open_permits=2)
        it.half_open()
        assert it.breaker.admits()
        it.take()
        assert it.breaker.acquire() is None
        assert not it.breaker.admits()
        assert it.breaker.retry_after() == 0.0
        assert it.breaker.status().permits_out == 2

    def test_a_stampede_after_the_reset_gets_one_permit(self):
        it = scene()
        it.trip()
        it.clock.advance(RESET)
        assert sum(it.breaker.acquire() is not None for _ in range(1000)) == 1

    def test_all_probes_must_succeed(self):
        it = scene(half_open_permits=2)
        it.breaker.success(it.half_open())
        assert it.breaker.state == "half_open"
        second = it.take()
        assert it.breaker.acquire() is None
        it.breaker.success(second)
        assert it.changes[-1] == ("half_open", "closed", "probes succeeded")

    def test_one_failed_probe_opens_it_anew(self):
        it = scene(half_open_permits=2, open_time_growth=1)
        it.breaker.success(it.half_open())
        it.clock.advance(7)
        it.fail()
        assert it.changes[-1] == ("half_open", "open", "a probe failed")
        assert it.breaker.retry_after() == RESET

    def test_a_slow_probe_failed(self):
        it = scene()
        it.breaker.success(it.half_open(), SLOW + 1)
        assert it.changes[-1] == ("half_open", "open", "a probe was slow")

    def test_no_probe_is_slow_without_a_bound(self):
        it = scene(slow_call_seconds=0)
        it.breaker.success(it.half_open(), 1e9)
        assert it.breaker.state == "closed"

    def test_a_cancelled_probe_gives_its_permit_back(self):
        it = scene()
        probe = it.half_open()
        for _ in range(5):
            assert it.breaker.acquire() is None
            it.breaker.release(probe)
            probe = it.take()
        it.breaker.success(probe)
        assert it.breaker.state == "closed"

    def test_a_probe_that_hangs_is_given_up_after_the_open_time(self):
        it = scene()
        hanging = it.half_open()
        it.clock.advance(RESET - 1)
        assert it.breaker.acquire() is None
        it.clock.advance(1)
        assert it.breaker.admits()
        second = it.take()
        assert it.breaker.acquire() is None
        it.breaker.failure(hanging)
        it.breaker.release(hanging)
        assert it.breaker.state == "half_open"
        assert it.breaker.acquire() is None
        it.breaker.success(second)
        assert it.breaker.state == "closed"

    def test_a_provider_slower_than_the_open_time_is_found_well_in_the_end(self):
        it = scene(reset_timeout=5, max_open_time=5)
        out = [(it.half_open(), it.clock())]
        # Somebody asks every second, and every answer takes 18.
        while it.breaker.state == "half_open":
            it.clock.advance(1)
            for permit, since in [call for call in out if it.clock() - call[1] >= 18]:
                out.remove((permit, since))
                it.breaker.success(permit)
            permit = it.breaker.acquire()
            if permit is not None:
                out.append((permit, it.clock()))
            assert it.clock() < 1100
        assert it.breaker.state == "closed"


class TestAdvice:
    def test_opens_for_just_that_time(self):
        it = scene()
        it.fail(retry_after=7)
        assert it.changes == [("closed", "open", "retry_after")]
        assert it.breaker.retry_after() == 7

    def test_is_believed_for_an_hour_at_most(self):
        it = scene()
        it.fail(retry_after=math.inf)
        assert it.breaker.retry_after() == 3600

    @pytest.mark.parametrize("nothing", [None, 0.0, -5.0, math.nan])
    def test_may_be_none(self, nothing):
        it = scene()
        it.fail(2, retry_after=nothing)
        assert it.breaker.state == "closed"
        it.fail(retry_after=nothing)
        assert it.breaker.retry_after() == RESET

    def test_does_not_grow(self):
        it = scene()
        for _ in range(5):
            it.fail(retry_after=2)
            assert it.breaker.retry_after() == 2
            it.clock.advance(2)
        it.fail()
        assert it.changes[-1] == ("half_open", "open", "a probe failed")
        assert it.breaker.retry_after() == RESET

    def test_counts_as_any_failure_where_calls_mostly_succeed(self):
        it = scene()
        it.succeed(5)
        it.fail(2, retry_after=7)
        assert it.breaker.state == "closed"
        it.fail(retry_after=7)
        assert it.changes == [("closed", "open", "retry_after")]
        assert it.breaker.retry_after() == 7

    @pytest.mark.parametrize(
        ("successes", "failures", "state"), [(3, 0, "open"), (4, 0, "closed"), (3, 2, "closed"), (3, 3, "open")]
    )
    def test_the_proof_is_half_of_five_outcomes_or_more(self, successes, failures, state):
        it = scene(threshold=9)
        it.succeed(successes)
        it.fail(failures)
        it.fail(retry_after=7)
        assert it.breaker.state == state

    def test_the_proof_is_of_the_last_ten_seconds(self):
        it = scene()
        it.succeed(50)
        it.clock.advance(9)
        it.fail(retry_after=7)
        assert it.breaker.state == "closed"
        it.clock.advance(1)
        it.fail(retry_after=7)
        assert it.breaker.state == "open"

    def test_is_the_least_time_when_a_rule_opens_after_it(self):
        it = scene()
        it.succeed(5)
        it.fail(retry_after=100)
        it.fail(2)
        assert it.changes == [("closed", "open", "failures in a row")]
        assert it.breaker.retry_after() == 100

    def test_is_forgotten_with_a_success(self):
        it = scene()
        it.succeed(5)
        it.fail(retry_after=100)
        it.succeed()
        it.trip()
        assert it.breaker.retry_after() == RESET

    def test_never_shortens(self):
        it = scene(minimum_calls=8, failure_rate=0.25)
        it.succeed(6)
        it.fail(retry_after=100)
        it.fail(retry_after=1)
        assert it.changes == [("closed", "open", "failure rate")]
        assert it.breaker.retry_after() == 100

    def test_late_advice_extends_the_time(self):
        it = scene()
        late = [it.take() for _ in range(4)]
        it.fail(retry_after=10)
        it.clock.advance(1)
        it.breaker.failure(late[0], retry_after=3)
        assert it.breaker.retry_after() == 9
        it.breaker.failure(late[1], retry_after=20)
        assert it.breaker.retry_after() == 20
        it.breaker.failure(late[2])
        assert it.breaker.retry_after() == 20
        it.clock.advance(20)
        it.breaker.success(it.take())
        it.breaker.failure(late[3], retry_after=20)
        assert it.breaker.state == "closed"

    def test_of_a_probe_is_the_time_it_opens_for(self):
        it = scene()
        it.breaker.failure(it.half_open(), retry_after=3)
        assert it.changes[-1] == ("half_open", "open", "retry_after")
        assert it.breaker.retry_after() == 3


def serve(it: Scene, seconds: float, answers: Callable[[], bool], *, per_second: int = 150) -> tuple[int, int, int]:
    """Ask so often, each failure a 429 with Retry-After 1; return the requests, the calls and the answers."""
    requests = calls = answered = 0
    for _ in range(int(seconds * per_second)):
        it.clock.advance(1 / per_second)
        requests += 1
        permit = it.breaker.acquire()
        if permit is None:
            continue
        calls += 1
        if answers():
            answered += 1
            it.breaker.success(permit, 0.02)
        else:
            it.breaker.failure(permit, retry_after=1.0)
    return requests, calls, answered


class TestTraffic:
    @pytest.mark.parametrize("seed", range(5))
    def test_who_turns_away_one_in_five_goes_on_serving_the_others(self, seed):
        it = scene(threshold=5)
        random = Random(seed)
        requests, calls, answered = serve(it, 600, lambda: random.random() >= 0.2)
        assert calls > 0.9 * requests
        assert answered > 0.9 * 0.8 * requests

    def test_who_is_exhausted_is_left_alone_after_the_threshold(self):
        it = scene(threshold=5)
        serve(it, 20, lambda: True)
        requests, calls, _ = serve(it, 0.9, lambda: False)
        assert (requests, calls) == (135, 5)

    def test_and_is_probed_once_for_each_advised_time(self):
        it = scene(threshold=5)
        serve(it, 20, lambda: True)
        _, calls, _ = serve(it, 60, lambda: False)
        assert 50 < calls <= 5 + 60
        requests, calls, answered = serve(it, 10, lambda: True)
        assert answered == calls > 0.85 * requests

    def test_when_quiet_one_call_is_enough(self):
        it = scene(threshold=5)
        serve(it, 20, lambda: True)
        it.clock.advance(60)
        _, calls, _ = serve(it, 0.9, lambda: False)
        assert calls == 1


class TestForce:
    def test_gives_an_ordinary_permit_when_closed(self):
        it = scene()
        for _ in range(3):
            it.breaker.failure(it.breaker.force())
        assert it.breaker.state == "open"

    def test_success_closes_an_open_breaker(self):
        it = scene()
        it.trip()
        it.breaker.success(it.breaker.force())
        assert it.changes[-1] == ("open", "closed", "a forced call succeeded")
        it.fail(2)
        assert it.breaker.state == "closed"

    def test_failure_does_not_prolong_the_open_time(self):
        it = scene()
        it.trip()
        it.clock.advance(10)
        it.breaker.failure(it.breaker.force())
        it.breaker.release(it.breaker.force())
        assert it.breaker.retry_after() == RESET - 10
        assert len(it.changes) == 1

    def test_failure_with_advice_does(self):
        it = scene()
        it.trip()
        it.breaker.failure(it.breaker.force(), retry_after=100)
        assert it.breaker.retry_after() == 100

    def test_spends_no_probe(self):
        it = scene()
        probe = it.half_open()
        forced = it.breaker.force()
        it.breaker.failure(forced, retry_after=100)
        assert it.breaker.state == "half_open"
        it.breaker.release(forced)
        assert it.breaker.acquire() is None
        it.breaker.success(probe)
        assert it.breaker.state == "closed"

    def test_success_closes_a_half_open_breaker(self):
        it = scene()
        probe = it.half_open()
        it.breaker.success(it.breaker.force())
        assert it.breaker.state == "closed"
        it.breaker.failure(probe)
        it.fail(2)
        assert it.breaker.state == "closed"

    def test_takes_the_probe_that_is_due(self):
        it = scene(open_time_growth=1)
        it.trip()
        it.clock.advance(RESET)
        it.breaker.failure(it.breaker.force())
        assert it.breaker.state == "open"
        assert it.breaker.retry_after() == RESET

    def test_a_late_forced_result_is_ignored(self):
        it = scene()
        it.trip()
        forced = it.breaker.force()
        it.clock.advance(RESET)
        it.fail()
        it.breaker.success(forced)
        assert it.breaker.state == "open"


class TestModes:
    def test_disabled_lets_everyone_pass_and_notes_nothing(self):
        it = scene(mode="disabled")
        assert it.breaker.state == "disabled"
        it.fail(99, retry_after=60)
        it.succeed(99, seconds=999)
        status = it.breaker.status()
        assert (status.calls, status.failure_rate, status.slow_call_rate, status.would_open) == (0, None, None, False)
        assert (status.consecutive_failures, it.changes, it.breaker.admits()) == (0, [], True)

    def test_metrics_only_lets_everyone_pass_and_tells(self):
        it = scene(mode="metrics_only")
        it.fail(2)
        assert not it.breaker.status().would_open
        it.fail()
        status = it.breaker.status()
        assert (status.state, status.calls, status.failure_rate, status.would_open) == ("metrics_only", 3, 1.0, True)
        assert it.breaker.admits()
        it.succeed()
        assert not it.breaker.status().would_open
        assert it.changes == []

    def test_metrics_only_never_opens(self):
        it = scene(mode="metrics_only", minimum_calls=1)
        it.fail(9, retry_after=60)
        it.succeed(2, seconds=SLOW + 1)
        assert it.breaker.status().would_open
        assert it.breaker.state == "metrics_only"

    def test_metrics_only_tells_what_advice_would_do(self):
        it = scene(mode="metrics_only")
        it.fail(retry_after=5)
        assert it.breaker.status().would_open
        it.clock.advance(5)
        assert not it.breaker.status().would_open
        it.succeed(5)
        it.fail(retry_after=5)
        assert not it.breaker.status().would_open

    def test_isolated_it_refuses_even_by_force(self):
        it = scene()
        it.breaker.isolate()
        it.clock.advance(1e6)
        assert it.breaker.acquire() is None
        assert it.breaker.force() is None
        assert not it.breaker.admits()
        assert it.breaker.retry_after() == math.inf

    @pytest.mark.parametrize("state", MODES)
    def test_closing_by_hand_ends_it(self, state):
        it = scene()
        MODES[state](it.breaker)
        it.breaker.close()
        assert it.changes == [("closed", state, "by hand"), (state, "closed", "by hand")]
        it.trip()
        assert it.breaker.state == "open"

    @pytest.mark.parametrize("state", MODES)
    def test_results_of_calls_from_before_are_ignored(self, state):
        it = scene()
        late = [it.take() for _ in range(9)]
        MODES[state](it.breaker)
        for permit in late:
            it.breaker.failure(permit, retry_after=9)
        it.breaker.success(-late[0])
        status = it.breaker.status()
        assert (status.state, status.calls, status.consecutive_failures) == (state, 0, 0)

    def test_opened_by_hand_it_is_open_for_the_usual_time(self):
        it = scene()
        for _ in range(3):
            it.breaker.open()
        assert it.changes == [("closed", "open", "by hand")]
        assert it.breaker.retry_after() == RESET
        it.recover()
        # It was nobody's fault.
        it.trip()
        assert it.breaker.retry_after() == RESET

    def test_opening_by_hand_does_not_shorten(self):
        it = scene()
        it.fail(retry_after=100)
        it.breaker.open()
        assert it.breaker.retry_after() == 100

    def test_opened_by_hand_against_its_mode_it_closes_into_it(self):
        it = scene(mode="metrics_only")
        it.breaker.open()
        it.clock.advance(RESET)
        it.succeed()
        assert [current for _, current, _ in it.changes] == ["open", "half_open", "metrics_only"]

    def test_closing_by_hand_begins_anew(self):
        it = scene()
        it.trip()
        it.recover()
        it.trip()
        it.breaker.close()
        it.fail(2)
        it.breaker.close()
        it.fail(2)
        assert it.breaker.state == "closed"
        it.fail()
        assert it.breaker.retry_after() == RESET


class TestStatus:
    def test_of_a_new_one(self):
        status = scene().breaker.status()
        assert attrs.asdict(status) == {
            "state": "closed",
            "reason": "",
            "calls": 0,
            "failure_rate": None,
            "slow_call_rate": None,
            "consecutive_failures": 0,
            "retry_after": 0.0,
            "times_opened": 0,
            "permits_out": 0,
            "would_open": False,
            "history": (),
        }

    def test_tells_rates_and_counts(self):
        it = scene()
        it.succeed(2)
        it.succeed(1, seconds=SLOW + 1)
        it.fail()
        status = it.breaker.status()
        assert (status.calls, status.failure_rate, status.slow_call_rate) == (4, 0.25, 0.25)
        assert status.consecutive_failures == 1

    def test_an_open_one_tells_what_opened_it(self):
        it = scene(window="time", window_size=10)
        it.trip()
        it.clock.advance(20)
        status = it.breaker.status()
        assert (status.state, status.reason, status.calls, status.failure_rate) == ("open", "failures in a row", 3, 1.0)
        assert (status.consecutive_failures, status.retry_after, status.times_opened) == (3, RESET - 20, 1)

    def test_counts_probes_under_way(self):
        it = scene(half_open_permits=3)
        it.half_open()
        assert it.breaker.status().permits_out == 1
        it.breaker.success(it.take())
        assert it.breaker.status().permits_out == 1
        it.breaker.release(it.take())
        assert it.breaker.status().permits_out == 1

    def test_keeps_the_last_twenty_changes(self):
        it = scene()
        for _ in range(15):
            it.breaker.isolate()
            it.clock.advance(1)
            it.breaker.close()
        status = it.breaker.status()
        assert len(status.history) == 20
        assert status.history[-1] == BreakerTransition(
            at=1015.0, previous="forced_open", current="closed", reason="by hand"
        )
        assert status.history[0].at == 1005

    def test_can_be_told_as_json(self):
        it = scene()
        it.trip()
        assert '"history":[{"at":1000.0,"previous":"closed"' in dumps(it.breaker.status())

    def test_reading_it_changes_nothing(self):
        it = scene(window="time", window_size=10, threshold=99, minimum_calls=4)
        it.fail(3)
        for _ in range(3):
            it.breaker.status()
        it.fail()
        assert it.breaker.state == "open"


class TestAdopt:
    def test_what_was_counted_stays(self):
        it = scene()
        it.fail(2)
        it.breaker.adopt(BreakerRules(threshold=4))
        it.fail()
        assert it.breaker.status().calls == 3
        assert it.breaker.state == "closed"
        it.fail()
        assert it.breaker.state == "open"

    def test_another_window_begins_empty(self):
        it = scene()
        it.fail(2)
        it.breaker.adopt(BreakerRules(threshold=3, window_size=50))
        assert (it.breaker.status().calls, it.breaker.status().consecutive_failures) == (0, 2)
        it.fail()
        assert it.breaker.state == "open"

    def test_an_open_breaker_stays_open_as_long_as_it_was_to_be(self):
        it = scene()
        it.trip()
        it.clock.advance(10)
        it.breaker.adopt(BreakerRules(threshold=3, reset_timeout=5))
        assert it.breaker.retry_after() == RESET - 10
        it.clock.advance(RESET - 10)
        it.fail()
        assert it.breaker.retry_after() == 5

    def test_growth_stays_where_the_times_do(self):
        it = scene()
        it.trip()
        it.breaker.adopt(BreakerRules(threshold=1))
        it.clock.advance(RESET)
        it.fail()
        assert it.breaker.retry_after() == 2 * RESET

    def test_what_is_slow_follows(self):
        it = scene(minimum_calls=1)
        it.breaker.adopt(BreakerRules(minimum_calls=1, slow_call_seconds=1))
        it.succeed(seconds=2)
        assert it.breaker.state == "open"

    def test_other_permits_begin_with_the_next_probe(self):
        it = scene()
        late = it.take()
        probe = it.half_open()
        it.breaker.adopt(BreakerRules(half_open_permits=2))
        it.take()
        it.take()
        assert it.breaker.acquire() is None
        for permit in (late, probe):
            it.breaker.failure(permit)
            it.breaker.success(permit)
        assert it.breaker.state == "half_open"

    def test_another_mode_changes_the_state(self):
        it = scene()
        it.trip()
        it.breaker.adopt(BreakerRules(mode="metrics_only"))
        it.breaker.adopt(BreakerRules(mode="disabled"))
        it.breaker.adopt(BreakerRules())
        assert it.changes[1:] == [
            ("open", "metrics_only", "configuration"),
            ("metrics_only", "disabled", "configuration"),
            ("disabled", "closed", "configuration"),
        ]

    def test_what_was_done_by_hand_stays_under_the_same_mode(self):
        it = scene()
        it.breaker.isolate()
        it.breaker.adopt(BreakerRules(threshold=1, window_size=7))
        assert it.breaker.state == "forced_open"
        assert len(it.breaker.status().history) == 1


class TestRulesOfAConfiguration:
    def test_are_those_of_both_tables(self):
        manager = ManagerConfig(circuit_breaker_threshold=7, circuit_breaker_reset_timeout=11)
        config = BreakerConfig(
            mode="metrics_only",
            window="time",
            window_size=5,
            minimum_calls=9,
            failure_rate=0.1,
            slow_call_rate=0.2,
            slow_call_seconds=3,
            half_open_permits=4,
            open_time_growth=1.5,
            max_open_time=99,
        )
        assert BreakerRules.of(manager, config) == BreakerRules(
            mode="metrics_only",
            threshold=7,
            reset_timeout=11,
            open_time_growth=1.5,
            max_open_time=99,
            half_open_permits=4,
            window="time",
            window_size=5,
            minimum_calls=9,
            failure_rate=0.1,
            slow_call_rate=0.2,
            slow_call_seconds=3,
        )

    def test_defaults_are_the_same(self):
        assert BreakerRules.of(ManagerConfig(), BreakerConfig()) == BreakerRules()

    def test_the_manager_can_switch_it_off(self):
        config = BreakerConfig(mode="metrics_only")
        assert BreakerRules.of(ManagerConfig(circuit_breaker_enabled=False), config).mode == "disabled"

    def test_a_window_of_calls_can_hold_the_minimum(self):
        assert BreakerRules.of(ManagerConfig(), BreakerConfig(window_size=10)).minimum_calls == 10

    def test_the_longest_time_is_at_least_the_first(self):
        rules = BreakerRules.of(ManagerConfig(circuit_breaker_reset_timeout=600), BreakerConfig())
        assert rules.max_open_time == 600


@pytest.mark.parametrize("error_type", LLMErrorType)
def test_every_error_type_has_its_blame(error_type):
    callers = {
        "invalid_request_error",
        "model_not_found_error",
        "context_length_exceeded_error",
        "content_filter_error",
    }
    assert blames_provider(error_type) is (error_type.value not in callers)
