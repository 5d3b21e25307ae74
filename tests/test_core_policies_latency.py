from __future__ import annotations

from fractions import Fraction
from math import ceil
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.policies.latency import LatencyWindow

SECONDS = st.floats(0, 1e6)
PERCENTS = st.integers(1, 100)


def nearest_rank(values, percent):
    return sorted(values)[ceil(Fraction(percent, 100) * len(values)) - 1]


@given(st.lists(SECONDS, min_size=1, max_size=300), PERCENTS, st.integers(1, 140))
def test_a_quantile_is_that_of_the_last_latencies(latencies, percent, size):
    window = LatencyWindow(size)
    for latency in latencies:
        window.add(latency)
    assert len(window) == min(len(latencies), size)
    assert window.quantile(percent / 100, 1) == nearest_rank(latencies[-size:], percent)


@given(st.lists(st.one_of(SECONDS, PERCENTS.map(lambda percent: ("ask", percent))), max_size=300))
def test_it_lags_behind_by_fewer_than_sixteen(events):
    window, latencies, looked_at = LatencyWindow(20), [], 0
    for event in events:
        if not isinstance(event, tuple):
            latencies.append(event)
            window.add(event)
        elif latencies:
            if len(latencies) - looked_at >= 16 or not looked_at:
                looked_at = len(latencies)
            assert window.quantile(event[1] / 100, 1) == nearest_rank(latencies[:looked_at][-20:], event[1])


def test_the_sixteenth_further_latency_counts():
    window = LatencyWindow()
    window.add(1.0)
    assert window.quantile(1.0, 1) == 1.0
    for _ in range(15):
        window.add(5.0)
    assert window.quantile(1.0, 1) == 1.0
    window.add(5.0)
    assert window.quantile(1.0, 1) == 5.0


class TestTooFew:
    def test_an_empty_window_has_none(self):
        assert LatencyWindow().quantile(0.5, 0) is None

    def test_fewer_than_the_minimum_tell_nothing(self):
        window = LatencyWindow()
        for _ in range(19):
            window.add(1.0)
        assert window.quantile(0.95, 20) is None
        window.add(1.0)
        assert window.quantile(0.95, 20) == 1.0

    def test_a_copy_of_fewer_than_the_minimum_is_not_used(self):
        window = LatencyWindow()
        window.add(1.0)
        assert window.quantile(1.0, 1) == 1.0
        for _ in range(9):
            window.add(5.0)
        assert window.quantile(1.0, 10) == 5.0


@pytest.mark.parametrize(("q", "expected"), [(1e-12, 1.0), (0.07, 7.0), (0.5, 50.0), (0.95, 95.0), (1.0, 100.0)])
def test_quantiles_of_one_to_a_hundred(q, expected):
    numbers = [float(number) for number in range(1, 101)]
    Random(3).shuffle(numbers)
    window = LatencyWindow(100)
    for number in numbers:
        window.add(number)
    assert window.quantile(q, 1) == expected
