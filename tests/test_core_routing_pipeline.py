from __future__ import annotations

from contextlib import aclosing

import attrs
import pytest

from apex_llm_core.errors import (
    AuthorizationError,
    LLMTimeoutError,
    ServiceUnavailableError,
    UnknownError,
)
from apex_llm_core.markers import hookimpl
from apex_llm_core.models import Caller, ChatGenerationChunk, RequestFinished
from apex_llm_core.routing.pipeline import fold


class Tracing:
    """Notes its letter on the way in, and in lower case on the way out."""

    def __init__(self, letter, trace):
        self.letter, self.trace = letter, trace

    @hookimpl
    async def apex_around_generate(self, request, context, call_next):
        self.trace.append(self.letter)
        try:
            return await call_next(request, context)
        finally:
            self.trace.append(self.letter.lower())


class FirstTracing(Tracing):
    @hookimpl(tryfirst=True)
    async def apex_around_generate(self, request, context, call_next):
        return await Tracing.apex_around_generate(self, request, context, call_next)


class LastTracing(Tracing):
    @hookimpl(trylast=True)
    async def apex_around_generate(self, request, context, call_next):
        return await Tracing.apex_around_generate(self, request, context, call_next)


@pytest.fixture
def behind(stage, scripted):
    """Make a scene whose requests pass these middleware, the first outermost."""

    def make(*middleware, scripts=None, **tables):
        def register(registrar):
            for position, instance in enumerate(middleware):
                registrar.middleware(f"m{position}", lambda *_, instance=instance: instance)

        return stage(
            scripts or {"a": []},
            plugins=[scripted.Plugin(register)],
            middleware=[{"type": f"m{position}"} for position in range(len(middleware))],
            **tables,
        )

    return make


def around_generate(function):
    class Middleware:
        @hookimpl
        async def apex_around_generate(self, request, context, call_next):
            return await function(request, context, call_next)

    return Middleware()


def around_stream(function):
    class Middleware:
        @hookimpl
        def apex_around_stream(self, request, context, call_next):
            return function(request, context, call_next)

    return Middleware()


async def texts(stream):
    return [chunk.text async for chunk in stream if chunk.text]


def test_fold_puts_the_last_of_the_list_outermost():
    def link(letter):
        return lambda request, context, call_next: letter + call_next(request, context)

    assert fold([link("c"), link("b"), link("a")], lambda request, context: request)("!", None) == "abc!"
    assert fold([], lambda request, context: request)("!", None) == "!"


class TestOrder:
    def test_the_first_of_the_array_is_outermost(self, behind):
        trace = []
        behind(*(Tracing(letter, trace) for letter in "ABC")).chat()
        assert "".join(trace) == "ABCcba"

    def test_tryfirst_is_outermost_and_trylast_innermost_of_all(self, behind):
        trace = []
        behind(LastTracing("L", trace), Tracing("A", trace), Tracing("B", trace), FirstTracing("F", trace)).chat()
        assert "".join(trace) == "FABLlbaf"

    def test_once_around_all_retries_and_fallbacks(self, behind):
        trace = []
        scripts = {"a": [ServiceUnavailableError("down")], "b": []}
        behind(Tracing("A", trace), scripts=scripts).chat()
        assert "".join(trace) == "Aa"

    def test_disabled_ones_take_no_part(self, behind):
        trace = []
        scene = behind(Tracing("A", trace), Tracing("B", trace))
        scene.config["middleware"][0]["enabled"] = False
        scene.chat()
        assert "".join(trace) == "Bb"


class TestMiddleware:
    def test_may_change_the_request(self, behind):
        async def rename(request, context, call_next):
            return await call_next(attrs.evolve(request, model="m"), context)

        assert behind(around_generate(rename)).chat(model="alias").model == "m"

    def test_may_answer_itself(self, behind):
        async def answer(request, context, call_next):
            result = await call_next(request, context)
            return attrs.evolve(result, finish_reason="edited")

        assert behind(around_generate(answer)).chat().finish_reason == "edited"

    def test_may_call_next_again(self, behind):
        async def twice(request, context, call_next):
            try:
                return await call_next(request, context)
            except ServiceUnavailableError:
                return await call_next(request, context)

        scene = behind(around_generate(twice), scripts={"a": [ServiceUnavailableError("down")]})
        scene.chat()
        assert len(scene.a.calls) == 2

    def test_may_refuse(self, behind):
        async def refuse(request, context, call_next):
            raise AuthorizationError("not you")

        scene = behind(around_generate(refuse))
        error = scene.failed_chat(AuthorizationError)
        assert (str(error), error.attempts, error.model) == ("not you", (), "m")
        assert scene.called == ""
        [finished] = scene.events_of(RequestFinished)
        assert (finished.outcome, finished.attempts) == ("authorization_error", 0)

    def test_foreign_exceptions_are_typed_and_keep_their_cause(self, behind):
        cause = LookupError("no such tenant")

        async def fail(request, context, call_next):
            raise cause

        error = behind(around_generate(fail)).failed_chat(UnknownError)
        assert error.__cause__ is error.original_error is cause

    @pytest.mark.parametrize("wrong", [None, "hello"])
    def test_a_wrong_result_is_told(self, behind, wrong):
        async def forget(request, context, call_next):
            await call_next(request, context)
            return wrong

        scene = behind(around_generate(forget))
        error = scene.failed_chat(UnknownError)
        assert f"returned {type(wrong).__name__}; expected ChatGenerationResult" in str(error)
        [finished] = scene.events_of(RequestFinished)
        assert finished.outcome == "unknown_error"

    def test_shares_state_with_those_inside(self, behind):
        async def write(request, context, call_next):
            context.state["outer.note"] = "seen"
            return await call_next(request, context)

        scene = behind(around_generate(write))
        scene.chat()
        assert scene.a.calls[0].state == {"outer.note": "seen"}

    def test_of_another_operation_is_not_asked(self, behind):
        trace = []
        scene = behind(Tracing("A", trace))
        assert scene.run(lambda manager: manager.generate_embedding("hi", model="m")).embedding
        assert scene.run(lambda manager: manager.generate_image("hi", model="m")).images
        assert trace == []


class TestStreamMiddleware:
    @staticmethod
    def run(scene):
        async def body(manager):
            try:
                return await texts(manager.generate_chat_stream("hi", model="m"))
            finally:
                scene.assert_settled(manager)

        return scene.run(body)

    def test_may_pass_the_stream_on_as_it_is(self, behind):
        scene = behind(
            around_stream(lambda request, context, call_next: call_next(request, context)),
            scripts={"a": [["x", "y"]]},
        )
        assert self.run(scene) == ["x", "y"]

    def test_may_change_the_chunks(self, behind):
        async def shout(request, context, call_next):
            async with aclosing(call_next(request, context)) as batches:
                async for batch in batches:
                    yield [attrs.evolve(chunk, text=chunk.text.upper()) for chunk in batch]

        assert self.run(behind(around_stream(shout), scripts={"a": [["x", "y"]]})) == ["X", "Y"]

    def test_may_answer_itself(self, behind):
        async def answer(request, context, call_next):
            yield [ChatGenerationChunk(text="mine", finish_reason="stop")]

        scene = behind(around_stream(answer))
        assert self.run(scene) == ["mine"]
        assert scene.called == ""

    def test_may_break_off(self, behind):
        async def censor(request, context, call_next):
            async with aclosing(call_next(request, context)) as batches:
                async for batch in batches:
                    yield batch
                    raise AuthorizationError("enough")

        scene = behind(around_stream(censor), scripts={"a": [["x", "y"]]})
        with pytest.raises(AuthorizationError, match="enough"):
            self.run(scene)
        assert (scene.a.opened, scene.a.closed) == (1, 1)

    def test_foreign_exceptions_are_typed(self, behind):
        async def fail(request, context, call_next):
            raise LookupError("no such tenant")
            yield

        with pytest.raises(UnknownError, match="no such tenant"):
            self.run(behind(around_stream(fail)))

    def test_what_is_no_stream_is_told(self, behind):
        with pytest.raises(UnknownError, match="middleware"):
            self.run(behind(around_stream(lambda request, context, call_next: None)))


def test_the_last_event_tells_how_a_failure_ended(stage):
    scene = stage({"a": [...]})
    scene.failed_chat(LLMTimeoutError, timeout=4, caller=Caller(user="alice", request_id="mine"))
    [event] = scene.events_of(RequestFinished)
    assert (event.request_id, event.user, event.operation, event.model, event.provider) == (
        "mine",
        "alice",
        "chat",
        "m",
        "a",
    )
    assert (event.outcome, event.attempts, event.usage, event.cost) == ("timeout_error", 1, None, None)
    assert event.duration == pytest.approx(4)
