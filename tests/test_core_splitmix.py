from __future__ import annotations

import itertools
from collections import Counter
from random import Random
from statistics import fmean, pvariance

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.routing.splitmix import SplitMix64


def splitmix(seed):
    """The published algorithm, word by word."""
    state = seed
    while True:
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        word = state
        word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        word = (word ^ word >> 27) * 0x94D049BB133111EB % 2**64
        yield word ^ word >> 31


def test_the_words_are_those_of_the_published_test_vector():
    # https://prng.di.unimi.it/splitmix64.c with seed 1234567.
    words = splitmix(1234567)
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert [next(words) for _ in range(3)] == published
    random = SplitMix64(1234567)
    assert [random.random() for _ in range(3)] == [(word >> 11) / 2**53 for word in published]


@given(seed=st.integers())
def test_the_same_seed_gives_the_same_draws(seed):
    first, second = SplitMix64(seed), SplitMix64(seed)
    assert [first.random() for _ in range(9)] == [second.random() for _ in range(9)]
    words = splitmix(seed % 2**64)
    assert SplitMix64(seed).random() == (next(words) >> 11) / 2**53


@given(seed=st.integers(), bits=st.integers(0, 200))
def test_bits_are_as_many_as_asked_for(seed, bits):
    assert 0 <= SplitMix64(seed).getrandbits(bits) < 2**bits or bits == 0


def test_a_negative_number_of_bits_is_refused():
    with pytest.raises(ValueError, match="negative"):
        SplitMix64(0).getrandbits(-1)


@pytest.mark.parametrize("step", [1, 2**31, 0x9E3779B97F4A7C15])
def test_first_draws_of_neighbouring_seeds_are_independent(step):
    draws = [SplitMix64(seed * step).random() for seed in range(1, 20_001)]
    assert fmean(draws) == pytest.approx(0.5, abs=0.01)
    assert pvariance(draws) == pytest.approx(1 / 12, abs=0.003)
    tenths = Counter((int(a * 10), int(b * 10)) for a, b in itertools.pairwise(draws))
    assert len(tenths) == 100
    # Five standard deviations around 200 pairs a cell.
    assert max(abs(count - 200) for count in tenths.values()) < 75


def test_all_that_random_offers_works():
    random = SplitMix64(7)
    assert sorted(random.sample(range(50), 50)) == list(range(50))
    assert random.choice("abc") in "abc"
    assert 0 <= random.randrange(10) < 10
    assert isinstance(random.gauss(0, 1), float)
    items = list(range(20))
    random.shuffle(items)
    assert sorted(items) == list(range(20))
    assert isinstance(random, Random)


def test_a_state_can_be_taken_and_given_back():
    random = SplitMix64(7)
    random.gauss(0, 1)
    state = random.getstate()
    following = [random.random(), random.gauss(0, 1)]
    random.setstate(state)
    assert [random.random(), random.gauss(0, 1)] == following
    random.seed(7)
    assert random.random() == SplitMix64(7).random()


@pytest.mark.parametrize("seed", [None, "word", 1.5])
def test_it_takes_no_seed_but_whole_numbers(seed):
    with pytest.raises(TypeError, match="whole number"):
        SplitMix64(0).seed(seed)
