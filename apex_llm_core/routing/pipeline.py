"""The compiled way of a request: one handler per operation, built once at start.

From the outside in: observation of the whole request, middleware, cache, limits, fallback over the candidates, the
provider's bound hook.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, TypeVar

import attrs

from apex_llm_core.cache.exact import ResponseCache
from apex_llm_core.context import CallContext
from apex_llm_core.errors import ApexLLMError, Attempt, LLMError, ServiceUnavailableError, UnknownError
from apex_llm_core.hookspecs import ChunkBatch, EmbedHandler, GenerateHandler, ImageHandler, StreamHandler
from apex_llm_core.models.candidates import Candidate
from apex_llm_core.models.events import RequestFinished
from apex_llm_core.models.requests import EmbedRequest, GenerateRequest, ImageRequest, Request
from apex_llm_core.models.results import (
    ChatGenerationResult,
    EmbeddingResult,
    ImageGenerationResult,
    Usage,
)
from apex_llm_core.plugin.registry import ProviderRegistry
from apex_llm_core.policies.limits import Limiter, Refusal
from apex_llm_core.routing.fallback import FallbackHandler, refusal
from apex_llm_core.routing.flight import Flight, being_cancelled

Result = TypeVar("Result", ChatGenerationResult, EmbeddingResult, ImageGenerationResult)
_Handler = Callable[[Any, CallContext], Any]


def fold(around: Sequence[Callable[..., Any]], terminal: _Handler) -> _Handler:
    """Nest middleware around *terminal*; *around* begins with the innermost."""
    handler = terminal
    for function in around:
        handler = _link(function, handler)
    return handler


def _link(around: Callable[..., Any], call_next: _Handler) -> _Handler:
    # A plain closure that returns the awaitable costs no frame of its own.
    def linked(request: Any, context: CallContext) -> Any:
        return around(request, context, call_next)

    return linked


@attrs.frozen(kw_only=True, eq=False)
class Around:
    """The middleware of each operation, innermost first."""

    generate: Sequence[Callable[..., Any]] = ()
    stream: Sequence[Callable[..., Any]] = ()
    embed: Sequence[Callable[..., Any]] = ()
    image: Sequence[Callable[..., Any]] = ()


class Pipeline:
    """The four handlers: `generate`, `stream`, `embed`, `image`."""

    def __init__(
        self,
        *,
        registry: ProviderRegistry,
        fallback: FallbackHandler,
        limiter: Limiter,
        cache: ResponseCache | None,
        around: Around,
    ) -> None:
        self._registry = registry
        self._fallback = fallback
        self._limiter = limiter
        self._cache = cache
        self._in_flight = 0
        self._idle: asyncio.Event | None = None
        self._hurried = False
        self._call_generate = partial(self._call, "apex_generate", ChatGenerationResult)
        self._call_embed = partial(self._call, "apex_embed", EmbeddingResult)
        self._call_image = partial(self._call, "apex_image", ImageGenerationResult)
        self.generate: GenerateHandler = partial(self._observed, ChatGenerationResult, fold(around.generate, self._generate))
        self.embed: EmbedHandler = partial(self._observed, EmbeddingResult, fold(around.embed, self._embed))
        self.image: ImageHandler = partial(self._observed, ImageGenerationResult, fold(around.image, self._image))
        self.stream: StreamHandler = partial(self._observed_stream, fold(around.stream, self._stream))

    async def drained(self) -> None:
        """Return when no request is under way, or as soon as `hurry` was called."""
        if self._in_flight and not self._hurried:
            self._idle = asyncio.Event()
            await self._idle.wait()

    def hurry(self) -> None:
        """Let nobody wait for the requests under way."""
        self._hurried = True
        if self._idle is not None:
            self._idle.set()

    def _done(self) -> None:
        self._in_flight -= 1
        if not self._in_flight and self._idle is not None:
            self._idle.set()

    async def _observed(
        self,
        kind: type[Result],
        handler: Callable[[Any, CallContext], Awaitable[Any]],
        request: Any,
        context: CallContext,
    ) -> Any:
        """Run a whole request and emit its last event."""
        started = context.clock()
        self._in_flight += 1
        try:
            result = await handler(request, context)
            if type(result) is not kind:
                raise UnknownError(f"a middleware returned {type(result).__name__}; expected {kind.__name__}")
        except BaseException as raised:
            error = _told(raised, request, context, started, stream=False)
            if error is raised:
                raise
            raise error from raised
        finally:
            self._done()
        cached = getattr(result, "cached", False)
        _emit(request, context, started, "ok", usage=result.usage, cost=result.cost, cached=cached)
        return result

    async def _observed_stream(
        self, handler: StreamHandler, request: GenerateRequest, context: CallContext
    ) -> AsyncGenerator[ChunkBatch, None]:
        """Run a whole stream and emit its last event."""
        started = context.clock()
        first: float | None = None
        self._in_flight += 1
        try:
            async with aclosing(handler(request, context)) as batches:
                async for batch in batches:
                    if first is None:
                        first = context.clock() - started
                    yield batch
        except BaseException as raised:
            error = _told(raised, request, context, started, stream=True, first=first)
            if error is raised:
                raise
            raise error from raised
        finally:
            self._done()
        delivery = context.delivery
        _emit(request, context, started, "ok", usage=delivery.usage, cost=delivery.cost, stream=True, first=first)

    async def _generate(self, request: GenerateRequest, context: CallContext) -> ChatGenerationResult:
        return await self._whole(self._call_generate, ChatGenerationResult, request, context)

    async def _embed(self, request: EmbedRequest, context: CallContext) -> EmbeddingResult:
        return await self._whole(self._call_embed, EmbeddingResult, request, context)

    async def _image(self, request: ImageRequest, context: CallContext) -> ImageGenerationResult:
        return await self._whole(self._call_image, ImageGenerationResult, request, context)

    async def _whole(
        self, call: Callable[[Any, Flight], Awaitable[Result]], kind: type[Result], request: Any, context: CallContext
    ) -> Result:
        cache = self._cache
        key = cache.key(request, context.caller) if cache is not None else None
        if cache is not None and key is not None:
            kept = await cache.get(key, kind)
            if kept is not None:
                # The tokens are those of the answer; this request paid nothing.
                return _settled(kept, 0.0, ())
        leave = self._enter(request, context)
        try:
            result: Result = await self._fallback.run(request, context, call)
        finally:
            if leave is not None:
                leave()
        if cache is not None and key is not None:
            await cache.put(key, result)
        return result

    async def _call(self, hook: str, kind: type[Result], request: Any, flight: Flight) -> Result:
        candidate = flight.candidate
        result = await self._registry.get(candidate.provider).hooks[hook](request, flight.context)
        if type(result) is not kind:
            raise UnknownError(
                f"provider {candidate.provider!r} returned {type(result).__name__} from {hook}; expected {kind.__name__}"
            )
        flight.succeed()
        return _settled(result, cost_of(candidate, result.usage), tuple(flight.context.attempts))

    async def _stream(self, request: GenerateRequest, context: CallContext) -> AsyncGenerator[ChunkBatch, None]:
        leave = self._enter(request, context)
        try:
            opened = await self._fallback.run(request, context, self._open)
            async with aclosing(_delivered(opened, context)) as batches:
                async for batch in batches:
                    yield batch
        finally:
            if leave is not None:
                leave()

    async def _open(self, request: GenerateRequest, flight: Flight) -> _Opened:
        """Start a stream and wait for its first list of chunks: until then it may be retried elsewhere."""
        candidate = flight.candidate
        rest = self._registry.get(candidate.provider).hooks["apex_stream"](request, flight.context)
        try:
            first = await anext(rest, None)
            if first is None:
                raise _truncated(candidate)
        except BaseException:
            await rest.aclose()
            raise
        flight.first_chunk()
        return _Opened(flight=flight, first=first, rest=rest)

    def _enter(self, request: Request, context: CallContext) -> Callable[[], None] | None:
        if not self._limiter.active:
            return None
        subjects = {"all": "all", "model": request.model}
        if context.caller.user is not None:
            subjects["user"] = context.caller.user
        answer = self._limiter.enter(subjects)
        if isinstance(answer, Refusal):
            raise refusal(answer, context)
        return partial(self._limiter.leave, answer)


@attrs.frozen(kw_only=True, eq=False)
class _Opened:
    """A stream whose first list of chunks is there."""

    flight: Flight
    first: ChunkBatch
    rest: AsyncGenerator[ChunkBatch, None]


async def _delivered(opened: _Opened, context: CallContext) -> AsyncGenerator[ChunkBatch, None]:
    """Yield all of an opened stream and end its flight by how the stream ends."""
    flight, rest, watch = opened.flight, opened.rest, opened.flight.watch
    batch = opened.first
    choices, finishes = 1, 0
    delivery = context.delivery
    delivery.provider, delivery.model = flight.candidate.provider, flight.candidate.model
    try:
        async with aclosing(rest):
            with watch:
                while True:
                    for chunk in batch:
                        if chunk.index >= choices:
                            choices = chunk.index + 1
                        if chunk.finish_reason is not None:
                            finishes += 1
                        if chunk.usage is not None:
                            delivery.usage = chunk.usage
                            delivery.cost = cost_of(flight.candidate, chunk.usage)
                    delivery.finished = finishes >= choices
                    watch.pause()
                    yield batch
                    watch.resume()
                    try:
                        batch = await rest.__anext__()
                    except StopAsyncIteration:
                        break
        if not delivery.finished:
            raise _truncated(flight.candidate)
    except (asyncio.CancelledError, GeneratorExit) as left:
        if isinstance(left, asyncio.CancelledError) and not being_cancelled():
            raise _failed(flight, left, context) from left
        # Who leaves after the finish reason has had everything.
        if delivery.finished:
            flight.succeed()
        else:
            flight.abandon()
        raise
    except Exception as raised:
        error = _failed(flight, raised, context)
        raise error from error.__cause__
    flight.succeed()


def _failed(flight: Flight, raised: BaseException, context: CallContext) -> LLMError:
    error = flight.fail(raised)
    error.attempts = tuple(context.attempts)
    return error


def _truncated(candidate: Candidate) -> ServiceUnavailableError:
    return ServiceUnavailableError(
        f"the stream of provider {candidate.provider!r} ended without a finish reason: the answer is incomplete",
        provider=candidate.provider,
        model=candidate.model,
    )


def _settled(result: Result, cost: float | None, attempts: tuple[Attempt, ...]) -> Result:
    """Return a copy of *result* with what only the core knows; a third of the cost of `attrs.evolve`."""
    kind = type(result)
    copy = object.__new__(kind)
    assign = object.__setattr__
    for name in _FIELDS[kind]:
        assign(copy, name, getattr(result, name))
    assign(copy, "cost", cost)
    assign(copy, "attempts", attempts)
    return copy


_FIELDS: dict[type, tuple[str, ...]] = {
    kind: tuple(field.name for field in attrs.fields(kind) if field.name not in {"cost", "attempts"})
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


def _told(
    raised: BaseException,
    request: Request,
    context: CallContext,
    started: float,
    *,
    stream: bool,
    first: float | None = None,
) -> BaseException:
    """Emit the event of a request that did not succeed; return what to raise."""
    error = raised
    if isinstance(raised, Exception) and not isinstance(raised, (ApexLLMError, asyncio.CancelledError)):
        error = UnknownError(
            f"a middleware (or the core) raised {type(raised).__name__}: {raised}", original_error=raised
        )
    if isinstance(error, LLMError):
        outcome = error.type.value
        error.model = error.model or request.model or None
        error.attempts = error.attempts or tuple(context.attempts)
    else:
        outcome = "plugin_error" if isinstance(error, ApexLLMError) else "cancelled"
        if context.delivery.finished:
            outcome = "ok"
    _emit(
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


def _emit(
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


__all__ = ["Around", "Pipeline", "cost_of", "fold"]
