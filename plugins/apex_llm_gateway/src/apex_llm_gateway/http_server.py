"""The server: listens, owns the connections, looks after them once a second, and stops them gracefully."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from email.utils import formatdate

from apex_llm_gateway.connection import Connection
from apex_llm_gateway.http import Handler
from apex_llm_gateway.settings import GatewaySettings

#: Seconds between two looks at all connections, and the age of the date in heads.
_SWEEP = 1.0
_BACKLOG = 2048


class HttpServer:
    """Implements `Server`; to be made in its event loop. Times and sizes are those of the settings."""

    def __init__(self, handler: Handler, settings: GatewaySettings) -> None:
        self.handler = handler
        self.settings = settings
        self.stopping = False
        self.common = ""
        self._loop = asyncio.get_running_loop()
        self._listeners: list[asyncio.Server] = []
        self._connections: set[Connection] = set()
        #: Set when the last connection is closed after the stop.
        self._emptied = asyncio.Event()
        self._sweep()

    async def listen(self, host: str, port: int, *, shared: bool = False) -> int:
        """Listen at a TCP address, shared with other processes if so asked; return the port.

        Raises:
            OSError: the address is taken, or is not this machine's.
        """
        listener = await self._loop.create_server(
            self._connection,
            host,
            port,
            backlog=min(_BACKLOG, max(16, self.settings.max_connections // 3)),
            reuse_port=shared or None,
            reuse_address=True,
        )
        self._listeners.append(listener)
        chosen: int = listener.sockets[0].getsockname()[1]
        return chosen

    async def listen_unix(self, path: str) -> None:
        """Listen at a Unix socket."""
        self._listeners.append(await self._loop.create_unix_server(self._connection, path))

    @property
    def unsent(self) -> int:
        """How many connections have an answer that is made, and that the client has not taken yet."""
        return sum(connection.idle and connection.busy for connection in self._connections)

    async def stop(self, grace: float) -> int:
        """Accept no more, give requests under way *grace* seconds, then end them; return how many were ended.

        An answer is under way until its client has taken all of it.
        """
        self.stopping = True
        for listener in self._listeners:
            listener.close()
        for connection in tuple(self._connections):
            if connection.idle and connection.transport is not None:
                connection.transport.close()
        if self._connections and grace > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await self._emptied.wait()
        ended = sum(connection.busy for connection in self._connections)
        self._sweeping.cancel()
        tasks = [connection.task for connection in self._connections if connection.task is not None]
        for connection in tuple(self._connections):
            if connection.transport is not None:
                connection.transport.abort()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for listener in self._listeners:
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await listener.wait_closed()
        return ended

    def opened(self, connection: Connection) -> bool:
        """Take note of a new connection; False: there are too many."""
        self._connections.add(connection)
        return len(self._connections) <= self.settings.max_connections

    def closed(self, connection: Connection) -> None:
        """Forget it."""
        self._connections.discard(connection)
        if self.stopping and not self._connections:
            self._emptied.set()

    def _connection(self) -> Connection:
        return Connection(self, self._loop)

    def _sweep(self) -> None:
        self.common = f"Date: {formatdate(usegmt=True)}\r\nServer: apex-llm\r\n"
        self._sweeping = self._loop.call_later(_SWEEP, self._sweep)
        now = self._loop.time()
        for connection in tuple(self._connections):
            connection.check(now)


__all__ = ["HttpServer"]
