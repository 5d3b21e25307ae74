from __future__ import annotations

from collections import Counter
from itertools import islice, permutations
from math import inf, isclose
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.models import Candidate, Turn


def candidates_of(*weights, priorities=None):
    priorities = priorities or [0] * len(weights)
    return [
        Candidate(provider=str(position), model="m", weight=weight, priority=priority)
        for position, (weight, priority) in enumerate(zip(weights, priorities, strict=True))
    ]


def names(ranking):
    return "".join(candidate.provider for candidate in ranking)


def turn_of(seed=0):
    return Turn(sequence=0, random=Random(seed))


weights = st.lists(st.floats(0, 1e6) | st.sampled_from([0.0, 1.0, 5e-324, 1e308]), max_size=40)


@given(weights=weights, seed=st.integers())
def test_shuffle_is_a_permutation_with_weightless_ones_last(weights, seed):
    candidates = candidates_of(*weights)
    ranking = list(turn_of(seed).shuffle(candidates))
    assert sorted(map(id, ranking)) == sorted(map(id, candidates))
    weighted = [candidate.weight > 0 for candidate in ranking]
    assert weighted == sorted(weighted, reverse=True)


@given(weights=weights, seed=st.integers())
def test_the_same_seed_gives_the_same_order(weights, seed):
    candidates = candidates_of(*weights)
    assert names(turn_of(seed).shuffle(candidates)) == names(turn_of(seed).shuffle(candidates))


def law_of_successive_draws(weights, order):
    """The probability of *order* when each place is drawn from the rest in proportion to weight."""
    probability, left = 1.0, sum(weights)
    for position in order:
        probability *= weights[position] / left
        left -= weights[position]
    return probability


@pytest.mark.parametrize("single_draws", [16, 1, 0])
@pytest.mark.parametrize("weights", [(1, 2, 4), (1, 1, 1), (0.5, 0.25, 8)])
def test_every_order_has_its_probability(weights, single_draws, monkeypatch):
    # Few single draws leave the other places to the sort by exponential keys; both must follow the same law.
    monkeypatch.setattr("apex_llm_core.models.candidates._SINGLE_DRAWS", single_draws)
    candidates, turn, rounds = candidates_of(*weights), turn_of(7), 20_000
    seen = Counter(names(turn.shuffle(candidates)) for _ in range(rounds))
    for order in permutations(range(3)):
        expected = law_of_successive_draws(weights, order) * rounds
        # Five standard deviations of a binomial count.
        assert abs(seen["".join(map(str, order))] - expected) < 5 * max(expected, 1) ** 0.5


def test_far_places_follow_the_weights_too():
    candidates, turn, rounds = candidates_of(*[1.0] * 30, 1e-3), turn_of(3), 2000
    last = sum(list(turn.shuffle(candidates))[-1] is candidates[30] for _ in range(rounds))
    assert last > 0.98 * rounds * 30 / 30.5


def test_the_first_places_of_a_crowd_need_few_draws():
    class Counting(Random):
        draws = 0

        def random(self):
            self.draws += 1
            return super().random()

    random = Counting(0)
    ranking = Turn(sequence=0, random=random).shuffle(candidates_of(*[1.0] * 1000))
    assert len(list(islice(ranking, 6))) == 6
    assert random.draws < 16


def test_nothing_and_one_are_shuffled_without_randomness():
    turn = Turn(sequence=0, random=None)
    assert list(turn.shuffle([])) == []
    (only,) = candidates_of(0.0)
    assert list(turn.shuffle((only,))) == [only]


def test_priority_decides_before_weight():
    candidates = candidates_of(1, 1000, 1, priorities=[2, 3, 1])
    assert names(turn_of().by_priority(candidates)) == "201"
    assert list(turn_of().by_priority([])) == []


def test_equal_priorities_share_by_weight():
    candidates, turn = candidates_of(3, 1, 1000, priorities=[1, 1, 2]), turn_of(5)
    first = Counter(next(turn.by_priority(candidates)).provider for _ in range(10_000))
    assert first["2"] == 0
    assert isclose(first["0"] / 10_000, 0.75, abs_tol=0.03)


def test_rank_orders_by_score_then_priority():
    candidates = candidates_of(1, 1, 1, 1, priorities=[4, 3, 2, 1])
    scores = {"0": 1.0, "1": 2.0, "2": 1.0, "3": inf}
    assert names(turn_of().rank(candidates, lambda candidate: scores[candidate.provider])) == "2013"


def test_rank_breaks_full_ties_by_weight():
    candidates, turn = candidates_of(3, 1), turn_of(5)
    first = Counter(next(turn.rank(candidates, lambda _: inf)).provider for _ in range(10_000))
    assert isclose(first["0"] / 10_000, 0.75, abs_tol=0.03)


def test_tolerance_is_measured_from_the_best_of_a_group():
    candidates = candidates_of(1, 1, 1, 1, 1, priorities=[5, 4, 3, 2, 1])
    scores = {"0": 0.0, "1": 0.9, "2": 1.0, "3": 1.1, "4": 2.2}

    def score(candidate):
        return scores[candidate.provider]

    # 1.1 is near 1.0, but too far from the best of the first group.
    assert names(turn_of().rank(candidates, score, tolerance=1.0)) == "21034"
    assert names(turn_of().rank(candidates, score, tolerance=0.0)) == "01234"
    assert names(turn_of().rank(candidates, score, tolerance=inf)) == "43210"


@given(
    scores=st.lists(st.floats(0, 1e3) | st.just(inf) | st.just(1.0), max_size=40),
    tolerance=st.sampled_from([0.0, 0.5, 100.0]),
    seed=st.integers(),
)
def test_no_place_is_worse_than_a_later_one_by_more_than_the_tolerance(scores, tolerance, seed):
    candidates = candidates_of(*[1.0] * len(scores))
    ranking = list(turn_of(seed).rank(candidates, lambda c: scores[int(c.provider)], tolerance=tolerance))
    ranked = [scores[int(candidate.provider)] for candidate in ranking]
    assert sorted(ranked) == sorted(scores)
    best_behind = inf
    for score in reversed(ranked):
        assert score <= best_behind + tolerance
        best_behind = min(best_behind, score)
