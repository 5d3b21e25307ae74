"""What an answer costs, and who gets it from the cache."""

from __future__ import annotations

import pytest

from apex_llm_core.errors import ServiceUnavailableError
from apex_llm_core.models import Caller, Candidate, RequestFinished, Usage
from apex_llm_core.routing.flight import cost_of

CACHED = {"manager": {"cache_enabled": True, "cache_ttl": 60}}


async def texts(stream):
    return [chunk.text async for chunk in stream if chunk.text]


class TestCache:
    def test_answers_the_second_time(self, stage):
        scene = stage({"a": ["first", "second"]}, **CACHED)

        async def body(manager):
            return [await manager.generate_chat("hi", model="m") for _ in range(2)]

        first, second = scene.run(body)
        assert (first.message.text, first.cached) == ("first", False)
        assert (second.message.text, second.cached, second.attempts) == ("first", True, ())
        assert scene.called == "a"
        assert [event.cached for event in scene.events_of(RequestFinished)] == [False, True]

    def test_a_fallback_models_answer_is_not_kept(self, stage):
        scene = stage(
            {"a": [ServiceUnavailableError("down")], "b": []},
            providers={"b": {"models": [{"id": "other"}]}},
            fallback={"models": {"m": ["other"]}},
            **CACHED,
        )

        async def body(manager):
            return [(await manager.generate_chat("hi", model="m")).model for _ in range(3)]

        assert scene.run(body) == ["other", "m", "m"]
        assert len(scene.a.calls) == 2

    def test_answers_embeddings_text_and_streams_but_no_images(self, stage):
        scene = stage({"a": []}, **CACHED)

        async def body(manager):
            counts = []
            for call in (
                lambda: manager.generate_embedding("hi", model="m"),
                lambda: manager.generate_text("hi", model="m"),
                lambda: manager.generate_image("hi", model="m"),
                lambda: texts(manager.generate_chat_stream("hi", model="m")),
            ):
                before = len(scene.a.calls)
                await call()
                await call()
                counts.append(len(scene.a.calls) - before)
            return counts

        assert scene.run(body) == [1, 1, 2, 1]

    @pytest.mark.parametrize(
        ("first", "second", "calls"),
        [
            ({}, {"no_cache": True}, 2),
            ({"no_cache": True}, {}, 2),
            ({"temperature": 0.1}, {"temperature": 0.2}, 2),
            ({"caller": Caller(user="alice")}, {"caller": Caller(user="bob")}, 2),
            ({"caller": Caller(user="alice")}, {}, 2),
            ({"caller": Caller(user="alice")}, {"caller": Caller(user="alice")}, 1),
            ({"timeout": 5, "deadline": 9, "retry_count": 0}, {}, 1),
        ],
    )
    def test_who_shares_an_answer(self, stage, first, second, calls):
        scene = stage({"a": []}, **CACHED)

        async def body(manager):
            await manager.generate_chat("hi", model="m", **first)
            await manager.generate_chat("hi", model="m", **second)

        scene.run(body)
        assert len(scene.a.calls) == calls

    def test_forgets_after_its_time_and_keeps_no_failure(self, stage):
        scene = stage({"a": [ServiceUnavailableError("down")]}, **CACHED)

        async def body(manager):
            with pytest.raises(ServiceUnavailableError):
                await manager.generate_chat("hi", model="m")
            for _ in range(2):
                await manager.generate_chat("hi", model="m")
            scene.clock.advance(61)
            await manager.generate_chat("hi", model="m")

        scene.run(body)
        assert len(scene.a.calls) == 3

    def test_is_off_by_default(self, stage):
        scene = stage({"a": []})

        async def body(manager):
            for _ in range(2):
                await manager.generate_chat("hi", model="m")

        scene.run(body)
        assert len(scene.a.calls) == 2


class TestCost:
    @pytest.mark.parametrize(
        ("prompt", "completion", "input_price", "output_price", "expected"),
        [
            (10, 5, 0.5, 2.0, 15.0),
            (10, 0, 0.5, None, 5.0),
            (10, 5, 0.5, None, None),
            (10, 5, None, 2.0, None),
            (10, 5, 0.0, 0.0, 0.0),
            (0, 0, None, None, 0.0),
        ],
    )
    def test_needs_every_price_that_matters(self, prompt, completion, input_price, output_price, expected):
        candidate = Candidate(
            provider="a", model="m", cost_per_input_token=input_price, cost_per_output_token=output_price
        )
        assert cost_of(candidate, Usage(prompt_tokens=prompt, completion_tokens=completion)) == expected

    def test_without_usage_is_unknown(self):
        assert cost_of(Candidate(provider="a", model="m", cost_per_input_token=1.0), None) is None

    def test_is_told_with_the_result_and_the_event(self, stage):
        prices = {"models": [{"id": "m", "cost_per_input_token": 0.5, "cost_per_output_token": 2}]}
        scene = stage({"a": []}, providers={"a": prices})
        assert scene.chat().cost == 15
        assert [event.cost for event in scene.events_of(RequestFinished)] == [15]


def test_the_cache_keeps_as_many_answers_as_configured(stage):
    scene = stage({"a": []}, cache={"max_entries": 1}, **CACHED)

    async def body(manager):
        for prompt in ("one", "two", "one", "one"):
            await manager.generate_chat(prompt, model="m")

    scene.run(body)
    assert len(scene.a.calls) == 3
