from __future__ import annotations

import asyncio

import attrs
import pytest

from apex_llm_core.config.loading import parse_provider
from apex_llm_core.config.schema import AuthConfig, ModelConfig, ProviderConfig
from apex_llm_core.errors import (
    ConfigurationError,
    ConfigurationWarning,
    InvalidRequestError,
    ModelNotFoundError,
    PluginError,
    ServiceUnavailableError,
)
from apex_llm_core.manager import LLMProviderManager
from apex_llm_core.markers import hookimpl
from apex_llm_core.models import PluginFailed
from apex_llm_core.redaction import Secret
from apex_llm_core.testing import FakeClock, run_virtual


class Instance:
    """Notes when it is started and stopped; fails where it is told to."""

    def __init__(self, name, life, fails=()):
        self.name, self.life, self.fails = name, life, fails

    async def note(self, what):
        await asyncio.sleep(0)
        self.life.append(f"{what} {self.name}")
        if what in self.fails:
            raise LookupError(f"{self.name} cannot {what}")

    @hookimpl
    async def apex_startup(self, runtime):
        await self.note("start")

    @hookimpl
    async def apex_shutdown(self, runtime):
        await self.note("stop")


class Provider(Instance):
    @hookimpl
    async def apex_embed(self, request, context):
        raise AssertionError


class Strategy(Instance):
    @hookimpl
    def apex_select(self, request, candidates, turn):
        return candidates


class Middleware(Instance):
    @hookimpl
    async def apex_around_generate(self, request, context, call_next):
        return await call_next(request, context)


class SecretScheme(Instance):
    @hookimpl
    async def apex_resolve_secret(self, reference):
        return Secret("value")


class Store(Instance):
    @hookimpl
    def apex_state_store(self, config):
        return self

    async def close(self):
        self.life.append("close store")


@pytest.fixture
def whole(scripted):
    """Make a manager with one instance of every kind that has a place in the configuration."""

    def whole(life, fails=None):
        fails = fails or {}

        def made(kind, name):
            return lambda config, settings, runtime: kind(name, life, fails.get(name, ()))

        def register(registrar):
            registrar.provider(
                "acme",
                lambda config, settings, runtime: Provider(config.name, life, fails.get(config.name, ())),
                auth=["api_key"],
            )
            registrar.strategy("choose", made(Strategy, "strategy"))
            registrar.middleware("audit", lambda config, settings, runtime: Middleware("middleware", life))
            registrar.secret_scheme("vault", made(SecretScheme, "secrets"))
            registrar.state_store("disk", made(Store, "store"))

        config = {
            "providers": [
                {
                    "name": name,
                    "type": "acme",
                    "auth": {"type": "api_key", "credentials": {"api_key": "vault:acme"}},
                    "models": [{"id": "m"}],
                }
                for name in ("first", "second")
            ],
            "manager": {"selection_strategy": "choose", "cache_enabled": True},
            "state": {"type": "disk"},
            "middleware": [{"type": "audit"}],
        }
        return LLMProviderManager(config, plugins=[scripted.Plugin(register)], environ={}, clock=FakeClock())

    return whole


ORDER = ["secrets", "store", "strategy", "middleware", "first", "second"]


def starts(names):
    return [f"start {name}" for name in names]


def stops(names):
    return [f"stop {name}" for name in reversed(names)]


async def run(manager):
    async with manager:
        pass


def test_started_in_order_and_stopped_in_reverse(whole):
    life = []
    run_virtual(run(whole(life)))
    assert life == [*starts(ORDER), *stops(ORDER), "close store"]


def test_a_failed_start_stops_what_has_started(whole):
    life = []
    with pytest.raises(PluginError, match="apex_startup failed: LookupError: strategy cannot start") as caught:
        run_virtual(run(whole(life, {"strategy": {"start"}})))
    assert isinstance(caught.value.__cause__, LookupError)
    assert life == [*starts(["secrets", "store", "strategy"]), *stops(["secrets", "store"]), "close store"]


def test_a_provider_that_cannot_start_does_not_stop_the_others(whole):
    life = []
    with pytest.warns(UserWarning, match="first cannot start.*going on without it"):
        run_virtual(run(whole(life, {"first": {"start"}})))
    assert "start second" in life
    assert "stop first" not in life


@pytest.mark.parametrize("error", [ServiceUnavailableError("503 for Bearer canary-4711"), LookupError("no such thing")])
def test_a_provider_whose_upstream_is_down_does_not_stop_the_others(stage, scripted, error):
    class Unlucky(scripted.ScriptedProvider):
        @hookimpl
        async def apex_startup(self, runtime):
            raise error

    scene = stage({"a": [], "b": []})
    scene.providers["a"] = Unlucky()

    async def body(manager):
        [failure] = manager.failures
        return (await manager.generate_chat("hi", model="m")).provider, failure

    with pytest.warns(UserWarning, match=f"apex_startup failed: {type(error).__name__}.*going on without it") as told:
        provider, failure = scene.run(body)
    assert (provider, failure.plugin, failure.__cause__) == ("b", "provider:a", error)
    assert "canary" not in str(failure) + str(told[0].message)


def test_a_failed_stop_is_reported_and_the_others_are_stopped(whole):
    life, events = [], []
    manager = whole(life, {"second": {"stop"}, "store": {"stop"}})
    manager.subscribe("test", events.append)
    run_virtual(run(manager))
    assert life == [*starts(ORDER), *stops(ORDER), "close store"]
    failed = [(event.plugin, event.message) for event in events if isinstance(event, PluginFailed)]
    assert failed == [
        ("provider:second", "apex_shutdown failed: LookupError: second cannot stop"),
        ("state_store:disk", "apex_shutdown failed: LookupError: store cannot stop"),
    ]


def test_a_cancelled_start_stops_what_has_started(whole):
    for steps in range(1, 200):
        life = []
        manager = whole(life)

        async def body(manager=manager, steps=steps):
            task = asyncio.ensure_future(manager.start())
            for _ in range(steps):
                await asyncio.sleep(0)
            if task.done():
                await manager.close()
                return False
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            return True

        more = run_virtual(body())
        assert sorted(entry.removeprefix("start ") for entry in life if entry.startswith("start")) == sorted(
            entry.removeprefix("stop ") for entry in life if entry.startswith("stop")
        )
        if not more:
            break
    assert len(life) == 2 * len(ORDER) + 1


def test_starting_and_closing_twice_is_once(whole):
    life = []

    async def body():
        manager = whole(life)
        await asyncio.gather(manager.start(), manager.start())
        await manager.start()
        await asyncio.gather(manager.close(), manager.close())
        await manager.close()

    run_virtual(body())
    assert life == [*starts(ORDER), *stops(ORDER), "close store"]


def test_a_closed_manager_can_start_again(stage):
    scene = stage({"a": []})

    async def body():
        manager = scene.make()
        for _ in range(2):
            async with manager:
                await manager.generate_chat("hi", model="m")
        with pytest.raises(RuntimeError, match="not running"):
            await manager.generate_chat("hi", model="m")

    run_virtual(body(), clock=scene.clock)
    assert [what for what, _ in scene.a.life] == ["startup", "shutdown"] * 2


def test_an_instance_of_a_broken_kind_is_told(scripted):
    plugin = scripted.Plugin(lambda registrar: registrar.strategy("empty", lambda *_: object()))
    config = {"manager": {"selection_strategy": "empty"}, "providers": [{"name": "a", "type": "mock"}]}
    with pytest.raises(PluginError, match="has none of the hooks of a strategy: apex_select"):
        run_virtual(run(LLMProviderManager(config, plugins=[plugin], environ={})))


def test_a_plugin_in_code_must_register(scripted):
    with pytest.raises(PluginError, match="has no apex_register"):
        run_virtual(run(LLMProviderManager({}, plugins=[object()], environ={})))
    with pytest.raises(PluginError, match="Plugin is a class"):
        run_virtual(run(LLMProviderManager({}, plugins=[scripted.Plugin], environ={})))


class TestRegistration:
    def test_of_a_ready_provider(self, stage, scripted):
        scene = stage({"a": []})
        added = scripted.ScriptedProvider(["from b"])

        async def body(manager):
            handle = await manager.register_provider(added, name="b", models=["n"])
            assert (handle.get_name(), [model.id for model in handle.models]) == ("b", ["n"])
            first = await manager.generate_chat("hi", model="n")
            await manager.deregister_provider("b")
            gone = [
                type(await outcome(manager, model="n")).__name__,
                type(await outcome(manager, provider="b")).__name__,
            ]
            return first.message.text, gone

        assert scene.run(body) == ("from b", ["ModelNotFoundError"] * 2)
        assert [what for what, _ in added.life] == ["startup", "shutdown"]
        kinds = [type(event).__name__ for event in scene.events]
        assert kinds.index("ProviderRegistered") < kinds.index("ProviderDeregistered")

    def test_by_its_type(self, stage):
        scene = stage({"a": []})
        scene.providers["b"] = type(scene.a)(["from b"])

        async def body(manager):
            await manager.register_provider(
                config={"name": "b", "type": "scripted", "priority": -1, "models": [{"id": "m"}]}
            )
            return (await manager.generate_chat("hi", model="m")).provider

        assert scene.run(body) == "b"

    def test_of_what_does_not_work_changes_nothing(self, stage, scripted):
        scene = stage({"a": [], "off": []}, providers={"off": {"enabled": False}})

        class Broken(scripted.ScriptedProvider):
            @hookimpl
            def apex_capabilities(self):
                raise LookupError

        broken = Broken()

        async def body(manager):
            errors = []
            for provider, more in [
                (scripted.ScriptedProvider(), {"name": "a"}),
                (scripted.ScriptedProvider(), {"name": "off"}),
                (object(), {"name": "b"}),
                (broken, {"name": "b"}),
                (None, {"config": {"name": "b", "type": "scriptd"}}),
                (None, {"config": {"name": "b/c", "type": "scripted"}}),
                (scripted.ScriptedProvider(), {}),
            ]:
                try:
                    await manager.register_provider(provider, **more)
                except Exception as error:
                    errors.append(f"{type(error).__name__}: {error}")
            assert [handle.get_name() for handle in manager.providers] == ["a", "off"]
            # The name of what failed is free.
            await manager.register_provider(scripted.ScriptedProvider(), name="b", models=["m"])
            return errors

        errors = scene.run(body)
        assert [error.partition(":")[0] for error in errors] == [
            "ConfigurationError",
            "ConfigurationError",
            "PluginError",
            "PluginError",
            "ConfigurationError",
            "ConfigurationError",
            "InvalidRequestError",
        ]
        assert "'a'" in errors[0]
        assert "did you mean 'scripted'" in errors[4]
        assert [what for what, _ in broken.life] == ["startup", "shutdown"]

    @pytest.mark.parametrize("ready", [True, False])
    @pytest.mark.parametrize("form", [lambda table: table, lambda table: parse_provider(table)[0]])
    def test_checks_every_configuration(self, stage, scripted, ready, form):
        scene = stage({"a": []})
        scene.providers["b"] = scripted.ScriptedProvider()
        plain = {"name": "b", "type": "scripted", "models": [{"id": "n"}]}

        async def body(manager):
            provider = scripted.ScriptedProvider() if ready else None
            config = attrs.evolve(form(plain), name="b/c") if form(plain) is not plain else {**plain, "name": "b/c"}
            with pytest.raises(ConfigurationError, match="must not contain '/'"):
                await manager.register_provider(provider, config)
            await manager.register_provider(provider, form(plain))
            return (await manager.generate_chat("hi", model="n")).provider

        assert scene.run(body) == "b"

    def test_hides_and_mentions_literal_secrets_of_a_made_configuration(self, stage, scripted):
        scene = stage({"a": []})
        auth = AuthConfig(type="api_key", credentials={"api_key": "canary-4711-value"})
        config = ProviderConfig(name="b", type="b", auth=auth, models=(ModelConfig(id="n"),))

        async def body(manager):
            with pytest.warns(ConfigurationWarning, match="api_key"):
                handle = await manager.register_provider(scripted.ScriptedProvider(), config)
            return repr(handle.config)

        assert "canary" not in scene.run(body)

    @pytest.mark.parametrize(
        ("models", "ids"),
        [
            ("gpt", ["gpt"]),
            ({"id": "gpt"}, ["gpt"]),
            (ModelConfig(id="gpt"), ["gpt"]),
            (["x", {"id": "y"}, ModelConfig(id="z")], ["x", "y", "z"]),
            ((name for name in "xy"), ["x", "y"]),
        ],
    )
    def test_takes_models_in_every_form(self, stage, scripted, models, ids):
        async def body(manager):
            handle = await manager.register_provider(scripted.ScriptedProvider(), name="b", models=models)
            return [model.id for model in handle.models]

        assert stage({"a": []}).run(body) == ids

    @pytest.mark.parametrize(
        ("arguments", "kind", "message"),
        [
            ({"config": 42}, ConfigurationError, "not 42"),
            ({"provider": 1, "config": {"name": "b", "type": "b"}, "name": "c"}, ConfigurationError, "leave out"),
            ({"config": {"name": "b", "type": "scripted"}, "models": "m"}, ConfigurationError, "leave out"),
            ({"provider": 1, "name": 5}, ConfigurationError, "name"),
            ({"provider": 1, "name": "b", "models": 5}, ConfigurationError, "models"),
            ({"provider": 1, "name": "b", "models": [5]}, ConfigurationError, "models"),
            ({"provider": 1, "name": "b", "models": ["m", "m"]}, ConfigurationError, "models"),
            ({"name": "b"}, InvalidRequestError, "needs a config"),
        ],
    )
    def test_refuses_bad_arguments(self, stage, arguments, kind, message):
        async def body(manager):
            with pytest.raises(kind, match=message):
                await manager.register_provider(**arguments)
            return len(manager.providers)

        assert stage({"a": []}).run(body) == 1

    def test_a_deregistered_provider_is_stopped_after_its_last_call(self, stage, scripted):
        scene = stage({"a": []})
        leaving, following = scripted.ScriptedProvider([[5, "late"], ["x", 8, "y"]]), scripted.ScriptedProvider()

        async def body(manager):
            await manager.register_provider(leaving, name="b", models=["n"])
            # One call to a model that no configuration lists.
            whole = asyncio.ensure_future(manager.generate_chat("hi", model="other", provider="b"))
            await asyncio.sleep(1)
            stream = manager.generate_chat_stream("hi", model="n")
            assert (await anext(stream)).text == "x"
            await manager.deregister_provider("b")
            assert isinstance(await outcome(manager, model="n"), ModelNotFoundError)
            # Its name is free at once.
            await manager.register_provider(following, name="b", models=["n"])
            assert (await manager.generate_chat("hi", model="n")).message.text == "ok"
            assert (await whole).message.text == "late"
            await asyncio.sleep(1)
            assert [what for what, _ in leaving.life] == ["startup"]
            assert [chunk.text async for chunk in stream] == ["y", ""]
            await asyncio.sleep(1)
            assert [what for what, _ in leaving.life] == ["startup", "shutdown"]
            assert [what for what, _ in following.life] == ["startup"]

        scene.run(body)

    def test_the_end_of_the_manager_does_not_wait_for_it(self, stage):
        scene = stage({"a": [[1000, "slow"]]})

        async def body(manager):
            task = asyncio.ensure_future(manager.generate_chat("hi", model="m", timeout=0, deadline=0))
            await asyncio.sleep(1)
            await manager.deregister_provider("a")
            await manager.close()
            assert scene.clock() == 1001
            assert [what for what, _ in scene.a.life] == ["startup", "shutdown"]
            return (await task).message.text

        assert scene.run(body) == "slow"

    def test_deregistering_names_the_nearest(self, stage):
        scene = stage({"azure-east": []})

        async def body(manager):
            with pytest.raises(ModelNotFoundError, match="did you mean 'azure-east'"):
                await manager.deregister_provider("azure-eats")

        scene.run(body)

    def test_a_deregistered_provider_is_left_by_requests_under_way(self, stage):
        scene = stage({"a": [[5, ConnectionError("gone")]], "b": []}, providers={"a": {"retry_count": 3}})

        async def body(manager):
            task = asyncio.ensure_future(manager.generate_chat("hi", model="m"))
            await asyncio.sleep(1)
            await manager.deregister_provider("a")
            return (await task).provider

        assert scene.run(body) == "b"


async def outcome(manager, **keywords):
    try:
        return await manager.generate_chat("hi", **keywords)
    except Exception as error:
        return error


def test_no_enabled_provider_in_a_file_is_told(tmp_path):
    file = tmp_path / "apex.toml"
    file.write_text("[manager]\n")
    with pytest.raises(ConfigurationError, match="no provider is enabled"):
        run_virtual(run(LLMProviderManager(file, environ={})))
