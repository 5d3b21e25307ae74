from __future__ import annotations

import asyncio
import json
import socket

import aiohttp
import pytest
from apex_llm_gateway import serving
from apex_llm_gateway.announcement import Facts
from apex_llm_gateway.configured import Overrides, counted_by_each, settings_of
from apex_llm_gateway.keys import load_keys, new_key
from apex_llm_gateway.serving import Service

from apex_llm_core.errors import ConfigurationError


class Place:
    """A configuration file that tests change, and the service that follows it."""

    def __init__(self, folder):
        self.file = folder / "apex-llm.json"
        self.folder = folder
        self.told = []
        self.write()

    def write(self, *keys, manager=(), **gateway):
        references = []
        for number, key in enumerate(keys):
            path = self.folder / f"{number}.key"
            path.write_text(key)
            references.append(f"file:{path}")
        document = {
            "manager": dict(manager),
            "gateway": {"port": 0, "health_interval": 0, "api_keys": references, **gateway},
            "providers": [{"name": "mock", "type": "mock"}],
        }
        self.file.write_text(json.dumps(document))

    def serve(self, work, **overrides):
        """Return what *work* returns while the service serves."""

        async def play():
            self.more = asyncio.Event()
            service = Service(self.file, overrides=Overrides(**overrides), tell=self.tell)
            async with asyncio.timeout(20), aiohttp.ClientSession() as session:
                await service.start()
                self.session = session
                self.service = service
                try:
                    return await work()
                finally:
                    await service.stop()

        return asyncio.run(play())

    def tell(self, line):
        self.told.append(line)
        self.more.set()

    async def asked_to_reload(self, key):
        headers = {"Authorization": f"Bearer {key}"}
        async with self.session.post(f"{self.service.url}/admin/reload", headers=headers) as answer:
            return answer.status, await answer.text()

    async def status(self, key=None, path="/v1/models"):
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        async with self.session.get(self.service.url + path, headers=headers) as answer:
            return answer.status


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


FIRST, SECOND, THIRD = new_key(), new_key(), new_key()


def test_what_the_command_line_says_stands_over_the_file(place):
    place.write(host="203.0.113.7", port=1, workers=7)

    async def work():
        return place.service.settings, place.service.url

    settings, url = place.serve(work, host="127.0.0.1", port=0)
    assert (settings.host, settings.port, settings.workers) == ("127.0.0.1", 0, 7)
    assert url.startswith("http://127.0.0.1:")


def test_facts(place):
    place.write(FIRST, SECOND)

    async def work():
        return Facts.of(place.service), place.service.port

    facts, port = place.serve(work)
    assert facts == Facts(host="127.0.0.1", port=port, keys=2, providers=1)


@pytest.mark.parametrize("how", ["service", "manager"])
def test_keys_are_those_of_the_last_reload(place, how):
    place.write(FIRST)

    async def work():
        before = [await place.status(key) for key in (FIRST, SECOND)]
        place.write(SECOND)
        if how == "service":
            assert await place.service.reload()
        else:
            await place.service.manager.reload()
            await place.service._rekeying
        return before, [await place.status(key) for key in (FIRST, SECOND)]

    assert place.serve(work) == ([200, 401], [401, 200])
    assert place.told == ["the configuration was read again, and is in force"]


def test_of_reloads_that_overlap_the_last_wins(place):
    place.write(FIRST)

    async def work():
        for key in (SECOND, THIRD):
            place.write(key)
            await place.service.manager.reload()
        await place.service._rekeying
        return [await place.status(key) for key in (FIRST, SECOND, THIRD)]

    assert place.serve(work) == [401, 401, 200]


def test_a_change_of_the_file_that_is_followed_changes_the_keys(place):
    place.write(FIRST, manager={"watch": 0.05})

    async def work():
        place.write(SECOND, manager={"watch": 0.05})
        await place.more.wait()
        return await place.status(SECOND)

    assert place.serve(work) == 200


@pytest.mark.parametrize(
    ("keys", "gateway", "reason"),
    [
        (("changeme",), {}, "gateway.api_keys[0]"),
        ((SECOND, SECOND), {}, "gateway.api_keys[1]"),
        ((), {"host": "127.0.0.1"}, None),
    ],
)
def test_new_keys_that_cannot_be_used_change_nothing(place, keys, gateway, reason):
    place.write(FIRST)

    async def work():
        place.write(*keys, **gateway)
        whole = await place.service.reload()
        return whole, await place.status(FIRST), await place.status()

    whole, with_key, without = place.serve(work)
    if reason is None:
        # Without keys it is open, which on loopback it may be.
        assert (whole, with_key, without) == (True, 200, 200)
    else:
        assert (whole, with_key, without) == (False, 200, 401)
        assert reason in place.told[0]
        assert "changeme" not in place.told[0]


def administered(place, key, *others):
    place.write(*others)
    document = json.loads(place.file.read_text())
    path = place.folder / "admin.key"
    path.write_text(key)
    document["gateway"]["api_keys"].append({"key": f"file:{path}", "name": "admin", "roles": ["admin"]})
    place.file.write_text(json.dumps(document))


def test_an_administrator_is_answered_when_the_new_keys_are_in_force(place, monkeypatch):
    administered(place, FIRST, SECOND)

    async def slowly(*arguments, **more):
        for _ in range(20):
            await asyncio.sleep(0)
        return await load_keys(*arguments, **more)

    async def work():
        monkeypatch.setattr(serving, "load_keys", slowly)
        administered(place, FIRST, THIRD)
        reloaded = await place.asked_to_reload(FIRST)
        return reloaded, [await place.status(key) for key in (SECOND, THIRD)]

    assert place.serve(work) == ((200, '{"reloaded":true}'), [401, 200])


def test_an_administrator_is_told_that_the_new_keys_cannot_be_used(place):
    administered(place, FIRST, SECOND)

    async def work():
        administered(place, FIRST, "changeme")
        return await place.asked_to_reload(FIRST), await place.status(SECOND)

    (status, text), old = place.serve(work)
    assert (status, old) == (400, 200)
    assert json.loads(text)["error"]["code"] == "invalid_configuration"
    assert "the old ones stay in force" in text
    assert "gateway.api_keys[0]" in text
    assert "changeme" not in text


def test_whoever_runs_it_is_told_what_an_administrator_could_not_reload(place):
    administered(place, FIRST, SECOND)

    async def work():
        place.file.write_text(place.file.read_text().replace('"type": "mock"', '"typ": "mock"'))
        status, text = await place.asked_to_reload(FIRST)
        events = place.service.gateway.activity.snapshot()["events"]
        return status, text, [event["type"] for event in events]

    status, text, events = place.serve(work)
    assert (status, events) == (400, ["configuration_rejected"])
    assert "typ" in text
    assert [line for line in place.told if "the old one stays in force" in line and "typ" in line] == place.told


def test_connections_are_no_more_than_the_process_can_have(place, monkeypatch):
    monkeypatch.setattr(serving, "room_for", lambda connections: connections // 2)
    place.write(max_connections=8)

    async def work():
        return place.service.server.settings.max_connections, await place.service.reload()

    assert place.serve(work) == (4, True)
    assert place.told[0].startswith("4 connections at most, not the 8 of [gateway] max_connections")
    assert place.told[1:] == ["the configuration was read again, and is in force"]


def test_it_does_not_become_open_to_the_network(place):
    everywhere = "0.0.0.0"  # noqa: S104 - for a moment, with a key
    place.write(FIRST, host=everywhere)

    async def work():
        place.write(host="127.0.0.1")
        return await place.service.reload(), await place.status()

    assert place.serve(work) == (False, 401)
    assert "gateway.host" in place.told[0]


def test_a_configuration_that_cannot_be_used_is_an_event_too(place):
    async def work():
        place.file.write_text('{"providers": [{"name": "mock", "typ": "mock"}]}')
        whole = await place.service.reload()
        (snapshot,) = await place.service.gateway.backend.snapshots()
        return whole, json.dumps(snapshot)

    whole, snapshot = place.serve(work)
    assert not whole
    assert "did you mean 'type'" in place.told[0]
    assert "the old one stays in force" in snapshot


def test_what_needs_a_start_is_named(place):
    async def work():
        place.write(max_connections=5, idle_timeout=1)
        return await place.service.reload()

    assert place.serve(work)
    assert place.told[1] == "from the next start on: [gateway] idle_timeout, max_connections"


def test_a_start_that_fails_leaves_nothing_behind(place):
    with socket.create_server(("127.0.0.1", 0)) as other:
        place.write(port=other.getsockname()[1])

        async def play():
            service = Service(place.file)
            with pytest.raises(ConfigurationError, match="is taken"):
                await service.start()
            assert asyncio.all_tasks() == {asyncio.current_task()}
            with pytest.raises(RuntimeError, match="not running"):
                await service.manager.get_models()

        asyncio.run(play())


def test_stopping_leaves_nothing_behind(place):
    place.serve(place.status)

    async def play():
        service = Service(place.file, tell=place.told.append)
        await service.start()
        await service.stop()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(play())


def test_settings_of_nothing_are_the_defaults():
    assert settings_of(None).port == 8080
    assert counted_by_each(None) == []
