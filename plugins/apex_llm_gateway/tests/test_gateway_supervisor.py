"""The supervisor above workers that are played: when each of them hears what."""

from __future__ import annotations

import asyncio

import pytest
from apex_llm_gateway.announcement import Facts
from apex_llm_gateway.settings import GatewaySettings
from apex_llm_gateway.workers.supervisor import Supervisor

FACTS = Facts(host="127.0.0.1", port=1, keys=0, providers=1)


async def until(condition):
    """Let all others go on until it is so."""
    while not condition():  # noqa: ASYNC110 - what it waits for tells nobody
        await asyncio.sleep(0)


class Played:
    """A worker that does as it is told, when the test lets it."""

    refused = None

    def __init__(self, index):
        self.index = index
        self.channel = self
        self.heard = []
        self.ready = asyncio.get_running_loop().create_future()
        self.reloaded = None
        self.takes_configurations = True
        self._over = asyncio.Event()

    def send(self, document):
        self.heard.append(document)
        if document == "stop":
            self._over.set()
            if not self.ready.done():
                self.ready.set_result(None)

    async def ended(self):
        await self._over.wait()
        return 0

    async def reload(self):
        """Answer the reload that was ordered."""
        await until(lambda: self.reloaded is not None)
        self.reloaded.set_result(self.takes_configurations)
        await until(lambda: self.reloaded is None)


@pytest.fixture
def supervised(tmp_path, monkeypatch):
    """Play with a supervisor of two workers; return what it told, and its exit code."""

    def supervised(play):
        async def run():
            told, workers, announced = [], {}, asyncio.Event()
            supervisor = Supervisor(
                GatewaySettings(workers=2), None, port=1, folder=tmp_path, linger=0.0, tell=told.append
            )

            async def begin(index):
                supervisor._workers[index] = workers[index] = Played(index)
                return workers[index]

            monkeypatch.setattr(supervisor, "_begin", begin)
            running = asyncio.create_task(supervisor.run(lambda _facts: announced.set()))

            async def worker(index):
                await until(lambda: index in workers)
                return workers[index]

            async with asyncio.timeout(20):
                await play(supervisor, worker, announced)
                supervisor.stop()
                return told, await running

        return asyncio.run(run())

    return supervised


async def serving(worker, announced):
    found = []
    for index in range(2):
        found.append(await worker(index))
        found[-1].ready.set_result(FACTS)
    await announced.wait()
    return found


def test_a_reload_during_the_start_reaches_all_workers_afterwards(supervised):
    async def play(supervisor, worker, announced):
        first = await worker(0)
        supervisor.reload()
        first.ready.set_result(FACTS)
        second = await worker(1)
        supervisor.reload()
        second.ready.set_result(FACTS)
        await first.reload()
        await second.reload()
        assert first.heard == second.heard == ["reload"]

    assert supervised(play) == ([], 0)


def test_a_reload_during_another_one_is_made_after_it(supervised):
    async def play(supervisor, worker, announced):
        first, second = await serving(worker, announced)
        supervisor.reload()
        await until(lambda: first.heard)
        supervisor.reload()
        supervisor.reload()
        for _ in range(2):
            await first.reload()
            await second.reload()
        assert first.heard == second.heard == ["reload", "reload"]

    assert supervised(play) == ([], 0)


def test_a_configuration_that_the_first_does_not_take_reaches_no_other(supervised):
    async def play(supervisor, worker, announced):
        first, second = await serving(worker, announced)
        first.takes_configurations = False
        supervisor.reload()
        await first.reload()
        assert (first.heard, second.heard) == (["reload"], [])

    told, code = supervised(play)
    assert told == ["worker 0 did not take the configuration; those after it were not asked"]
    assert code == 0


def test_a_stop_during_the_start_and_during_a_reload_reaches_all(supervised):
    async def starting(supervisor, worker, _announced):
        await worker(0)

    async def reloading(supervisor, worker, announced):
        first, _ = await serving(worker, announced)
        supervisor.reload()
        await until(lambda: first.heard)

    assert supervised(starting) == ([], 0)
    assert supervised(reloading) == ([], 0)
