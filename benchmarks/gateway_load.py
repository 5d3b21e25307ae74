"""Load on a server at the least cost: raw connections that send fixed requests and look for the end of each answer."""

from __future__ import annotations

import asyncio
import json
import time


def request(model: str, key: str, *, stream: bool = False) -> bytes:
    """Return a chat request as bytes."""
    document = {
        "model": model,
        "messages": [{"role": "user", "content": "Hello"}],
        **({"stream": True} if stream else {}),
    }
    body = json.dumps(document).encode()
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %b\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (key.encode(), len(body), body)
    )


def upstream_request(model: str) -> bytes:
    """Return the same as the upstream takes it."""
    return (
        b"POST /openai/deployments/%b/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\n{}"
        % model.encode()
    )


def get(path: str) -> bytes:
    """Return a GET request as bytes."""
    return b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % path.encode()


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._data = bytearray()
        self._done: asyncio.Future[None] | None = None
        #: When the first content of the answer was there; 0: not yet.
        self.first_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def ask(self, wanted: bytes) -> asyncio.Future[None]:
        self._data.clear()
        self.first_at = 0.0
        self._done = asyncio.get_running_loop().create_future()
        self.transport.write(wanted)
        return self._done

    def data_received(self, data: bytes) -> None:
        self._data += data
        head = self._data.find(b"\r\n\r\n")
        if head < 0 or self._done is None or self._done.done():
            return
        if not self._data.startswith(b"HTTP/1.1 200"):
            self._done.set_exception(RuntimeError(bytes(self._data[:2000]).decode(errors="replace")))
            return
        lowered = bytes(self._data[:head]).lower()
        length = lowered.find(b"content-length: ")
        if length >= 0:
            whole = head + 4 + int(lowered[length + 16 :].split(b"\r\n", 1)[0])
            complete = len(self._data) >= whole
        else:
            if not self.first_at and b'"content"' in self._data:
                self.first_at = time.perf_counter()
            complete = self._data.endswith(b"0\r\n\r\n")
        if complete:
            self._done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(exc or ConnectionResetError("the server hung up"))

    @property
    def ended_well(self) -> bool:
        return b"data: [DONE]" in self._data


async def _connect(port: int) -> _Connection:
    _, connection = await asyncio.get_running_loop().create_connection(_Connection, "127.0.0.1", port)
    return connection


async def run(port: int, wanted: bytes, count: int, concurrent: int) -> None:
    """Send *wanted* so many times over so many connections."""
    left = iter(range(count))

    async def worker() -> None:
        connection = await _connect(port)
        for _ in left:
            await connection.ask(wanted)
        connection.transport.close()

    await asyncio.gather(*(worker() for _ in range(concurrent)))


async def times(port: int, wanted: bytes, count: int, *, first: bool = False) -> list[float]:
    """Return the seconds of each of *count* requests, one after the other; *first*: until the first content is there."""
    connection = await _connect(port)
    found = []
    for _ in range(count):
        began = time.perf_counter()
        await connection.ask(wanted)
        found.append((connection.first_at if first else time.perf_counter()) - began)
    connection.transport.close()
    return found


async def streams_at_once(port: int, wanted: bytes, count: int) -> int:
    """Open *count* streams at the same time; return how many came to their end."""
    connections = [await _connect(port) for _ in range(count)]
    results = await asyncio.gather(*(each.ask(wanted) for each in connections), return_exceptions=True)
    whole = sum(result is None and each.ended_well for result, each in zip(results, connections, strict=True))
    for each in connections:
        each.transport.close()
    return whole
