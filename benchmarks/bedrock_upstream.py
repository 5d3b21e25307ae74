"""An upstream that sends Bedrock's bodies as fast as a socket takes them, in its own process; it checks no signature.

A model called ``s<chunks>x<per write>`` streams so many chunks, so many events in one write; with one event a write it
pauses in between, so that a read brings one. Every other model gives one whole answer.
"""

from __future__ import annotations

import asyncio
import json
import re
import struct
import sys
from functools import cache
from zlib import crc32

ANSWER = json.dumps(
    {
        "metrics": {"latencyMs": 1250},
        "output": {"message": {"content": [{"text": "Hello! " * 12}], "role": "assistant"}},
        "stopReason": "end_turn",
        "usage": {
            "cacheReadInputTokens": 0,
            "cacheWriteInputTokens": 0,
            "inputTokens": 12,
            "outputTokens": 24,
            "totalTokens": 36,
        },
    }
).encode()
HEADERS = b"Date: Sun, 22 Nov 2026 12:00:00 GMT\r\nx-amzn-RequestId: 6d4f2c1e-0000-4000-8000-000000000000\r\n"
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n" % (HEADERS, len(ANSWER))
STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.amazon.eventstream\r\n%bTransfer-Encoding: chunked\r\n\r\n"
    % HEADERS
)


def header(name: str, value: str) -> bytes:
    return struct.pack("B", len(name)) + name.encode() + struct.pack(">BH", 7, len(value)) + value.encode()


def event(name: str, document: object) -> bytes:
    headers = header(":event-type", name) + header(":content-type", "application/json")
    headers += header(":message-type", "event")
    payload = json.dumps(document, separators=(",", ":")).encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    message = prelude + struct.pack(">I", crc32(prelude)) + headers + payload
    return message + struct.pack(">I", crc32(message))


def events(count: int) -> list[bytes]:
    usage = {"inputTokens": 12, "outputTokens": count, "totalTokens": 12 + count}
    padding = "abcdefghijklmnopqrstuvwxyz"
    return [
        event("messageStart", {"p": padding, "role": "assistant"}),
        *(
            event(
                "contentBlockDelta",
                {"contentBlockIndex": 0, "delta": {"text": f" word{number}"}, "p": padding[: number % 26]},
            )
            for number in range(count)
        ),
        event("contentBlockStop", {"contentBlockIndex": 0, "p": padding}),
        event("messageStop", {"p": padding, "stopReason": "end_turn"}),
        event("metadata", {"metrics": {"latencyMs": 1250}, "p": padding, "usage": usage}),
    ]


@cache
def writes(count: int, per_write: int) -> list[bytes]:
    """Return what is written at a time, in HTTP's chunks."""
    pieces = events(count)
    joined = [b"".join(pieces[start : start + per_write]) for start in range(0, len(pieces), per_write)]
    return [
        *(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in joined[:-1]),
        b"%x\r\n%b\r\n0\r\n\r\n" % (len(joined[-1]), joined[-1]),
    ]


class Upstream(asyncio.Protocol):
    """Reads requests with a Content-Length, answers each."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._buffer[:end])
            found = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
            length = int(found[1]) if found else 0
            if len(self._buffer) < end + 4 + length:
                return
            del self._buffer[: end + 4 + length]
            stream = re.search(rb"/s(\d+)x(\d+)/", head)
            if stream is None:
                self._transport.write(WHOLE + ANSWER)
            else:
                count, per_write = int(stream[1]), int(stream[2])
                sending = self._send(writes(count, per_write), paced=per_write == 1)
                self._task = asyncio.get_running_loop().create_task(sending)

    async def _send(self, pieces: list[bytes], *, paced: bool) -> None:
        self._transport.write(STREAM)
        for piece in pieces:
            if self._transport.is_closing():
                return
            self._transport.write(piece)
            if paced:
                # Long enough for the reader to take each by itself.
                await asyncio.sleep(0.0005)
            elif self._transport.get_write_buffer_size() > 1 << 16:
                await asyncio.sleep(0)


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0, backlog=1024)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve())
