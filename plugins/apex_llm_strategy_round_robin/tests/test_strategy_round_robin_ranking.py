from __future__ import annotations

from apex_llm_strategy_round_robin import RoundRobinStrategy

from apex_llm_core.models import EmbeddingOptions, EmbedRequest, LiveFacts, Turn
from apex_llm_core.testing.runtime import make_candidate

REQUEST = EmbedRequest(texts=("a",), model="m", options=EmbeddingOptions())


def ranked(sequence, *candidates):
    # No randomness is needed, so none is given.
    ranking = RoundRobinStrategy().apex_select(REQUEST, candidates, Turn(sequence=sequence, random=None))
    return "".join(candidate.provider for candidate in ranking)


def test_each_request_begins_one_further_and_goes_on_in_the_circle():
    pool = [make_candidate(name) for name in "abc"]
    assert [ranked(sequence, *pool) for sequence in range(4)] == ["abc", "bca", "cab", "abc"]


def test_priority_and_weight_play_no_part():
    pool = [make_candidate("a", priority=9, weight=0.1), make_candidate("b", priority=1, weight=100)]
    assert [ranked(sequence, *pool)[0] for sequence in range(4)] == ["a", "b", "a", "b"]


def test_weight_zero_stands_behind_the_circle():
    pool = [make_candidate("x", weight=0), make_candidate("a"), make_candidate("y", weight=0), make_candidate("b")]
    assert [ranked(sequence, *pool) for sequence in range(3)] == ["abxy", "bayx", "abxy"]
    assert ranked(1, pool[0], pool[2]) == "yx"


def test_large_numbers_and_nothing_to_rank():
    pool = [make_candidate(name) for name in "abc"]
    assert ranked(3 * 10**18 + 1, *pool) == "bca"
    assert ranked(5) == ""


def test_scores_are_told_in_turns():
    pool = [make_candidate("a"), make_candidate("last", weight=0), make_candidate("b")]
    turn = Turn(sequence=1, random=None, notes={})
    RoundRobinStrategy().apex_select(REQUEST, pool, turn)
    assert [turn.notes[id(candidate)] for candidate in pool] == [
        {"turns_to_go": 1},
        {"turns_to_go": 2},
        {"turns_to_go": 0},
    ]


def test_nobody_is_left_out_whatever_is_observed():
    failing = LiveFacts(
        success_rate=0.0, weight_factor=0.02, breaker="forced_open", remaining_requests=0, remaining_until=9.0
    )
    pool = [make_candidate("a"), make_candidate("b", live=failing), make_candidate("c")]
    assert [ranked(sequence, *pool) for sequence in range(3)] == ["abc", "bca", "cab"]
