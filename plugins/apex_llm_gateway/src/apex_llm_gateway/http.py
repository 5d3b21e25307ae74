"""What the gateway wants of an HTTP server, and nothing of any particular one.

Handlers take a `Request` and return a `Reply` or a `StreamReply`; servers (`http_server.py` is the one there is) turn
bytes into the first and the others into bytes. A faster server fits in by implementing `Request` and `Server`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Protocol

import attrs

JSON = "application/json"
EVENTS = "text/event-stream; charset=utf-8"


class Request(Protocol):
    """One request whose head has arrived."""

    @property
    def method(self) -> str:
        """The HTTP method, in capitals."""

    @property
    def path(self) -> str:
        """The path without the query, as it was sent: percent-encoded, never rebuilt from the Host header."""

    @property
    def query(self) -> Mapping[str, str]:
        """The decoded query; of repeated names the first."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers; look-up ignores case."""

    @property
    def remote(self) -> str:
        """The address of the peer, empty when unknown."""

    async def body(self) -> bytes:
        """Return the whole body.

        Raises:
            HttpError: it is too large (413), too slow (408), malformed (400), or in an encoding that is not read
                (415, 501).
        """


class HttpError(Exception):
    """A request that does not reach its handler, or not whole; `status` is the answer's."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers: Mapping[str, str] = headers or {}


@attrs.frozen(kw_only=True)
class Reply:
    """A whole answer."""

    body: bytes = b""
    status: int = 200
    content_type: str = JSON
    headers: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class StreamReply:
    """An answer in pieces. The server closes `pieces` in every case: when they end, fail, or nobody wants them any more.

    The head waits for the first piece, so that a failure before it can still be a whole answer. A server sends it, and the
    comment `keep_alive`, when nothing has come for too long.
    """

    pieces: AsyncGenerator[bytes, None]
    status: int = 200
    content_type: str = EVENTS
    #: Called when the head is sent.
    headers: Callable[[], Mapping[str, str]] = dict
    #: Makes the whole answer of a failure before the head was sent.
    refuse: Callable[[Exception], Reply] | None = None
    #: Makes the last piece of a failure after that; without it the connection breaks, which tells as much.
    farewell: Callable[[Exception], bytes] | None = None
    #: Called once, when all is over, with whether the client left before that.
    ended: Callable[[bool], None] | None = None
    #: Sent in long silence; empty: nothing is.
    keep_alive: bytes = b": keep-alive\n\n"


#: Answers a request; cancelled when the client hangs up.
Handler = Callable[[Request], Awaitable[Reply | StreamReply]]


class Server(Protocol):
    """Serves one handler at any number of addresses."""

    async def listen(self, host: str, port: int, *, shared: bool = False) -> int:
        """Listen at a TCP address, shared with other processes if so asked; return the port."""

    async def listen_unix(self, path: str) -> None:
        """Listen at a Unix socket."""

    async def stop(self, grace: float) -> int:
        """Accept no more, give requests under way *grace* seconds, then end them; return how many were ended."""


__all__ = ["EVENTS", "JSON", "Handler", "HttpError", "Reply", "Request", "Server", "StreamReply"]
