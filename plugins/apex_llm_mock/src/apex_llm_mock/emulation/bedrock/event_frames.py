"""AWS event streams on their way out: messages of headers and payload, each with two checksums.

A frame is the length of itself and that of its headers, a CRC of those two, the headers, the payload, and a CRC of all of
it. Headers are always strings here. Events carry a member ``p`` of varying length, so that the size of a frame on the
wire does not tell the length of the text in it.
"""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple
from zlib import crc32

from apex_llm_mock.emulation.answers import encoded
from apex_llm_mock.emulation.sse import Raw

CONTENT_TYPE = "application/vnd.amazon.eventstream"
PADDING = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
#: Lengths, the CRC behind them, and the CRC at the end.
OVERHEAD = 16
_STRING = 7
_LENGTHS = struct.Struct(">II")
_CHECKSUM = struct.Struct(">I")


class StreamEvent(NamedTuple):
    """An event of the model."""

    name: str
    document: dict[str, Any]


class StreamException(NamedTuple):
    """An exception that a stream ends with: its name in camel case, and its members."""

    name: str
    document: dict[str, Any]


class StreamError(NamedTuple):
    """An error that is no exception of the service: a code and a message in headers, and no payload."""

    code: str
    message: str


#: What a stream is made of; `Raw` are bytes as they are.
Message = StreamEvent | StreamException | StreamError | Raw


@lru_cache(maxsize=64)
def header_block(headers: tuple[tuple[str, str], ...]) -> bytes:
    """Return the encoding of string *headers*."""
    block = bytearray()
    for name, value in headers:
        text = value.encode()
        block += bytes((len(name),)) + name.encode() + struct.pack(">BH", _STRING, len(text)) + text
    return bytes(block)


def frame(headers: Mapping[str, str], payload: bytes = b"", *, others: bytes = b"") -> bytes:
    """Return the message of *headers* and *payload*; *others* are further headers as they stand on the wire."""
    return _frame(header_block(tuple(headers.items())) + others, payload)


def _frame(headers: bytes, payload: bytes) -> bytes:
    prelude = _LENGTHS.pack(OVERHEAD + len(headers) + len(payload), len(headers))
    body = b"".join((prelude, _CHECKSUM.pack(crc32(prelude)), headers, payload))
    return body + _CHECKSUM.pack(crc32(body))


def event_headers(name: str, *, content_type: str = "application/json") -> dict[str, str]:
    """Return the headers of the event called *name*."""
    return {":event-type": name, ":content-type": content_type, ":message-type": "event"}


class EventStream:
    """Turns messages into frames; the padding goes round, so that the same stream has the same bytes."""

    def frames(self, messages: Iterable[Message]) -> Iterator[bytes]:
        """Yield the bytes of one message after the other."""
        blocks: dict[str, bytes] = {}
        for number, message in enumerate(messages):
            if isinstance(message, StreamEvent):
                name = message.name
                block = blocks.get(name)
                if block is None:
                    block = blocks[name] = header_block(tuple(event_headers(name).items()))
                padding = PADDING[: number * 7 % len(PADDING)]
                # Appended by hand: the document need not be copied for one more member.
                text = encoded(message.document)
                comma = b"," if len(text) > 2 else b""
                yield _frame(block, b'%s%s"p":"%s"}' % (text[:-1], comma, padding.encode()))
            else:
                yield encode(message)


def encode(message: Message) -> bytes:
    """Return the bytes of one *message*, without padding."""
    match message:
        case Raw(data):
            return data
        case StreamEvent(name, document):
            return frame(event_headers(name), encoded(document))
        case StreamException(name, document):
            headers = {
                ":exception-type": name,
                ":content-type": "application/json",
                ":message-type": "exception",
            }
            return frame(headers, encoded(document))
        case StreamError(code, text):
            return frame({":error-code": code, ":error-message": text, ":message-type": "error"})


def chunk(document: object) -> StreamEvent:
    """Return the event of InvokeModelWithResponseStream that carries *document*."""
    return StreamEvent("chunk", {"bytes": b64encode(encoded(document)).decode()})


__all__ = [
    "CONTENT_TYPE",
    "OVERHEAD",
    "PADDING",
    "EventStream",
    "Message",
    "StreamError",
    "StreamEvent",
    "StreamException",
    "chunk",
    "encode",
    "event_headers",
    "frame",
    "header_block",
]
