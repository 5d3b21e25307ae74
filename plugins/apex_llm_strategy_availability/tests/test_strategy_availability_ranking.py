from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from apex_llm_strategy_availability import AvailabilitySettings, AvailabilityStrategy

from apex_llm_core.models import EmbeddingOptions, EmbedRequest, HealthState, LiveFacts, Turn
from apex_llm_core.testing.runtime import make_candidate

REQUEST = EmbedRequest(texts=("a",), model="m", options=EmbeddingOptions())
STILL = AvailabilitySettings(probe_share=0.0)


def live(name, rate=None, attempts=1000, *, priority=100, weight=1.0, **facts):
    return make_candidate(
        name, priority=priority, weight=weight, live=LiveFacts(success_rate=rate, attempts=attempts, **facts)
    )


def ranked(*candidates, settings=STILL, random=None):
    turn = Turn(sequence=0, random=random or Random(0))
    return [c.provider for c in AvailabilityStrategy(settings).apex_select(REQUEST, candidates, turn)]


def winners(*candidates, settings, rounds=10_000):
    random = Random(11)
    return Counter(ranked(*candidates, settings=settings, random=random)[0] for _ in range(rounds))


def test_tiers_come_before_success_rates():
    assert ranked(
        live("isolated", 1.0, breaker="forced_open", health=HealthState.HEALTHY),
        live("down", 1.0, health=HealthState.UNAVAILABLE),
        live("open", 1.0, breaker="open"),
        live("half-open", 1.0, breaker="half_open"),
        live("degraded", 1.0, health=HealthState.DEGRADED),
        live("closed", 0.0, health=HealthState.HEALTHY),
    ) == ["closed", "degraded", "half-open", "open", "down", "isolated"]


@pytest.mark.parametrize("state", ["disabled", "metrics_only"])
def test_a_breaker_that_lets_everybody_through_counts_as_closed(state):
    pool = (
        live("watched", 0.9, breaker=state),
        live("worse", 0.8),
        live("better", 1.0),
        live("open", 1.0, breaker="open"),
    )
    assert ranked(*pool) == ["better", "watched", "worse", "open"]
    assert winners(*pool, settings=AvailabilitySettings(probe_share=1.0), rounds=200) == {"open": 200}


def test_scores_are_told_by_tier_and_share():
    pool = (
        live("well", 0.9, attempts=5),
        live("new"),
        live("open", 0.0, breaker="open"),
        live("isolated", 1.0, breaker="forced_open", health=HealthState.UNAVAILABLE),
    )
    turn = Turn(sequence=0, random=Random(0), notes={})
    list(AvailabilityStrategy(AvailabilitySettings(probe_share=1.0)).apex_select(REQUEST, pool, turn))
    notes = [turn.notes[id(candidate)] for candidate in pool]
    assert [note["tier"] for note in notes] == ["well", "well", "open", "opened by hand"]
    assert [note["expected_failures"] for note in notes] == pytest.approx([0.05, 0.0, 0.995, 0.0], abs=1e-3)
    assert ["first_because" in note for note in notes] == [False, False, True, False]


def test_a_share_below_zero_by_rounding_is_told_as_zero():
    settings = AvailabilitySettings(probe_share=0.0, prior=0.1, prior_attempts=0.0)
    candidate = live("perfect", 1.0)
    turn = Turn(sequence=0, random=Random(0), notes={})
    list(AvailabilityStrategy(settings).apex_select(REQUEST, [candidate], turn))
    assert turn.notes[id(candidate)]["tier"] == "well"
    assert turn.notes[id(candidate)]["expected_failures"] == pytest.approx(0.0)


def test_tiers_do_not_mix_at_the_widest_tolerance():
    settings = AvailabilitySettings(probe_share=0.0, tolerance=1.0)
    pool = live("open", 1.0, breaker="open", priority=-9), live("half-open", 0.0, breaker="half_open")
    assert ranked(*pool, settings=settings) == ["half-open", "open"]


def test_the_success_rate_decides_within_a_tier():
    assert ranked(live("b", 0.90), live("c", 0.5), live("a", 0.99)) == ["a", "b", "c"]


def test_rates_within_the_tolerance_of_the_best_share_by_weight():
    pool = live("a", 0.995, weight=1), live("b", 0.990, weight=3), live("c", 0.98, weight=1000)
    count = winners(*pool, settings=STILL)
    assert count["c"] == 0
    assert count["b"] == pytest.approx(7500, abs=250)


def test_an_unobserved_candidate_counts_as_the_prior():
    pool = live("new", None, attempts=0), live("good", 0.9)
    assert ranked(*pool)[0] == "new"
    assert ranked(*pool, settings=AvailabilitySettings(probe_share=0.0, prior=0.5))[0] == "good"


def test_one_failure_out_of_one_does_not_condemn_but_twenty_do():
    worn = live("worn", 0.8)
    assert ranked(live("unlucky", 0.0, attempts=1), worn)[0] == "unlucky"
    assert ranked(live("broken", 0.0, attempts=20), worn)[0] == "worn"


def test_without_prior_attempts_the_observation_is_taken_as_it_is():
    settings = AvailabilitySettings(probe_share=0.0, prior_attempts=0.0)
    assert ranked(live("unlucky", 0.0, attempts=1), live("worn", 0.8), settings=settings)[0] == "worn"


@pytest.mark.parametrize("state", ["open", "half_open"])
def test_breakers_are_probed_by_a_share_of_the_requests(state):
    settings = AvailabilitySettings(probe_share=0.1)
    count = winners(live("well", 1.0), live("probe", 0.0, breaker=state), settings=settings)
    assert count["probe"] == pytest.approx(1000, abs=150)


def test_a_probe_goes_on_with_the_ranking_and_names_nobody_twice():
    settings = AvailabilitySettings(probe_share=1.0)
    pool = live("well", 1.0), live("half-open", 0.5, breaker="half_open"), live("worn", 0.7)
    assert ranked(*pool, settings=settings) == ["half-open", "well", "worn"]


def test_the_dead_and_the_drained_are_not_probed():
    settings = AvailabilitySettings(probe_share=1.0)
    dead = live("dead", 0.0, breaker="open", health=HealthState.UNAVAILABLE)
    drained = live("drained", 0.0, breaker="half_open", weight=0.0)
    isolated = live("isolated", 0.0, breaker="forced_open")
    assert winners(live("well"), dead, drained, isolated, settings=settings, rounds=200) == {"well": 200}


@pytest.mark.parametrize(
    ("name", "value"),
    [("tolerance", 1.1), ("prior", -0.1), ("prior", 1.1), ("prior_attempts", -1.0), ("probe_share", float("nan"))],
)
def test_settings_are_bounded(name, value):
    with pytest.raises(ValueError, match=name):
        AvailabilitySettings(**{name: value})
