"""Answers on their way to the client: the bytes of a whole one, and streams."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from http import HTTPStatus
from typing import Protocol

from aiohttp.http import HttpVersion10, RawRequestMessage

from apex_llm_gateway.http import Reply, StreamReply
from apex_llm_gateway.replies import error_reply

#: Seconds after which a stream lets others have their turn.
_SLICE = 0.003
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}
_NOT_MODIFIED = HTTPStatus.NOT_MODIFIED
_END = b"0\r\n\r\n"


class ConnectionView(Protocol):
    """What an answer wants of its connection."""

    loop: asyncio.AbstractEventLoop
    #: None: the client is gone.
    transport: asyncio.Transport | None
    #: The client takes less than there is.
    writing_paused: bool
    #: Bytes that were given to the transport; who writes counts.
    sent: int

    @property
    def common(self) -> str:
        """The lines that every head has: date and server."""

    async def drain(self) -> None:
        """Wait until the client has taken most of what was sent."""


def whole(reply: Reply, method: str, version: tuple[int, int], common: str, *, keep: bool) -> bytes:
    """Return all of an answer.

    Raises:
        ValueError: as `head`.
    """
    body = reply.body
    # Of what a client has already, a length would be that of the whole.
    length = "" if reply.status == _NOT_MODIFIED else f"Content-Length: {len(body)}\r\n"
    start = head(reply.status, reply.headers, reply.content_type, version, common, keep=keep)
    data = f"{start}{length}\r\n".encode("latin-1")
    return data if method == "HEAD" else data + body


def head(
    status: int, headers: Mapping[str, str], content_type: str, version: tuple[int, int], common: str, *, keep: bool
) -> str:
    """Return a head without its last lines.

    Raises:
        ValueError: a header would end early, and could add others.
    """
    lines = "\r\n".join([*map(": ".join, headers.items()), ""])
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers):
        raise ValueError("a header holds a line end")
    persistence = "" if keep and version != HttpVersion10 else f"Connection: {'keep-alive' if keep else 'close'}\r\n"
    return f"{_STATUS_LINES[status]}Content-Type: {content_type}\r\n{lines}{common}{persistence}"


class Outgoing:
    """A streamed answer on its way."""

    __slots__ = ("_begun", "_chunked", "_connection", "_keep", "_last", "_message", "_reply")

    def __init__(
        self, connection: ConnectionView, message: RawRequestMessage, reply: StreamReply, *, keep: bool
    ) -> None:
        self._connection = connection
        self._message = message
        self._reply = reply
        self._chunked = message.version != HttpVersion10
        #: Without chunks only the end of the connection tells the end of the answer.
        self._keep = keep and self._chunked
        self._last = connection.loop.time()
        self._begun = False

    async def run(self) -> bool:
        """Send all pieces; return whether the connection can go on."""
        reply, connection = self._reply, self._connection
        loop = connection.loop
        left = True
        try:
            if self._message.method == "HEAD":
                left = False
                self._write(b"")
                return self._keep
            async with aclosing(reply.pieces):
                others = self._last
                async for piece in reply.pieces:
                    self._write(piece)
                    self._last = now = loop.time()
                    if connection.writing_paused:
                        await connection.drain()
                    elif now - others > _SLICE:
                        # An upstream that never lets us wait must not keep all others waiting.
                        others = now
                        await asyncio.sleep(0)
            left = False
        except ConnectionError:
            raise
        except Exception as error:
            left = False
            return self._failed(error)
        finally:
            await reply.pieces.aclose()
            if reply.ended is not None:
                reply.ended(left)
        self._end()
        return self._keep

    def check(self, now: float, silence: float) -> None:
        """Send a comment when nothing was sent for *silence* seconds."""
        transport = self._connection.transport
        if (
            now - self._last >= silence
            and self._reply.keep_alive
            and not self._connection.writing_paused
            and transport is not None
            and not transport.is_closing()
        ):
            self._last = now
            self._write(self._reply.keep_alive)

    def _failed(self, error: Exception) -> bool:
        reply, connection = self._reply, self._connection
        if not self._begun:
            answer = error_reply(error) if reply.refuse is None else reply.refuse(error)
            if connection.transport is not None:
                message = self._message
                data = whole(answer, message.method, message.version, connection.common, keep=self._keep)
                connection.sent += len(data)
                connection.transport.write(data)
            return self._keep
        if reply.farewell is None:
            if connection.transport is not None:
                connection.transport.abort()
            return False
        self._write(reply.farewell(error))
        self._end()
        return self._keep

    def _write(self, piece: bytes) -> None:
        connection = self._connection
        transport = connection.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client hung up")
        data = b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked and piece else piece
        if not self._begun:
            self._begun = True
            reply = self._reply
            start = head(
                reply.status,
                reply.headers(),
                reply.content_type,
                self._message.version,
                connection.common,
                keep=self._keep,
            )
            start += "Transfer-Encoding: chunked\r\n\r\n" if self._chunked else "\r\n"
            data = start.encode("latin-1") + data
        connection.sent += len(data)
        transport.write(data)

    def _end(self) -> None:
        if not self._begun:
            self._write(b"")
        connection = self._connection
        if self._chunked and connection.transport is not None:
            connection.sent += len(_END)
            connection.transport.write(_END)


__all__ = ["ConnectionView", "Outgoing", "head", "whole"]
