"""Starting, stopping, threads, and clients that leave."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import urllib.request
from contextlib import asynccontextmanager

import aiohttp
import pytest
from apex_llm_mock.emulation import AzureEmulator
from apex_llm_mock.emulation.delivery import Delivery
from apex_llm_mock.emulation.journal import LONGEST, Journal, Received
from apex_llm_mock.emulation.traffic import Traffic

from apex_llm_core.testing import FakeClock, run_virtual


def run(main):
    async def bounded():
        async with asyncio.timeout(20):
            await main()

    asyncio.run(bounded())


def test_it_runs_in_a_thread_and_leaves_none():
    threads = threading.active_count()
    with AzureEmulator(deployments={"blue": "gpt-4o"}).run_in_thread() as emulator:
        body = json.dumps({"model": "blue", "messages": [{"role": "user", "content": "hi"}]}).encode()
        headers = {"api-key": emulator.api_key, "Content-Type": "application/json"}
        request = urllib.request.Request(f"{emulator.url}/openai/v1/chat/completions", body, headers)  # noqa: S310
        with urllib.request.urlopen(request) as response:  # noqa: S310
            assert json.load(response)["choices"][0]["message"]["content"] == "hi"
    assert threading.active_count() == threads
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", int(emulator.url.rpartition(":")[2])))


def test_a_failure_within_the_block_is_raised_and_the_thread_ends():
    threads = threading.active_count()
    with pytest.raises(RuntimeError, match="mine"), AzureEmulator().run_in_thread():
        raise RuntimeError("mine")
    assert threading.active_count() == threads


def test_a_taken_port_is_an_error_in_the_loop_and_in_a_thread():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        async def main():
            with pytest.raises(OSError, match="in use"):
                await AzureEmulator(port=port).start()

        run(main)
        with pytest.raises(OSError, match="in use"), AzureEmulator(port=port).run_in_thread():
            pass


def test_a_taken_token_port_leaves_nothing_listening():
    pytest.importorskip("trustme")
    with socket.create_server(("127.0.0.1", 0)) as taken:

        async def main():
            emulator = AzureEmulator(token_port=taken.getsockname()[1])
            with pytest.raises(OSError, match="in use"):
                await emulator.start()
            with pytest.raises(OSError, match="refused"):
                socket.create_connection(("127.0.0.1", int(emulator.url.rpartition(":")[2])))

        run(main)


def test_it_can_start_again():
    async def main():
        emulator = AzureEmulator()
        for _ in range(2):
            async with (
                emulator,
                aiohttp.ClientSession() as session,
                session.get(f"{emulator.url}/emulator/state") as response,
            ):
                assert response.status == 200

    run(main)


def test_a_client_that_leaves_a_stream_is_noticed(emulated):
    async def main(caller):
        async with caller.stream("word " * 10_000) as response:
            await response.content.readany()
            assert caller.emulator.traffic.counts.open_streams == 1
            response.close()
        await caller.emulator.traffic.until(lambda counts: counts.open_streams == 0)
        counts = caller.emulator.traffic.counts
        assert (counts.disconnects, counts.open_requests) == (1, 0)
        # It did not go on for nobody.
        assert counts.reads_sent < 10_000

    emulated(main, chunk_size=5)


@asynccontextmanager
async def unread(caller):
    """A stream that its client does not read, at a moment when the emulator cannot send more."""
    caller.emulator.faults.add("huge_event", after_chunks=0)
    async with caller.stream() as response:
        # The third is larger than all buffers between the two.
        await caller.emulator.traffic.until(lambda counts: counts.reads_sent == 2)
        yield response


def test_one_that_does_not_read_is_noticed_when_it_leaves(emulated):
    async def main(caller):
        async with unread(caller) as response:
            response.close()
        await caller.emulator.traffic.until(lambda counts: counts.open_requests == 0)
        assert caller.emulator.traffic.counts.disconnects == 1

    emulated(main)


def test_a_client_that_reads_to_the_end_is_no_disconnect(emulated):
    async def main(caller):
        for _ in range(3):
            await caller.v1(stream=True)
            await caller.v1()
        await caller.emulator.traffic.until(lambda counts: counts.open_requests == 0)
        assert caller.emulator.traffic.counts.disconnects == 0

    emulated(main)


@pytest.mark.parametrize("settings", [{"read_pause": 3600.0}, {"first_pause": 3600.0}, {"slow_pause": 3600.0}])
def test_it_stops_in_the_midst_of_pauses(emulated, settings):
    async def main(caller):
        model = "fault-slow-answer" if "slow_pause" in settings else "gpt-4o"
        asking = asyncio.create_task(caller.v1(model=model, stream=True))
        await caller.emulator.traffic.until(lambda counts: counts.open_requests == 1)
        await caller.emulator.stop()
        with pytest.raises(aiohttp.ClientError):
            await asking

    emulated(main, **settings)


def test_it_stops_though_a_client_does_not_read(emulated):
    async def main(caller):
        async with unread(caller):
            await caller.emulator.stop()
            counts = caller.emulator.traffic.counts
            assert (counts.open_streams, counts.disconnects) == (0, 0)

    emulated(main)


def test_pauses_last_as_long_as_they_should_unless_the_emulator_stops():
    clock = FakeClock()

    async def main():
        stopping = asyncio.Event()
        delivery = Delivery(Traffic(), stopping)
        start = clock()
        assert await delivery.pause(30.0)
        assert clock() - start == pytest.approx(30.0)
        asyncio.get_running_loop().call_later(5.0, stopping.set)
        assert not await delivery.pause(30.0)
        assert clock() - start == pytest.approx(35.0)
        assert not await delivery.pause(None)

    run_virtual(main(), clock=clock)


def test_the_journal_forgets_the_oldest():
    journal = Journal()
    for number in range(LONGEST + 5):
        journal.add(Received(method="GET", origin="", path=f"/{number}", query={}, headers={}, body=None))
    assert len(journal) == LONGEST
    assert journal[0].path == "/5"
    assert [received.path for received in journal[-2:]] == [f"/{LONGEST + 3}", f"/{LONGEST + 4}"]


def test_waiting_for_the_traffic_can_be_cancelled():
    async def main():
        traffic = Traffic()
        waiting = asyncio.create_task(traffic.until(lambda counts: counts.requests == 1))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        other = asyncio.create_task(traffic.until(lambda counts: counts.requests == 1))
        await asyncio.sleep(0)
        with traffic.request():
            await other

    run(main)


def test_bodies_of_all_sizes_are_taken(emulated):
    async def main(caller):
        answer = await caller.v1("x" * 3_000_000, model="gpt-4.1", max_tokens=1)
        assert answer.text == "xxxx"

    emulated(main)
