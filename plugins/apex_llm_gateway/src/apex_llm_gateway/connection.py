"""One connection: aiohttp's parser finds the requests in its bytes, they are answered one after the other.

======================================  ====================================================================
what happens                            what becomes of it
======================================  ====================================================================
a head is complete                      a task answers it; further ones queue, and reading pauses at 64
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
from contextlib import suppress
from typing import Any, Protocol

from aiohttp.http import HttpRequestParser, HttpVersion10, RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader

from apex_llm_gateway.http import Handler, HttpError, Reply, StreamReply
from apex_llm_gateway.incoming import Incoming
from apex_llm_gateway.outgoing import Outgoing, whole
from apex_llm_gateway.replies import error_reply
from apex_llm_gateway.settings import GatewaySettings

#: Bytes of a body that are buffered before reading pauses.
_BUFFER = 1 << 16
#: Requests that may wait behind the one that is answered.
_MOST_QUEUED = 64
#: Seconds for which the rest of a body is read and dropped, so that the client can read its answer.
_LINGER = 2.0


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
        "_taken",
        "loop",
        "sent",
        "settings",
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
        self.settings = settings
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
        self._stream: Outgoing | None = None
        self._idle_since = loop.time()
        #: When the first bytes of a head came that is not complete; 0: none did.
        self._head_began = 0.0
        #: Bytes that were given to the transport.
        self.sent = 0
        #: How many of them the client had taken a moment ago, and since when it takes no more.
        self._taken = 0
        self._stuck_since = loop.time()
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
            if message.version[0] != 1:
                # The parser takes a line without a version for HTTP/0.9, which knows neither heads nor statuses.
                self._send(
                    error_reply(HttpError(400, "this is no HTTP/1.1 and no HTTP/1.0")), _NOTHING_KNOWN, keep=False
                )
                return
            try:
                reply = await owner.handler(Incoming(self, message, payload))
            except HttpError as error:
                reply = error_reply(error)
            keep = not message.should_close and not owner.stopping and not message.upgrade and payload.is_eof()
            if type(reply) is StreamReply:
                self._stream = stream = Outgoing(self, message, reply, keep=keep)
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
        if not keep or self._owner.stopping:
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

    @property
    def common(self) -> str:
        """The lines that every head has: date and server."""
        return self._owner.common

    def _send(self, reply: Reply, message: RawRequestMessage, *, keep: bool) -> None:
        if self.transport is not None:
            data = whole(reply, message.method, message.version, self._owner.common, keep=keep)
            self.sent += len(data)
            self.transport.write(data)

    # -- time --------------------------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether nothing is being answered."""
        return self.task is None

    @property
    def busy(self) -> bool:
        """Whether something is being answered, or part of an answer still waits for its client."""
        transport = self.transport
        return self.task is not None or (transport is not None and transport.get_write_buffer_size() > 0)

    def check(self, now: float) -> None:
        """Close the connection when its client keeps us waiting; keep its stream alive."""
        transport, settings = self.transport, self.settings
        if transport is None:
            return
        waiting = transport.get_write_buffer_size()
        # Not what waits: that grows while a client takes a little less than there is.
        taken = self.sent - waiting
        if not waiting or taken > self._taken:
            self._stuck_since = now
        elif now - self._stuck_since > settings.write_timeout:
            transport.abort()
            return
        self._taken = taken
        if self._lingers_until:
            if now > self._lingers_until:
                transport.abort()
        elif self.task is None:
            began = self._head_began
            if now - (began or self._idle_since) > (settings.header_timeout if began else settings.idle_timeout):
                transport.close()
        elif self._stream is not None:
            self._stream.check(now, settings.keep_alive)


def _nothing() -> None:
    """Stand in for what older parsers do not have."""


class _Unknown:
    """Stands for the head of a request that could not be read."""

    method = "GET"
    version = HttpVersion10


_NOTHING_KNOWN: Any = _Unknown()


__all__ = ["Connection", "Owner"]
