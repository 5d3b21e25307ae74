"""A configuration file that is followed: its changes are reloads, its mistakes are told."""

from __future__ import annotations

import asyncio
import json

from apex_llm_core.models import ConfigurationRejected, ConfigurationReloaded


def write(path, *names, watch=5, **more):
    providers = [{"name": name, "type": "scripted", "models": [{"id": "m"}]} for name in names]
    path.write_text(json.dumps({"manager": {"watch": watch, **more}, "providers": providers}))


def followed(scene, path, body):
    """Run *body* with the manager of *scene* reading its configuration from *path*."""
    scene.config = str(path)
    return scene.run(body)


async def asked(manager):
    return (await manager.generate_chat("hi", model="m")).provider


def test_a_change_is_a_reload(stage, tmp_path):
    path = tmp_path / "config.json"
    scene = stage({"a": [], "b": []})
    write(path, "a")

    async def body(manager):
        first = await asked(manager)
        write(path, "b")
        await asyncio.sleep(12)
        return first, await asked(manager)

    assert followed(scene, path, body) == ("a", "b")
    assert len(scene.events_of(ConfigurationReloaded)) == 1


def test_a_mistake_keeps_the_old_one_and_is_told_once(stage, tmp_path):
    path = tmp_path / "config.json"
    scene = stage({"a": [], "b": []})
    write(path, "a")

    async def body(manager):
        path.write_text('{"providers": [{"name": "b"}]}')
        await asyncio.sleep(60)
        answers = [await asked(manager)]
        write(path, "b")
        await asyncio.sleep(12)
        return [*answers, await asked(manager)]

    assert followed(scene, path, body) == ["a", "b"]
    [rejected] = scene.events_of(ConfigurationRejected)
    assert str(path) in rejected.message
    assert "providers[0].type" in rejected.message


def test_requests_under_way_end_on_the_old_one(stage, tmp_path):
    path = tmp_path / "config.json"
    scene = stage({"a": [[30, "a"]], "b": []})
    write(path, "a")

    async def body(manager):
        under_way = asyncio.ensure_future(asked(manager))
        await asyncio.sleep(0)
        write(path, "b")
        await asyncio.sleep(12)
        return await asked(manager), await under_way

    assert followed(scene, path, body) == ("b", "a")


def test_another_source_is_followed_instead(stage, tmp_path):
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    scene = stage({"a": [], "b": []})
    write(first, "a")
    write(second, "a")

    async def body(manager):
        await manager.reload(str(second))
        write(first, "b")
        await asyncio.sleep(12)
        unchanged = await asked(manager)
        write(second, "b")
        await asyncio.sleep(12)
        return unchanged, await asked(manager)

    assert followed(scene, first, body) == ("a", "b")


def test_it_ends_when_the_configuration_says_so(stage, tmp_path):
    path = tmp_path / "config.json"
    scene = stage({"a": [], "b": []})
    write(path, "a")

    async def body(manager):
        write(path, "a", watch=0)
        await asyncio.sleep(12)
        write(path, "b")
        await asyncio.sleep(60)
        return await asked(manager)

    assert followed(scene, path, body) == "a"


def test_what_is_cached_outlives_a_reload(stage, tmp_path):
    path = tmp_path / "config.json"
    scene = stage({"a": []})
    write(path, "a", cache_enabled=True)

    async def body(manager):
        await manager.generate_chat("hi", model="m")
        await manager.reload()
        await asyncio.sleep(0)
        again = await manager.generate_chat("hi", model="m")
        return again.cached, manager.stats()["cache"]["hits"]

    assert followed(scene, path, body) == (True, 1)
    assert len(scene.a.calls) == 1
