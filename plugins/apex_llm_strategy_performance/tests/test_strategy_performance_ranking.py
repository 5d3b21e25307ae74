from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from apex_llm_strategy_performance import PerformanceSettings, PerformanceStrategy

from apex_llm_core.models import (
    ChatGenerationOptions,
    ChatMessage,
    GenerateRequest,
    HealthState,
    LiveFacts,
    Turn,
)
from apex_llm_core.testing.runtime import make_candidate

STILL = PerformanceSettings(explore_share=0.0, recheck_share=0.0)


def request(*, stream=False):
    return GenerateRequest(
        kind="chat",
        messages=(ChatMessage(role="user", content="hello"),),
        model="m",
        options=ChatGenerationOptions(),
        stream=stream,
    )


def measured(name, latency=None, first=None, *, priority=100, weight=1.0, **live):
    facts = LiveFacts(latency=latency, time_to_first_chunk=first, attempts=live.pop("attempts", 10), **live)
    return make_candidate(name, live=facts, priority=priority, weight=weight)


def new(name, **fields):
    return measured(name, attempts=fields.pop("attempts", 0), **fields)


def ranked(*candidates, settings=STILL, stream=False, random=None):
    turn = Turn(sequence=0, random=random or Random(0))
    return [c.provider for c in PerformanceStrategy(settings).apex_select(request(stream=stream), candidates, turn)]


def winners(*candidates, settings, rounds=10_000, stream=False):
    random = Random(11)
    return Counter(ranked(*candidates, settings=settings, stream=stream, random=random)[0] for _ in range(rounds))


def test_streams_look_at_the_first_chunk_and_whole_answers_at_the_end():
    eager, quick = measured("eager", latency=9.0, first=0.2), measured("quick", latency=3.0, first=1.0)
    assert ranked(eager, quick) == ["quick", "eager"]
    assert ranked(quick, eager, stream=True) == ["eager", "quick"]


def test_load_in_flight_lengthens_the_wait():
    busy, idle = measured("busy", 1.0, in_flight=5), measured("idle", 1.3)
    assert ranked(busy, idle) == ["idle", "busy"]
    settings = PerformanceSettings(explore_share=0.0, recheck_share=0.0, load_factor=0.0)
    assert ranked(busy, idle, settings=settings) == ["busy", "idle"]


def test_near_equals_share_by_weight_instead_of_herding():
    pool = measured("a", 1.0, weight=1), measured("b", 1.09, weight=3), measured("slow", 1.2, weight=1000)
    count = winners(*pool, settings=STILL)
    assert count["slow"] == 0
    assert count["b"] == pytest.approx(7500, abs=250)


def test_a_burst_spreads_by_its_own_load():
    pool = [measured("a", 1.0), measured("b", 1.2), measured("c", 1.4)]
    by_name = {candidate.provider: candidate for candidate in pool}
    random = Random(3)
    for _ in range(60):
        by_name[ranked(*pool, random=random)[0]].live.in_flight += 1
    loads = [candidate.live.in_flight for candidate in pool]
    assert min(loads) >= 12
    assert loads == sorted(loads, reverse=True)


def test_instant_answers_are_equally_fast():
    assert winners(measured("a", 0.0), measured("b", 1e-9), settings=STILL, rounds=1000)["b"] > 400


def test_unmeasured_ones_stand_behind_by_priority():
    assert ranked(new("n2", priority=2), measured("slow", 60.0), new("n1", priority=1)) == ["slow", "n1", "n2"]


def test_while_nothing_is_measured_priority_ranks():
    assert ranked(new("b", priority=2), new("a", priority=1), settings=PerformanceSettings()) == ["a", "b"]


@pytest.mark.parametrize("crowd", [1, 50])
def test_exploration_takes_its_share_and_no_more(crowd):
    pool = [measured("known", 1.0)] + [new(f"new {number}") for number in range(crowd)]
    settings = PerformanceSettings(explore_share=0.1, recheck_share=0.0)
    count = winners(*pool, settings=settings, rounds=5000)
    assert 5000 - count["known"] == pytest.approx(500, abs=110)


def test_exploration_goes_on_with_the_ranking_and_names_nobody_twice():
    pool = measured("known", 1.0), new("a", priority=1), new("b", priority=2)
    settings = PerformanceSettings(explore_share=1.0, recheck_share=0.0)
    assert ranked(*pool, settings=settings) == ["a", "known", "b"]


def test_exploration_tries_the_least_tried_and_counts_requests_in_flight():
    settings = PerformanceSettings(explore_share=1.0, recheck_share=0.0)
    hanging, failing, fresh = new("hanging", in_flight=2), new("failing", attempts=3), new("fresh", attempts=1)
    known = measured("known", 1.0)
    assert ranked(known, hanging, failing, fresh, settings=settings)[0] == "fresh"
    fresh.live.attempts = 4
    assert ranked(known, hanging, failing, fresh, settings=settings)[0] == "hanging"


def test_the_dead_and_the_drained_are_not_explored():
    settings = PerformanceSettings(explore_share=1.0, recheck_share=0.0)
    pool = measured("known", 1.0), new("dead", health=HealthState.UNAVAILABLE), new("drained", weight=0.0)
    assert winners(*pool, settings=settings, rounds=200) == {"known": 200}


def test_a_measured_one_that_was_slow_is_measured_again():
    pool = measured("fast", 1.0), measured("slow", 30.0), measured("dead", 20.0, health=HealthState.UNAVAILABLE)
    count = winners(*pool, settings=PerformanceSettings(explore_share=0.0, recheck_share=0.1))
    assert count["slow"] == pytest.approx(500, abs=110)
    assert count["dead"] == 0


def test_a_new_candidate_that_is_faster_takes_over():
    # The observed latency is what the candidate really needs; nothing else tells the strategy.
    real = {"old": 2.0, "new": 1.0}
    pool = [measured("old", 2.0), new("new")]
    by_name = {candidate.provider: candidate for candidate in pool}
    random, settings = Random(5), PerformanceSettings()
    chosen = []
    for _ in range(300):
        winner = ranked(*pool, settings=settings, random=random)[0]
        chosen.append(winner)
        by_name[winner].live.latency = real[winner]
    assert Counter(chosen[-200:])["new"] > 190


@pytest.mark.parametrize("name", ["tolerance", "load_factor", "explore_share", "recheck_share"])
@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_settings_are_bounded(name, value):
    with pytest.raises(ValueError, match=name):
        PerformanceSettings(**{name: value})


def test_who_was_opened_by_hand_is_neither_explored_nor_rechecked():
    settings = PerformanceSettings(explore_share=0.5, recheck_share=0.5)
    pool = measured("fast", 1.0), new("isolated", breaker="forced_open"), measured("too", 9.0, breaker="forced_open")
    assert winners(*pool, settings=settings, rounds=200) == {"fast": 200}


def test_scores_are_told_in_seconds():
    pool = measured("busy", 2.0, in_flight=5), new("new", latency=None)
    settings = PerformanceSettings(explore_share=1.0, recheck_share=0.0)
    turn = Turn(sequence=0, random=Random(0), notes={})
    list(PerformanceStrategy(settings).apex_select(request(), pool, turn))
    busy, fresh = (turn.notes[id(candidate)] for candidate in pool)
    assert (busy["observed_seconds"], busy["expected_seconds"]) == (2.0, pytest.approx(3.0))
    assert (fresh["observed_seconds"], fresh["expected_seconds"]) == (None, None)
    assert fresh["first_because"] == "to measure it"
    assert "first_because" not in busy


def test_a_recheck_is_told():
    pool = [measured("slow", 9.0), measured("slower", 99.0)]
    settings = PerformanceSettings(explore_share=0.0, recheck_share=1.0)
    turn = Turn(sequence=0, random=Random(0), notes={})
    first = next(iter(PerformanceStrategy(settings).apex_select(request(), pool, turn)))
    assert turn.notes[id(first)]["first_because"] == "to renew its measurement"
