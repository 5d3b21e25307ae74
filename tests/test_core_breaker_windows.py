"""Both windows of outcomes against a list of everything that was ever put in."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from apex_llm_core.policies.windows import CountWindow, TimeWindow

Window = CountWindow | TimeWindow


@attrs.frozen
class Call:
    at: float
    failed: bool
    slow: bool


def counters(window: Window) -> tuple[int, int, int]:
    return window.calls, window.failures, window.slow


def counted(calls: list[Call]) -> tuple[int, int, int]:
    return len(calls), sum(call.failed for call in calls), sum(call.slow for call in calls)


def within(calls: list[Call], now: float, seconds: int) -> list[Call]:
    return [call for call in calls if int(now) - int(call.at) < seconds]


class WindowsAgainstLists(RuleBasedStateMachine):
    @initialize(size=st.integers(1, 9), start=st.sampled_from([0.0, 0.999, 7.25, 1e9 + 0.5]))
    def begin(self, size, start):
        self.size = size
        self.now = start
        self.by_count, self.by_time = CountWindow(size), TimeWindow(size)
        self.calls: list[Call] = []

    @rule(failed=st.booleans(), slow=st.booleans(), times=st.integers(1, 12))
    def add(self, failed, slow, times):
        for _ in range(times):
            self.by_count.add(self.now, failed, slow)
            self.by_time.add(self.now, failed, slow)
            self.calls.append(Call(self.now, failed, slow))

    @rule(seconds=st.one_of(st.floats(0, 3), st.integers(0, 10), st.sampled_from([0.001, 3600.0, 1e8])))
    def wait(self, seconds):
        self.now += seconds

    @rule()
    def add_before_anyone_looked(self):
        # A call that ends after a pause must let go of what is too old by itself: the verdict follows at once.
        self.now += self.size
        self.by_count.add(self.now, True, False)
        self.by_time.add(self.now, True, False)
        self.calls.append(Call(self.now, True, False))
        assert counters(self.by_time) == counted(within(self.calls, self.now, self.size))

    @rule()
    def clear(self):
        self.by_count.clear()
        self.by_time.clear()
        self.calls.clear()

    @invariant()
    def agree(self):
        if not hasattr(self, "calls"):
            return
        for _ in range(2):
            self.by_count.evict(self.now)
            self.by_time.evict(self.now)
            assert counters(self.by_count) == counted(self.calls[-self.size :])
            assert counters(self.by_time) == counted(within(self.calls, self.now, self.size))


WindowsAgainstLists.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestWindowsAgainstLists = WindowsAgainstLists.TestCase


@given(
    seconds=st.integers(1, 12),
    calls=st.lists(st.tuples(st.sampled_from([0.0, 0.3, 1.0, 1.7, 9.0, 300.0]), st.booleans(), st.booleans())),
)
def test_adding_alone_keeps_a_window_of_time_exact(seconds, calls):
    window, now, past = TimeWindow(seconds), 50.5, []
    for pause, failed, slow in calls:
        now += pause
        window.add(now, failed, slow)
        past.append(Call(now, failed, slow))
        assert counters(window) == counted(within(past, now, seconds))


class TestCountWindow:
    def test_time_takes_nothing_away(self):
        window = CountWindow(3)
        window.add(0.0, True, True)
        window.evict(1e9)
        assert counters(window) == (1, 1, 1)

    def test_the_oldest_call_leaves_first(self):
        window = CountWindow(3)
        for failed, slow in [(True, False), (False, True), (True, True), (False, False), (False, False)]:
            window.add(0.0, failed, slow)
        assert counters(window) == (3, 1, 1)
        window.add(0.0, False, False)
        assert counters(window) == (3, 0, 0)

    def test_cleared_while_full_it_fills_anew(self):
        window = CountWindow(3)
        for _ in range(5):
            window.add(0.0, True, True)
        window.clear()
        for calls in range(1, 4):
            window.add(0.0, False, True)
            assert counters(window) == (calls, 0, calls)
        window.add(0.0, True, False)
        assert counters(window) == (3, 1, 2)


class TestTimeWindow:
    @pytest.mark.parametrize("start", [0.0, 0.9, 41.0, 41.9, 1e9])
    def test_a_second_is_kept_until_as_many_have_begun_as_there_are_places(self, start):
        window = TimeWindow(10)
        window.add(start, True, False)
        window.evict(int(start) + 9.999)
        assert counters(window) == (1, 1, 0)
        window.evict(int(start) + 10)
        assert counters(window) == (0, 0, 0)

    def test_one_second_is_the_present_one(self):
        window = TimeWindow(1)
        window.add(5.0, True, True)
        window.add(5.99, False, True)
        assert counters(window) == (2, 1, 2)
        window.add(6.0, False, False)
        assert counters(window) == (1, 0, 0)

    def test_a_place_of_the_ring_is_emptied_before_it_is_used_again(self):
        window = TimeWindow(4)
        for second in range(40):
            window.add(float(second), second % 2 == 0, second % 4 == 0)
            assert counters(window) == counted(
                [Call(float(s), s % 2 == 0, s % 4 == 0) for s in range(max(0, second - 3), second + 1)]
            )

    # Whoever went through every second that passed would not come back from this one.
    def test_an_age_without_calls_costs_one_turn_of_the_ring(self):
        window = TimeWindow(60)
        for second in range(60):
            window.add(float(second), True, False)
        window.add(1e15, False, False)
        assert counters(window) == (1, 0, 0)

    def test_cleared_in_the_middle_of_a_second_it_goes_on_in_it(self):
        window = TimeWindow(3)
        window.add(7.1, True, True)
        window.clear()
        window.add(7.2, False, True)
        assert counters(window) == (1, 0, 1)
        window.evict(10.0)
        assert counters(window) == (0, 0, 0)
