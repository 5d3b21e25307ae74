"""The compiled way of a request: one handler per operation, built once at start.

From the outside in: observation of the whole request, middleware, cache, limits, fallback over the candidates, the
provider's bound hook.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from functools import partial
from typing import Any

import attrs

from apex_llm_core.cache.exact import ResponseCache
from apex_llm_core.cache.replay import Recorder, replayed
from apex_llm_core.context import CallContext
from apex_llm_core.errors import AttemptReason, LLMError, ModelNotFoundError, UnknownError
from apex_llm_core.hookspecs import ChunkBatch, EmbedHandler, GenerateHandler, ImageHandler, StreamHandler
from apex_llm_core.models.candidates import Candidate
from apex_llm_core.models.requests import GenerateRequest
from apex_llm_core.models.results import (
    ChatGenerationResult,
    EmbeddingResult,
    ImageGenerationResult,
)
from apex_llm_core.plugin.registry import ProviderRegistry
from apex_llm_core.policies.deadline import Sweeper, Watch
from apex_llm_core.routing.admission import Admission
from apex_llm_core.routing.calls import Calls
from apex_llm_core.routing.degradation import Degradation
from apex_llm_core.routing.delivery import Opened, delivered, discard
from apex_llm_core.routing.fallback import FallbackHandler
from apex_llm_core.routing.flight import Flight
from apex_llm_core.routing.outcome import Result, amended, marked, recalled, tell, tell_failure
from apex_llm_core.routing.router import Router
from apex_llm_core.routing.shadowing import Shadowing

#: Seconds between the deadline of the attempts and that of the whole request.
_GRACE = 0.1
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
        router: Router,
        fallback: FallbackHandler,
        admission: Admission,
        cache: ResponseCache | None,
        degradation: Degradation | None,
        shadowing: Shadowing | None,
        hedging: bool,
        around: Around,
        sweeper: Sweeper,
        scrub: Callable[[str], str],
    ) -> None:
        self._calls = Calls(registry, hedging=hedging)
        self._router = router
        self._scrub = scrub
        self._fallback = fallback
        self._admission = admission
        self._cache = cache
        self._degradation = degradation
        self._shadowing = shadowing
        self._hedging = hedging
        self._sweeper = sweeper
        #: Somebody else's code waits outside the attempts, which have a watch each.
        self._watched = (
            cache is not None
            or admission.shared
            or bool(around.generate or around.stream or around.embed or around.image)
        )
        self._in_flight = 0
        self._idle: asyncio.Event | None = None
        self._hurried = False
        self.generate: GenerateHandler = self._compiled("apex_generate", ChatGenerationResult, around.generate)
        self.embed: EmbedHandler = self._compiled("apex_embed", EmbeddingResult, around.embed)
        self.image: ImageHandler = self._compiled("apex_image", ImageGenerationResult, around.image)
        self._call_whole = partial(self._calls.whole, "apex_generate", ChatGenerationResult)
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

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Count as a request under way what happens inside."""
        self._in_flight += 1
        try:
            yield
        finally:
            self._done()

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
            if self._watched:
                with self._watch(context):
                    result = await handler(request, context)
            else:
                result = await handler(request, context)
            if type(result) is not kind:
                raise UnknownError(f"a middleware returned {type(result).__name__}; expected {kind.__name__}")
        except BaseException as raised:
            error = tell_failure(raised, request, context, started, scrub=self._scrub, stream=False)
            if error is raised:
                raise
            raise error from raised
        finally:
            self._done()
        cached = getattr(result, "cached", False)
        tell(request, context, started, "ok", usage=result.usage, cost=result.cost, cached=cached)
        return result

    async def _observed_stream(
        self, handler: StreamHandler, request: GenerateRequest, context: CallContext
    ) -> AsyncGenerator[ChunkBatch, None]:
        """Run a whole stream and emit its last event."""
        started = context.clock()
        first: float | None = None
        self._in_flight += 1
        try:
            watch = self._watch(context)
            async with aclosing(handler(request, context)) as batches:
                with watch:
                    async for batch in batches:
                        if first is None:
                            first = context.clock() - started
                        watch.pause()
                        yield batch
                        watch.resume()
        except BaseException as raised:
            error = tell_failure(raised, request, context, started, scrub=self._scrub, stream=True, first=first)
            if error is raised:
                raise
            raise error from raised
        finally:
            self._done()
        delivery = context.delivery
        tell(
            request,
            context,
            started,
            "ok",
            usage=delivery.usage,
            cost=delivery.cost,
            cached=delivery.cached,
            stream=True,
            first=first,
        )

    def _watch(self, context: CallContext) -> Watch:
        """Guard the deadline where no attempt does; a little later, so that an attempt's own error comes first."""
        deadline = context.deadline
        guards = self._watched and deadline is not None
        return self._sweeper.watch(silence=None, deadline=deadline + _GRACE if guards and deadline else None)

    def _compiled(self, hook: str, kind: type[Result], around: Sequence[Callable[..., Any]]) -> Callable[..., Any]:
        """Return the handler of an operation that gives whole answers of *kind*."""
        call = partial(self._calls.whole, hook, kind)
        plain = self._cache is None and self._shadowing is None and self._degradation is None and not self._hedging
        if plain and not self._admission.at_the_door:
            # Nothing stands between the middleware and the fallback: no frame for it.
            terminal: _Handler = partial(self._fallback.run, call=call)
        else:
            terminal = partial(self._whole, call, kind)
        return partial(self._observed, kind, fold(around, terminal))

    async def _whole(
        self, call: Callable[[Any, Flight], Awaitable[Result]], kind: type[Result], request: Any, context: CallContext
    ) -> Result:
        if self._shadowing is not None:
            self._shadowing.cast(request, context, partial(self._fallback.run, call=call, reason="shadow"))
        cache = self._cache
        among = () if cache is None else self._among(request, context)
        key = None if cache is None else cache.key(request, context.caller, among)
        if cache is None or key is None:
            return await self._limited(call, kind, request, context, key)
        kept: Result | None = await cache.get(key, kind)
        if kept is None:

            async def work() -> Result:
                result = await self._limited(call, kind, request, context, key)
                if _is_of(result.model, among):
                    await cache.put(key, result)
                return result

            result, led = await cache.flights.run(key, work)
            if led:
                return result
            kept = result
        context.delivery.cached = True
        return recalled(kept)

    async def _limited(
        self,
        call: Callable[[Any, Flight], Awaitable[Result]],
        kind: type[Result],
        request: Any,
        context: CallContext,
        key: str | None,
    ) -> Result:
        """Answer what is not kept: under the limits, and with less if need be."""
        settle = await self._admission.enter_request(request, context, partial(self._payable, request, context))
        try:
            return await self._answered(request, context, call)
        except LLMError as error:
            if self._degradation is None:
                raise
            result: Result = await self._degradation.answer(
                error,
                request,
                context,
                ask=partial(self._answered, context=context, call=call, reason="degradation"),
                recall=partial(self._stale, key, kind),
            )
            return marked(result, context.delivery.degraded)
        finally:
            if settle is not None:
                settle(context.bill.tokens, context.bill.cost)

    async def _answered(
        self,
        request: Any,
        context: CallContext,
        call: Callable[[Any, Flight], Awaitable[Result]],
        reason: AttemptReason = "first",
    ) -> Result:
        answer = await self._fallback.run(request, context, call, reason=reason)
        return amended(answer, context) if self._hedging else answer

    async def _stream(self, request: GenerateRequest, context: CallContext) -> AsyncGenerator[ChunkBatch, None]:
        if self._shadowing is not None:
            self._shadowing.cast(request, context, partial(self._fallback.run, call=self._call_whole, reason="shadow"))
        cache = self._cache
        among = () if cache is None else self._among(request, context)
        key = None if cache is None else cache.key(request, context.caller, among)
        kept = None if cache is None or key is None else await cache.get(key, ChatGenerationResult)
        if kept is not None:
            for batch in self._from_memory(kept, context):
                yield batch
            return
        recorder = None if key is None else Recorder()
        settle = await self._admission.enter_request(request, context, partial(self._payable, request, context))
        try:
            opened = await self._opened(request, context, key)
            if isinstance(opened, ChatGenerationResult):
                for batch in self._from_memory(opened, context):
                    yield batch
                return
            async with aclosing(delivered(opened, context)) as batches:
                async for batch in batches:
                    if recorder is not None:
                        recorder.add(batch)
                    yield batch
        finally:
            if settle is not None:
                settle(context.bill.tokens, context.bill.cost)
        if recorder is not None and cache is not None and key is not None and not opened.flight.adapted:
            candidate, delivery = opened.flight.candidate, context.delivery
            whole = recorder.result(candidate.provider, candidate.model, delivery.cost, request)
            if whole is not None and not delivery.degraded and _is_of(whole.model, among):
                await cache.put(key, whole)

    async def _opened(
        self, request: GenerateRequest, context: CallContext, key: str | None
    ) -> Opened | ChatGenerationResult:
        """Return the stream of the first candidate that brings something; from the cache as a last step of degradation."""
        try:
            return await self._fallback.run(request, context, self._calls.open, discard=discard)
        except LLMError as error:
            if self._degradation is None:
                raise
            return await self._degradation.answer(
                error,
                request,
                context,
                ask=partial(
                    self._fallback.run, context=context, call=self._calls.open, reason="degradation", discard=discard
                ),
                recall=partial(self._stale, key, ChatGenerationResult),
            )

    def _among(self, request: Any, context: CallContext) -> tuple[Candidate, ...]:
        """Return who could serve *request*.

        Routing rules decide about the memory, too: what may not answer may not have answered either.
        """
        try:
            return self._router.route(request, context).candidates
        except ModelNotFoundError:
            return ()

    def _payable(self, request: Any, context: CallContext) -> tuple[Candidate, ...]:
        """Return whose prices the limits go by: those of fallbacks only where nobody else can serve *request*."""
        try:
            return self._among(request, context) or self._fallback.candidates(request, context)
        except ModelNotFoundError:
            return ()

    async def _stale(self, key: str | None, kind: type[Any]) -> Any:
        if self._cache is None or key is None:
            return None
        kept = await self._cache.get_stale(key, kind)
        return None if kept is None else recalled(kept)

    @staticmethod
    def _from_memory(kept: ChatGenerationResult, context: CallContext) -> list[ChunkBatch]:
        delivery = context.delivery
        delivery.provider, delivery.model = kept.provider, kept.model
        delivery.usage, delivery.cost, delivery.cached = kept.usage, 0.0, True
        delivery.finished = True
        return replayed(kept)


def _is_of(model: str, among: Sequence[Candidate]) -> bool:
    """Return whether *model* is the one that was to answer; a fallback model's answer is not to outlive the need for it."""
    return any(candidate.model == model for candidate in among)


__all__ = ["Around", "Pipeline", "fold"]
