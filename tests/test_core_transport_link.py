from __future__ import annotations

import asyncio
import gc
import gzip
import weakref
from types import SimpleNamespace

import pytest
from aiohttp import ClientConnectionError, ClientOSError, ClientPayloadError, ServerDisconnectedError
from aiohttp.http_exceptions import HttpProcessingError
from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.transport.link import Link
from apex_llm_core.transport.origin import Origin

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Wire:
    """A transport, and the aiohttp connection on it, that remember what happens to them."""

    def __init__(self) -> None:
        self.sent = b""
        self.unsent = 0
        self.closed = self.paused = False
        self.ends: list[Exception | None] = []
        self.protocol: asyncio.Protocol | None = None

    def set_protocol(self, protocol):
        self.protocol = protocol

    def write(self, data):
        self.sent += data

    def close(self):
        self.closed = True

    def is_closing(self):
        return self.closed

    def get_write_buffer_size(self):
        return self.unsent

    def pause_reading(self):
        self.paused = True

    def resume_reading(self):
        self.paused = False

    def connection_lost(self, exc):
        self.ends.append(exc)


class Kept:
    """A keeper that remembers what it is to forget."""

    def __init__(self) -> None:
        self.forgotten: list[Link] = []

    def forget(self, link):
        self.forgotten.append(link)


def linked(keeper=None):
    wire = Wire()
    link = Link(keeper or Kept(), wire, wire, wire, asyncio.get_running_loop())
    assert wire.protocol is link
    return link, wire


async def body_of(reader):
    return await reader.read()


def run(main):
    async def bounded():
        async with asyncio.timeout(20):
            return await main()

    return asyncio.run(bounded())


def framed(content, framing):
    """Return the bytes of an answer, and whether another request may follow it."""
    match framing:
        case "length":
            return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content), True
        case "chunks":
            pieces = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (content[:3], content[3:]) if piece)
            return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%b0\r\n\r\n" % pieces, True
        case "packed":
            packed = gzip.compress(content)
            head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
            return head + packed, True
        case "last":
            head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(content)
            return head + content, False
        case "old":
            return b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content), False
        case "until the end":
            return b"HTTP/1.1 200 OK\r\n\r\n" + content, False
    raise AssertionError(framing)


FRAMINGS = ("length", "chunks", "packed", "last", "old", "until the end")


@given(
    st.lists(
        st.tuples(
            st.binary(max_size=40),
            st.sampled_from(FRAMINGS[:3]),
            st.lists(
                st.sampled_from([b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early\r\nA: b\r\n\r\n"]), max_size=2
            ),
        ),
        max_size=3,
    ),
    st.tuples(st.binary(max_size=40), st.sampled_from(FRAMINGS)),
    st.lists(st.integers(1, 60), max_size=12),
)
def test_answers_are_the_same_however_their_bytes_arrive(before, last, cuts):
    async def main():
        link, wire = linked()
        for number, (content, framing, interim) in enumerate([*before, (*last, [])]):
            data, reusable = framed(content, framing)
            data = b"".join(interim) + data
            head = link.ask(b"request %d" % number)
            for size in cuts:
                if data:
                    link.data_received(data[:size])
                    data = data[size:]
            if data:
                link.data_received(data)
            if framing == "until the end":
                assert head.done()
                link.connection_lost(None)
            message, body = await head
            assert (message.code, await body_of(body)) == (200, content)
            assert link.can_be_kept is reusable
        assert wire.sent.endswith(b"request %d" % len(before))
        assert wire.closed is (last[1] == "until the end")

    run(main)


@given(st.sampled_from(FRAMINGS[:5]), st.integers(0, 200), st.booleans())
def test_an_answer_that_ends_early_is_an_error_wherever_it_ends(framing, kept, clean):
    async def main():
        link, _ = linked()
        data, _ = framed(b"0123456789", framing)
        data = data[: min(kept, len(data) - 1)]
        head = link.ask(b"")
        if data:
            link.data_received(data)
        link.connection_lost(None if clean else ConnectionResetError(104, "reset"))
        if not head.done() or head.exception() is not None:
            with pytest.raises(ServerDisconnectedError if clean else ClientOSError):
                await head
            return
        with pytest.raises(ClientPayloadError):
            await body_of((await head)[1])

    run(main)


def test_a_body_until_the_end_of_the_connection_is_none_when_that_is_reset():
    async def main():
        link, _ = linked()
        head = link.ask(b"")
        link.data_received(framed(b"half", "until the end")[0])
        link.connection_lost(ConnectionResetError(104, "reset"))
        with pytest.raises(ClientPayloadError):
            await body_of((await head)[1])

    run(main)


@pytest.mark.parametrize("code", [204, 304])
def test_answers_without_a_body_are_complete_with_their_head(code):
    async def main():
        link, wire = linked()
        head = link.ask(b"")
        link.data_received(b"HTTP/1.1 %d X\r\nContent-Length: 5\r\n\r\n" % code)
        message, body = await head
        assert (message.code, await body_of(body), body.is_eof()) == (code, b"", True)
        assert not wire.closed

    run(main)


def test_another_protocol_is_the_end_of_requests():
    async def main():
        link, _ = linked()
        head = link.ask(b"")
        link.data_received(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
        assert (await head)[0].code == 101
        assert not link.can_be_kept

    run(main)


@pytest.mark.parametrize("stray", [ANSWER, b"H", b"\r\n", b"\x00"])
def test_what_nobody_asked_for_ends_the_link(stray):
    async def main():
        keeper = Kept()
        link, wire = linked(keeper)
        head = link.ask(b"")
        link.data_received(ANSWER)
        assert await body_of((await head)[1]) == b"ok"
        assert not wire.closed
        link.data_received(stray)
        assert wire.closed
        assert keeper.forgotten == [link]

    run(main)


def test_a_second_answer_behind_the_first_ends_the_link_and_spares_the_first():
    async def main():
        keeper = Kept()
        link, wire = linked(keeper)
        head = link.ask(b"")
        link.data_received(ANSWER + ANSWER)
        assert await body_of((await head)[1]) == b"ok"
        assert wire.closed
        assert keeper.forgotten == [link]

    run(main)


def test_what_is_no_http_fails_the_head():
    async def main():
        link, wire = linked()
        head = link.ask(b"")
        link.data_received(b"SSH-2.0-OpenSSH\r\n\r\n")
        with pytest.raises(HttpProcessingError):
            await head
        assert wire.closed

    run(main)


def test_what_is_no_chunk_fails_the_body():
    async def main():
        link, wire = linked()
        head = link.ask(b"")
        link.data_received(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
        _, body = await head
        link.data_received(b"zz\r\n")
        with pytest.raises(ClientPayloadError):
            await body_of(body)
        assert wire.closed

    run(main)


def test_closing_fails_the_body_that_is_read():
    async def main():
        link, wire = linked()
        head = link.ask(b"")
        link.data_received(ANSWER[:-1])
        _, body = await head
        reading = asyncio.ensure_future(body_of(body))
        await asyncio.sleep(0)
        link.close()
        with pytest.raises(ClientConnectionError):
            await reading
        assert wire.closed

    run(main)


def test_closing_fails_the_head_that_is_awaited():
    async def main():
        link, _ = linked()
        head = link.ask(b"")
        link.close()
        with pytest.raises(ClientConnectionError):
            await head

    run(main)


def test_a_request_that_is_given_up_gets_nothing_and_breaks_nothing():
    async def main():
        link, _ = linked()
        link.ask(b"").cancel()
        link.data_received(ANSWER)
        link.connection_lost(None)

    run(main)


@pytest.mark.parametrize("framing", ["length", "packed"])
def test_reading_pauses_while_nobody_takes_the_body_and_nothing_is_lost(framing):
    async def main():
        content = bytes(range(256)) * 8_000
        link, wire = linked()
        data, _ = framed(content, framing)
        head = link.ask(b"")
        body, taken, pauses = None, b"", 0
        while data or not (body and body.at_eof()):
            if data and not wire.paused:
                link.data_received(data[:100_000])
                data = data[100_000:]
                if body is None:
                    _, body = await head
                continue
            pauses += wire.paused
            taken += await body.readany()
        assert taken == content
        assert pauses
        assert link.can_be_kept

    run(main)


def test_its_end_is_told_to_aiohttp_and_nothing_is_left_for_the_collector():
    async def main():
        link, wire = linked()
        head = link.ask(b"")
        link.data_received(ANSWER)
        await head
        broken = ConnectionResetError(104, "reset")
        link.connection_lost(broken)
        assert (wire.ends, wire.closed, link.connected) == ([broken], True, False)
        wire.protocol = None
        gone = weakref.ref(head)
        del link, head
        assert gone() is None

    gc.disable()
    try:
        run(main)
    finally:
        gc.enable()


# -- origins -----------------------------------------------------------------------------------------------------------


class Session(SimpleNamespace):
    """What an origin takes of a session; connections are wires."""


def origin_with(monkeypatch, wires):
    from aiohttp import TCPConnector
    from yarl import URL

    class Connector:
        def __init__(self, wire):
            self.protocol = SimpleNamespace(should_close=False, connection_lost=wire.connection_lost)
            self.transport = wire
            self.close = wire.close

    async def connect(*_):
        wire = Wire()
        wires.append(wire)
        return Connector(wire)

    monkeypatch.setattr(TCPConnector, "connect", connect)
    monkeypatch.setattr("aiohttp.ClientRequest", lambda *_, **__: None)
    return Origin(URL("http://127.0.0.1:1"), Session(connector=None, timeout=None))


async def exchanged(origin):
    link = origin.take() or await origin.open()
    head = link.ask(b"")
    link.data_received(ANSWER)
    await head
    return link


def test_the_link_used_last_is_taken_first(monkeypatch):
    async def main():
        origin = origin_with(monkeypatch, [])
        first, second = await exchanged(origin), await exchanged(origin)
        assert first is not second
        origin.keep(first)
        origin.keep(second)
        assert (origin.idle, origin.take(), origin.take(), origin.take()) == (2, second, first, None)
        origin.close()

    run(main)


def test_links_are_not_kept_for_long(monkeypatch):
    async def main():
        wires = []
        origin = origin_with(monkeypatch, wires)
        loop = asyncio.get_running_loop()
        now = loop.time()
        monkeypatch.setattr(loop, "time", lambda: now)
        timers = []
        monkeypatch.setattr(loop, "call_later", lambda *timer: timers.append(timer) or SimpleNamespace(cancel=list))
        links = [await exchanged(origin) for _ in range(2)]
        origin.keep(links[0])
        now += 10
        origin.keep(links[1])
        assert len(timers) == 1
        now += 5
        timers.pop()[1]()
        assert ([wire.closed for wire in wires], origin.idle, len(timers)) == ([True, False], 1, 1)
        now += 20
        # Before the sweep comes, nobody gets it either.
        assert origin.take() is None
        assert wires[1].closed
        timers.pop()[1]()
        assert not timers
        origin.close()

    run(main)


@pytest.mark.parametrize("reason", ["last", "unsent", "closing", "lost", "origin closed"])
def test_links_without_a_future_are_closed(monkeypatch, reason):
    async def main():
        wires = []
        origin = origin_with(monkeypatch, wires)
        link = await exchanged(origin)
        match reason:
            case "last":
                head = link.ask(b"")
                link.data_received(framed(b"x", "last")[0])
                await head
            case "unsent":
                wires[0].unsent = 1
            case "closing":
                wires[0].closed = True
            case "lost":
                link.connection_lost(None)
            case "origin closed":
                origin.close()
        origin.keep(link)
        assert (origin.idle, wires[0].closed, origin.take()) == (0, True, None)
        origin.close()

    run(main)


def test_those_that_end_while_they_wait_are_not_handed_out(monkeypatch):
    async def main():
        origin = origin_with(monkeypatch, [])
        link = await exchanged(origin)
        origin.keep(link)
        link.connection_lost(None)
        assert (origin.idle, origin.take()) == (0, None)
        origin.close()

    run(main)
