from __future__ import annotations

from collections import Counter
from itertools import accumulate
from math import gcd, log2
from random import Random

import pytest
from apex_llm_strategy_weighted import WeightedStrategy
from apex_llm_strategy_weighted.shares import share_of, stride
from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.models import EmbeddingOptions, EmbedRequest, LiveFacts, Turn
from apex_llm_core.testing.runtime import make_candidate

REQUEST = EmbedRequest(texts=("a",), model="m", options=EmbeddingOptions())
whole_weights = st.lists(st.integers(0, 60), min_size=1, max_size=8).filter(any)


def ranked(sequence, *weights, seed=0):
    pool = [make_candidate(str(position), weight=weight) for position, weight in enumerate(weights)]
    ranking = WeightedStrategy().apex_select(REQUEST, pool, Turn(sequence=sequence, random=Random(seed)))
    return [int(candidate.provider) for candidate in ranking]


def period_of(weights):
    return sum(weights) // gcd(*weights)


@given(weights=whole_weights, start=st.integers(0, 10**12), factor=st.sampled_from([1, 1.0, 0.5, 0.001, 7]))
def test_any_period_holds_each_share_exactly(weights, start, factor):
    scaled = [weight * factor for weight in weights]
    period = period_of(weights)
    count = Counter(share_of(sequence, scaled) for sequence in range(start, start + period))
    assert [count[position] * gcd(*weights) for position in range(len(weights))] == weights


def worst_deviation(weights, length):
    """How far a share's count is ever off its ideal over the first numbers, up to *length* of them."""
    total, counts, worst = sum(weights), [0] * len(weights), 0.0
    for sequence in range(length):
        counts[share_of(sequence, weights)] += 1
        worst = max(
            worst,
            *(abs(count - (sequence + 1) * weight / total) for count, weight in zip(counts, weights, strict=True)),
        )
    return worst


@given(weights=whole_weights)
def test_shares_are_mixed_evenly(weights):
    assert worst_deviation(weights, period_of(weights)) <= 4


@pytest.mark.parametrize("total", [*range(1, 120), 532, 720, 780, 825, 840, 876, 980, 997, 1000])
def test_no_interval_of_the_circle_is_ever_more_than_4_off(total):
    # A share is an interval; the largest deviation over all intervals bounds every set of weights with this total.
    visited, position, worst = [0] * (total + 1), 0, 0.0
    for count in range(1, total + 1):
        visited[position + 1] += 1
        position = (position + stride(total)) % total
        surplus = [below - count * end / total for end, below in enumerate(accumulate(visited))]
        worst = max(worst, max(surplus) - min(surplus))
    assert worst <= 4 + 1e-9


@pytest.mark.parametrize("total", [1, 2, 3, 4, 6, 1000, 2**20, 3**20, 10**15])
def test_the_stride_visits_everything(total):
    assert gcd(stride(total), total) == 1


@given(weights=st.lists(st.floats(0.01, 100), min_size=2, max_size=6), start=st.integers(0, 10**15))
def test_any_other_weights_get_their_share_in_the_long_run(weights, start):
    rounds = 2000
    count = Counter(share_of(sequence, weights) for sequence in range(start, start + rounds))
    for position, weight in enumerate(weights):
        # Golden-section points deviate by a few logarithms at most; random ones would by the root, 45.
        assert abs(count[position] - rounds * weight / sum(weights)) < 2 * log2(rounds)


def test_a_weight_of_three_in_four_is_not_served_in_one_go():
    assert [ranked(sequence, 3, 1)[0] for sequence in range(8)].count(1) == 2
    turns = "".join(str(ranked(sequence, 5, 1, 1)[0]) for sequence in range(14))
    assert "00000" not in turns


def test_the_other_places_are_random_by_weight_and_name_everybody_once():
    seconds = Counter(ranked(0, 5, 1, 3, seed=seed)[1] for seed in range(4000))
    assert seconds[2] == pytest.approx(3000, abs=200)
    assert sorted(ranked(0, 5, 1, 3)) == [0, 1, 2]


@given(sequence=st.integers(0, 10**9), seed=st.integers(0, 99))
def test_weight_zero_is_the_last_resort(sequence, seed):
    assert set(ranked(sequence, 0, 2, 0, 1, seed=seed)[2:]) == {0, 2}
    assert set(ranked(sequence, 0, 1 / 3, 0, 1, seed=seed)[2:]) == {0, 2}


def test_a_weight_below_zero_is_none():
    assert {ranked(sequence, -3, 2, -0.5)[0] for sequence in range(20)} == {1}


def test_only_weight_zero_and_nothing_to_rank():
    assert sorted(ranked(3, 0, 0)) == [0, 1]
    assert ranked(3) == []
    with pytest.raises(ValueError, match="above 0"):
        share_of(0, [0.0])


def test_a_tiny_weight_is_not_rounded_away():
    weights = [1e-7, 3e-7]
    count = Counter(share_of(sequence, weights) for sequence in range(400))
    assert count[0] == pytest.approx(100, abs=4)


@pytest.mark.parametrize("weights", [(1e300, 1e300 / 3, 1.0), (1e-300, 3e-300), (1e16, 1.0)])
def test_extreme_weights_neither_fail_nor_invent(weights):
    for sequence in range(50):
        assert sorted(ranked(sequence, *weights)) == list(range(len(weights)))


def test_turns_go_by_the_configured_weights_whatever_is_observed():
    failing = LiveFacts(success_rate=0.1, weight_factor=0.02, remaining_requests=0, remaining_until=9.0)
    pool = [make_candidate("a", weight=3, live=failing), make_candidate("b", weight=1)]
    rankings = [
        list(WeightedStrategy().apex_select(REQUEST, pool, Turn(sequence=sequence, random=Random(sequence))))
        for sequence in range(400)
    ]
    assert Counter(ranking[0].provider for ranking in rankings) == {"a": 300, "b": 100}
    assert all(len(ranking) == 2 for ranking in rankings)


def test_other_places_follow_what_is_observed():
    failing = LiveFacts(weight_factor=0.02)
    pool = [make_candidate("first", weight=1000), make_candidate("sound"), make_candidate("failing", live=failing)]
    seconds = Counter(
        list(WeightedStrategy().apex_select(REQUEST, pool, Turn(sequence=0, random=Random(seed))))[1].provider
        for seed in range(1000)
    )
    assert seconds["sound"] > 950


def test_scores_are_told_as_shares():
    pool = [make_candidate("a", weight=3), make_candidate("b", weight=1), make_candidate("last", weight=0)]
    turn = Turn(sequence=0, random=Random(0), notes={})
    first, *_ = WeightedStrategy().apex_select(REQUEST, pool, turn)
    assert [turn.notes[id(candidate)]["share"] for candidate in pool] == [0.75, 0.25, 0.0]
    assert [candidate for candidate in pool if "first_because" in turn.notes[id(candidate)]] == [first]


def test_last_resorts_alone_have_equal_shares():
    pool = [make_candidate("a", weight=0), make_candidate("b", weight=0)]
    turn = Turn(sequence=0, random=Random(0), notes={})
    list(WeightedStrategy().apex_select(REQUEST, pool, turn))
    assert [turn.notes[id(candidate)]["share"] for candidate in pool] == [0.5, 0.5]
