from __future__ import annotations

import asyncio
import gc

import pytest

from apex_llm_core.errors import (
    AuthenticationError,
    InvalidRequestError,
    LLMErrorType,
    LLMTimeoutError,
    ServiceUnavailableError,
    UnknownError,
)
from apex_llm_core.models import AttemptFinished, RequestFinished

DOWN = ServiceUnavailableError("down")
PRICED = {"models": [{"id": "m", "cost_per_input_token": 0.5, "cost_per_output_token": 2}]}


def stream_of(manager, **keywords):
    return manager.generate_chat_stream("hi", **{"model": "m", **keywords})


async def texts(stream):
    return [chunk.text async for chunk in stream if chunk.text]


def run_stream(scene, **keywords):
    """Consume one stream; return it, its texts, and the error that ended it."""

    async def body(manager):
        stream, found, error = stream_of(manager, **keywords), [], None
        try:
            async for chunk in stream:
                found += [chunk.text] if chunk.text else []
        except Exception as raised:
            error = raised
        scene.assert_settled(manager)
        return stream, found, error

    return scene.run(body)


def test_chunks_then_usage_cost_and_provider(stage):
    scene = stage({"a": [["Hel", "lo"]]}, providers={"a": PRICED})
    stream, found, error = run_stream(scene)
    assert error is None
    assert found == ["Hel", "lo"]
    assert (stream.provider, stream.model, stream.usage) == ("a", "m", scene.a.usage)
    assert stream.cost == 10 * 0.5 + 5 * 2
    assert [attempt.error_type for attempt in stream.attempts] == [None]


def test_facts_come_with_the_first_chunk_and_with_usage(stage):
    scene = stage({"a": [["x"]]}, providers={"a": PRICED})

    async def body(manager):
        stream = stream_of(manager)
        before = (stream.provider, stream.usage, stream.cost)
        await anext(stream)
        first = (stream.provider, stream.usage, stream.cost)
        await texts(stream)
        return before, first, (stream.provider, stream.usage is not None, stream.cost)

    assert scene.run(body) == ((None, None, None), ("a", None, None), ("a", True, 15))


def test_an_unknown_price_is_unknown(stage):
    stream, _, _ = run_stream(stage({"a": [["x"]]}))
    assert stream.usage is not None
    assert stream.cost is None


def test_text_streams_are_the_same(stage):
    scene = stage({"a": [["Hel", "lo"]]})
    assert scene.run(lambda manager: texts(manager.generate_text_stream("hi", model="m"))) == ["Hel", "lo"]
    assert scene.a.requests[0].kind == "text"


class TestBeforeTheFirstChunk:
    def test_retry(self, stage):
        scene = stage({"a": [DOWN, ["x"]]}, providers={"a": {"retry_count": 1}})
        stream, found, error = run_stream(scene)
        assert (found, error) == (["x"], None)
        assert [attempt.error_type for attempt in stream.attempts] == [LLMErrorType.SERVICE_UNAVAILABLE_ERROR, None]

    def test_fallback(self, stage):
        scene = stage({"a": [AuthenticationError("no")], "b": [["x"]]})
        stream, found, _ = run_stream(scene)
        assert (stream.provider, found) == ("b", ["x"])

    def test_an_empty_stream_goes_on(self, stage):
        scene = stage({"a": [None], "b": [["x"]]})
        stream, found, _ = run_stream(scene)
        assert (stream.provider, found) == ("b", ["x"])

    def test_silence_goes_on(self, stage):
        scene = stage({"a": [...], "b": [["x"]]}, providers={"a": {"timeout": 5}})
        _, found, _ = run_stream(scene)
        assert found == ["x"]
        assert scene.b.times == [pytest.approx(1005, abs=0.02)]

    def test_a_call_cancelled_by_the_provider_itself_goes_on(self, stage):
        scene = stage({"a": [asyncio.CancelledError()], "b": [["x"]]})
        _, found, error = run_stream(scene)
        assert (found, error) == (["x"], None)


class TestAfterTheFirstChunk:
    @pytest.mark.parametrize(
        ("ending", "kind"),
        [
            (DOWN, ServiceUnavailableError),
            (AuthenticationError("expired"), AuthenticationError),
            (KeyError("choices"), UnknownError),
            (asyncio.CancelledError(), UnknownError),
            (None, ServiceUnavailableError),
            (..., LLMTimeoutError),
        ],
        ids=["down", "authentication", "foreign", "own cancellation", "truncated", "hang"],
    )
    def test_failures_reach_the_caller_typed_and_are_final(self, stage, ending, kind):
        scene = stage({"a": [["x", ending]], "b": []}, providers={"a": {"retry_count": 3, "timeout": 5}})
        _, found, error = run_stream(scene)
        assert found == ["x"]
        assert type(error) is kind
        assert (error.provider, error.model) == ("a", "m")
        assert [attempt.error_type for attempt in error.attempts] == [error.type]
        assert scene.called == "a"
        [finished] = scene.events_of(RequestFinished)
        assert finished.outcome == error.type.value

    def test_truncation_counts_against_the_breaker(self, stage):
        scene = stage({"a": [["x", None]] * 2}, manager={"circuit_breaker_threshold": 2})

        async def body(manager):
            for _ in range(2):
                with pytest.raises(ServiceUnavailableError, match="without a finish reason"):
                    await texts(stream_of(manager))
            return manager.providers[0].candidates["m"].live.breaker

        assert scene.run(body) == "open"

    def test_a_foreign_cause_is_kept(self, stage):
        cause = KeyError("choices")
        _, _, error = run_stream(stage({"a": [["x", cause]]}))
        assert error.__cause__ is cause


class TestSilence:
    def test_between_chunks_is_counted_anew_each_time(self, stage):
        _, found, error = run_stream(stage({"a": [["x", 4, "y", 4, "z", 4]]}), timeout=5)
        assert (found, error) == (["x", "y", "z"], None)

    def test_mid_stream_is_a_timeout(self, stage):
        scene = stage({"a": [["x", 4, "y", 6, "z"]]})
        _, found, error = run_stream(scene, timeout=5)
        assert found == ["x", "y"]
        assert type(error) is LLMTimeoutError
        assert scene.clock() == pytest.approx(1009, abs=0.02)

    def test_touch_breaks_it(self, stage):
        def touch(_request, context):
            context.touch()

        _, found, error = run_stream(stage({"a": [["x", 4, touch, 4, touch, 4, "y"]]}), timeout=5)
        assert (found, error) == (["x", "y"], None)

    def test_of_the_consumer_is_not_the_providers(self, stage):
        scene = stage({"a": [["x", "y", "z"]]})

        async def body(manager):
            found = []
            async for chunk in stream_of(manager, timeout=5):
                await asyncio.sleep(20)
                found.append(chunk.text)
            return found

        assert scene.run(body) == ["x", "y", "z", ""]

    def test_the_deadline_holds_over_the_whole_stream(self, stage):
        scene = stage({"a": [["x", 4, "y", 4, "z", 4, "end"]]})
        _, found, error = run_stream(scene, timeout=5, deadline=10)
        assert found == ["x", "y", "z"]
        assert type(error) is LLMTimeoutError
        assert "deadline" in str(error)
        assert scene.clock() == pytest.approx(1010, abs=0.02)


class TestLeavingEarly:
    """Each way closes the provider's generator once, and says nothing about the provider."""

    async def close(self, manager):
        stream = stream_of(manager)
        await anext(stream)
        await stream.aclose()
        await stream.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(stream)

    async def context(self, manager):
        async with stream_of(manager) as stream:
            async for _ in stream:
                break

    async def error_in_context(self, manager):
        async def stumble():
            async with stream_of(manager) as stream:
                async for _ in stream:
                    raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await stumble()

    async def plain_break(self, manager):
        async for _ in stream_of(manager):
            break
        # The generators are closed by the event loop once nobody holds them.
        gc.collect()
        for _ in range(10):
            await asyncio.sleep(0)

    async def batches(self, manager):
        async with stream_of(manager) as stream:
            async for _ in stream.batches():
                break
        # The abandoned iterator is closed by the event loop; it must not close the stream a second time.
        await asyncio.sleep(0)

    async def cancelled(self, manager):
        task = asyncio.ensure_future(texts(stream_of(manager)))
        await asyncio.sleep(1.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    @pytest.mark.parametrize("way", ["close", "context", "error_in_context", "plain_break", "batches", "cancelled"])
    def test_closes_the_upstream(self, stage, way):
        scene = stage({"a": [["x", 1, "y", 1, "z"]]}, limits=[{"name": "few", "concurrent": 1}])

        async def body(manager):
            await getattr(self, way)(manager)
            scene.assert_settled(manager)
            assert (scene.a.opened, scene.a.closed) == (1, 1)
            live = manager.providers[0].candidates["m"].live
            assert (live.success_rate, live.breaker) == (None, "closed")
            # The place in the limit is free again.
            return await texts(stream_of(manager))

        assert scene.run(body) == ["ok"]
        assert [event.outcome for event in scene.events_of(RequestFinished)] == ["cancelled", "ok"]
        assert [event.outcome for event in scene.events_of(AttemptFinished)] == ["cancelled", "ok"]

    def test_after_the_finish_reason_is_a_success(self, stage):
        scene = stage({"a": [["x"]]})

        async def body(manager):
            async with stream_of(manager) as stream:
                async for chunk in stream:
                    if chunk.finish_reason:
                        break
            return manager.providers[0].candidates["m"].live.success_rate

        assert scene.run(body) == 1.0
        assert [event.outcome for event in scene.events_of(RequestFinished)] == ["ok"]

    def test_before_the_first_chunk_sends_nothing(self, stage):
        scene = stage({"a": []})

        async def body(manager):
            async with stream_of(manager):
                pass
            await stream_of(manager).aclose()
            scene.assert_settled(manager)

        scene.run(body)
        assert scene.called == ""
        assert scene.events_of(RequestFinished) == []


class TestBatches:
    def test_are_the_lists_of_the_provider(self, stage):
        scene = stage({"a": [["x", "y"]]})

        async def body(manager):
            return [[chunk.text for chunk in batch] async for batch in stream_of(manager).batches()]

        assert scene.run(body) == [["x"], ["y"], [""]]

    def test_begin_with_what_is_left_of_a_list(self, stage, scripted):
        class Together(scripted.ScriptedProvider):
            @scripted.hookimpl
            async def apex_stream(self, request, context):
                chunk = scripted.ChatGenerationChunk
                yield [chunk(text="x"), chunk(text="y"), chunk(text="z")]
                yield [chunk(finish_reason="stop")]

        scene = stage({"a": []})
        scene.providers["a"] = Together()

        async def body(manager):
            stream = stream_of(manager)
            first = (await anext(stream)).text
            return first, [[chunk.text for chunk in batch] async for batch in stream.batches()]

        assert scene.run(body) == ("x", [["y", "z"], [""]])


def test_live_facts_of_a_stream(stage):
    scene = stage({"a": [[2, "x", 3, "y"]]})

    async def body(manager):
        await texts(stream_of(manager))
        return manager.providers[0].candidates["m"].live

    live = scene.run(body)
    assert (live.time_to_first_chunk, live.latency, live.success_rate) == (2, 5, 1)
    [attempt] = scene.events_of(AttemptFinished)
    [request] = scene.events_of(RequestFinished)
    assert attempt.time_to_first_chunk == request.time_to_first_chunk == 2
    assert (request.duration, request.stream, request.usage) == (5, True, scene.a.usage)


def test_a_malformed_request_is_told_at_once(stage):
    scene = stage({"a": []})

    async def body(manager):
        with pytest.raises(InvalidRequestError, match="empty"):
            manager.generate_chat_stream([], model="m")

    scene.run(body)


def test_a_stream_may_be_consumed_by_several_tasks_in_turn(stage):
    scene = stage({"a": [["x", 4, "y", 9, "z"]]})

    async def body(manager):
        stream = stream_of(manager, timeout=5)
        first = await asyncio.create_task(anext(stream))
        second = await asyncio.create_task(anext(stream))
        with pytest.raises(LLMTimeoutError):
            await asyncio.create_task(anext(stream))
        return first.text + second.text

    assert scene.run(body) == "xy"
