"""What the core adds to an answer, and what it tells observers when a request has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import attrs

from apex_llm_core.context import CallContext
from apex_llm_core.errors import ApexLLMError, LLMError, UnknownError
from apex_llm_core.models.events import RequestFinished
from apex_llm_core.models.messages import ChatMessage
from apex_llm_core.models.requests import EmbedRequest, Request
from apex_llm_core.models.results import ChatGenerationResult, Choice, EmbeddingResult, ImageGenerationResult, Usage
from apex_llm_core.routing.flight import Flight

Result = TypeVar("Result", ChatGenerationResult, EmbeddingResult, ImageGenerationResult)


class _Unfrozen:
    """A chat's result before it is frozen: the same layout, but assignment is open."""

    __slots__ = tuple(field.name for field in attrs.fields(ChatGenerationResult))


def settled(result: Result, flight: Flight) -> Result:
    """Return a copy of *result* with what only the core knows."""
    candidate, context = flight.candidate, flight.context
    told: Any = result
    # Without usage there is nothing to tell; otherwise losers of a hedge are paid, too.
    cost = None if flight.cost is None else context.bill.cost
    attempts = tuple(context.attempts)
    details = {**(told.details or {}), "adapted": list(flight.adapted)} if flight.adapted else told.details
    if type(result) is not ChatGenerationResult:
        other: Result = attrs.evolve(
            told, model=candidate.model, provider=candidate.provider, cost=cost, attempts=attempts, details=details
        )
        return other
    # Every chat comes by here: field by field it costs a tenth.
    copy: Any = object.__new__(_Unfrozen)
    copy.message = told.message
    copy.model = candidate.model
    copy.provider = candidate.provider
    copy.usage = told.usage
    copy.finish_reason = told.finish_reason
    copy.choices = told.choices
    copy.cost = cost
    copy.request_id = told.request_id
    copy.attempts = attempts
    copy.cached = told.cached
    copy.details = details
    copy.__class__ = ChatGenerationResult
    whole: Result = copy
    return whole


def amended(result: Result, context: CallContext) -> Result:
    """Return *result* with what was told of the request after it came: losers of a hedge end later than the winner."""
    if len(result.attempts) == len(context.attempts):
        return result
    told: Any = result
    whole: Result = attrs.evolve(
        told, cost=None if result.cost is None else context.bill.cost, attempts=tuple(context.attempts)
    )
    return whole


def recalled(result: Result) -> Result:
    """Return *result* as an answer from memory: the tokens are those of the answer, but this request paid nothing."""
    kept: Any = result
    recollection: Result = attrs.evolve(kept, cached=True, cost=0.0, attempts=())
    return recollection


def marked(result: Result, step: str) -> Result:
    """Return *result* with the *step* of degradation that gave it."""
    return attrs.evolve(result, details={**(result.details or {}), "degraded": step})


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
        cached=context.delivery.cached,
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
            degraded=context.delivery.degraded,
        )
    )


__all__ = ["Result", "amended", "defect", "marked", "recalled", "settled", "tell", "tell_failure"]
