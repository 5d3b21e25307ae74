"""A TCP address for several processes, and a channel to each of them. A worker's own socket stands in a private folder."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from apex_llm_gateway.listening import cannot_listen

#: What fits into the address of a Unix socket on every system, with room for the socket's own name.
_LONGEST_FOLDER = 80


@contextmanager
def reserved(host: str, port: int) -> Iterator[int]:
    """Hold the address for sockets that share it, and give its port; 0 is a free one, the same at every address of *host*.

    Nobody is listened to. A plain socket is tried first: with SO_REUSEPORT alone, somebody else's gateway would share with us.

    Raises:
        ConfigurationError: the address cannot be had.
    """
    with ExitStack() as stack:
        try:
            found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, kind, protocol, _, address in dict.fromkeys(found):
                chosen = (address[0], port, *address[2:])
                with _socket(family, kind, protocol) as alone:
                    alone.bind(chosen)
                    # Binding tells of listeners, except of those with the same options and port 0.
                    port = alone.getsockname()[1]
                held = stack.enter_context(_socket(family, kind, protocol))
                held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                held.bind((address[0], port, *address[2:]))
        except OSError as error:
            raise cannot_listen(error, host, port) from error
        yield port


def _socket(family: int, kind: int, protocol: int) -> socket.socket:
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        # As asyncio's servers do: the addresses of IPv4 are sockets of their own.
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return made


@contextmanager
def private_folder() -> Iterator[Path]:
    """Make a folder that only this user enters, short enough for sockets in it; it goes when the context ends."""
    base = tempfile.gettempdir()
    folder = tempfile.mkdtemp(prefix="apex-llm-", dir=base if len(os.fsencode(base)) < _LONGEST_FOLDER else "/tmp")  # noqa: S108
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def worker_socket(folder: Path, index: int) -> Path:
    """Return where the worker *index* is reached by the others."""
    return folder / f"worker-{index}.sock"


class Channel:
    """One end of a connection on which documents are sent, one a line. When a process ends, its channels do."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, connected: socket.socket) -> Channel:
        """Return the end at a *connected* socket, which it takes over."""
        connected.setblocking(False)
        return cls(*await asyncio.open_connection(sock=connected))

    def send(self, document: Any) -> None:
        """Send a document; it does not wait, and nothing happens when nobody is there any more."""
        if not self._writer.is_closing():
            self._writer.write(json.dumps(document).encode() + b"\n")

    async def receive(self) -> Any:
        """Return the next document, None when the other end is closed."""
        try:
            line = await self._reader.readline()
        except ConnectionError:
            return None
        return json.loads(line) if line.endswith(b"\n") else None

    async def close(self) -> None:
        """Close this end, after what was sent."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            return


__all__ = ["Channel", "private_folder", "reserved", "worker_socket"]
