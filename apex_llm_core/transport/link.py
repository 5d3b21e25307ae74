"""One connection to an origin, for one request at a time; aiohttp's parser reads what comes.

=====================================  ===================================================================
what happens                           what becomes of it
=====================================  ===================================================================
the head of the answer is complete     `exchange` gets it, interim ones are passed over
the body is complete                   the link waits for the next request (`Origin.keep`)
bytes come that nobody asked for       closed: the next answer would be that of another request
the other side hangs up                the head or the body that is awaited fails, and the link is forgotten
a body comes faster than it is read    reading pauses
=====================================  ===================================================================

aiohttp's connector has opened the connection and counts it until it is closed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from aiohttp import ClientConnectionError, ClientOSError, ClientPayloadError, ServerDisconnectedError
from aiohttp.http import HttpResponseParser
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection
    from aiohttp.http import RawResponseMessage

#: Bytes of a body that are buffered before reading pauses: twice as many.
_BUFFER = 1 << 16
_WITHOUT_BODY = frozenset({204, 304})
_SWITCHING = 101


class Keeper(Protocol):
    """What a link wants of its origin."""

    def forget(self, link: Link) -> None:
        """The link is closed."""


class Link(asyncio.Protocol):
    """See the table above.

    Attributes:
        transport: None once the connection is gone.
        idle_since: when the last answer was complete, on the loop's clock.
    """

    __slots__ = (
        "_body",
        "_connection",
        "_handler",
        "_head",
        "_keeper",
        "_loop",
        "_parser",
        "_reading_paused",
        "_reusable",
        "idle_since",
        "transport",
    )

    def __init__(
        self,
        keeper: Keeper,
        connection: Connection,
        handler: ResponseHandler,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        # Readers of bodies pause and resume the connection, nobody wants more of it.
        protocol: Any = self
        self._parser: HttpResponseParser | None = HttpResponseParser(
            protocol, loop, _BUFFER, payload_exception=ClientPayloadError, read_until_eof=True
        )
        self._keeper = keeper
        self._loop = loop
        self._connection = connection
        #: What aiohttp knows the connection by; it is told of its end.
        self._handler = handler
        self.transport: asyncio.Transport | None = transport
        #: Waits for the head of an answer.
        self._head: asyncio.Future[tuple[RawResponseMessage, StreamReader]] | None = None
        self._body: StreamReader = EMPTY_PAYLOAD
        self._reusable = True
        self._reading_paused = False
        self.idle_since = 0.0
        transport.set_protocol(self)

    # -- what the exchange wants -------------------------------------------------------------------------------------

    def ask(self, request: bytes) -> asyncio.Future[tuple[RawResponseMessage, StreamReader]]:
        """Send a whole request; the future gets the head of its answer and the reader of the body."""
        self._head = head = self._loop.create_future()
        self.transport.write(request)  # type: ignore[union-attr]
        return head

    @property
    def can_be_kept(self) -> bool:
        """Whether another request may follow the answer that is complete now."""
        transport = self.transport
        # An answer that came before the request was out: what follows on this connection is not to be trusted.
        return (
            self._reusable
            and transport is not None
            and not transport.is_closing()
            and not transport.get_write_buffer_size()
        )

    def close(self) -> None:
        """Hang up; what is awaited of it fails."""
        self._hang_up()
        self._fail_head(ClientConnectionError("Connection closed"))
        self._fail_body(ClientConnectionError("Connection closed"))

    # -- what the transport tells ------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Find the answer in *data*."""
        if self._head is None and self._body.is_eof():
            self.close()
            return
        self._feed(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what is awaited."""
        self.transport = None
        self._keeper.forget(self)
        # It holds on to us: together we would wait for the collector.
        parser, self._parser = self._parser, None
        if exc is None and parser is not None and not self._body.is_eof():
            # Some bodies last until the connection ends; of others the parser knows what is missing.
            try:
                parser.feed_eof()
            except Exception as error:
                self._fail_body(ClientPayloadError(f"Response payload is not completed: {error!r}"), error)
        self._fail_body(ClientPayloadError(f"Connection lost: {exc!r}"), exc)
        self._fail_head(ClientOSError(*exc.args) if isinstance(exc, OSError) else exc or ServerDisconnectedError(), exc)
        self._connection.close()
        # The connector waits for its protocol's end when it is closed itself.
        self._handler.connection_lost(exc)

    # -- what readers of bodies want ---------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether more may come; readers of bodies ask."""
        return self.transport is not None

    def pause_reading(self) -> None:
        """Read no more; called by the reader of a body that nobody takes."""
        self._reading_paused = True
        # From aiohttp 3.14 on, parsers hold back what they have not unpacked yet.
        getattr(self._parser, "pause_reading", _nothing)()
        if self.transport is not None:
            self.transport.pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Go on reading; called by readers of bodies whether it was paused or not."""
        if self._reading_paused:
            self._reading_paused = False
            if resume_parser:
                self._feed(b"")
            if self.transport is not None and not self._reading_paused:
                self.transport.resume_reading()

    # ----------------------------------------------------------------------------------------------------------------

    def _feed(self, data: bytes) -> None:
        if self._parser is None:
            return
        try:
            messages, upgraded, _ = self._parser.feed_data(data)
        except Exception as error:
            self._hang_up()
            self._fail_head(error)
            self._fail_body(ClientPayloadError(f"Response payload is damaged: {error!r}"), error)
            return
        for message, body in messages:
            head, code = self._head, message.code
            if head is None:
                self.close()
                return
            if 100 <= code < 200 and code != _SWITCHING:
                continue
            self._head = None
            self._body = EMPTY_PAYLOAD if code in _WITHOUT_BODY else body
            self._reusable = not (message.should_close or upgraded)
            if not head.done():
                head.set_result((message, self._body))

    def _hang_up(self) -> None:
        self._keeper.forget(self)
        # Closes the transport; the connector counts it no more.
        self._connection.close()

    def _fail_head(self, error: Exception, cause: Exception | None = None) -> None:
        head, self._head = self._head, None
        if head is not None and not head.done():
            error.__cause__ = cause if cause is not error else None
            head.set_exception(error)

    def _fail_body(self, error: Exception, cause: Exception | None = None) -> None:
        body = self._body
        if not body.is_eof() and body.exception() is None:
            error.__cause__ = cause
            body.set_exception(error)


def _nothing() -> None:
    """Stand in for what older parsers do not have."""


__all__ = ["Keeper", "Link"]
