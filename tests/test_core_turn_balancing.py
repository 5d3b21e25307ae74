from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.models import Candidate, LiveFacts, Turn

BALANCES = ["weighted", "p2c", "least_busy"]


def candidate(name, *, weight=1.0, **live):
    return Candidate(provider=name, model="m", weight=weight, live=LiveFacts(**live))


def turn_of(balance="weighted", seed=0, **fields):
    return Turn(sequence=0, random=Random(seed), balance=balance, **fields)


def names(ranking):
    return [candidate.provider for candidate in ranking]


def firsts(pool, balance, rounds=10_000, **fields):
    turn = turn_of(balance, seed=5, **fields)
    return Counter(next(iter(turn.shuffle(pool))).provider for _ in range(rounds))


def served(pool, balance, requests, *, at_once, seconds, seed=3):
    """Count who serves in a closed loop of *at_once* requests, when calls take *seconds* by name, as a server would see it."""
    turn, by_name, count = turn_of(balance, seed=seed), {c.provider: c for c in pool}, Counter()
    under_way, now = [], 0.0
    for _ in range(requests):
        if len(under_way) == at_once:
            now, name = min(under_way)
            under_way.remove((now, name))
            live = by_name[name].live
            live.in_flight -= 1
            live.peak_latency = seconds[name]
        chosen = next(iter(turn.shuffle(pool)))
        chosen.live.in_flight += 1
        chosen.live.attempts += 1
        count[chosen.provider] += 1
        under_way.append((now + seconds[chosen.provider], chosen.provider))
    return count


facts = st.builds(
    LiveFacts,
    in_flight=st.integers(0, 50),
    attempts=st.integers(0, 50),
    peak_latency=st.none() | st.just(0.0) | st.floats(0, 600),
    weight_factor=st.floats(0, 1),
    remaining_requests=st.none() | st.integers(0, 2),
    remaining_tokens=st.none() | st.integers(0, 2000),
    remaining_until=st.sampled_from([0.0, 10.0]),
)
pools = st.lists(
    st.builds(
        Candidate,
        provider=st.just("p"),
        model=st.just("m"),
        weight=st.sampled_from([0.0, 1.0, 3.0, 5e-324, 1e308]) | st.floats(0, 1e6),
        live=facts,
    ),
    max_size=30,
)


def is_spent(candidate, now, tokens):
    live = candidate.live
    told = live.remaining_until > now
    return told and (
        live.remaining_requests == 0 or (live.remaining_tokens is not None and live.remaining_tokens < tokens)
    )


@pytest.mark.parametrize("balance", BALANCES)
@given(pool=pools, seed=st.integers(), now=st.sampled_from([0.0, 5.0, 20.0]), adaptive=st.booleans())
def test_everybody_has_one_place_in_the_right_part(balance, pool, seed, now, adaptive):
    turn = turn_of(balance, seed, now=now, tokens=1000, adaptive=adaptive)
    ranking = list(turn.shuffle(pool))
    assert sorted(map(id, ranking)) == sorted(map(id, pool))
    parts = []
    for each in ranking:
        factor = each.live.weight_factor if adaptive else 1.0
        parts.append((is_spent(each, now, 1000), each.weight * factor <= 0))
    assert parts == sorted(parts)


@pytest.mark.parametrize("balance", BALANCES)
@given(pool=pools, seed=st.integers())
def test_notes_change_no_place(balance, pool, seed):
    silent = list(turn_of(balance, seed).shuffle(pool))
    assert list(turn_of(balance, seed, notes={}).shuffle(pool)) == silent


def test_who_fails_has_less_of_the_traffic():
    pool = [candidate("sound"), candidate("failing", weight_factor=0.25)]
    assert firsts(pool, "weighted")["failing"] == pytest.approx(2000, abs=200)
    assert firsts(pool, "weighted", adaptive=False)["failing"] == pytest.approx(5000, abs=250)


def test_nobody_loses_all_of_it_to_a_heavy_one():
    pool = [candidate("heavy but failing", weight=1000, weight_factor=0.02), candidate("light")]
    assert firsts(pool, "weighted")["light"] == pytest.approx(10_000 / 21, abs=120)


def test_the_less_loaded_of_two_comes_first():
    pool = [candidate("quick", attempts=9, peak_latency=0.1), candidate("slow", attempts=9, peak_latency=2.0)]
    # One request in 32 goes as drawn, half of these to either.
    assert firsts(pool, "p2c")["slow"] == pytest.approx(10_000 / 64, abs=60)


def test_calls_in_flight_count_as_many_times_the_latency():
    quick = candidate("quick", attempts=9, peak_latency=0.1, in_flight=30)
    slow = candidate("slow", attempts=9, peak_latency=2.0, in_flight=0)
    assert firsts([quick, slow], "p2c")["quick"] < 300
    quick.live.in_flight = 10
    assert firsts([quick, slow], "p2c")["slow"] < 300


def test_a_heavier_one_bears_more():
    pool = [
        candidate("double", weight=2, attempts=9, peak_latency=1.0, in_flight=4),
        candidate("single", weight=1, attempts=9, peak_latency=1.0, in_flight=2),
    ]
    assert firsts(pool, "p2c")["double"] > 9700


def test_a_failing_one_seems_more_loaded():
    pool = [
        candidate("failing", weight_factor=0.125, attempts=9, peak_latency=1.0),
        candidate("sound", attempts=9, peak_latency=4.0),
    ]
    assert firsts(pool, "p2c")["failing"] < 300
    assert firsts(pool, "p2c", adaptive=False)["sound"] < 300


def test_who_was_never_tried_is_tried_but_not_by_a_whole_burst():
    known = candidate("known", attempts=9, peak_latency=0.1)
    new = candidate("new")
    assert firsts([known, new], "p2c", 1000)["new"] > 960
    # While the trial is under way, it passes for as fast as the other.
    new.live.attempts = new.live.in_flight = 1
    assert firsts([known, new], "p2c", 1000)["new"] < 40


def test_who_only_ever_failed_attracts_no_traffic():
    pool = [
        candidate("sound", attempts=500, peak_latency=1.0),
        candidate("fails", attempts=500, weight_factor=0.02),
    ]
    assert firsts(pool, "p2c")["fails"] < 200


def test_instant_answers_still_spread_by_what_is_in_flight():
    pool = [
        candidate("a", attempts=9, peak_latency=0.0, in_flight=5),
        candidate("b", attempts=9, peak_latency=0.0, in_flight=1),
    ]
    assert firsts(pool, "p2c")["b"] > 9700


def test_two_choices_of_many_do_not_herd():
    pool = [candidate(str(n), attempts=9, peak_latency=1.0 + n / 100) for n in range(10)]
    count = firsts(pool, "p2c")
    # The best wins whenever it is drawn, which is in two of ten; the worst only when it goes as drawn.
    assert count["0"] == pytest.approx(2000, abs=250)
    assert count["5"] == pytest.approx(10_000 * 2 * 4 / 90, abs=250)


def test_the_other_of_the_two_is_second_and_the_rest_as_drawn():
    pool = [candidate(str(n), weight=10.0 if n < 2 else 0.01, attempts=9, peak_latency=2.0 - n) for n in range(4)]
    rankings = Counter(tuple(names(turn_of("p2c", seed).shuffle(pool)))[:2] for seed in range(500))
    assert rankings["1", "0"] > 450


def test_the_least_busy_for_its_weight_comes_first():
    pool = [
        candidate("a", weight=4, in_flight=4),
        candidate("b", weight=1, in_flight=2),
        candidate("c", weight=1, in_flight=0),
        candidate("d", weight=4, in_flight=2),
    ]
    assert all(names(turn_of("least_busy", seed).shuffle(pool)) == ["c", "d", "a", "b"] for seed in range(50))


def test_equally_busy_ones_share_by_weight():
    pool = [candidate("a", weight=3), candidate("b", weight=1), candidate("c", weight=100, in_flight=1)]
    count = firsts(pool, "least_busy")
    assert count["c"] == 0
    assert count["a"] == pytest.approx(7500, abs=250)


@pytest.mark.parametrize("balance", ["p2c", "least_busy"])
def test_a_slow_one_serves_less_in_a_closed_loop(balance):
    pool = [candidate("a"), candidate("b"), candidate("slow")]
    count = served(pool, balance, 5000, at_once=12, seconds={"a": 1.0, "b": 1.0, "slow": 10.0})
    assert 0 < count["slow"] < 5000 * 0.12
    assert abs(count["a"] - count["b"]) < 1000


def test_blind_draws_would_give_it_a_third():
    pool = [candidate("a"), candidate("b"), candidate("slow")]
    count = served(pool, "weighted", 5000, at_once=12, seconds={"a": 1.0, "b": 1.0, "slow": 10.0})
    assert count["slow"] == pytest.approx(5000 / 3, abs=200)


def test_one_that_was_slow_is_noticed_when_it_is_quick_again():
    pool = [
        candidate("steady", attempts=9, peak_latency=1.0),
        candidate("recovered", attempts=9, peak_latency=60.0),
    ]
    count = served(pool, "p2c", 2000, at_once=1, seconds={"steady": 1.0, "recovered": 0.5})
    assert count["recovered"] > 1000


@pytest.mark.parametrize("balance", BALANCES)
@pytest.mark.parametrize(
    "told", [{"remaining_requests": 0}, {"remaining_tokens": 999}, {"remaining_requests": 3, "remaining_tokens": 0}]
)
def test_who_has_nothing_left_stands_behind_the_last_resorts(balance, told):
    pool = [candidate("spent", weight=1000, remaining_until=60.0, **told), candidate("a"), candidate("b", weight=0)]
    for seed in range(50):
        assert names(turn_of(balance, seed, now=59.0, tokens=1000).shuffle(pool)) == ["a", "b", "spent"]
    # What was told no longer holds.
    assert firsts(pool, "weighted", 1000, now=60.0, tokens=1000)["spent"] > 950


def test_enough_left_is_enough():
    pool = [
        candidate("a", weight=1000, remaining_until=60.0, remaining_requests=1, remaining_tokens=1000),
        candidate("b"),
    ]
    assert firsts(pool, "weighted", 1000, tokens=1000)["a"] > 950


def test_when_all_have_nothing_left_they_are_equals_again():
    pool = [candidate(name, remaining_until=60.0, remaining_requests=0) for name in "ab"]
    assert firsts(pool, "weighted")["a"] == pytest.approx(5000, abs=250)


def test_rate_limits_do_not_change_the_order_of_priorities():
    spent = Candidate(
        provider="spent", model="m", priority=1, live=LiveFacts(remaining_requests=0, remaining_until=60.0)
    )
    other = Candidate(provider="other", model="m", priority=2)
    assert names(turn_of().by_priority([other, spent])) == ["spent", "other"]


def test_notes_tell_weights_and_loads():
    pool = [
        candidate("a", weight=2, weight_factor=0.5, attempts=1, peak_latency=1.0, in_flight=1),
        candidate("b", weight=4, attempts=1, peak_latency=2.0),
        candidate("c", remaining_requests=0, remaining_until=9.0),
    ]
    turn = turn_of("p2c", notes={})
    list(turn.shuffle(pool))
    a, b, c = (turn.notes[id(each)] for each in pool)
    assert a == {"weight": 1.0, "load": pytest.approx(2.0, rel=1e-5)}
    assert b == {"weight": 4.0, "load": pytest.approx(0.5, rel=1e-5)}
    assert c == {"weight": 1.0, "rate_limit": "spent"}


def test_a_note_without_anybody_who_wants_it_costs_nothing_and_keeps_nothing():
    turn = turn_of()
    turn.note(candidate("a"), cost=1.0)
    assert turn.notes is None
