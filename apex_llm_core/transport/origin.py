"""One scheme, host and port: its links, those that wait for a request among them.

Links use parts of aiohttp that its documentation does not name: `connect` of the connector, `should_close` and
`connection_lost` of its protocol, the parser, the reader of a body. `available` looks for them before the first request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiohttp import ClientSession
    from aiohttp.connector import Connection
    from yarl import URL

    from apex_llm_core.transport.link import Link

#: Seconds that a link is kept without a request; servers close theirs after some more.
_KEPT_IDLE = 15.0


def available() -> bool:
    """Return whether this version of aiohttp has what the short way needs."""
    try:
        from aiohttp.client_proto import ResponseHandler
        from aiohttp.http import HttpResponseParser
        from aiohttp.streams import EMPTY_PAYLOAD
    except ImportError:
        return False
    return (
        all(hasattr(ResponseHandler, name) for name in ("connection_lost", "should_close"))
        and hasattr(HttpResponseParser, "feed_data")
        and hasattr(EMPTY_PAYLOAD, "is_eof")
    )


class Origin:
    """One scheme, host and port, and the links there that wait for a request."""

    __slots__ = ("__weakref__", "_closed", "_connect", "_idle", "_link", "_loop", "_sweeping", "host", "template")

    def __init__(self, url: URL, session: ClientSession) -> None:
        from aiohttp import ClientRequest, TCPConnector

        from apex_llm_core.transport.link import Link

        self._link = Link
        self._loop = asyncio.get_running_loop()
        #: The connector asks a request where to connect; this one stands in for all.
        self.template = ClientRequest("GET", url, session=session)
        # Past the session's own connector class, which tells of connections by a context variable.
        connect: Any = TCPConnector.connect
        self._connect: Callable[[], Awaitable[Connection]] = partial(
            connect, session.connector, self.template, [], session.timeout
        )
        #: As the header of that name has it.
        self.host = url.host_port_subcomponent or ""
        #: The one used last is the last.
        self._idle: dict[Link, None] = {}
        self._sweeping: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def idle(self) -> int:
        """How many links wait for a request."""
        return len(self._idle)

    def take(self) -> Link | None:
        """Return a link that waits, None when there is none."""
        idle = self._idle
        while idle:
            link, _ = idle.popitem()
            transport = link.transport
            if (
                transport is not None
                and not transport.is_closing()
                and self._loop.time() - link.idle_since <= _KEPT_IDLE
            ):
                return link
            link.close()
        return None

    async def open(self) -> Link:
        """Return a new link.

        Raises:
            aiohttp.ClientError: as aiohttp itself would.
        """
        while True:
            connection = await self._connect()
            protocol, transport = connection.protocol, connection.transport
            # Bytes that came while nobody asked belong to nobody: the next answer would be that of another request.
            if protocol is not None and transport is not None and not protocol.should_close:
                return self._link(self, connection, protocol, transport, self._loop)
            connection.close()

    def keep(self, link: Link) -> None:
        """Keep *link* for the next request, if there may be one after the last."""
        if self._closed or not link.can_be_kept:
            link.close()
            return
        link.idle_since = self._loop.time()
        self._idle[link] = None
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(_KEPT_IDLE, self._sweep)

    def forget(self, link: Link) -> None:
        """Do not hand out *link*; it is closed."""
        self._idle.pop(link, None)

    def close(self) -> None:
        """Close the links that wait, and those that would."""
        self._closed = True
        if self._sweeping is not None:
            self._sweeping.cancel()
        for link in list(self._idle):
            link.close()

    def _sweep(self) -> None:
        oldest = self._loop.time() - _KEPT_IDLE
        for link in [link for link in self._idle if link.idle_since <= oldest]:
            link.close()
        self._sweeping = self._loop.call_later(_KEPT_IDLE, self._sweep) if self._idle else None


__all__ = ["Origin", "available"]
