"""What every middleware must do, as a test class to subclass."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any, ClassVar

import pytest

from apex_llm_core.context import CallContext
from apex_llm_core.errors import LLMError, ServiceUnavailableError
from apex_llm_core.hookspecs import ChunkBatch
from apex_llm_core.models import (
    ChatGenerationOptions,
    ChatMessage,
    EmbeddingOptions,
    EmbedRequest,
    GenerateRequest,
    ImageGenerationOptions,
    ImageRequest,
)
from apex_llm_core.plugin.validation import problems
from apex_llm_core.testing.clock import FakeClock, run_virtual
from apex_llm_core.testing.guard import ConformanceBase
from apex_llm_core.testing.inner import STREAM, WHOLE, InnerEnd, batches_of, words_of
from apex_llm_core.testing.runtime import FakeRuntime, make_context

_each_whole = pytest.mark.parametrize("hook", sorted(WHOLE))
#: Requests that run at the same time in the test of concurrency.
_CROWD = 16


class MiddlewareConformance(ConformanceBase):
    """Subclass it as ``class TestMyMiddleware(MiddlewareConformance)`` and give `make_middleware`.

    Tests of hooks that the middleware does not have are skipped. Switches tell what it does beyond passing through.
    """

    #: May refuse a request with an `LLMError`, or answer it by itself, without calling on.
    may_refuse: ClassVar[bool] = False
    #: May turn an error of the rest of the way into another `LLMError` or an answer.
    handles_errors: ClassVar[bool] = False
    #: May change what a request says.
    alters_requests: ClassVar[bool] = False
    #: May change whole results.
    alters_results: ClassVar[bool] = False
    #: May change, hold back or regroup the chunks of a stream.
    alters_stream: ClassVar[bool] = False

    def make_middleware(self, runtime: FakeRuntime) -> Any:
        """Return a new middleware that lives on *runtime*."""
        raise NotImplementedError

    def make_request(self, hook: str, text: str = "one two three four") -> Any:
        """Return a request with *text* for *hook*; override where the middleware asks for more of a request."""
        if hook == "apex_around_embed":
            return EmbedRequest(texts=(text,), model="test-model", options=EmbeddingOptions(model="test-model"))
        if hook == "apex_around_image":
            return ImageRequest(prompt=text, model="test-model", options=ImageGenerationOptions(model="test-model"))
        return GenerateRequest(
            kind="chat",
            messages=(ChatMessage(role="user", content=text),),
            model="test-model",
            options=ChatGenerationOptions(model="test-model"),
            stream=hook == STREAM,
        )

    def make_context(self, runtime: FakeRuntime, hook: str, request_id: str) -> CallContext:
        """Return the context of one request; override where the middleware asks for a known caller."""
        operation = "chat" if hook == STREAM else WHOLE[hook].operation
        return make_context(
            request_id=request_id,
            operation=operation,
            clock=runtime.clock,
            emit=runtime.emit,
            candidate=None,
            attempt=0,
        )

    # -- what the tests stand on --------------------------------------------------------------------------------------

    def _run(
        self, hook: str, scenario: Callable[[Any, InnerEnd, Callable[[str], CallContext]], Awaitable[None]]
    ) -> None:
        """Run *scenario* with a started middleware, an inner end and a maker of contexts, in virtual time."""
        clock = FakeClock()
        runtime = FakeRuntime(clock=clock)

        async def run() -> None:
            async with _started(self.make_middleware(runtime), runtime) as middleware:
                if not hasattr(middleware, hook):
                    pytest.skip(f"has no {hook}")
                await scenario(middleware, InnerEnd(clock), lambda name: self.make_context(runtime, hook, name))

        run_virtual(run(), clock=clock)

    def _stream(
        self, middleware: Any, request: Any, context: CallContext, inner: InnerEnd
    ) -> AsyncGenerator[ChunkBatch, None]:
        stream = middleware.apex_around_stream(request, context, inner.stream)
        if inspect.iscoroutine(stream):
            stream.close()
        assert hasattr(stream, "__anext__"), f"apex_around_stream returned {stream!r}; expected an async generator"
        assert hasattr(stream, "aclose"), f"apex_around_stream returned {stream!r}, which cannot be closed"
        generator: AsyncGenerator[ChunkBatch, None] = stream
        return generator

    # -- the tests ----------------------------------------------------------------------------------------------------

    def test_hooks_have_the_right_form(self) -> None:
        """At least one ``apex_around_…`` hook, each marked, with exactly (request, context, call_next).

        Troubleshooting: the message says which rule is broken. Around whole results write ``async def``; around streams an async
        generator, or a plain ``def`` that returns ``call_next(request, context)``. Only `@hookimpl`, never a wrapper.
        """
        middleware = self.make_middleware(FakeRuntime())
        found = problems(middleware)
        assert not found, "; ".join(found)
        hooks = [hook for hook in (*WHOLE, STREAM) if hasattr(middleware, hook)]
        assert hooks, "wraps nothing: it has none of the apex_around_… hooks"

    @_each_whole
    def test_calls_on_and_returns_a_result(self, hook: str) -> None:
        """The rest of the way is called with a request of the same kind and the same context; a result comes back.

        Troubleshooting: pass `request`, or one made from it by ``attrs.evolve``, and `context` itself: the core finds its state
        in it. Claim `may_refuse` if the middleware may answer by itself, `alters_results` if it changes answers.
        """

        async def scenario(middleware: Any, inner: InnerEnd, contexts: Callable[[str], CallContext]) -> None:
            request, context = self.make_request(hook), contexts("only")
            try:
                result = await getattr(middleware, hook)(request, context, inner.handler(hook))
            except LLMError:
                assert self.may_refuse, "refused the request; claim it with may_refuse"
                return
            self._check_type(hook, result)
            assert inner.seen or self.may_refuse, "never called on; claim it with may_refuse"
            self._check_seen(inner, request, context)
            if inner.seen and not self.alters_results:
                expected = WHOLE[hook].answer(inner.seen[-1][0])
                assert result == expected, f"returned {result!r}, not {expected!r}; claim it with alters_results"

        self._run(hook, scenario)

    def test_a_stream_is_complete(self) -> None:
        """Everything the rest of the way yields arrives, in order, in lists that are not empty.

        Troubleshooting: re-yield each list as it is, or return ``call_next(request, context)`` from a plain method. Claim
        `alters_stream` if chunks are changed on purpose; even then one finish reason must arrive.
        """

        async def scenario(middleware: Any, inner: InnerEnd, contexts: Callable[[str], CallContext]) -> None:
            request, context = self.make_request(STREAM), contexts("only")
            try:
                async with aclosing(self._stream(middleware, request, context, inner)) as stream:
                    batches = [batch async for batch in stream]
            except LLMError:
                assert self.may_refuse, "refused the stream; claim it with may_refuse"
                return
            assert inner.seen or self.may_refuse, "never called on; claim it with may_refuse"
            self._check_seen(inner, request, context)
            assert all(batches), "yielded an empty list"
            chunks = [chunk for batch in batches for chunk in batch]
            assert sum(chunk.finish_reason is not None for chunk in chunks) == 1, (
                "exactly one chunk finishes the stream"
            )
            if inner.seen and not self.alters_stream:
                expected = [chunk for batch in batches_of(inner.seen[-1][0]) for chunk in batch]
                assert chunks == expected, f"yielded {chunks!r}, not {expected!r}; claim it with alters_stream"

        self._run(STREAM, scenario)

    @_each_whole
    def test_errors_reach_the_caller(self, hook: str) -> None:
        """An error of the rest of the way arrives as the same object.

        Troubleshooting: use ``try/finally`` rather than ``except``, and a bare ``raise`` where you must look at the error. Claim
        `handles_errors` if the middleware translates errors or answers instead; it must then raise an `LLMError` or return.
        """

        async def scenario(middleware: Any, inner: InnerEnd, contexts: Callable[[str], CallContext]) -> None:
            inner.error = ServiceUnavailableError("the inner end fails", provider="test")
            request, context = self.make_request(hook), contexts("only")
            try:
                result = await getattr(middleware, hook)(request, context, inner.handler(hook))
            except LLMError as error:
                self._check_error(error, inner)
            else:
                assert self.handles_errors or not inner.seen, "swallowed the error; claim it with handles_errors"
                self._check_type(hook, result)

        self._run(hook, scenario)

    def test_errors_of_a_stream_reach_the_caller(self) -> None:
        """An error in the middle of a stream arrives after the chunks before it, as the same object.

        Troubleshooting: as for whole results; a generator must not end quietly when the inner one failed, for the caller would
        take a truncated answer for a complete one.
        """

        async def scenario(middleware: Any, inner: InnerEnd, contexts: Callable[[str], CallContext]) -> None:
            inner.error = ServiceUnavailableError("the inner end fails", provider="test")
            text = ""
            try:
                async with aclosing(
                    self._stream(middleware, self.make_request(STREAM), contexts("only"), inner)
                ) as stream:
                    async for batch in stream:
                        text += "".join(chunk.text for chunk in batch)
            except LLMError as error:
                self._check_error(error, inner)
            else:
                assert self.handles_errors or not inner.seen, "swallowed the error; claim it with handles_errors"
            if inner.seen and not self.alters_stream:
                first = next(batches_of(inner.seen[0][0]))
                assert text.startswith("".join(chunk.text for chunk in first)), "the chunks before the error are lost"

        self._run(STREAM, scenario)

    @_each_whole
    def test_cancellation_passes(self, hook: str) -> None:
        """Cancelling the caller cancels the rest of the way and comes out as `CancelledError`.

        Troubleshooting: ``except BaseException`` and a bare ``except`` swallow it; ``asyncio.shield`` or a task of its own hides it
        from the rest of the way.
        """

        async def scenario(middleware: Any, inner: InnerEnd, contexts: Callable[[str], CallContext]) -> None:
            inner.delay = -1.0
            call = getattr(middleware, hook)(self.make_request(hook), contexts("only"), inner.handler(hook))
            await self._cancelled(call, inner)

        self._run(hook, scenario)

    def test_cancellation_of_a_stream_passes(self) -> None:
        """Cancelling the reader of a stream ends the rest of the way and comes out as `CancelledError`.

        Troubleshooting: as for whole results; hold the inner generator with ``contextlib.aclosing``.
        """

        async def scenario(middleware: Any, inner: InnerEnd, contexts: Callable[[str], CallContext]) -> None:
            inner.delay = -1.0

            async def read() -> None:
                async with aclosing(
                    self._stream(middleware, self.make_request(STREAM), contexts("only"), inner)
                ) as stream:
                    async for _ in stream:
                        pass

            await self._cancelled(read(), inner)

        self._run(STREAM, scenario)

    def test_closing_a_stream_early_closes_the_rest_of_the_way(self) -> None:
        """When the reader closes the stream after the first list, the inner generator is closed, too, and at once.

        Troubleshooting: ``async for batch in call_next(...)`` alone leaves the inner generator open until it is collected, and with
        it the connection. Write ``async with aclosing(call_next(request, context)) as stream``.
        """

        async def scenario(middleware: Any, inner: InnerEnd, contexts: Callable[[str], CallContext]) -> None:
            try:
                stream = self._stream(middleware, self.make_request(STREAM), contexts("only"), inner)
            except LLMError:
                assert self.may_refuse, "refused the stream; claim it with may_refuse"
                return
            try:
                await anext(stream, None)
            except LLMError:
                assert self.may_refuse, "refused the stream; claim it with may_refuse"
            await stream.aclose()
            assert inner.ended == inner.begun, "the inner generator is still open"

        self._run(STREAM, scenario)

    @_each_whole
    def test_concurrent_requests_do_not_mix(self, hook: str) -> None:
        """Many requests at the same time each get their own answer.

        Troubleshooting: keep what belongs to one request in local variables or in ``context.state``, never on the middleware.
        """

        async def scenario(middleware: Any, inner: InnerEnd, contexts: Callable[[str], CallContext]) -> None:
            async def one(number: int) -> None:
                request, context = self.make_request(hook, f"request number {number}"), contexts(f"request-{number}")
                end = InnerEnd(inner.clock, delay=1.0 + (number * 7) % _CROWD)
                try:
                    result = await getattr(middleware, hook)(request, context, end.handler(hook))
                except LLMError:
                    assert self.may_refuse, "refused a request; claim it with may_refuse"
                    return
                self._check_seen(end, request, context)
                if end.seen and not self.alters_results:
                    assert result == WHOLE[hook].answer(end.seen[-1][0]), "got the answer of another request"

            await asyncio.gather(*(one(number) for number in range(_CROWD)))

        self._run(hook, scenario)

    def test_concurrent_streams_do_not_mix(self) -> None:
        """Many streams at the same time each get their own chunks.

        Troubleshooting: as for whole results; a ContextVar set between yields leaks to the reader.
        """

        async def scenario(middleware: Any, inner: InnerEnd, contexts: Callable[[str], CallContext]) -> None:
            async def one(number: int) -> None:
                request = self.make_request(STREAM, f"request number {number}")
                context = contexts(f"request-{number}")
                end = InnerEnd(inner.clock, delay=1.0 + (number * 7) % _CROWD)
                try:
                    async with aclosing(self._stream(middleware, request, context, end)) as stream:
                        chunks = [chunk async for batch in stream for chunk in batch]
                except LLMError:
                    assert self.may_refuse, "refused a stream; claim it with may_refuse"
                    return
                self._check_seen(end, request, context)
                if end.seen and not self.alters_stream:
                    expected = [chunk for batch in batches_of(end.seen[-1][0]) for chunk in batch]
                    assert chunks == expected, "got the chunks of another stream"

            await asyncio.gather(*(one(number) for number in range(_CROWD)))

        self._run(STREAM, scenario)

    # -- what the tests share -----------------------------------------------------------------------------------------

    @staticmethod
    def _check_type(hook: str, result: object) -> None:
        expected = WHOLE[hook].result
        assert isinstance(result, expected), f"{hook} returned a {type(result).__name__}; expected {expected.__name__}"

    def _check_seen(self, inner: InnerEnd, request: Any, context: CallContext) -> None:
        for seen, seen_context in inner.seen:
            assert self.alters_requests or words_of(seen) == words_of(request), (
                f"passed on {words_of(seen)!r} for {words_of(request)!r}; claim it with alters_requests"
            )
            assert seen_context is context, "passed on another context than it was given"
        assert inner.ended == inner.begun, "left a call of the rest of the way running"

    def _check_error(self, error: LLMError, inner: InnerEnd) -> None:
        if inner.seen:
            assert error is inner.error or self.handles_errors, "replaced the error; claim it with handles_errors"
        else:
            assert self.may_refuse, "refused the request; claim it with may_refuse"

    async def _cancelled(self, call: Awaitable[Any], inner: InnerEnd) -> None:
        """Cancel *call* while the rest of the way waits for ever, and see that both end."""
        task = asyncio.ensure_future(call)
        await asyncio.wait([task], timeout=1.0)
        if task.done() and not inner.begun:
            task.exception()
            assert self.may_refuse, "never called on; claim it with may_refuse"
            return
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=60.0)
        assert done, "does not end when cancelled"
        assert task.cancelled(), "swallowed the cancellation"
        assert inner.ended == inner.begun, "the rest of the way goes on although the caller left"


@asynccontextmanager
async def _started(middleware: Any, runtime: FakeRuntime) -> AsyncGenerator[Any, None]:
    """Start and stop *middleware* as the core does."""
    if hasattr(middleware, "apex_startup"):
        await middleware.apex_startup(runtime)
    try:
        yield middleware
    finally:
        if hasattr(middleware, "apex_shutdown"):
            await middleware.apex_shutdown(runtime)


__all__ = ["MiddlewareConformance"]
