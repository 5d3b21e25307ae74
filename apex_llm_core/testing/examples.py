"""Requests and candidates for the conformance tests of strategies: of every kind, known, unknown and extreme."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from apex_llm_core.models import (
    ChatGenerationOptions,
    ChatMessage,
    EmbeddingOptions,
    EmbedRequest,
    FunctionDefinition,
    GenerateRequest,
    HealthState,
    ImageGenerationOptions,
    ImageRequest,
    LiveFacts,
    Request,
    ResponseFormat,
    TextGenerationOptions,
)
from apex_llm_core.models.candidates import Balance, Candidate
from apex_llm_core.models.requests import CAPABILITIES
from apex_llm_core.testing.runtime import make_candidate

_HELLO = (ChatMessage(role="user", content="How many roads must a man walk down?"),)
_TOOL = FunctionDefinition(name="walk", parameters={"type": "object"})


def _requests() -> dict[str, Request]:
    """Return a request of every kind, plain and demanding."""
    text = TextGenerationOptions(model="test-model")
    chat = ChatGenerationOptions(model="test-model")
    demanding = ChatGenerationOptions(
        model="test-model",
        max_tokens=3000,
        n=2,
        tools=(_TOOL,),
        response_format=ResponseFormat(type="json"),
        reasoning_effort="high",
    )
    long = (ChatMessage(role="user", content="word " * 50_000),)
    return {
        "text": GenerateRequest(kind="text", messages=_HELLO, model="test-model", options=text),
        "chat": GenerateRequest(kind="chat", messages=_HELLO, model="test-model", options=chat),
        "chat stream": GenerateRequest(kind="chat", messages=_HELLO, model="test-model", options=chat, stream=True),
        "demanding chat": GenerateRequest(kind="chat", messages=long, model="test-model", options=demanding),
        "embed": EmbedRequest(texts=("one", "two"), model="test-model", options=EmbeddingOptions()),
        "image": ImageRequest(prompt="a lighthouse", model="test-model", options=ImageGenerationOptions()),
    }


#: One of every kind, by a name for messages.
REQUESTS: Mapping[str, Request] = _requests()

_prices = st.none() | st.sampled_from([0.0, 1e-7, 2.5e-6, 1e-5]) | st.floats(0, 1)
_seconds = st.none() | st.just(0.0) | st.floats(0, 600)
_sizes = st.none() | st.integers(1, 10_000_000)
_live = st.builds(
    LiveFacts,
    in_flight=st.integers(0, 100),
    attempts=st.integers(0, 10_000),
    latency=_seconds,
    time_to_first_chunk=_seconds,
    peak_latency=_seconds,
    success_rate=st.none() | st.floats(0, 1),
    weight_factor=st.just(1.0) | st.floats(0.02, 1),
    breaker=st.sampled_from(["closed", "open", "half_open", "disabled", "metrics_only", "forced_open"]),
    health=st.sampled_from(HealthState),
    remaining_requests=st.none() | st.integers(0, 100),
    remaining_tokens=st.none() | st.integers(0, 100_000),
    remaining_until=st.sampled_from([0.0, 60.0]),
)
_candidates = st.builds(
    make_candidate,
    priority=st.integers(-3, 3) | st.integers(),
    weight=st.sampled_from([0.0, 1.0, 2.0, 3.0]) | st.floats(0, 1e6),
    region=st.none() | st.sampled_from(["eu", "us"]),
    tags=st.frozensets(st.sampled_from(["fast", "cheap"])),
    capabilities=st.none() | st.frozensets(st.sampled_from(sorted(CAPABILITIES))),
    max_tokens=_sizes,
    max_output_tokens=_sizes,
    cost_per_input_token=_prices,
    cost_per_output_token=_prices,
    live=_live,
)


def _named(candidates: list[Candidate]) -> list[Candidate]:
    return [attrs.evolve(candidate, provider=f"p{position}") for position, candidate in enumerate(candidates)]


#: Lists of candidates, any fact of which may be unknown, zero or extreme.
pools = st.lists(_candidates, min_size=1, max_size=8).map(_named)
#: Keys of `REQUESTS`.
kinds = st.sampled_from(sorted(REQUESTS))
sequences = st.integers(0, 20) | st.integers(0, 10**15)
balances: st.SearchStrategy[Balance] = st.sampled_from(["weighted", "p2c", "least_busy"])
seeds = st.integers(0, 10**6)

#: Derandomized: the same examples everywhere, so that a plugin's tests do not turn red by themselves. The methods are
#: inherited, which hypothesis would take for a mistake. Its explain phase traces every line and takes a minute per failure.
examples = settings(
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=60,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow],
)


def graded(position: int) -> Candidate:
    """Return a candidate that is worse in everything the higher *position* is, but lacks nothing."""
    return make_candidate(
        f"p{position}",
        priority=position,
        weight=1.0 + 1.0 / (1 + position),
        capabilities=frozenset({"text", "chat", "stream", "tools", "json", "reasoning", "embed", "image"}),
        max_tokens=200_000 << min(position, 100),
        max_output_tokens=8192,
        cost_per_input_token=1e-6 * (1 + position),
        cost_per_output_token=2e-6 * (1 + position),
        live=LiveFacts(
            in_flight=position,
            attempts=100,
            latency=1.0 + position,
            time_to_first_chunk=0.5 + position,
            success_rate=max(0.0, 1.0 - 0.1 * position),
        ),
    )


__all__ = ["REQUESTS", "balances", "examples", "graded", "kinds", "pools", "seeds", "sequences"]
