from __future__ import annotations

import asyncio
from contextlib import aclosing

import attrs
import pytest

from apex_llm_core.errors import InvalidRequestError, LLMError, RateLimitError, ServiceUnavailableError
from apex_llm_core.markers import hookimpl
from apex_llm_core.models import ChatGenerationChunk, ChatMessage
from apex_llm_core.testing.middleware import MiddlewareConformance


class Transparent:
    """All four hooks, done well; the broken ones below differ in one thing each."""

    @hookimpl
    async def apex_around_generate(self, request, context, call_next):
        return await call_next(request, context)

    @hookimpl
    async def apex_around_stream(self, request, context, call_next):
        async with aclosing(call_next(request, context)) as stream:
            async for batch in stream:
                yield batch

    @hookimpl
    async def apex_around_embed(self, request, context, call_next):
        return await call_next(request, context)

    @hookimpl
    async def apex_around_image(self, request, context, call_next):
        return await call_next(request, context)


class TestTransparent(MiddlewareConformance):
    def make_middleware(self, runtime):
        return Transparent()


class HandsOver:
    """Returns the inner generator itself; wraps nothing but streams."""

    @hookimpl
    def apex_around_stream(self, request, context, call_next):
        return call_next(request, context)


class TestHandsOver(MiddlewareConformance):
    def make_middleware(self, runtime):
        return HandsOver()


class Refuses(Transparent):
    @hookimpl
    async def apex_around_generate(self, request, context, call_next):
        raise RateLimitError("not now")

    @hookimpl
    async def apex_around_stream(self, request, context, call_next):
        raise RateLimitError("not now")
        yield


class TestRefuses(MiddlewareConformance):
    may_refuse = True

    def make_middleware(self, runtime):
        return Refuses()


class Shouts(Transparent):
    """Translates errors and changes what comes back, whole or streamed."""

    @hookimpl
    async def apex_around_generate(self, request, context, call_next):
        try:
            result = await call_next(request, context)
        except LLMError as error:
            raise InvalidRequestError("translated") from error
        return attrs.evolve(result, message=ChatMessage(role="assistant", content=result.message.text.upper()))

    @hookimpl
    async def apex_around_stream(self, request, context, call_next):
        async with aclosing(call_next(request, context)) as stream:
            async for batch in stream:
                yield [attrs.evolve(chunk, text=chunk.text.upper()) for chunk in batch]


class TestShouts(MiddlewareConformance):
    alters_results = True
    alters_stream = True
    handles_errors = True

    def make_middleware(self, runtime):
        return Shouts()


class Started(Transparent):
    """Works only between start and stop."""

    running = False

    @hookimpl
    async def apex_startup(self, runtime):
        self.running = True

    @hookimpl
    async def apex_shutdown(self, runtime):
        self.running = False

    @hookimpl
    async def apex_around_generate(self, request, context, call_next):
        assert self.running
        return await call_next(request, context)


class TestStarted(MiddlewareConformance):
    def make_middleware(self, runtime):
        return Started()


class AnswersItself(Transparent):
    @hookimpl
    async def apex_around_embed(self, request, context, call_next):
        return "an answer"


class NewContext(Transparent):
    @hookimpl
    async def apex_around_generate(self, request, context, call_next):
        return await call_next(request, attrs.evolve(context))


class OtherRequest(Transparent):
    @hookimpl
    async def apex_around_image(self, request, context, call_next):
        return await call_next("a lighthouse", context)


class AltersSecretly(Transparent):
    @hookimpl
    async def apex_around_generate(self, request, context, call_next):
        return attrs.evolve(await call_next(request, context), cost=0.0)


class SwallowsErrors(Transparent):
    @hookimpl
    async def apex_around_generate(self, request, context, call_next):
        try:
            return await call_next(request, context)
        except LLMError:
            return None


class ReplacesErrors(Transparent):
    @hookimpl
    async def apex_around_embed(self, request, context, call_next):
        try:
            return await call_next(request, context)
        except LLMError as error:
            raise ServiceUnavailableError("another one") from error


class EndsQuietly(Transparent):
    @hookimpl
    async def apex_around_stream(self, request, context, call_next):
        try:
            async with aclosing(call_next(request, context)) as stream:
                async for batch in stream:
                    yield batch
        except LLMError:
            pass


class SwallowsCancellation(Transparent):
    @hookimpl
    async def apex_around_image(self, request, context, call_next):
        try:
            return await call_next(request, context)
        except asyncio.CancelledError:
            return None


class Shields(Transparent):
    """Hides the caller's cancellation from the rest of the way."""

    def __init__(self):
        self.tasks = []

    @hookimpl
    async def apex_around_generate(self, request, context, call_next):
        task = asyncio.ensure_future(call_next(request, context))
        self.tasks.append(task)
        return await asyncio.shield(task)

    @hookimpl
    async def apex_shutdown(self, runtime):
        for task in self.tasks:
            task.cancel()


class LeavesOpen(Transparent):
    def __init__(self):
        self.streams = []

    @hookimpl
    async def apex_around_stream(self, request, context, call_next):
        stream = call_next(request, context)
        self.streams.append(stream)
        async for batch in stream:
            yield batch

    @hookimpl
    async def apex_shutdown(self, runtime):
        for stream in self.streams:
            await stream.aclose()


class DropsChunks(Transparent):
    @hookimpl
    async def apex_around_stream(self, request, context, call_next):
        async with aclosing(call_next(request, context)) as stream:
            async for batch in stream:
                yield batch[:1]


class YieldsEmptyLists(Transparent):
    @hookimpl
    async def apex_around_stream(self, request, context, call_next):
        yield []
        async with aclosing(call_next(request, context)) as stream:
            async for batch in stream:
                yield batch


class FinishesTwice(Transparent):
    @hookimpl
    async def apex_around_stream(self, request, context, call_next):
        async with aclosing(call_next(request, context)) as stream:
            async for batch in stream:
                yield batch
        yield [ChatGenerationChunk(finish_reason="stop")]


class Mixes(Transparent):
    """Keeps the request on itself, where the next one overwrites it."""

    @hookimpl
    async def apex_around_generate(self, request, context, call_next):
        self.request = request
        await asyncio.sleep(1)
        return await call_next(self.request, context)

    @hookimpl
    async def apex_around_stream(self, request, context, call_next):
        async with aclosing(call_next(request, context)) as stream:
            async for batch in stream:
                self.batch = batch
                await asyncio.sleep(5)
                yield self.batch


class WrapsNothing:
    """Has no hook."""


class WrongArguments:
    @hookimpl
    async def apex_around_generate(self, request, call_next):
        return await call_next(request, None)


class NotAsynchronous:
    @hookimpl
    def apex_around_generate(self, request, context, call_next):
        return call_next(request, context)


class CoroutineOfGenerator:
    @hookimpl
    def apex_around_stream(self, request, context, call_next):
        return self._later(request, context, call_next)

    async def _later(self, request, context, call_next):
        return call_next(request, context)


def check(middleware, test, *arguments, **switches):
    class Subject(MiddlewareConformance):
        def make_middleware(self, runtime):
            return middleware

    for name, value in switches.items():
        setattr(Subject, name, value)
    getattr(Subject(), test)(*arguments)


GENERATE = ("apex_around_generate",)
EMBED = ("apex_around_embed",)
IMAGE = ("apex_around_image",)


@pytest.mark.parametrize(
    ("broken", "test", "arguments", "complaint"),
    [
        (WrapsNothing(), "test_hooks_have_the_right_form", (), "wraps nothing"),
        (WrongArguments(), "test_hooks_have_the_right_form", (), "expected \\(request, context, call_next\\)"),
        (NotAsynchronous(), "test_hooks_have_the_right_form", (), "coroutine function"),
        (CoroutineOfGenerator(), "test_a_stream_is_complete", (), "expected an async generator"),
        (AnswersItself(), "test_calls_on_and_returns_a_result", EMBED, "returned a str"),
        (NewContext(), "test_calls_on_and_returns_a_result", GENERATE, "another context"),
        (OtherRequest(), "test_calls_on_and_returns_a_result", IMAGE, "passed on a str"),
        (AltersSecretly(), "test_calls_on_and_returns_a_result", GENERATE, "alters_results"),
        (Refuses(), "test_calls_on_and_returns_a_result", GENERATE, "may_refuse"),
        (Refuses(), "test_a_stream_is_complete", (), "may_refuse"),
        (Refuses(), "test_errors_reach_the_caller", GENERATE, "may_refuse"),
        (Refuses(), "test_cancellation_passes", GENERATE, "may_refuse"),
        (SwallowsErrors(), "test_errors_reach_the_caller", GENERATE, "swallowed the error"),
        (ReplacesErrors(), "test_errors_reach_the_caller", EMBED, "replaced the error"),
        (EndsQuietly(), "test_errors_of_a_stream_reach_the_caller", (), "swallowed the error"),
        (SwallowsCancellation(), "test_cancellation_passes", IMAGE, "swallowed the cancellation"),
        (Shields(), "test_cancellation_passes", GENERATE, "the rest of the way goes on"),
        (LeavesOpen(), "test_closing_a_stream_early_closes_the_rest_of_the_way", (), "still open"),
        (DropsChunks(), "test_a_stream_is_complete", (), "finishes the stream"),
        (YieldsEmptyLists(), "test_a_stream_is_complete", (), "empty list"),
        (FinishesTwice(), "test_a_stream_is_complete", (), "finishes the stream"),
        (Shouts(), "test_a_stream_is_complete", (), "alters_stream"),
        (Mixes(), "test_concurrent_requests_do_not_mix", GENERATE, "alters_requests"),
        (Mixes(), "test_concurrent_streams_do_not_mix", (), "another stream"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, (str, tuple)) else "",
)
def test_each_fault_is_found_by_its_test(broken, test, arguments, complaint):
    with pytest.raises(AssertionError, match=complaint):
        check(broken, test, *arguments)


def test_a_cleared_error_must_still_be_a_result():
    with pytest.raises(AssertionError, match="returned a NoneType"):
        check(SwallowsErrors(), "test_errors_reach_the_caller", *GENERATE, handles_errors=True)
