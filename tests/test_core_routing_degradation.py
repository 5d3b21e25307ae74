from __future__ import annotations

import asyncio

import pytest

from apex_llm_core.errors import InvalidRequestError, RateLimitError, ServiceUnavailableError
from apex_llm_core.models import Degraded, RequestFinished

DOWN = ServiceUnavailableError("down")
SMALL = {"b": {"models": [{"id": "small"}]}}


def steps(*tables):
    return {"degradation": list(tables)}


def test_a_smaller_model_answers_when_nothing_better_is_left(stage):
    scene = stage({"a": [DOWN], "b": ["b"]}, providers=SMALL, **steps({"step": "smaller_model", "to_model": "small"}))
    result = scene.chat()
    assert (result.model, result.details["degraded"]) == ("small", "smaller_model")
    assert [attempt.reason for attempt in result.attempts] == ["first", "degradation"]
    assert scene.events_of(Degraded)[0].step == "smaller_model"
    assert scene.events_of(RequestFinished)[0].degraded == "smaller_model"


def test_a_shorter_answer_is_asked_for(stage):
    scene = stage({"a": [DOWN, "short"]}, **steps({"step": "shorter_answer", "max_tokens": 50}))
    result = scene.chat(max_tokens=500)
    assert result.details["degraded"] == "shorter_answer"
    assert scene.a.requests[1].options.max_tokens == 50


def test_an_answer_that_is_short_enough_is_not_asked_for_again(stage):
    scene = stage({"a": [DOWN]}, **steps({"step": "shorter_answer", "max_tokens": 50}))
    scene.failed_chat(ServiceUnavailableError, max_tokens=50)
    assert len(scene.a.calls) == 1


def test_an_old_answer_is_better_than_none(stage):
    scene = stage(
        {"a": ["old", DOWN]},
        manager={"cache_enabled": True, "cache_ttl": 10},
        cache={"stale_ttl": 1000},
        **steps({"step": "cached_answer"}),
    )

    async def body(manager):
        await manager.generate_chat("hi", model="m")
        await asyncio.sleep(60)
        result = await manager.generate_chat("hi", model="m")
        stream = manager.generate_chat_stream("hi", model="m")
        scene.a.script.append(DOWN)
        texts = [chunk.text async for chunk in stream if chunk.text]
        return result, texts

    result, texts = scene.run(body)
    assert (result.message.text, result.cached, result.cost) == ("old", True, 0.0)
    assert result.details["degraded"] == "cached_answer"
    assert texts == ["old"]
    assert scene.events_of(RequestFinished)[-1].degraded == "cached_answer"


def test_the_last_step_refuses_in_plain_words(stage):
    scene = stage(
        {"a": [RateLimitError("x", retry_after=7)]}, **steps({"step": "refuse", "message": "Come back later."})
    )
    error = scene.failed_chat(ServiceUnavailableError)
    assert (error.message, error.retry_after) == ("Come back later.", 7)
    assert isinstance(error.__cause__, RateLimitError)


def test_steps_are_taken_in_order_until_one_gives_something(stage):
    scene = stage(
        {"a": [DOWN, "short"], "b": [DOWN]},
        providers=SMALL,
        **steps({"step": "smaller_model", "to_model": "small"}, {"step": "shorter_answer", "max_tokens": 5}),
    )
    assert scene.chat().details["degraded"] == "shorter_answer"


def test_other_models_are_not_concerned(stage):
    scene = stage(
        {"a": [DOWN], "b": []},
        providers=SMALL,
        **steps({"step": "smaller_model", "to_model": "small", "model": "gpt-*"}),
    )
    scene.failed_chat(ServiceUnavailableError)


def test_what_is_wrong_with_the_request_is_told(stage):
    scene = stage({"a": [InvalidRequestError("no")]}, **steps({"step": "refuse", "message": "Come back later."}))
    scene.failed_chat(InvalidRequestError)


def test_the_cap_of_attempts_holds_over_the_steps(stage):
    scene = stage(
        {"a": [DOWN, DOWN], "b": [DOWN] * 9},
        providers={**SMALL, "a": {"retry_count": 1}, "b": {"models": [{"id": "small"}], "retry_count": 9}},
        manager={"max_attempts": 4},
        retry={"base": 0.001, "max_delay": 0.001},
        **steps({"step": "smaller_model", "to_model": "small"}),
    )
    error = scene.failed_chat(ServiceUnavailableError)
    assert len(error.attempts) == 4


def test_no_step_makes_an_attempt_when_there_may_be_none(stage):
    scene = stage(
        {"a": [DOWN] * 9, "b": [DOWN] * 9},
        providers=SMALL,
        manager={"max_attempts": 1},
        **steps({"step": "smaller_model", "to_model": "small"}, {"step": "shorter_answer", "max_tokens": 5}),
    )
    error = scene.failed_chat(ServiceUnavailableError)
    assert len(error.attempts) == len(scene.a.calls) + len(scene.b.calls) == 1


def test_all_attempts_are_told_when_no_step_helps(stage):
    scene = stage({"a": [DOWN], "b": [DOWN]}, providers=SMALL, **steps({"step": "smaller_model", "to_model": "small"}))
    assert len(scene.failed_chat(ServiceUnavailableError).attempts) == 2


@pytest.mark.parametrize("kind", ["smaller_model", "shorter_answer"])
def test_a_stream_degrades_before_its_first_chunk(stage, kind):
    table = {"to_model": "small"} if kind == "smaller_model" else {"max_tokens": 5}
    scene = stage({"a": [DOWN, ["o", "k"]], "b": [["o", "k"]]}, providers=SMALL, **steps({"step": kind, **table}))

    async def body(manager):
        return [chunk.text async for chunk in manager.generate_chat_stream("hi", model="m") if chunk.text]

    assert scene.run(body) == ["o", "k"]
    assert scene.events_of(RequestFinished)[0].degraded == kind
