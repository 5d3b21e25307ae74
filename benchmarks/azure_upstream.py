"""An upstream that sends Azure's bodies as fast as a socket takes them, in its own process.

A deployment called ``s<chunks>x<per write>`` streams so many chunks, so many events in one write; with one event a write it
pauses in between, so that a read brings one. Every other deployment gives one whole answer.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from functools import cache

SAFE = {category: {"filtered": False, "severity": "safe"} for category in ("hate", "self_harm", "sexual", "violence")}
IDENTITY = {"id": "chatcmpl-BqbV3K1sQm2yT0pXz", "created": 1761552000, "model": "gpt-4o-2024-08-06"}
ANSWER = json.dumps(
    {
        **IDENTITY,
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello! " * 12, "refusal": None, "annotations": []},
                "finish_reason": "stop",
                "logprobs": None,
                "content_filter_results": SAFE,
            }
        ],
        "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": SAFE}],
        "system_fingerprint": "fp_ee1d74bde0",
        "usage": {
            "prompt_tokens": 12,
            "completion_tokens": 24,
            "total_tokens": 36,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
    }
).encode()
HEADERS = (
    b"apim-request-id: 6d4f2c1e-0000-4000-8000-000000000000\r\nx-ms-region: East US\r\n"
    b"x-ratelimit-remaining-requests: 99\r\nx-ratelimit-remaining-tokens: 99000\r\n"
)
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n" % (HEADERS, len(ANSWER))
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n%bTransfer-Encoding: chunked\r\n\r\n" % HEADERS


def event(document: object) -> bytes:
    return b"data: %b\n\n" % json.dumps(document).encode()


def part(delta: dict[str, str], reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None, "content_filter_results": SAFE}
    return event(
        {
            **IDENTITY,
            "object": "chat.completion.chunk",
            "choices": [choice],
            "system_fingerprint": "fp_ee1d74bde0",
            "usage": None,
        }
    )


def events(count: int) -> list[bytes]:
    verdict = [{"prompt_index": 0, "content_filter_results": SAFE}]
    first = {"id": "", "object": "", "created": 0, "model": "", "prompt_filter_results": verdict, "choices": []}
    usage = {"prompt_tokens": 12, "completion_tokens": count, "total_tokens": 12 + count}
    return [
        event(first),
        *(part({"content": f" word{number}"}) for number in range(count)),
        part({}, "stop"),
        event({**IDENTITY, "choices": [], "usage": usage}),
        b"data: [DONE]\n\n",
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
        self._buffer = b""
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            found = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
            length = int(found[1]) if found else 0
            if len(self._buffer) < end + 4 + length:
                return
            self._buffer = self._buffer[end + 4 + length :]
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
