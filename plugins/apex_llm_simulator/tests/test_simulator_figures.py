from __future__ import annotations

from array import array

import pytest
from apex_llm_simulator.expectations import Expect, judge
from apex_llm_simulator.figures import Percentiles, figures, quantile
from apex_llm_simulator.recording import BreakerStep, Recording
from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.models.events import RequestFinished

durations = st.floats(0, 1e4)


@given(values=st.lists(durations, min_size=1), percent=st.sampled_from([50, 90, 95, 99]))
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(values, percent):
    found = quantile(sorted(values), percent / 100)
    assert found in values
    assert sum(value <= found for value in values) * 100 >= percent * len(values)
    assert sum(value < found for value in values) * 100 < percent * len(values)


@given(values=st.lists(durations, min_size=1))
def test_percentiles_rise(values):
    found = Percentiles.of(values)
    assert found.p50 <= found.p90 <= found.p95 <= found.p99 <= found.max == round(max(values), 6)


def test_nothing_has_no_percentiles():
    assert Percentiles.of([]) is None


@pytest.fixture
def recorded(scenario):
    """A recording made by hand: one request a second for ten, each of one second, the last two lost."""
    recording = Recording(scenario(east={}, west={}), lambda: now)
    for began in range(10):
        now = began + 1.0
        lost = began >= 8
        event = RequestFinished(
            operation="chat",
            model="m",
            provider="west" if lost else "east",
            outcome="service_unavailable_error" if lost else "ok",
            duration=1.0 if not lost else 0.25 * (began - 7),
            stream=began % 2 == 0,
            time_to_first_chunk=0.5,
            cached=began == 0,
            cost=0.5,
        )
        recording.requests.add(event, began + event.duration)
    recording.ledgers["east"].begun = array("d", [1, 2, 3, 4, 5, 6, 7])
    recording.ledgers["west"].begun = array("d", [8, 8.5, 9, 9.5])
    recording.breakers += [
        BreakerStep(at=at, provider="west", model="m", state=state)
        for at, state in [(8.6, "open"), (8.9, "half_open"), (9.0, "open")]
    ]
    return recording


def test_figures_of_everything(recorded):
    found = figures(recorded)
    assert (found.requests, found.succeeded, found.failed, found.cached) == (10, 8, 2, 1)
    assert found.success_rate == 0.8
    assert found.outcomes == {"ok": 8, "service_unavailable_error": 2}
    assert (found.upstream_calls, found.amplification) == (11, pytest.approx(11 / 9))
    assert found.shares == {"east": 1.0, "west": 0.0}
    assert found.openings == {"east": 0, "west": 2}
    assert (found.latency.max, found.first_chunk.p50, found.until_failed.max) == (1.0, 0.5, 0.5)


def test_figures_of_a_window_are_those_of_what_began_within(recorded):
    found = figures(recorded, (8.0, 9.0))
    assert (found.requests, found.failed, found.upstream_calls) == (1, 1, 2)
    assert found.openings["west"] == 1
    assert found.latency is None


def test_windows_add_up(recorded):
    parts = [figures(recorded, (begin, begin + 2.5)) for begin in (0.0, 2.5, 5.0, 7.5)]
    assert sum(part.requests for part in parts) == 10
    assert sum(part.upstream_calls for part in parts) == 11


def verdicts(recording, window=None, **bounds):
    return {v.bound: v.met for v in judge(Expect(**bounds), figures(recording, window))}


def test_bounds_hold_when_they_are_reached_exactly(recorded):
    met = verdicts(recorded, min_success_rate=0.8, max_failed=2, max_latency=1.0, min_openings={"west": 2})
    assert set(met.values()) == {True}


def test_bounds_are_missed_on_their_own_side_only(recorded):
    met = verdicts(
        recorded,
        min_success_rate=0.81,
        max_success_rate=0.81,
        max_amplification=1.2,
        min_share={"east": 0.9, "west": 0.1},
        max_share={"east": 0.9, "west": 0.1},
    )
    assert met == {
        "min_success_rate": False,
        "max_success_rate": True,
        "max_amplification": False,
        "min_share.east": True,
        "min_share.west": False,
        "max_share.east": False,
        "max_share.west": True,
    }


def test_a_bound_on_answers_is_missed_where_there_are_none(recorded):
    assert verdicts(recorded, (8.0, 10.0), max_p50=100.0, max_seconds_to_fail=1.0) == {
        "max_p50": False,
        "max_seconds_to_fail": True,
    }


def test_nothing_is_judged_that_was_not_simulated():
    (verdict,) = judge(Expect(max_failed=0), None)
    assert (verdict.met, verdict.found) == (None, None)
