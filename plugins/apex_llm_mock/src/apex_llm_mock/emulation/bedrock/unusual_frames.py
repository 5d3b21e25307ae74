"""Event streams whose frames are sound, and yet not those that Bedrock usually sends."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from apex_llm_mock.emulation.answers import encoded
from apex_llm_mock.emulation.bedrock.event_frames import (
    EventStream,
    Message,
    StreamEvent,
    encode,
    event_headers,
    frame,
)


class AllTypes:
    """Frames whose messages have further headers, one of each other type."""

    def frames(self, messages: Iterable[Message], /) -> Iterator[bytes]:
        """Yield the bytes of one message after the other."""
        others = (
            _header(":true", 0),
            _header(":false", 1),
            _header(":byte", 2, b"\x01"),
            _header(":short", 3, struct.pack(">h", -2)),
            _header(":int", 4, struct.pack(">i", 3)),
            _header(":long", 5, struct.pack(">q", -4)),
            _header(":bytes", 6, struct.pack(">H", 2) + b"ab"),
            _header(":timestamp", 8, struct.pack(">q", 1_700_000_000_000)),
            _header(":uuid", 9, bytes(16)),
        )
        for message in messages:
            if isinstance(message, StreamEvent):
                yield frame(event_headers(message.name), encoded(message.document), others=b"".join(others))
            else:
                yield encode(message)


def _header(name: str, kind: int, value: bytes = b"") -> bytes:
    return bytes((len(name),)) + name.encode() + bytes((kind,)) + value


class Unpadded:
    """Frames without padding."""

    def frames(self, messages: Iterable[Message], /) -> Iterator[bytes]:
        """Yield the bytes of one message after the other."""
        return map(encode, messages)


class Begun(EventStream):
    """Frames after an initial response, which belongs to other protocols of AWS."""

    def frames(self, messages: Iterable[Message], /) -> Iterator[bytes]:
        """Yield the bytes of one message after the other."""
        yield frame(event_headers("initial-response"), b"{}")
        yield from super().frames(messages)


__all__ = ["AllTypes", "Begun", "Unpadded"]
