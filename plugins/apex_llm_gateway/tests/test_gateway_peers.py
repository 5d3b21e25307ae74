from __future__ import annotations

import asyncio
import stat
from contextlib import AsyncExitStack
from types import SimpleNamespace

import aiohttp
import pytest
from apex_llm_gateway.http import HttpError
from apex_llm_gateway.settings import GatewaySettings
from apex_llm_gateway.workers import peers
from apex_llm_gateway.workers.peers import Peers
from apex_llm_gateway.workers.sockets import private_folder, worker_socket

from apex_llm_core.errors import ConfigurationError, ModelNotFoundError


class OneProcess:
    """The backend of a single worker."""

    def __init__(self, index):
        self.index = index
        self.moves = []
        self.breakers = []
        self.reloads = 0
        self.refuses = None
        self.hangs = False
        self.breaks = None

    async def snapshots(self):
        if self.hangs:
            await asyncio.Event().wait()
        return [{"index": self.index, "text": "ü", "breakers": self.breakers}]

    async def move_breaker(self, provider, model, action):
        if provider == "nobody":
            raise ModelNotFoundError("there is no such breaker")
        await self.troubles()
        self.moves.append((provider, model, action))
        return 2

    async def reload(self):
        self.reloads += 1
        await self.troubles()
        if self.refuses is not None:
            raise ConfigurationError(self.refuses)

    async def troubles(self):
        if self.hangs:
            await asyncio.Event().wait()
        if self.breaks is not None:
            raise self.breaks


class Workers:
    """Several workers in one process."""

    def __init__(self, folder, count):
        self.folder = folder
        self.locals = [OneProcess(index) for index in range(count)]
        self.houses = [SimpleNamespace(backend=local, settings=GatewaySettings()) for local in self.locals]
        self.peers = [Peers(house, folder=folder, index=index, count=count) for index, house in enumerate(self.houses)]


def with_workers(work, count=3, started=None):
    async def play():
        with private_folder() as folder:
            workers = Workers(folder, count)
            async with AsyncExitStack() as stack, asyncio.timeout(20):
                for index in range(count) if started is None else started:
                    await workers.peers[index].start()
                    stack.push_async_callback(workers.peers[index].stop)
                return await work(workers)

    return asyncio.run(play())


def test_each_tells_of_all_beginning_with_itself():
    async def work(workers):
        return [[snapshot["index"] for snapshot in await house.backend.snapshots()] for house in workers.houses]

    assert with_workers(work) == [[0, 1, 2], [1, 0, 2], [2, 0, 1]]


def test_snapshots_arrive_as_they_were_sent():
    async def work(workers):
        return await workers.houses[0].backend.snapshots()

    assert with_workers(work, count=2)[1] == {"index": 1, "text": "ü", "breakers": []}


def test_one_that_is_not_there_is_left_out():
    async def work(workers):
        return [snapshot["index"] for snapshot in await workers.peers[0].snapshots()]

    assert with_workers(work, started=(0, 2)) == [0, 2]


def test_one_that_does_not_answer_is_left_out(monkeypatch):
    monkeypatch.setattr(peers, "_SOON", 1.0)

    async def work(workers):
        workers.locals[1].hangs = True
        return [snapshot["index"] for snapshot in await workers.peers[0].snapshots()]

    assert with_workers(work) == [0, 2]


def test_one_that_was_killed_is_replaced_at_its_socket():
    async def work(workers):
        worker_socket(workers.folder, 1).write_text("left behind")
        await workers.peers[1].start()
        try:
            return [snapshot["index"] for snapshot in await workers.peers[0].snapshots()]
        finally:
            await workers.peers[1].stop()

    assert with_workers(work, count=2, started=(0,)) == [0, 1]


def test_after_its_end_a_worker_speaks_for_itself_and_is_gone():
    async def work(workers):
        await workers.peers[1].stop()
        assert workers.houses[1].backend is workers.locals[1]
        assert not worker_socket(workers.folder, 1).exists()
        return [snapshot["index"] for snapshot in await workers.peers[0].snapshots()]

    assert with_workers(work) == [0, 2]


def test_breakers_are_moved_everywhere():
    async def work(workers):
        assert await workers.houses[1].backend.move_breaker("azure", None, "isolate") == 6
        return [local.moves for local in workers.locals]

    assert with_workers(work) == [[("azure", None, "isolate")]] * 3


def test_a_breaker_that_is_not_there_is_moved_nowhere():
    async def work(workers):
        with pytest.raises(ModelNotFoundError):
            await workers.peers[0].move_breaker("nobody", None, "open")
        return [local.moves for local in workers.locals]

    assert with_workers(work) == [[], [], []]


def test_one_that_takes_the_place_of_another_moves_breakers_as_they_were_moved_by_hand():
    def breaker(provider, state, reason):
        return {"provider": provider, "model": "m", "state": state, "reason": reason}

    async def work(workers):
        workers.locals[2].breakers = [
            breaker("isolated", "forced_open", "by hand"),
            breaker("watched", "metrics_only", "by hand"),
            breaker("nobody", "disabled", "by hand"),
            breaker("disabled", "disabled", "by hand"),
            breaker("broken", "open", "failures in a row"),
            breaker("opened", "open", "by hand"),
            breaker("well", "closed", "by hand"),
            breaker("configured", "disabled", ""),
        ]
        await workers.peers[0].start()
        try:
            return workers.locals[0].moves
        finally:
            await workers.peers[0].stop()

    assert with_workers(work, started=(2,)) == [
        ("isolated", "m", "isolate"),
        ("watched", "m", "watch"),
        ("disabled", "m", "disable"),
    ]


def test_a_reload_reaches_all():
    async def work(workers):
        await workers.peers[2].reload()
        return [local.reloads for local in workers.locals]

    assert with_workers(work) == [1, 1, 1]


@pytest.mark.parametrize(("refusing", "asked"), [(0, [1, 0, 0]), (1, [1, 1, 0]), (2, [1, 1, 1])])
def test_a_reload_stops_at_the_first_that_refuses(refusing, asked):
    async def work(workers):
        workers.locals[refusing].refuses = "providers[0].typ: unknown key"
        with pytest.raises(ConfigurationError, match=r"providers\[0\].typ: unknown key"):
            await workers.peers[0].reload()
        return [local.reloads for local in workers.locals]

    assert with_workers(work) == asked


@pytest.mark.parametrize("trouble", ["hangs", "breaks"])
def test_orders_that_may_not_have_reached_all_are_told(monkeypatch, trouble):
    monkeypatch.setattr(peers, "_ORDERED", 0.2)
    monkeypatch.setattr(peers, "_LATER", 0.2)

    async def work(workers):
        setattr(workers.locals[1], trouble, OSError("a full disk"))
        for order in (workers.peers[0].move_breaker("azure", None, "isolate"), workers.peers[0].reload()):
            with pytest.raises(HttpError, match="worker-1 did not answer as it should") as caught:
                await order
            assert (caught.value.status, caught.value.code) == (503, "worker_failed")
            assert "disk" not in caught.value.message
        return workers.locals[0].moves, workers.locals[0].reloads

    assert with_workers(work) == ([("azure", None, "isolate")], 1)


def test_orders_pass_over_those_that_are_not_there():
    async def work(workers):
        assert await workers.peers[0].move_breaker("azure", None, "isolate") == 4
        await workers.peers[0].reload()
        return [local.reloads for local in workers.locals]

    assert with_workers(work, started=(0, 2)) == [1, 0, 1]


def test_breakers_that_only_some_know_are_moved_there():
    async def work(workers):
        async def unknown(*_):
            raise ModelNotFoundError("there is no such breaker")

        workers.locals[1].move_breaker = unknown
        return await workers.peers[0].move_breaker("azure", None, "isolate")

    assert with_workers(work) == 4


def test_only_their_user_reaches_the_sockets():
    async def work(workers):
        return stat.S_IMODE(workers.folder.stat().st_mode)

    assert with_workers(work) == 0o700


@pytest.mark.parametrize(
    ("method", "target", "body", "status"),
    [
        ("GET", "/v1/models", None, 404),
        ("GET", "/peer/reload", None, 404),
        ("POST", "/peer/breakers", b"no JSON", 500),
        ("POST", "/peer/breakers", b'{"provider": "nobody", "model": null, "action": "open"}', 404),
    ],
)
def test_what_workers_do_not_understand_is_an_error(method, target, body, status):
    async def work(workers):
        connector = aiohttp.UnixConnector(str(worker_socket(workers.folder, 1)))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.request(method, f"http://worker{target}", data=body) as answer,
        ):
            return answer.status, "error" in await answer.json()

    assert with_workers(work) == (status, True)
