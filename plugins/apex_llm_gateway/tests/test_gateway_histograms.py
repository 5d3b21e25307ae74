from __future__ import annotations

import itertools
import json

import pytest
from apex_llm_gateway.histograms import BOUNDS, Histogram
from hypothesis import given
from hypothesis import strategies as st

SECONDS = st.floats(0, 1000, allow_nan=False)


def of(durations):
    histogram = Histogram()
    for seconds in durations:
        histogram.add(seconds)
    return histogram


def test_bounds_rise_and_cover_what_prometheus_users_expect():
    assert list(BOUNDS) == sorted(set(BOUNDS))
    assert {0.005, 0.1, 1.0, 10.0, 300.0} <= set(BOUNDS)
    assert max(high / low for low, high in itertools.pairwise(BOUNDS)) <= 2.0


@pytest.mark.parametrize("bound", BOUNDS)
def test_a_duration_equal_to_a_bound_is_not_above_it(bound):
    below = dict(zip(BOUNDS, of([bound]).cumulative(), strict=False))
    assert below[bound] == 1
    assert all(count == 0 for other, count in below.items() if other < bound)


def test_what_is_above_the_last_bound_is_counted_without_one():
    histogram = of([1e9])
    assert list(histogram.cumulative()) == [0] * len(BOUNDS) + [1]
    assert histogram.quantile(0.5) == BOUNDS[-1]


def test_nothing_has_no_quantile():
    assert Histogram().quantile(0.5) is None


def test_quantiles_lie_evenly_inside_a_bucket():
    histogram = of([0.6] * 10)
    assert histogram.quantile(0.0) == 0.5
    assert histogram.quantile(0.5) == pytest.approx(0.625)
    assert histogram.quantile(1.0) == pytest.approx(0.75)


def test_quantiles_pass_over_empty_buckets():
    histogram = of([0.0004] * 9 + [9.0])
    assert histogram.quantile(0.5) < 0.001
    assert 7.5 < histogram.quantile(0.95) <= 10.0


@given(st.lists(SECONDS, min_size=1), st.floats(0, 1))
def test_a_quantile_is_in_the_bucket_of_the_true_one(durations, share):
    durations.sort()
    # The duration that the share of all do not exceed.
    rank = max(1, -(-share * len(durations) // 1))
    true = durations[int(rank) - 1]
    found = of(durations).quantile(share)
    low = max((bound for bound in BOUNDS if bound < true), default=0.0)
    high = min((bound for bound in BOUNDS if bound >= true), default=BOUNDS[-1])
    assert min(low, BOUNDS[-1]) <= found <= high


@given(st.lists(SECONDS), st.floats(0, 1), st.floats(0, 1))
def test_quantiles_rise_with_the_share(durations, one, other):
    histogram = of(durations)
    low, high = sorted((one, other))
    if durations:
        assert histogram.quantile(low) <= histogram.quantile(high)


@given(st.lists(st.lists(SECONDS)))
def test_merging_is_counting_everything_in_one(parts):
    documents = [json.loads(json.dumps(of(part).document())) for part in parts]
    together, merged = of([seconds for part in parts for seconds in part]), Histogram.merged(documents)
    assert merged.counts == together.counts
    assert merged.total == pytest.approx(together.total)
    assert merged.count == sum(map(len, parts))
