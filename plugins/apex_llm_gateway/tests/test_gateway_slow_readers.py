from __future__ import annotations

import asyncio
import socket
from contextlib import closing

import pytest
from apex_llm_gateway.connection import Connection
from apex_llm_gateway.settings import GatewaySettings

#: Its answer is larger than what the kernel holds on both sides, so that something waits in the server.
ASKED = {"model": "mock-embed", "input": [str(number) for number in range(60)], "dimensions": 8192}


@pytest.fixture(scope="module")
def house(served, tmp_path_factory):
    with served.Served(tmp_path_factory.mktemp("slow-readers"), gateway={"write_timeout": 30.0}) as gateway:
        yield gateway


def test_a_slow_reader_of_a_new_connection_gets_all(house, served):
    with closing(socket.socket()) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        sock.connect(house.address)
        sock.sendall(served.post(ASKED, path="/v1/embeddings"))
        # The server looks at its connections, again and again, while nothing is read.
        house.run(looked_at(house.service.server, times=2))
        with served.answers(sock) as answers:
            answer = answers.next()
    assert answer.status == 200
    assert len(answer.body) > 9_000_000


def test_a_slow_reader_gets_all_though_the_gateway_stops_meanwhile(served, tmp_path):
    with served.Served(tmp_path) as house, closing(socket.socket()) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        sock.connect(house.address)
        sock.sendall(served.post(ASKED, path="/v1/embeddings"))
        server = house.service.server
        house.run(made(server))
        stopping = house.begin(server.stop(served.PATIENCE))
        with served.answers(sock) as answers:
            answer = answers.next()
        assert stopping.result(served.PATIENCE) == 0
    assert answer.status == 200
    assert len(answer.body) > 9_000_000


def test_a_reader_that_takes_nothing_is_ended_by_the_stop_and_counted(served, tmp_path):
    with served.Served(tmp_path) as house, closing(socket.socket()) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        sock.connect(house.address)
        sock.sendall(served.post(ASKED, path="/v1/embeddings"))
        server = house.service.server
        house.run(made(server))
        assert house.run(unsent(server)) == 1
        assert house.run(server.stop(0.05)) == 1


class Slow:
    """A transport whose client takes so many bytes a second."""

    def __init__(self, rate):
        self.rate = rate
        self.waiting = 0
        self.aborted = False

    def get_write_buffer_size(self):
        return self.waiting

    def pass_a_second(self, written):
        self.waiting = max(0, self.waiting + written - self.rate)

    def abort(self):
        self.aborted = True


def lasts(rate, written, *, seconds=600):
    """Return for how many seconds a connection lasts on which so much is written each second, and so much taken."""

    async def play():
        connection = Connection(Owner(), asyncio.get_running_loop())
        connection.transport = transport = Slow(rate)
        for second in range(seconds):
            connection.check(connection._idle_since + second)
            if transport.aborted:
                return second
            connection.sent += written
            transport.pass_a_second(written)
        return seconds

    return asyncio.run(play())


class Owner:
    handler = None
    settings = GatewaySettings(write_timeout=60.0, idle_timeout=1e6)
    common = ""
    stopping = False


@pytest.mark.parametrize(
    ("rate", "written", "expected"), [(1, 1000, 600), (999, 1000, 600), (1000, 1000, 600), (0, 1000, 61)]
)
def test_a_client_that_takes_something_is_waited_for_however_fast_more_comes(rate, written, expected):
    assert lasts(rate, written) == expected


async def unsent(server):
    return server.unsent


async def made(server):
    """Wait until an answer is made of which the client has taken a part."""
    while not server.unsent:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.01)


async def looked_at(server, times):
    """Wait until the server has something that it cannot send, and has looked at its connections so often then."""
    await made(server)
    for _ in range(times):
        server._sweeping.cancel()
        server._sweep()
