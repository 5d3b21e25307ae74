"""What the core adds to an answer, and what it tells observers when a request has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import attrs

from apex_llm_core.context import CallContext
from apex_llm_core.errors import ApexLLMError, Attempt, LLMError, UnknownError
from apex_llm_core.models.candidates import Candidate
from apex_llm_core.models.events import RequestFinished
from apex_llm_core.models.messages import ChatMessage
from apex_llm_core.models.requests import EmbedRequest, Request
from apex_llm_core.models.results import ChatGenerationResult, Choice, EmbeddingResult, ImageGenerationResult, Usage

Result = TypeVar("Result", ChatGenerationResult, EmbeddingResult, ImageGenerationResult)


def settled(result: Result, candidate: Candidate, attempts: tuple[Attempt, ...]) -> Result:
    """Return a copy of *result* with what only the core knows; a third of the cost of `attrs.evolve`."""
    kind = type(result)
    copy = object.__new__(kind)
    assign = object.__setattr__
    for name in _FIELDS[kind]:
        assign(copy, name, getattr(result, name))
    assign(copy, "model", candidate.model)
    assign(copy, "provider", candidate.provider)
    assign(copy, "cost", cost_of(candidate, result.usage))
    assign(copy, "attempts", attempts)
    return copy


def defect(result: Any, kind: type, request: Request) -> str | None:
    """Say what is wrong with a provider's *result*, None when it can be handed on."""
    if type(result) is not kind:
        return f"{type(result).__name__} in place of {kind.__name__}"
    usage = getattr(result, "usage", None)
    if usage is not None and type(usage) is not Usage:
        return f"usage of type {type(usage).__name__}"
    if isinstance(result, ChatGenerationResult):
        for choice in result.choices:
            if type(choice) is not Choice or type(choice.message) is not ChatMessage:
                return "a choice without a ChatMessage"
        if type(result.message) is not ChatMessage:
            return f"a message of type {type(result.message).__name__}"
    elif isinstance(result, EmbeddingResult) and isinstance(request, EmbedRequest):
        if len(result.embeddings) != len(request.texts):
            return f"{len(result.embeddings)} vectors for {len(request.texts)} texts"
    elif isinstance(result, ImageGenerationResult) and not result.images:
        return "no image"
    return None


_OURS = frozenset({"model", "provider", "cost", "attempts"})
_FIELDS: dict[type, tuple[str, ...]] = {
    kind: tuple(field.name for field in attrs.fields(kind) if field.name not in _OURS)
    for kind in (ChatGenerationResult, EmbeddingResult, ImageGenerationResult)
}


def cost_of(candidate: Candidate, usage: Usage | None) -> float | None:
    """Return the cost of *usage* at the candidate's prices, None when usage or a price that matters is unknown."""
    if usage is None:
        return None
    total = 0.0
    for tokens, price in (
        (usage.prompt_tokens, candidate.cost_per_input_token),
        (usage.completion_tokens, candidate.cost_per_output_token),
    ):
        if tokens:
            if price is None:
                return None
            total += tokens * price
    return total


def tell_failure(
    raised: BaseException,
    request: Request,
    context: CallContext,
    started: float,
    *,
    scrub: Callable[[str], str],
    stream: bool,
    first: float | None = None,
) -> BaseException:
    """Emit the event of a request that did not succeed; return what to raise, its text passed through *scrub*."""
    error = raised
    if isinstance(raised, Exception) and not isinstance(raised, (ApexLLMError, asyncio.CancelledError)):
        error = UnknownError(
            f"a middleware (or the core) raised {type(raised).__name__}: {raised}", original_error=raised
        )
    if isinstance(error, ApexLLMError):
        error.restate(scrub)
    if isinstance(error, LLMError):
        outcome = error.type.value
        error.model = error.model or request.model or None
        error.attempts = error.attempts or tuple(context.attempts)
    else:
        outcome = "plugin_error" if isinstance(error, ApexLLMError) else "cancelled"
        if context.delivery.finished:
            outcome = "ok"
    tell(
        request,
        context,
        started,
        outcome,
        usage=context.delivery.usage,
        cost=context.delivery.cost,
        stream=stream,
        first=first,
    )
    return error


def tell(
    request: Request,
    context: CallContext,
    started: float,
    outcome: str,
    *,
    usage: Usage | None = None,
    cost: float | None = None,
    cached: bool = False,
    stream: bool = False,
    first: float | None = None,
) -> None:
    """Emit the last event of a request. Durations in seconds."""
    last = context.attempts[-1] if context.attempts else None
    context.emit(
        RequestFinished(
            request_id=context.request_id,
            operation=context.operation,
            model=last.model if last is not None else request.model,
            provider=last.provider if last is not None else None,
            outcome=outcome,
            duration=context.clock() - started,
            time_to_first_chunk=first,
            usage=usage,
            cost=cost,
            attempts=len(context.attempts),
            stream=stream,
            cached=cached,
            user=context.caller.user,
        )
    )


__all__ = ["Result", "cost_of", "defect", "settled", "tell", "tell_failure"]
