from __future__ import annotations

import asyncio
import json
import random

import pytest

from apex_llm_core.errors import (
    ConfigurationError,
    ConfigurationWarning,
    InvalidRequestError,
    RateLimitError,
    ServiceUnavailableError,
)
from apex_llm_core.manager import LLMProviderManager
from apex_llm_core.markers import hookimpl
from apex_llm_core.models import (
    Caller,
    ChatGenerationOptions,
    ChatMessage,
    EmbeddingOptions,
    HealthState,
    HealthStatus,
    ModelInfo,
    ProviderCapabilities,
    TextGenerationOptions,
)
from apex_llm_core.testing import run_virtual


class TestGeneration:
    @pytest.mark.parametrize(
        "messages",
        [
            "hi",
            [ChatMessage(role="user", content="hi")],
            [{"role": "user", "content": "hi"}],
            ({"role": "user", "content": [{"type": "text", "text": "hi"}]},),
            iter([ChatMessage(role="user", content="hi")]),
        ],
        ids=["text", "messages", "mappings", "parts", "iterator"],
    )
    def test_chat_takes_every_form_of_messages(self, stage, messages):
        scene = stage({"a": ["hello"]})
        result = scene.chat(messages)
        assert (result.message.text, result.provider, result.model) == ("hello", "a", "m")
        [message] = scene.a.requests[0].messages
        assert (message.role, message.text) == ("user", "hi")

    @pytest.mark.parametrize(
        ("options", "keywords"),
        [
            (ChatGenerationOptions(model="m", max_tokens=7), {}),
            ({"model": "m", "max_tokens": 7}, {}),
            (None, {"model": "m", "max_tokens": 7}),
            (ChatGenerationOptions(model="x", max_tokens=7), {"model": "m"}),
            ({"model": "m", "max_tokens": 9}, {"max_tokens": 7}),
        ],
    )
    def test_options_are_an_object_a_mapping_or_keywords_which_win(self, stage, options, keywords):
        scene = stage({"a": []})
        scene.run(lambda manager: manager.generate_chat("hi", options, **keywords))
        [request] = scene.a.requests
        assert (request.model, request.options.max_tokens) == ("m", 7)

    def test_text(self, stage):
        scene = stage({"a": ["hello"]})
        result = scene.run(lambda manager: manager.generate_text("hi", TextGenerationOptions(model="m")))
        assert (result.text, result.provider, result.usage.total_tokens, len(result.attempts)) == ("hello", "a", 15, 1)
        [request] = scene.a.requests
        assert (request.kind, request.stream, request.messages[0].text) == ("text", False, "hi")

    def test_embeddings_of_one_or_several_texts(self, stage):
        scene = stage({"a": []})
        one = scene.run(lambda manager: manager.generate_embedding("abc", EmbeddingOptions(model="m")))
        several = scene.run(lambda manager: manager.generate_embedding(iter(["a", "bb"]), model="m"))
        assert one.embedding == (3.0, 1.0)
        assert several.embeddings == ((1.0, 1.0), (2.0, 1.0))

    def test_images(self, stage):
        result = stage({"a": []}).run(lambda manager: manager.generate_image("a cat", model="m"))
        assert (result.images, result.media_type) == (("aW1n",), "image/png")

    def test_every_request_has_its_id_unless_the_caller_brings_one(self, stage):
        scene = stage({"a": []})

        async def body(manager):
            for caller in (Caller(), Caller(), Caller(request_id="mine")):
                await manager.generate_chat("hi", model="m", caller=caller)
            return manager.generate_chat_stream("hi", model="m", caller=Caller(request_id="streamed")).request_id

        assert scene.run(body) == "streamed"
        first, second, third = (context.request_id for context in scene.a.calls)
        assert len({first, second}) == 2
        assert third == "mine"

    def test_the_provider_sees_its_attempt(self, stage):
        scene = stage({"a": [], "b": []}, providers={"a": {"timeout": 12}}, manager={"deadline": 50})
        scene.chat(caller=Caller(user="alice"))
        [context] = scene.a.calls
        assert (context.operation, context.attempt, context.timeout, context.deadline) == ("chat", 1, 12, 1050)
        assert (context.caller.user, context.candidate.provider, context.provider_model_id) == ("alice", "a", "m")


class Informed:
    """A provider that answers questions about itself as it is told."""

    def __init__(self, *, health=None, models=None):
        self.health, self.models = health, models

    @hookimpl
    async def apex_generate(self, request, context):
        raise AssertionError

    @hookimpl
    def apex_capabilities(self):
        return ProviderCapabilities(features={"vision", "image"})

    @hookimpl
    async def apex_health(self, context):
        return await answered(self.health)

    @hookimpl
    async def apex_models(self, context):
        return await answered(self.models)


async def answered(answer):
    if answer is ...:
        await asyncio.sleep(10**5)
    if isinstance(answer, BaseException):
        raise answer
    return answer


def scene_of(stage, **providers):
    scene = stage(dict.fromkeys(providers, ()), manager={"health_timeout": 5})
    scene.providers.update(providers)
    return scene


class TestHealth:
    def test_each_provider_for_itself_and_all_at_once(self, stage, scripted):
        scene = scene_of(
            stage,
            good=Informed(health=HealthStatus(status=HealthState.HEALTHY, latency=0.1)),
            poor=Informed(health=HealthStatus(status=HealthState.DEGRADED)),
            broken=Informed(health=RateLimitError("too many")),
            foreign=Informed(health=KeyError("status")),
            wrong=Informed(health="fine"),
            silent=Informed(health=...),
            mute=Informed(health=...),
            plain=scripted.ScriptedProvider(),
        )
        states = scene.run(lambda manager: manager.get_health())
        assert {name: str(health.status) for name, health in states.items()} == {
            "good": "healthy",
            "poor": "degraded",
            "broken": "unavailable",
            "foreign": "unavailable",
            "wrong": "unavailable",
            "silent": "unavailable",
            "mute": "unavailable",
            "plain": "unknown",
        }
        assert states["good"].latency == 0.1
        assert states["broken"].message == "too many"
        assert "no answer within 5 seconds" in states["silent"].message
        assert scene.clock() == 1005

    def test_is_seen_by_strategies(self, stage):
        scene = scene_of(stage, a=Informed(health=HealthStatus(status=HealthState.DEGRADED)))

        async def body(manager):
            await manager.get_health()
            return manager.providers[0].candidates["m"].live.health

        assert scene.run(body) is HealthState.DEGRADED

    def test_of_disabled_providers_is_not_asked(self, stage):
        scene = stage({"a": [], "b": []}, providers={"b": {"enabled": False}})
        assert set(scene.run(lambda manager: manager.get_health())) == {"a"}


class TestModels:
    def test_are_the_configured_then_those_the_providers_list(self, stage):
        scene = scene_of(
            stage,
            a=Informed(models=[ModelInfo(id="m"), ModelInfo(id="extra", provider_model_id="extra-1")]),
            b=Informed(models=ServiceUnavailableError("down")),
            c=Informed(models=...),
            d=Informed(models=7),
            e=Informed(models=[ModelInfo(id="good"), {"id": "bad"}]),
        )
        with pytest.warns(ConfigurationWarning) as told:
            found = scene.run(lambda manager: manager.get_models())
        assert [str(each.message).split(":")[0] for each in told] == ["provider 'b'", "provider 'c'", "provider 'd'"]
        assert "its models cannot be listed: down" in str(told[0].message)
        assert [(model.provider, model.id) for model in found] == [
            ("a", "m"),
            ("b", "m"),
            ("c", "m"),
            ("d", "m"),
            ("e", "m"),
            ("a", "extra"),
        ]


def test_capabilities_are_narrowed_to_the_hooks(stage, scripted):
    scene = scene_of(stage, a=Informed(), b=scripted.ScriptedProvider())

    async def body(manager):
        return {name: found.features for name, found in manager.get_capabilities().items()}

    assert scene.run(body) == {
        "a": {"text", "chat", "vision"},
        "b": {"text", "chat", "stream", "embed", "image"},
    }


def test_statistics_are_a_document(stage):
    scene = stage({"a": [ServiceUnavailableError("down")], "b": []})

    async def body(manager):
        await manager.generate_chat("hi", model="m")
        return manager.stats()

    stats = scene.run(body)
    assert json.loads(json.dumps(stats, allow_nan=False)) == stats
    [requests] = stats["requests"]
    assert (requests["provider"], requests["outcomes"], requests["prompt_tokens"]) == ("b", {"ok": 1}, 10)
    assert (requests["cost"], requests["cost_unknown"]) == (0.0, 1)
    assert stats["fallbacks"] == [{"from": "a", "to": "b", "count": 1, "reasons": {"service_unavailable_error": 1}}]
    assert stats["saved_by_fallback"] == {"b": 1}
    assert stats["governor"]["amplification"] == 2


def test_the_handles_answer(stage):
    scene = stage({"a": [], "b": []}, providers={"b": {"enabled": False}})

    async def body(manager):
        return [
            (handle.get_name(), handle.get_type(), handle.enabled, len(handle.models)) for handle in manager.providers
        ]

    assert scene.run(body) == [("a", "scripted", True, 1), ("b", "scripted", False, 0)]


def test_requests_run_side_by_side(stage):
    scene = stage({"a": [[10, "a"]] * 50})

    async def body(manager):
        await asyncio.gather(*(manager.generate_chat("hi", model="m") for _ in range(50)))
        scene.assert_settled(manager)

    scene.run(body)
    assert scene.clock() == 1010


def test_the_global_randomness_is_left_alone(stage):
    state = random.getstate()
    stage({"a": [ServiceUnavailableError("down")], "b": []}, providers={"a": {"retry_count": 1}}).chat()
    assert random.getstate() == state


def test_a_manager_that_does_not_run_says_so():
    manager = LLMProviderManager({})
    with pytest.raises(RuntimeError, match="not running; use it as `async with"):
        manager.generate_chat_stream("hi")


class TestLoops:
    """Timers and connections belong to one loop; another one must be told, not served half."""

    def test_another_loop_is_refused_for_what_is_awaited(self, stage):
        manager = LLMProviderManager(stage({"a": []}).config, plugins=stage({"a": []}).plugins, environ={})
        with asyncio.Runner() as first, asyncio.Runner() as second:
            first.run(manager.start())
            calls = [
                lambda: manager.generate_chat("hi", model="m"),
                lambda: manager.generate_embedding("hi", model="m"),
                lambda: anext(manager.generate_chat_stream("hi", model="m")),
                manager.get_health,
                manager.reload,
                lambda: manager.register_provider(config={"name": "b", "type": "scripted"}),
                lambda: manager.deregister_provider("a"),
                manager.start,
                manager.close,
            ]

            async def refused(call):
                with pytest.raises(RuntimeError, match="another event loop; use it there, start one manager for each"):
                    await call()

            for call in calls:
                second.run(refused(call))
                # In another thread, while its own loop runs.
                first.run(asyncio.to_thread(asyncio.run, refused(call)))
            # Who only looks may do so from anywhere.
            assert [handle.get_name() for handle in manager.providers] == ["a"]
            assert manager.stats()["candidates"][0]["attempts"] == 0
            assert manager.config.providers[0].name == "a"
            first.run(manager.close())

    def test_a_closed_manager_starts_in_another(self, stage):
        scene = stage({"a": []})
        manager = scene.make()

        async def once():
            # Several at once: somebody waits for the lock, which then belongs to this loop.
            await asyncio.gather(manager.start(), manager.start())
            answer = await manager.generate_chat("hi", model="m")
            await asyncio.gather(manager.close(), manager.close())
            return answer.message.text

        assert [asyncio.run(once()) for _ in range(2)] == ["ok", "ok"]


def test_the_caller_is_a_caller(stage):
    async def body(manager):
        for caller in ({"user": "u"}, "u", 0):
            with pytest.raises(InvalidRequestError, match=f"'caller' is a {type(caller).__name__}; expected a Caller"):
                await manager.generate_chat("hi", model="m", caller=caller)

    stage({"a": []}).run(body)


@pytest.mark.parametrize("source", [42, [], b"apex.toml", object()])
def test_a_source_of_no_known_kind_is_refused(source):
    async def main():
        async with LLMProviderManager(source, environ={}):
            pass

    with pytest.raises(ConfigurationError, match=f"not a {type(source).__name__}"):
        run_virtual(main())


def test_what_a_health_check_says_is_scrubbed(stage):
    health = HealthStatus(
        status=HealthState.DEGRADED, message="api_key=canary-4711", details={"hint": "Bearer canary-4711", "code": 3}
    )
    scene = scene_of(stage, a=Informed(health=health))
    status = scene.run(lambda manager: manager.get_health())["a"]
    assert status == HealthStatus(
        status=HealthState.DEGRADED, message="api_key=***", details={"hint": "Bearer ***", "code": 3}
    )


class TestSubscriptions:
    def test_do_not_replace_the_managers_own(self, stage):
        seen = []

        async def body(manager):
            for name in ("metrics", "log"):
                manager.subscribe(name, seen.append)
            await manager.generate_chat("hi", model="m")
            return manager.stats()["requests"]

        assert len(stage({"a": []}).run(body)) == 1
        assert seen

    @pytest.mark.parametrize(("name", "observe"), [("x", None), ("x", 5), (5, print)])
    def test_of_what_cannot_be_called_are_refused(self, stage, name, observe):
        async def body(manager):
            with pytest.raises(InvalidRequestError, match="observer"):
                manager.subscribe(name, observe)
            await manager.reload()

        stage({"a": []}).run(body)


class TestProxies:
    def test_of_the_environment_are_used(self, stage, monkeypatch):
        made = []
        monkeypatch.setattr(
            "apex_llm_core.assembly.generation.AiohttpClient", lambda **settings: made.append(settings) or Closing()
        )
        stage({"a": []}).chat()
        assert made == [{"trust_env": True, "ca_file": ""}]

    def test_are_the_business_of_a_client_that_is_given(self, stage, monkeypatch):
        monkeypatch.setattr("apex_llm_core.assembly.generation.AiohttpClient", None)
        scene, http = stage({"a": []}), object()

        async def main():
            async with LLMProviderManager(scene.config, plugins=scene.plugins, environ={}, http=http):
                return scene.a.life[0][1].http

        assert run_virtual(main()) is http


class Closing:
    async def close(self):
        pass
