from __future__ import annotations

import asyncio
import copy

import pytest

from apex_llm_core.errors import ConfigurationError, PluginError, ServiceUnavailableError
from apex_llm_core.models import BreakerChanged, ConfigurationReloaded, RequestFinished

DOWN = ServiceUnavailableError("down")


def changed(scene, **providers):
    """Return the scene's configuration with these keys of its providers changed; None takes a provider out."""
    config = copy.deepcopy(scene.config)
    config["providers"] = [
        {**provider, **(providers.get(provider["name"], {}))}
        for provider in config["providers"]
        if providers.get(provider["name"], {}) is not None
    ]
    return config


async def ask(manager, **keywords):
    return (await manager.generate_chat("hi", **{"model": "m", **keywords})).provider


def life(provider):
    return [what for what, _ in provider.life]


def test_the_new_configuration_is_in_force(stage):
    scene = stage({"a": [], "b": []})

    async def body(manager):
        before = await ask(manager)
        await manager.reload(changed(scene, a=None))
        return before, await ask(manager), [handle.get_name() for handle in manager.providers]

    assert scene.run(body) == ("a", "b", ["b"])
    [event] = scene.events_of(ConfigurationReloaded)
    assert event.providers == ("b",)


def test_without_arguments_the_same_source_is_read_again(stage, tmp_path):
    scene = stage({"a": []})
    file = tmp_path / "apex.toml"

    def write(model):
        file.write_text(f'[[providers]]\nname = "a"\ntype = "scripted"\nmodels = [{{ id = "{model}" }}]\n')

    write("old")
    scene.config = file

    async def body(manager):
        write("new")
        await manager.reload()
        return await ask(manager, model="new")

    assert scene.run(body) == "a"


class TestRequestsUnderWay:
    def test_finish_on_the_old_one_which_is_shut_down_afterwards(self, stage):
        scene = stage({"a": [[10, "slow"]], "b": []})

        async def body(manager):
            task = asyncio.ensure_future(manager.generate_chat("hi", model="m"))
            await asyncio.sleep(1)
            await manager.reload(changed(scene, a=None))
            assert await ask(manager) == "b"
            assert life(scene.a) == ["startup"]
            result = await task
            await asyncio.sleep(0.1)
            assert life(scene.a) == ["startup", "shutdown"]
            return result.provider, scene.clock()

        assert scene.run(body) == ("a", pytest.approx(1010.1))

    def test_streams_too(self, stage):
        scene = stage({"a": [["x", 10, "y"]], "b": []})

        async def body(manager):
            stream = manager.generate_chat_stream("hi", model="m")
            found = [(await anext(stream)).text]
            await manager.reload(changed(scene, a=None))
            await asyncio.sleep(1)
            assert life(scene.a) == ["startup"]
            found += [chunk.text async for chunk in stream]
            await asyncio.sleep(0.1)
            return found

        assert scene.run(body) == ["x", "y", ""]
        assert life(scene.a) == ["startup", "shutdown"]

    def test_a_stream_nobody_has_begun_is_served_by_the_new_one(self, stage):
        scene = stage({"a": [], "b": []})

        async def body(manager):
            stream = manager.generate_chat_stream("hi", model="m")
            await manager.reload(changed(scene, a=None))
            await asyncio.sleep(1)
            assert life(scene.a) == ["startup", "shutdown"]
            return [chunk.text async for chunk in stream], stream.provider

        assert scene.run(body) == (["ok", ""], "b")
        assert len(scene.events_of(RequestFinished)) == 1

    def test_are_not_waited_for_when_the_manager_closes(self, stage):
        scene = stage({"a": [[10, "slow"]]})

        async def body(manager):
            task = asyncio.ensure_future(manager.generate_chat("hi", model="m"))
            await asyncio.sleep(1)
            await manager.reload()
            await manager.close()
            assert life(scene.a) == ["startup"] * 2 + ["shutdown"] * 2
            assert scene.clock() == 1001
            return (await task).message.text

        assert scene.run(body) == "slow"

    def test_closing_right_after_a_reload_stops_both(self, stage):
        scene = stage({"a": []})

        async def body(manager):
            await manager.reload()
            await manager.reload()

        scene.run(body)
        assert life(scene.a).count("startup") == life(scene.a).count("shutdown") == 3
        # Each generation is stopped with the runtime it was started with.
        started, stopped = (
            [id(runtime) for what, runtime in scene.a.life if what == kind] for kind in ("startup", "shutdown")
        )
        assert sorted(started) == sorted(stopped)


class TestRejected:
    @pytest.mark.parametrize(
        ("broken", "kind"),
        [
            ({"type": "scriptd"}, ConfigurationError),
            ({"timeout": "long"}, ConfigurationError),
            ({"options": {"surprise": 1}}, ConfigurationError),
            ({"auth": {"type": "iam"}}, ConfigurationError),
        ],
    )
    def test_keeps_the_old_one(self, stage, broken, kind):
        scene = stage({"a": [], "b": []})

        async def body(manager):
            with pytest.raises(kind):
                await manager.reload(changed(scene, b=broken))
            answers = [await ask(manager), await ask(manager, provider="b")]
            await manager.reload()
            return answers

        assert scene.run(body) == ["a", "b"]
        for provider in (scene.a, scene.b):
            assert life(provider).count("startup") == life(provider).count("shutdown")

    def test_by_a_plugin_that_cannot_start(self, stage, scripted):
        class Fickle(scripted.ScriptedProvider):
            @scripted.hookimpl
            async def apex_startup(self, runtime):
                if self.life:
                    raise LookupError("not twice")
                self.life.append(("startup", runtime))

        scene = stage({"a": []})
        scene.providers["a"] = Fickle()

        async def body(manager):
            with pytest.raises(PluginError, match="not twice"):
                await manager.reload()
            return await ask(manager)

        assert scene.run(body) == "a"

    def test_by_the_name_of_an_added_provider_stops_the_new_one(self, stage, scripted):
        scene = stage({"a": []})
        config = changed(scene)
        config["providers"].append({**config["providers"][0], "name": "b"})
        scene.providers["b"] = scripted.ScriptedProvider()

        async def body(manager):
            await manager.register_provider(scripted.ScriptedProvider(), name="b", models=["n"])
            with pytest.raises(ConfigurationError, match="'b'"):
                await manager.reload(config)
            assert life(scene.b) == ["startup", "shutdown"]
            return await ask(manager, model="n")

        assert scene.run(body) == "b"


class TestWhatIsKept:
    def test_live_facts_and_breakers(self, stage):
        scene = stage({"a": [[2, "a"], DOWN, DOWN], "b": []}, manager={"circuit_breaker_threshold": 2})

        async def body(manager):
            for _ in range(3):
                await ask(manager)
            before = manager.providers[0].candidates["m"].live
            await manager.reload(changed(scene, a={"weight": 2}))
            candidate = manager.providers[0].candidates["m"]
            assert candidate.live is before
            assert (candidate.live.breaker, candidate.live.latency, candidate.weight) == ("open", 2, 2)
            assert await ask(manager) == "b"
            await asyncio.sleep(60)
            assert await ask(manager) == "a"
            return candidate.live.breaker

        assert scene.run(body) == "closed"
        assert [event.current for event in scene.events_of(BreakerChanged)] == ["open", "half_open", "closed"]

    def test_breakers_go_on_under_new_rules(self, stage):
        scene = stage({"a": [DOWN, DOWN], "b": []}, manager={"circuit_breaker_threshold": 2})

        async def body(manager):
            for _ in range(2):
                await ask(manager)
            config = changed(scene)
            config["manager"] = {"circuit_breaker_threshold": 3}
            await manager.reload(config)
            return manager.providers[0].candidates["m"].live.breaker, await ask(manager)

        assert scene.run(body) == ("open", "b")

    def test_old_breakers_have_no_say_under_new_rules(self, stage):
        scene = stage({"a": [[5, DOWN]]}, manager={"circuit_breaker_threshold": 1})

        async def body(manager):
            task = asyncio.ensure_future(ask(manager))
            await asyncio.sleep(1)
            config = changed(scene)
            config["manager"] = {"circuit_breaker_threshold": 3}
            await manager.reload(config)
            with pytest.raises(ServiceUnavailableError):
                await task
            return manager.providers[0].candidates["m"].live.breaker

        assert scene.run(body) == "closed"

    def test_statistics(self, stage):
        scene = stage({"a": []})

        async def body(manager):
            await ask(manager)
            await manager.reload()
            await ask(manager)
            return manager.stats()["requests"][0]["outcomes"]

        assert scene.run(body) == {"ok": 2}

    def test_decisions(self, stage):
        async def body(manager):
            for _ in range(2):
                await manager.generate_chat("hello", model="m")
                await manager.reload()
            return [decision.outcome for decision in manager.decisions()]

        assert stage({"a": []}).run(body) == ["ok", "ok"]

    def test_added_providers_with_their_facts(self, stage, scripted):
        scene = stage({"a": []}, manager={"circuit_breaker_threshold": 1})
        added = scripted.ScriptedProvider([DOWN])

        async def body(manager):
            await manager.register_provider(added, name="b", models=["n"])
            with pytest.raises(ServiceUnavailableError):
                await ask(manager, model="n", retry_count=0)
            await manager.reload()
            assert manager.providers[1].candidates["n"].live.breaker == "open"
            answer = await ask(manager, model="n")
            await manager.deregister_provider("b")
            await manager.reload()
            return answer, len(manager.providers)

        assert scene.run(body) == ("b", 1)

    def test_subscriptions(self, stage):
        scene = stage({"a": []})
        seen = []

        async def body(manager):
            await manager.reload()
            manager.subscribe("late", seen.append)
            await manager.reload()
            await ask(manager)

        scene.run(body)
        assert len(scene.events_of(ConfigurationReloaded)) == 2
        assert len(scene.events_of(RequestFinished)) == 1
        assert [type(event) for event in seen].count(RequestFinished) == 1


def test_concurrent_reloads_and_requests(stage):
    scene = stage({"a": [[0.5, "a"]] * 40})

    async def body(manager):
        async def some_requests():
            for _ in range(10):
                await ask(manager)

        async def some_reloads():
            for _ in range(3):
                await manager.reload()
                await asyncio.sleep(0.7)

        await asyncio.gather(*(some_requests() for _ in range(4)), some_reloads(), some_reloads())
        scene.assert_settled(manager)

    scene.run(body)
    assert life(scene.a).count("startup") == life(scene.a).count("shutdown") == 7
