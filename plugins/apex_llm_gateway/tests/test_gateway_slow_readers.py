from __future__ import annotations

import asyncio
import socket
from contextlib import closing

import pytest


@pytest.fixture(scope="module")
def house(served, tmp_path_factory):
    with served.Served(tmp_path_factory.mktemp("slow-readers"), gateway={"write_timeout": 30.0}) as gateway:
        yield gateway


def test_a_slow_reader_of_a_new_connection_gets_all(house, served):
    # Larger than what the kernel holds on both sides, so that something waits in the server.
    asked = {"model": "mock-embed", "input": [str(number) for number in range(60)], "dimensions": 8192}
    with closing(socket.socket()) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        sock.connect(house.address)
        sock.sendall(served.post(asked, path="/v1/embeddings"))
        # The server looks at its connections, again and again, while nothing is read.
        house.run(looked_at(house.service.server, times=2))
        with served.answers(sock) as answers:
            answer = answers.next()
    assert answer.status == 200
    assert len(answer.body) > 9_000_000


async def looked_at(server, times):
    """Wait until the server has something that it cannot send, and has looked at its connections so often then."""
    while not any(one.transport.get_write_buffer_size() for one in server._connections):  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.01)
    for _ in range(times):
        server._sweeping.cancel()
        server._sweep()
