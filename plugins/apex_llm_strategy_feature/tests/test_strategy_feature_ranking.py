from __future__ import annotations

from random import Random

import pytest
from apex_llm_strategy_feature import FeatureSettings, FeatureStrategy

from apex_llm_core.models import (
    ChatGenerationOptions,
    ChatMessage,
    EmbeddingOptions,
    EmbedRequest,
    FunctionDefinition,
    GenerateRequest,
    ImagePart,
    ResponseFormat,
    TextPart,
    Turn,
)
from apex_llm_core.testing.runtime import make_candidate

CHAT = frozenset({"chat", "stream"})


def chat(*parts, tokens=0, stream=False, **options):
    content = (TextPart(text="x" * 4 * tokens), *parts)
    return GenerateRequest(
        kind="chat",
        messages=(ChatMessage(role="user", content=content),),
        model="m",
        options=ChatGenerationOptions(**options),
        stream=stream,
    )


def able(name, *capabilities, window=8192, longest=4096, **fields):
    declared = None if capabilities == (None,) else CHAT | frozenset(capabilities)
    return make_candidate(name, capabilities=declared, max_tokens=window, max_output_tokens=longest, **fields)


def ranked(request, *candidates, settings=None, seed=0):
    strategy = FeatureStrategy(settings)
    return [c.provider for c in strategy.apex_select(request, candidates, Turn(sequence=0, random=Random(seed)))]


@pytest.mark.parametrize(
    ("request_", "capability"),
    [
        (chat(tools=(FunctionDefinition(name="f"),)), "tools"),
        (chat(ImagePart(url="https://example.org/a.png")), "vision"),
        (chat(response_format=ResponseFormat(type="json")), "json"),
        (chat(reasoning_effort="low"), "reasoning"),
    ],
)
def test_what_surely_lacks_a_need_is_left_out(request_, capability):
    pool = able("lacking"), able("unknown", None), able("fit", capability), able("lacking too", "documents")
    assert ranked(request_, *pool) == ["fit", "unknown"]


def test_streaming_is_a_need():
    whole_only = make_candidate("whole only", capabilities=frozenset({"chat"}), max_tokens=8192)
    assert ranked(chat(stream=True), whole_only, able("streams")) == ["streams"]
    assert ranked(chat(), whole_only, able("streams")) == ["whole only", "streams"]


def test_when_all_lack_something_the_one_that_lacks_least_is_first():
    request = chat(ImagePart(url="https://example.org/a.png"), tools=(FunctionDefinition(name="f"),))
    assert ranked(request, able("neither"), able("tools only", "tools")) == ["tools only", "neither"]


def test_embeddings_go_to_embedding_models():
    request = EmbedRequest(texts=("a",), model="m", options=EmbeddingOptions())
    assert ranked(request, able("talker"), able("embedder", "embed")) == ["embedder"]


@pytest.mark.parametrize(
    ("tokens", "place"),
    [(6000, "sure"), (7000, "uncertain"), (10_000, "uncertain"), (12_000, "out")],
)
def test_the_window_is_judged_with_the_error_of_the_estimate(tokens, place):
    # A window of 8192 at 25 %: surely enough up to 6553 estimated tokens, surely too small from 10,923.
    ranking = ranked(chat(tokens=tokens), able("small", window=8192), able("unknown window", window=None, priority=1))
    expected = {
        "sure": ["small", "unknown window"],
        "uncertain": ["unknown window", "small"],
        "out": ["unknown window"],
    }
    assert ranking == expected[place]


def test_the_wanted_answer_needs_room_in_the_window_and_a_model_that_writes_so_much():
    pool = (
        able("full", window=8192, longest=8000),
        able("terse", window=200_000, longest=1000),
        able("unknown", longest=None, window=200_000),
    )
    assert ranked(chat(tokens=5000, max_tokens=6000), *pool) == ["unknown"]
    assert ranked(chat(tokens=5000, max_tokens=900), *pool) == ["full", "terse", "unknown"]


def test_the_best_fit_leaves_the_versatile_and_the_long_ones_free():
    versatile, long, plain = able("versatile", "vision", "tools"), able("long", window=1_000_000), able("plain")
    assert ranked(chat(), versatile, long, plain) == ["plain", "long", "versatile"]


def test_windows_of_one_order_are_equals_and_priority_decides():
    pool = able("b", window=128_000, priority=2), able("a", window=131_000, priority=1)
    assert ranked(chat(), *pool) == ["a", "b"]


def test_without_best_fit_all_that_fit_are_equals():
    settings = FeatureSettings(best_fit=False)
    pool = (
        able("plain", priority=2),
        able("versatile", "vision", window=1_000_000, priority=1),
        able("u", None, priority=0),
    )
    assert ranked(chat(), *pool, settings=settings) == ["versatile", "plain", "u"]


def test_nothing_to_rank():
    assert ranked(chat()) == []


@pytest.mark.parametrize("value", [-0.1, 1.0, float("nan")])
def test_settings_are_bounded(value):
    with pytest.raises(ValueError, match="estimate_tolerance"):
        FeatureSettings(estimate_tolerance=value)


def test_scores_are_told_in_what_is_missing():
    request = chat(ImagePart(url="https://example.org/a.png"), tools=(FunctionDefinition(name="f"),), max_tokens=100)
    pool = [
        able("perfect", "vision", "tools"),
        able("versatile", "vision", "tools", "json", "documents", longest=None),
        able("blind", longest=50),
        able("unknown", None, window=None),
    ]
    turn = Turn(sequence=0, random=Random(0), notes={})
    list(FeatureStrategy().apex_select(request, pool, turn))
    perfect, versatile, blind, unknown = (turn.notes[id(candidate)] for candidate in pool)
    # "stream" is declared and not needed; 8192 has 14 binary digits.
    assert perfect.items() >= {"missing": None, "lacking": 0, "uncertain": 0, "surplus": 1, "window_bits": 14}.items()
    assert versatile.items() >= {"lacking": 0, "uncertain": 1, "surplus": 3}.items()
    assert blind.items() >= {"missing": "tools, vision", "lacking": 3}.items()
    assert unknown.items() >= {"missing": None, "lacking": 0, "uncertain": 2, "window_bits": 0}.items()
