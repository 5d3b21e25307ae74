from __future__ import annotations

from random import Random
from statistics import fmean, median, stdev

import pytest
from apex_llm_mock import Latency
from apex_llm_mock.latency import LatencySource


def draws(count=4000, **latency):
    source = LatencySource(Latency(**latency), Random(1))
    return [source.draw() for _ in range(count)]


def test_constant():
    assert set(draws(seconds=0.5)) == {0.5}


def test_uniform():
    found = draws(distribution="uniform", low=1.0, high=3.0)
    assert 1.0 <= min(found) < 1.05
    assert 2.95 < max(found) <= 3.0
    assert fmean(found) == pytest.approx(2.0, abs=0.05)


def test_normal_is_never_negative():
    found = draws(distribution="normal", seconds=1.0, deviation=0.2)
    assert (fmean(found), stdev(found)) == (pytest.approx(1.0, abs=0.02), pytest.approx(0.2, abs=0.02))
    assert min(draws(distribution="normal", seconds=0.1, deviation=1.0)) == 0.0


def test_lognormal():
    found = draws(distribution="lognormal", seconds=0.4, deviation=0.5)
    assert median(found) == pytest.approx(0.4, abs=0.02)
    assert min(found) > 0
    assert set(draws(distribution="lognormal", seconds=0.0, deviation=0.5)) == {0.0}


def test_exponential():
    found = draws(distribution="exponential", seconds=0.4)
    assert fmean(found) == pytest.approx(0.4, abs=0.03)
    assert set(draws(distribution="exponential")) == {0.0}


def test_bounds_hold_for_all():
    found = draws(distribution="exponential", seconds=1.0, low=0.5, high=2.0)
    assert (min(found), max(found)) == (0.5, 2.0)


@pytest.mark.parametrize(
    ("latency", "never"),
    [
        (Latency(), True),
        (Latency(seconds=0.1), False),
        (Latency(low=0.1), False),
        (Latency(seconds=1.0, high=0.0), True),
        (Latency(distribution="normal", deviation=0.1), False),
        (Latency(distribution="uniform", high=0.1), False),
    ],
)
def test_what_never_waits_is_known(latency, never):
    assert LatencySource(latency, Random(0)).never is never


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"seconds": -1.0}, "at least 0"),
        ({"seconds": float("inf")}, "finite"),
        ({"low": 2.0, "high": 1.0}, "below low"),
        ({"distribution": "uniform"}, "needs 'high'"),
        ({"distribution": "uniform", "high": 1.0, "seconds": 1.0}, "'low' and 'high' only"),
        ({"deviation": 1.0}, "means nothing"),
        ({"distribution": "gauss"}, "distribution is 'gauss'"),
    ],
)
def test_wrong_settings_are_told(fields, message):
    with pytest.raises(ValueError, match=message):
        Latency(**fields)


# -- as the provider waits


def elapsed(own, call):
    start = own.clock()
    call()
    return own.clock() - start


def test_a_stream_waits_before_the_first_read_and_between_reads(mock):
    own = mock(chunk_size=1, chunks_per_read=2, first_chunk=Latency(seconds=1.0), between_chunks=Latency(seconds=0.25))
    # Six characters and the end are seven chunks in four reads.
    assert elapsed(own, lambda: own.batches("abcdef")) == pytest.approx(1.75)
    assert own.touched == 4
    assert elapsed(own, lambda: own.generate("abcdef")) == pytest.approx(1.75)


def test_other_operations_wait_once(mock):
    own = mock(first_chunk=Latency(seconds=1.0), between_chunks=Latency(seconds=9.0))
    assert elapsed(own, lambda: own.embed("a", "b")) == pytest.approx(1.0)
    assert elapsed(own, own.image) == pytest.approx(1.0)
    assert elapsed(own, own.health) == 0.0


def test_waiting_times_are_repeatable_and_differ_by_seed_and_name(mock):
    def pattern(**fields):
        own = mock(first_chunk=Latency(distribution="exponential", seconds=1.0), **fields)
        return [elapsed(own, own.generate) for _ in range(5)]

    assert pattern() == pattern()
    assert pattern() != pattern(seed=1)
    assert pattern() != pattern(name="other")
