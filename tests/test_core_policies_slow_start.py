from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.policies.slow_start import SlowStart


def filled(start):
    taken = 0
    while start.take():
        taken += 1
    return taken


def test_it_begins_with_two_places_and_doubles_in_a_round():
    start, rounds = SlowStart(), []
    for _ in range(4):
        taken = filled(start)
        rounds.append(taken)
        for _ in range(taken):
            start.give_back(succeeded=True)
    assert rounds == [2, 4, 8, 16]


def test_it_settles_below_what_the_provider_carries():
    capacity, start = 25, SlowStart()
    refused = served = 0
    for _ in range(400):
        taken = filled(start)
        failing = max(0, taken - capacity)
        refused += failing
        served += taken - failing
        for number in range(taken):
            start.give_back(succeeded=number >= failing)
    assert refused / (refused + served) < 0.02
    assert served / 400 > 0.8 * capacity


def test_calls_under_way_with_a_failure_count_once():
    start = SlowStart()
    for _ in range(14):
        start.take()
        start.give_back(succeeded=True)
    taken = filled(start)
    for _ in range(taken):
        start.give_back(succeeded=False)
    assert start.places == int(16 * 0.75)


def test_what_says_nothing_changes_nothing():
    start = SlowStart()
    start.take()
    start.give_back(succeeded=None)
    assert (start.places, start.full, start.over) == (2, False, False)


def test_it_is_over_when_nobody_needs_it():
    start, successes = SlowStart(), 0
    while not start.over:
        start.take()
        start.give_back(succeeded=True)
        successes += 1
    assert successes == 126


def test_after_a_failure_it_is_over_when_few_places_are_needed():
    start = SlowStart()
    for outcome in [True] * 20 + [False]:
        start.take()
        start.give_back(succeeded=outcome)
    for _ in range(128):
        assert not start.over
        start.take()
        start.give_back(succeeded=True)
    assert start.over


@given(st.lists(st.sampled_from(["take", True, False, None]), max_size=300))
def test_it_never_gives_more_places_than_it_has_and_always_one(events):
    start, held = SlowStart(), 0
    for event in events:
        if event == "take":
            before = start.places
            if start.take():
                held += 1
                assert held <= before
            else:
                assert held >= before
        elif held:
            held -= 1
            start.give_back(succeeded=event)
        assert start.places >= 1
