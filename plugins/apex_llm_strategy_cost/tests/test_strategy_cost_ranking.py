from __future__ import annotations

from random import Random

import pytest
from apex_llm_strategy_cost import CostSettings, CostStrategy

from apex_llm_core.models import (
    ChatMessage,
    EmbeddingOptions,
    EmbedRequest,
    GenerateRequest,
    TextGenerationOptions,
    Turn,
)
from apex_llm_core.testing.runtime import make_candidate


def generate(characters=400, **options):
    return GenerateRequest(
        kind="text",
        messages=(ChatMessage(role="user", content="x" * characters),),
        model="m",
        options=TextGenerationOptions(**options),
    )


def ranked(request, *candidates, strategy=None, seed=0):
    strategy = strategy or CostStrategy()
    return [c.provider for c in strategy.apex_select(request, candidates, Turn(sequence=0, random=Random(seed)))]


def priced(name, cost_in, cost_out, **fields):
    return make_candidate(name, cost_per_input_token=cost_in, cost_per_output_token=cost_out, **fields)


READER = priced("cheap to read", 1e-6, 10e-6)
WRITER = priced("cheap to write", 4e-6, 2e-6)


def test_the_request_decides_what_is_cheapest():
    assert ranked(generate(40_000, max_tokens=10), WRITER, READER) == ["cheap to read", "cheap to write"]
    assert ranked(generate(40, max_tokens=4000), READER, WRITER) == ["cheap to write", "cheap to read"]


def test_the_expected_length_counts_when_the_request_sets_none():
    # 104 prompt tokens: reading costs 3e-6 more a token with WRITER, each answer token 8e-6 less: they meet at 39 tokens.
    assert ranked(generate(), READER, WRITER, strategy=CostStrategy(CostSettings(expected_output_tokens=38)))[0] == (
        "cheap to read"
    )
    assert ranked(generate(), READER, WRITER, strategy=CostStrategy(CostSettings(expected_output_tokens=40)))[0] == (
        "cheap to write"
    )


def test_every_answer_counts():
    assert ranked(generate(max_tokens=20), READER, WRITER)[0] == "cheap to read"
    assert ranked(generate(max_tokens=20, n=2), READER, WRITER)[0] == "cheap to write"


def test_a_model_cannot_write_more_than_its_limit():
    terse = priced("terse", 1e-6, 10e-6, max_output_tokens=10)
    assert ranked(generate(max_tokens=4000), WRITER, terse) == ["terse", "cheap to write"]


def test_an_unknown_price_ranks_last_but_a_free_model_first():
    half_known = priced("half known", 0.0, None)
    unknown = priced("unknown", None, 0.0, priority=-5)
    dear = priced("dear", 1.0, 1.0, priority=999)
    free = priced("free", 0.0, 0.0)
    assert ranked(generate(), unknown, half_known, dear, free) == ["free", "dear", "unknown", "half known"]


def test_vectors_have_no_output_to_pay():
    request = EmbedRequest(texts=("x" * 4000,), model="m", options=EmbeddingOptions())
    candidates = priced("a", 2e-7, None), priced("b", 1e-7, None), priced("c", None, None)
    assert ranked(request, *candidates) == ["b", "a", "c"]


def test_equal_costs_go_by_priority():
    second, first = priced("second", 1e-6, 1e-6, priority=2, weight=1000), priced("first", 1e-6, 1e-6, priority=1)
    assert all(ranked(generate(), second, first, seed=seed) == ["first", "second"] for seed in range(20))


def test_scores_are_told_in_money():
    pool = [READER, priced("half known", 1e-6, None), priced("unknown", None, 1e-6)]
    turn = Turn(sequence=0, random=Random(0), notes={})
    list(CostStrategy().apex_select(generate(400, max_tokens=20, n=2), pool, turn))
    told = [turn.notes[id(candidate)] for candidate in pool]
    assert told[0]["input_cost"] == pytest.approx(104e-6)
    assert told[0]["output_cost"] == pytest.approx(400e-6)
    assert told[0]["cost"] == pytest.approx(504e-6)
    assert (told[1]["cost"], told[1]["input_cost"], told[1]["output_cost"]) == (None, pytest.approx(104e-6), None)
    assert (told[2]["cost"], told[2]["input_cost"], told[2]["output_cost"]) == (None, None, None)


def test_nothing_to_rank():
    assert ranked(generate()) == []


def test_settings_are_bounded():
    with pytest.raises(ValueError, match="expected_output_tokens"):
        CostSettings(expected_output_tokens=-1)
