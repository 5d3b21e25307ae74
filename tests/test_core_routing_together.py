"""Policies that meet in one request: hedges, bulkheads, limits, breakers, cache, degradation and shadows at once."""

from __future__ import annotations

import asyncio
import json
from random import Random

import pytest

from apex_llm_core import Caller
from apex_llm_core.errors import (
    ConfigurationError,
    ContextLengthExceededError,
    InvalidRequestError,
    LLMError,
    LLMTimeoutError,
    RateLimitError,
    ServiceUnavailableError,
    UnsupportedParameterError,
)
from apex_llm_core.markers import hookimpl
from apex_llm_core.models import ChatGenerationChunk, FellBack, RequestFinished
from apex_llm_core.models.events import BreakerChanged, ShadowFinished

PRICED = [{"id": "m", "cost_per_input_token": 0.001, "cost_per_output_token": 0.01}]


def down(message="down"):
    return ServiceUnavailableError(message, retryable=False)


def ask(manager, **keywords):
    return asyncio.ensure_future(manager.generate_chat("hi", **{"model": "m", **keywords}))


class TestRoom:
    @pytest.mark.parametrize("wait", [0, 30])
    def test_a_provider_that_has_room_again_is_asked_at_once(self, stage, wait):
        scene = stage({"a": [[1.0, "first"], "second"], "b": [[2.0, down()]]}, concurrency={"max": 1, "wait": wait})

        async def body(manager):
            first = ask(manager)
            await asyncio.sleep(0.5)
            second = await ask(manager)
            await first
            scene.assert_settled(manager)
            return second.provider, scene.clock()

        start = scene.clock()
        provider, end = scene.run(body)
        assert (provider, end - start) == ("a", pytest.approx(2.5))

    def test_whose_breaker_opens_meanwhile_is_told_as_closed(self, stage):
        scene = stage(
            {"a": [[1.0, RateLimitError("busy", retry_after=500)]]},
            concurrency={"max": 1, "wait": 5},
            providers={"a": {"retry_count": 0}},
            manager={"circuit_breaker_threshold": 1},
        )

        async def body(manager):
            first = ask(manager)
            await asyncio.sleep(0.5)
            second = ask(manager)
            await asyncio.sleep(0.1)
            manager.set_breaker("a", action="isolate")
            with pytest.raises(ServiceUnavailableError, match="opened by hand"):
                await second
            with pytest.raises(RateLimitError):
                await first
            scene.assert_settled(manager)

        scene.run(body)

    def test_a_retry_waits_for_room_once(self, stage):
        scene = stage(
            {"a": [ServiceUnavailableError("down"), [100.0, "long"]]},
            concurrency={"max": 1, "wait": 5},
            providers={"a": {"retry_count": 1}},
            retry={"base": 1.0},
        )

        async def body(manager):
            start = scene.clock()
            first = ask(manager)
            await asyncio.sleep(0.01)
            second = ask(manager)
            with pytest.raises(ServiceUnavailableError):
                await first
            took = scene.clock() - start
            await second
            return took

        assert scene.run(body) < 5 + 2.1

    def test_a_wait_that_ends_with_the_deadline_begins_nothing(self, stage):
        scene = stage(
            {"a": [[20.0, "long"]], "b": []}, concurrency={"max": 1, "wait": 30}, providers={"b": {"priority": 5}}
        )

        async def body(manager):
            manager.set_breaker("b", action="open")
            first = ask(manager)
            await asyncio.sleep(0.1)
            with pytest.raises(LLMError):
                await ask(manager, deadline=3.0)
            await first
            return scene.called

        assert scene.run(body) == "a"

    def test_who_waits_for_a_provider_that_leaves_leaves_no_trace(self, stage):
        scene = stage(
            {"a": [[3.0, "long"]], "b": []},
            concurrency={"max": 1, "wait": 20},
            providers={"b": {"models": [{"id": "n"}]}},
        )

        async def body(manager):
            first = ask(manager)
            await asyncio.sleep(0.1)
            second = ask(manager)
            await asyncio.sleep(0.1)
            await manager.deregister_provider("a")
            with pytest.raises(LLMError):
                await second
            await first
            await asyncio.sleep(1)
            return [breaker["provider"] for breaker in manager.breakers()], manager.stats()["concurrency"]

        breakers, rooms = scene.run(body)
        assert breakers == ["b"]
        assert [room["provider"] for room in rooms] == ["b"]


class TestRace:
    def hedged(self, stage, scripts, **tables):
        return stage(scripts, hedging={"enabled": True, "delay": 1.0}, **tables)

    def test_what_the_hedge_does_not_take_is_not_kept_from_the_first(self, stage):
        scene = self.hedged(
            stage,
            {"a": [[3.0, down()], "again"], "b": [[0.1, UnsupportedParameterError("no", parameters=["top_p"])], "b"]},
            fallback={"missing_features": "drop"},
        )
        result = scene.chat(top_p=0.5)
        assert (result.provider, scene.called) == ("b", "abb")
        assert scene.b.requests[-1].options.top_p is None

    def test_a_refusal_of_the_first_is_final_whatever_the_hedge_says(self, stage):
        scene = self.hedged(stage, {"a": [[2.0, InvalidRequestError("bad")]], "b": [[5.0, down()]], "c": ["c"]})
        error = scene.failed_chat(LLMError)
        assert (error.message, scene.called) == ("bad", "ab")

    def test_a_window_too_small_for_the_first_is_remembered(self, stage):
        scene = self.hedged(
            stage,
            {"a": [[2.0, ContextLengthExceededError("long")]], "b": [[5.0, down()]], "c": ["c"], "d": ["d"]},
            providers={
                "a": {"models": [{"id": "m", "max_tokens": 1000}]},
                "c": {"models": [{"id": "m", "max_tokens": 1000}]},
            },
        )
        assert scene.chat().provider == "d"

    def test_the_record_tells_of_the_hedge(self, stage):
        scene = self.hedged(stage, {"a": [[5.0, "slow"]], "b": ["b"], "c": []})

        async def body(manager):
            await manager.generate_chat("hi", model="m")
            return manager.decisions()[0]

        verdicts = {c.provider: c.verdict for c in scene.run(body).candidates}
        assert verdicts == {"a": "taken", "b": "taken", "c": "not_reached"}

    def test_the_record_tells_whose_attempt_failed(self, stage):
        scene = self.hedged(stage, {"a": [[1.5, down()]], "b": [[2.0, "b"]]})

        async def body(manager):
            await manager.generate_chat("hi", model="m")
            return manager.decisions()[0]

        verdicts = {c.provider: c.verdict for c in scene.run(body).candidates}
        assert verdicts == {"a": "failed", "b": "taken"}

    def test_a_degraded_answer_costs_what_its_hedge_cost(self, stage):
        models = [{**PRICED[0]}]
        small = [{**PRICED[0], "id": "small"}]
        scene = self.hedged(
            stage,
            {"a": [down()], "b": [[10.0, "slow"]], "c": ["c"]},
            providers={"a": {"models": models}, "b": {"models": small}, "c": {"models": small}},
            degradation=[{"step": "smaller_model", "to_model": "small"}],
        )
        result = scene.chat()
        assert result.provider == "c"
        assert result.cost == pytest.approx(10 * 0.001 + 5 * 0.01 + 4 * 0.001)
        assert len(result.attempts) == 3

    def test_a_stream_closed_after_its_usage_costs_what_its_hedge_cost(self, stage, scripted):
        scene = self.hedged(
            stage,
            {"a": [[10.0, "slow"]], "b": ["b"]},
            providers={"a": {"models": PRICED}, "b": {"models": PRICED}},
        )

        async def body(manager):
            async with manager.generate_chat_stream("hi", model="m") as stream:
                async for chunk in stream:
                    if chunk.finish_reason:
                        break

        scene.run(body)
        [end] = scene.events_of(RequestFinished)
        assert (end.outcome, end.cost) == ("ok", pytest.approx(10 * 0.001 + 5 * 0.01 + 4 * 0.001))

    def test_a_stream_that_breaks_after_its_usage_costs_what_its_hedge_cost(self, stage, scripted):
        scene = self.hedged(
            stage,
            {"a": [[10.0, "slow"]], "b": []},
            providers={"a": {"models": PRICED}, "b": {"models": PRICED}},
        )

        class Breaking(scripted.ScriptedProvider):
            @hookimpl
            async def apex_stream(self, request, context):
                yield [ChatGenerationChunk(text="b", usage=self.usage)]
                raise down()

        scene.providers["b"] = Breaking()

        async def body(manager):
            with pytest.raises(ServiceUnavailableError):
                async for _ in manager.generate_chat_stream("hi", model="m"):
                    pass

        scene.run(body)
        [end] = scene.events_of(RequestFinished)
        assert end.cost == pytest.approx(10 * 0.001 + 5 * 0.01 + 4 * 0.001)


class TestFallback:
    def test_a_chain_of_larger_windows_is_gone_along_once(self, stage):
        long = ContextLengthExceededError("long")
        scene = stage(
            {"a": [long], "b": [long], "c": [down(), "again"]},
            providers={"c": {"models": [{"id": "large"}]}},
            fallback={"context_length": {"m": ["large"]}},
        )
        error = scene.failed_chat(LLMError)
        assert scene.called == "acb"
        assert error.attempts[-1].provider == "b"

    def test_a_model_named_in_two_chains_is_asked_once(self, stage):
        scene = stage(
            {"a": [ContextLengthExceededError("long")], "c": [down(), "again"]},
            providers={"c": {"models": [{"id": "large"}]}},
            fallback={"context_length": {"m": ["large"]}, "models": {"m": ["large"]}},
        )
        scene.failed_chat(LLMError)
        assert scene.called == "ac"

    def test_whose_breaker_is_due_when_all_others_failed_is_asked(self, stage):
        scene = stage({"a": [], "b": [[20.0, down()]]}, manager={"circuit_breaker_reset_timeout": 10})

        async def body(manager):
            manager.set_breaker("a", action="open")
            return (await manager.generate_chat("hi", model="m")).provider

        assert scene.run(body) == "a"

    def test_an_exhausted_request_tells_what_is_worth_telling(self, stage):
        scene = stage(
            {"a": [down("the cause")], "b": [UnsupportedParameterError("no", parameters=["top_p"])], "c": []},
            manager={"max_attempts": 2},
        )
        assert scene.failed_chat(LLMError, top_p=0.5).message == "the cause"


class TestShadow:
    def routes(self, **route):
        return [{"model": "m", **route}]

    def shadowed(self, scene, **keywords):
        async def body(manager):
            result = await manager.generate_chat("hi", **{"model": "m", **keywords})
            await asyncio.sleep(1)
            scene.assert_settled(manager)
            return result

        return scene.run(body)

    @pytest.mark.parametrize("route", [{"shadow_provider": "b"}, {"shadow_model": "n"}])
    def test_who_names_a_provider_is_copied_to_no_other(self, stage, route):
        both = [{"id": "m"}]
        scene = stage(
            {"a": [], "b": []},
            providers={"a": {"models": both}, "b": {"models": [*both, {"id": "n"}]}},
            routes=self.routes(**route),
        )
        self.shadowed(scene, provider="a")
        assert scene.called == "a"

    def test_a_copy_to_the_named_provider_is_made(self, stage):
        scene = stage(
            {"a": [], "b": []},
            providers={"a": {"models": [{"id": "m"}, {"id": "n"}]}, "b": {"models": [{"id": "m"}, {"id": "n"}]}},
            routes=self.routes(shadow_model="n"),
        )
        self.shadowed(scene, provider="a")
        assert [request.model for request in scene.a.requests] in (["m", "n"], ["n", "m"])

    def test_a_copy_neither_forces_a_breaker_nor_waits_for_room(self, stage):
        scene = stage(
            {"a": [], "b": []}, providers={"b": {"models": [{"id": "n"}]}}, routes=self.routes(shadow_model="n")
        )

        async def body(manager):
            manager.set_breaker("b", action="open")
            await manager.generate_chat("hi", model="m")
            await asyncio.sleep(1)

        scene.run(body)
        assert scene.called == "a"
        assert [event.outcome for event in scene.events_of(ShadowFinished)] == ["service_unavailable_error"]

    def test_fallbacks_of_a_copy_are_not_told_as_the_requests(self, stage):
        n = {"models": [{"id": "n"}]}
        scene = stage(
            {"a": [], "b": [down()], "c": []}, providers={"b": n, "c": n}, routes=self.routes(shadow_model="n")
        )
        self.shadowed(scene)
        assert scene.events_of(FellBack) == []


def test_requests_that_a_reload_finds_in_a_middleware_are_counted(stage, scripted):
    class Slow:
        @hookimpl
        async def apex_around_generate(self, request, context, call_next):
            await asyncio.sleep(1.0)
            return await call_next(request, context)

    scene = stage(
        {"a": []},
        plugins=[scripted.Plugin(lambda registrar: registrar.middleware("slow", lambda *_: Slow()))],
        middleware=[{"type": "slow"}],
    )

    async def body(manager):
        request = ask(manager)
        await asyncio.sleep(0.5)
        await manager.reload()
        await request
        return manager.stats()["governor"]

    counts = scene.run(body)
    assert (counts["requests"], counts["amplification"]) == (1, 1.0)


class TestMemory:
    def test_who_waited_for_the_same_request_until_its_deadline_asks_nobody(self, stage):
        scene = stage({"a": [[2.05, down()]]}, manager={"cache_enabled": True})

        async def body(manager):
            first = ask(manager)
            await asyncio.sleep(0.0)
            with pytest.raises(LLMTimeoutError, match="before anybody was asked"):
                await ask(manager, deadline=2.0)
            with pytest.raises(ServiceUnavailableError):
                await first

        scene.run(body)
        assert scene.called == "a"

    def test_a_stream_from_memory_left_early_is_told_as_one(self, stage):
        scene = stage({"a": ["hello"]}, manager={"cache_enabled": True})

        async def body(manager):
            await manager.generate_chat("hi", model="m")
            async with manager.generate_chat_stream("hi", model="m") as stream:
                async for _ in stream:
                    break
            return manager.stats()["requests"]

        requests = scene.run(body)
        assert [event.cached for event in scene.events_of(RequestFinished)] == [False, True]
        assert sum(counts["prompt_tokens"] for counts in requests) == 10
        assert sum(counts["from_cache"] for counts in requests) == 1

    def test_sessions_of_the_same_name_under_different_keys_are_different_ones(self, stage):
        scene = stage({"a": [down()], "b": []})

        async def body(manager):
            providers = []
            for key in ("one", "two"):
                caller = Caller(session="s", key=key)
                providers.append((await manager.generate_chat("hi", model="m", caller=caller)).provider)
            return providers

        assert scene.run(body) == ["b", "a"]


def test_all_documents_are_json(stage):
    scene = stage(
        {"a": [], "b": []},
        concurrency={"max": 2},
        limits=[{"name": "l", "requests": 10}, {"name": "k", "scope": "provider", "tokens": 10, "per": 1e9}],
        manager={"cache_enabled": True},
    )

    async def body(manager):
        manager.set_breaker("b", action="isolate")
        json.dumps(manager.breakers(), allow_nan=False)
        json.dumps(manager.stats(), allow_nan=False)
        await manager.generate_chat("hi", model="m")
        json.dumps(manager.stats(), allow_nan=False)
        json.dumps(manager.breakers(), allow_nan=False)

    scene.run(body)


@pytest.mark.parametrize("seed", range(20))
def test_what_is_explained_is_what_happens_and_explaining_changes_nothing(stage, seed):
    random = Random(seed)
    names = "abcd"
    models = [{"id": "m"}, {"id": "n"}]
    scene = stage(
        {name: [] for name in names},
        providers={
            name: {"priority": random.choice([0, 0, 1]), "weight": random.choice([0, 1, 5]), "models": models}
            for name in names
        },
        load_balancer={"algorithm": random.choice(["weighted", "p2c", "least_busy"])},
        concurrency=random.choice([{}, {"max": 1, "wait": 0}]),
        manager=random.choice([{}, {"default_provider": "c"}]),
        routes=random.choice([[], [{"model": "m", "to_model": "n", "percentage": 50}]]),
        limits=random.choice([[], [{"name": "l", "scope": "provider", "match": "a", "requests": 2}]]),
    )

    async def state(manager):
        return (
            manager._generation.runtime.random.getstate(),
            manager.breakers(),
            manager.stats(),
            await manager.get_limits(),
            manager.decisions(),
        )

    async def body(manager):
        for number in range(25):
            for name in names:
                if random.random() < 0.2:
                    manager.set_breaker(name, action=random.choice(["isolate", "open", "close"]))
            busy = random.choice(names)
            scene.providers[busy].script.append([0.5, "busy"])
            held = ask(manager, provider=busy)
            await asyncio.sleep(0.01)
            caller = Caller(user=random.choice("xy"), session=random.choice([None, "s"]), request_id=f"r{number}")
            model = random.choice([{}, {"model": "m"}])
            before = await state(manager)
            decision = manager.explain("hi", caller=caller, **model)
            assert await state(manager) == before
            taken = [c.provider for c in decision.candidates if c.verdict == "taken"]
            for provider in scene.providers.values():
                provider.script.clear()
            try:
                answered = [(await manager.generate_chat("hi", caller=caller, **model)).provider]
            except LLMError:
                answered = []
            assert taken == answered
            await asyncio.gather(held, return_exceptions=True)
            await asyncio.sleep(random.choice([0, 1, 20]))

    scene.run(body)


def test_a_reload_that_fails_leaves_everything_to_the_earlier_generation(stage):
    scene = stage({"a": [[2.0, "held"], RateLimitError("busy", retry_after=5)]}, concurrency={"max": 1, "wait": 10})

    async def body(manager):
        held = ask(manager)
        await asyncio.sleep(0.5)
        waiting = ask(manager)
        await asyncio.sleep(0.1)
        with pytest.raises(ConfigurationError):
            await manager.reload({**scene.config, "manager": {"selection_strategy": "nobody's"}})
        await held
        with pytest.raises(RateLimitError):
            await waiting
        scene.assert_settled(manager)

    scene.run(body)
    [opened] = scene.events_of(BreakerChanged)
    assert (opened.provider, opened.current) == ("a", "open")


@pytest.mark.parametrize("bound", [1, 2])
def test_who_waits_for_room_gets_it_although_a_reload_comes_between(stage, bound):
    scene = stage({"a": [[2.0, "held"], "waited"]}, concurrency={"max": 1, "wait": 10})

    async def body(manager):
        held = ask(manager)
        await asyncio.sleep(0.5)
        waiting = ask(manager)
        await asyncio.sleep(0.1)
        await manager.reload({**scene.config, "concurrency": {"max": bound, "wait": 10}})
        await held
        assert (await waiting).message.text == "waited"
        scene.assert_settled(manager)

    scene.run(body)
