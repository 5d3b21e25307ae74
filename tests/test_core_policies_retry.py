from __future__ import annotations

import random
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.config.schema import RetryConfig
from apex_llm_core.errors import ServiceUnavailableError
from apex_llm_core.policies.retry import RetryPolicy

DOWN = ServiceUnavailableError("down")


class Most(Random):
    """Randomness whose every draw is as large as can be."""

    def random(self):
        return 1.0


def policy_of(random, **settings):
    return RetryPolicy.of(RetryConfig(**settings), random)


def test_waits_grow_to_the_longest():
    policy = policy_of(Most(), base=0.5, factor=2, max_delay=3)
    assert [policy.delay(retry, DOWN) for retry in range(1, 8)] == [0.5, 1, 2, 3, 3, 3, 3]


def test_a_factor_of_one_does_not_grow():
    policy = policy_of(Most(), base=0.5, factor=1, max_delay=3)
    assert [policy.delay(retry, DOWN) for retry in (1, 2, 99)] == [0.5] * 3


def test_a_base_above_the_longest_is_cut():
    assert policy_of(Most(), base=9, max_delay=3).delay(1, DOWN) == 3


@given(
    base=st.floats(0.01, 5),
    factor=st.floats(1, 5),
    longest=st.floats(0.01, 100),
    retry=st.integers(1, 200),
    seed=st.integers(),
)
def test_a_wait_is_a_share_of_the_computed_one(base, factor, longest, retry, seed):
    policy = policy_of(Random(seed), base=base, factor=factor, max_delay=longest)
    most = policy_of(Most(), base=base, factor=factor, max_delay=longest)
    assert 0 <= policy.delay(retry, DOWN) <= most.delay(retry, DOWN) <= longest
    waits = [most.delay(number, DOWN) for number in range(1, 50)]
    assert all(earlier <= later for earlier, later in pairwise(waits))


@given(advice=st.floats(0, 1000), seed=st.integers())
def test_the_providers_advice_is_a_floor_with_a_little_jitter(advice, seed):
    policy = policy_of(Random(seed), base=0.1, max_delay=0.1)
    delay = policy.delay(1, ServiceUnavailableError("down", retry_after=advice))
    assert advice <= delay <= max(0.1, 1.1 * advice)


def test_a_short_advice_does_not_shorten_the_wait():
    policy = policy_of(Most(), base=4, max_delay=4)
    assert policy.delay(1, ServiceUnavailableError("down", retry_after=1)) == 4


def waits_of(stage, seed):
    scene = stage({"a": [DOWN] * 4}, providers={"a": {"retry_count": 4}}, seed=seed)
    scene.chat()
    return [later - earlier for earlier, later in pairwise(scene.a.times)]


def test_the_same_seed_waits_the_same():
    state = random.getstate()
    first, again, other = (
        [policy.delay(retry, DOWN) for retry in range(1, 9)]
        for policy in (policy_of(Random(1)), policy_of(Random(1)), policy_of(Random(2)))
    )
    assert first == again != other
    assert random.getstate() == state


def test_the_seed_of_the_configuration_decides(stage):
    state = random.getstate()
    first = waits_of(stage, 1)
    assert len(set(first)) == 4
    assert first == waits_of(stage, 1) != waits_of(stage, 2)
    # backoff's own jitter would have drawn from the global randomness.
    assert random.getstate() == state


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_a_provider_is_called_once_more_than_its_retries(stage, retries):
    scene = stage({"a": [DOWN] * 9}, providers={"a": {"retry_count": retries}})
    scene.failed_chat(ServiceUnavailableError)
    assert len(scene.a.calls) == retries + 1
