"""One connection: aiohttp's parser finds the requests in its bytes, they are answered one after the other.

======================================  ====================================================================
what happens                            what becomes of it
======================================  ====================================================================
a head is complete                      a task answers it; further ones queue, and reading pauses at 16
the client hangs up                     the task is cancelled, and with it the upstream call
no HTTP, or too large a head            an error in the usual form, then the connection closes
a head that does not arrive in time     closed (`check`)
nothing is asked for long               closed (`check`)
a client that takes nothing for long    aborted (`check`)
a body that nobody wanted to the end    the answer is sent, the rest read and dropped for two seconds
======================================  ====================================================================

This is aiohttp's server protocol without its web layer, at a third of its cost for each request.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from contextlib import aclosing, suppress
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import parse_qsl

from aiohttp.http import HttpRequestParser, HttpVersion10, RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader

from apex_llm_gateway.http import Handler, HttpError, Reply, StreamReply
from apex_llm_gateway.replies import error_reply
from apex_llm_gateway.settings import GatewaySettings

#: Bytes of a body that are buffered before reading pauses.
_BUFFER = 1 << 16
#: Requests that may wait behind the one that is answered.
_MOST_QUEUED = 64
#: Seconds for which the rest of a body is read and dropped, so that the client can read its answer.
_LINGER = 2.0
#: Seconds after which a stream lets others have their turn.
_SLICE = 0.003
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}
_END = b"0\r\n\r\n"


class _BrokenBodyError(Exception):
    """What the parser tells the reader of a body that breaks the rules of its encoding."""


class Owner(Protocol):
    """What a connection wants of its server."""

    handler: Handler
    settings: GatewaySettings
    #: The lines that every head has: date and server.
    common: str
    stopping: bool

    def opened(self, connection: Connection) -> bool:
        """Take note of a new connection; False: there are too many."""

    def closed(self, connection: Connection) -> None:
        """Forget it."""


class Connection(asyncio.Protocol):
    """See the table above."""

    __slots__ = (
        "_drained",
        "_head_began",
        "_idle_since",
        "_lingers_until",
        "_owner",
        "_parser",
        "_queue",
        "_reading_paused",
        "_stream",
        "_stuck_since",
        "_waiting",
        "loop",
        "task",
        "transport",
        "writing_paused",
    )

    def __init__(self, owner: Owner, loop: asyncio.AbstractEventLoop) -> None:
        settings = owner.settings
        # Readers of bodies pause and resume the connection, nobody wants more of it.
        protocol: Any = self
        self._parser: HttpRequestParser | None = HttpRequestParser(
            protocol,
            loop,
            _BUFFER,
            max_line_size=settings.max_header_bytes,
            max_field_size=settings.max_header_bytes,
            payload_exception=_BrokenBodyError,
        )
        self.loop = loop
        self.transport: asyncio.Transport | None = None
        self._owner = owner
        #: A body has no room for more; set by its reader's calls.
        self._reading_paused = False
        #: The client takes less than there is.
        self.writing_paused = False
        self._drained: asyncio.Future[None] | None = None
        self._queue: deque[tuple[RawRequestMessage | None, StreamReader | HttpError]] = deque()
        #: Answers the request whose turn it is.
        self.task: asyncio.Task[None] | None = None
        self._stream: _Stream | None = None
        self._idle_since = loop.time()
        #: When the first bytes of a head came that is not complete; 0: none did.
        self._head_began = 0.0
        #: Bytes that wait for the client, and since when no fewer do.
        self._waiting = 0
        self._stuck_since = 0.0
        #: Until when what comes is dropped; 0: it is not.
        self._lingers_until = 0.0

    @property
    def connected(self) -> bool:
        """Whether the client is there; readers of bodies ask."""
        return self.transport is not None

    # -- what the transport tells ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, unless there are too many connections."""
        self.transport = transport  # type: ignore[assignment]
        if not self._owner.opened(self):
            transport.abort()  # type: ignore[attr-defined]

    def connection_lost(self, exc: BaseException | None) -> None:  # noqa: ARG002 - asyncio calls it so
        """End what is under way."""
        self.transport = None
        # It holds on to us, and to what it has not handed out: together we would wait for the collector.
        self._parser = None
        self._owner.closed(self)
        self._queue.clear()
        self.resume_writing()
        if self.task is not None:
            self.task.cancel()

    def pause_writing(self) -> None:
        """Let streams wait."""
        self.writing_paused = True

    def resume_writing(self) -> None:
        """Let streams go on."""
        self.writing_paused = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    async def drain(self) -> None:
        """Wait until the client has taken most of what was sent."""
        while self.writing_paused and self.transport is not None:
            self._drained = self.loop.create_future()
            await self._drained

    def data_received(self, data: bytes) -> None:
        """Find requests in *data*."""
        if self._lingers_until or self._parser is None:
            return
        try:
            messages, _, _ = self._parser.feed_data(data)
        except HttpProcessingError as error:
            self._parser = None
            self._take(
                None, HttpError(400, f"this is no valid HTTP: {error.message.partition(chr(10))[0].rstrip(':')}")
            )
            return
        if messages:
            self._head_began = 0.0
            for message, payload in messages:
                self._take(message, payload)
        elif self.task is None and data and not self._head_began:
            self._head_began = self.loop.time()

    def pause_reading(self) -> None:
        """Read no more; called by the reader of a body that nobody takes."""
        self._reading_paused = True
        # From aiohttp 3.14 on, parsers hold back what they have not unpacked yet.
        getattr(self._parser, "pause_reading", _nothing)()
        self._pause()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Go on reading; called by readers of bodies whether it was paused or not."""
        if self._reading_paused:
            self._reading_paused = False
            if resume_parser:
                self.data_received(b"")
            self._resume()

    # -- requests in turn --------------------------------------------------------------------------------------------

    def _take(self, message: RawRequestMessage | None, payload: Any) -> None:
        if self.task is None:
            self.task = self.loop.create_task(self._answer(message, payload))
            return
        self._queue.append((message, payload))
        if len(self._queue) == _MOST_QUEUED:
            self._pause()

    async def _answer(self, message: RawRequestMessage | None, payload: Any) -> None:
        """Answer one request and see to what comes after it."""
        owner = self._owner
        keep = False
        try:
            if message is None:
                self._send(error_reply(payload), _NOTHING_KNOWN, keep=False)
                return
            if message.version < HttpVersion10:
                # The parser takes a line without a version for HTTP/0.9, which knows neither heads nor statuses.
                self._send(error_reply(HttpError(505, "HTTP/1.1 or HTTP/1.0 is needed")), _NOTHING_KNOWN, keep=False)
                return
            try:
                reply = await owner.handler(Incoming(self, message, payload))
            except HttpError as error:
                reply = error_reply(error)
            keep = not message.should_close and not owner.stopping and not message.upgrade and payload.is_eof()
            if type(reply) is StreamReply:
                self._stream = stream = _Stream(self, message, reply, keep=keep)
                try:
                    keep = await stream.run()
                finally:
                    self._stream = None
            else:
                self._send(reply, message, keep=keep)  # type: ignore[arg-type]
        except ConnectionError:
            keep = False
        except BaseException:
            keep = False
            raise
        finally:
            self.task = None
            self._next(keep=keep, unread=message is not None and not payload.is_eof())

    def _next(self, *, keep: bool, unread: bool) -> None:
        transport = self.transport
        if transport is None:
            return
        if not keep:
            self._queue.clear()
            if unread and not transport.is_closing():
                self._lingers_until = self.loop.time() + _LINGER
                # What it holds of the body is dropped, too, and its end has to be seen however full the reader was.
                self._parser = None
                self._reading_paused = False
                with suppress(OSError, RuntimeError):
                    transport.write_eof()
                self._resume()
            else:
                transport.close()
            return
        self._idle_since = self.loop.time()
        if self._queue:
            message, payload = self._queue.popleft()
            self._take(message, payload)
            if len(self._queue) == _MOST_QUEUED // 2:
                self._resume()

    def _pause(self) -> None:
        if self.transport is not None:
            self.transport.pause_reading()

    def _resume(self) -> None:
        if self.transport is not None and not self._reading_paused:
            self.transport.resume_reading()

    # -- answers -----------------------------------------------------------------------------------------------------

    def _send(self, reply: Reply, message: RawRequestMessage, *, keep: bool) -> None:
        head = self.head(reply.status, reply.headers, reply.content_type, keep=keep, version=message.version)
        body = reply.body
        if self.transport is not None:
            start = f"{head}Content-Length: {len(body)}\r\n\r\n".encode("latin-1")
            self.transport.write(start if message.method == "HEAD" else start + body)

    def head(
        self, status: int, headers: Mapping[str, str], content_type: str, *, keep: bool, version: tuple[int, int]
    ) -> str:
        """Return a head without its last lines.

        Raises:
            ValueError: a header would end early, and could add others.
        """
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        if lines.count("\n") != len(headers) or lines.count("\r") != len(headers):
            raise ValueError("a header holds a line end")
        persistence = (
            "" if keep and version != HttpVersion10 else f"Connection: {'keep-alive' if keep else 'close'}\r\n"
        )
        return f"{_STATUS_LINES[status]}Content-Type: {content_type}\r\n{lines}{self._owner.common}{persistence}"

    # -- time --------------------------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether nothing is being answered."""
        return self.task is None

    def check(self, now: float) -> None:
        """Close the connection when its client keeps us waiting; keep its stream alive."""
        transport, settings = self.transport, self._owner.settings
        if transport is None:
            return
        waiting = transport.get_write_buffer_size()
        if not waiting or waiting < self._waiting:
            self._stuck_since = now
        elif now - self._stuck_since > settings.write_timeout:
            transport.abort()
            return
        self._waiting = waiting
        if self._lingers_until:
            if now > self._lingers_until:
                transport.abort()
        elif self.task is None:
            began = self._head_began
            if now - (began or self._idle_since) > (settings.header_timeout if began else settings.idle_timeout):
                transport.close()
        elif self._stream is not None:
            self._stream.check(now, settings.keep_alive)


class Incoming:
    """Implements `Request`."""

    __slots__ = ("_connection", "_payload", "_target", "headers", "method", "path")

    def __init__(self, connection: Connection, message: RawRequestMessage, payload: StreamReader) -> None:
        self._connection = connection
        self._payload = payload
        self.method = message.method
        self.headers = message.headers
        self._target = message.path
        self.path = message.path.partition("?")[0]

    @property
    def query(self) -> Mapping[str, str]:
        """The decoded query; of repeated names the first."""
        found: dict[str, str] = {}
        for name, value in parse_qsl(self._target.partition("?")[2], keep_blank_values=True, errors="replace"):
            found.setdefault(name, value)
        return found

    @property
    def remote(self) -> str:
        """The address of the peer, empty when unknown."""
        transport = self._connection.transport
        peer = None if transport is None else transport.get_extra_info("peername")
        return str(peer[0]) if isinstance(peer, tuple) else ""

    async def body(self) -> bytes:
        """Return the whole body; see `Request`."""
        payload, most = self._payload, self._connection._owner.settings.max_body_bytes  # noqa: SLF001 - same module
        if payload.is_eof() and payload.exception() is None:
            # The body came with the head, as nearly all do.
            whole = payload.read_nowait()
            if len(whole) > most:
                raise _too_large(most)
            return whole
        length = self.headers.get("content-length")
        if length is not None and length.isdecimal() and int(length) > most:
            raise _too_large(most)
        if self.headers.get("expect", "").lower() == "100-continue" and self._connection.transport is not None:
            self._connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return await self._read(most)

    async def _read(self, most: int) -> bytes:
        parts: list[bytes] = []
        size = 0
        seconds = self._connection._owner.settings.body_timeout  # noqa: SLF001 - same module
        try:
            async with asyncio.timeout(seconds):
                async for part in self._payload.iter_any():
                    size += len(part)
                    if size > most:
                        raise _too_large(most)
                    parts.append(part)
        except TimeoutError:
            raise HttpError(
                408, f"the body did not arrive within {seconds:g} seconds", code="request_timeout"
            ) from None
        except HttpError:
            raise
        except Exception as error:
            raise HttpError(
                400, "the body is malformed: it breaks the rules of its transfer or content encoding"
            ) from error
        return b"".join(parts)


class _Stream:
    """A streamed answer on its way."""

    __slots__ = ("_begun", "_chunked", "_connection", "_keep", "_last", "_message", "_reply")

    def __init__(self, connection: Connection, message: RawRequestMessage, reply: StreamReply, *, keep: bool) -> None:
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
        try:
            if self._message.method == "HEAD":
                self._write(b"")
                return False
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
        except ConnectionError:
            raise
        except Exception as error:
            return self._failed(error)
        finally:
            await reply.pieces.aclose()
            if reply.ended is not None:
                reply.ended()
        self._end()
        return self._keep

    def check(self, now: float, silence: float) -> None:
        """Send a comment when nothing was sent for *silence* seconds."""
        if now - self._last >= silence and self._reply.keep_alive and not self._connection.writing_paused:
            self._last = now
            self._write(self._reply.keep_alive)

    def _failed(self, error: Exception) -> bool:
        reply, connection = self._reply, self._connection
        if not self._begun:
            answer = error_reply(error) if reply.refuse is None else reply.refuse(error)
            connection._send(answer, self._message, keep=self._keep)  # noqa: SLF001 - same module
            return self._keep
        if reply.farewell is None:
            if connection.transport is not None:
                connection.transport.abort()
            return False
        self._write(reply.farewell(error))
        self._end()
        return self._keep

    def _write(self, piece: bytes) -> None:
        transport = self._connection.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client hung up")
        data = b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked and piece else piece
        if not self._begun:
            self._begun = True
            reply = self._reply
            head = self._connection.head(
                reply.status, reply.headers(), reply.content_type, keep=self._keep, version=self._message.version
            )
            start = f"{head}Transfer-Encoding: chunked\r\n\r\n" if self._chunked else f"{head}\r\n"
            data = start.encode("latin-1") + data
        transport.write(data)

    def _end(self) -> None:
        if not self._begun:
            self._write(b"")
        if self._chunked and self._connection.transport is not None:
            self._connection.transport.write(_END)


def _too_large(most: int) -> HttpError:
    return HttpError(413, f"the body is larger than {most} bytes ([gateway] max_body_bytes)", code="request_too_large")


def _nothing() -> None:
    """Stand in for what older parsers do not have."""


class _Unknown:
    """Stands for the head of a request that could not be read."""

    method = "GET"
    version = HttpVersion10


_NOTHING_KNOWN: Any = _Unknown()


__all__ = ["Connection", "Incoming", "Owner"]
