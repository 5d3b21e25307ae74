"""Server-sent events on their way out: framing, and the ways in which servers and networks disfigure them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import attrs

from apex_llm_mock.emulation.answers import encoded

BOM = b"\xef\xbb\xbf"


@attrs.frozen
class Raw:
    """Bytes that go out as they are, between the events."""

    data: bytes


#: A document, the word that ends a stream, or bytes as they are.
Event = dict[str, Any] | str | Raw
DONE = "[DONE]"
Reads = Callable[[Iterable[bytes]], Iterator[bytes]]


@attrs.frozen(kw_only=True)
class Framing:
    """How events become lines."""

    line_end: bytes = b"\n"
    space: bool = True
    #: Fields before the data of each event.
    before: bytes = b""
    #: A comment before each event.
    comment: bytes = b""
    #: Spread a document over several lines of data.
    multi_line: bool = False
    bom: bool = False
    #: The last event ends at its last character.
    unterminated: bool = False

    def frames(self, events: Iterable[Event]) -> Iterator[bytes]:
        """Yield the bytes of one event after the other."""
        held = BOM if self.bom else b""
        for event in events:
            if not self.unterminated:
                yield held + self._frame(event)
                held = b""
            else:
                if held:
                    yield held
                held = self._frame(event)
        if held:
            yield held.rstrip(b"\r\n")

    def _frame(self, event: Event) -> bytes:
        if isinstance(event, Raw):
            return event.data
        end = self.line_end
        field = b"data: " if self.space else b"data:"
        if isinstance(event, str):
            data = event.encode()
        elif self.multi_line:
            text = json.dumps(event, ensure_ascii=False, indent=1).encode("utf-8", "backslashreplace")
            data = text.replace(b"\n", end + field)
        else:
            data = encoded(event)
        lines = field + data + end + end
        if self.before:
            lines = self.before.replace(b"\n", end) + lines
        return b":" + self.comment + end + end + lines if self.comment else lines


PLAIN = Framing()


def in_groups(size: int) -> Reads:
    """Let one read bring *size* events."""

    def grouped(frames: Iterable[bytes]) -> Iterator[bytes]:
        group: list[bytes] = []
        for frame in frames:
            group.append(frame)
            if len(group) == size:
                yield b"".join(group)
                group.clear()
        if group:
            yield b"".join(group)

    return grouped


def all_at_once(frames: Iterable[bytes]) -> Iterator[bytes]:
    """Let one read bring everything."""
    yield b"".join(frames)


def byte_by_byte(frames: Iterable[bytes]) -> Iterator[bytes]:
    """Let each read bring one byte."""
    for frame in frames:
        for place in range(len(frame)):
            yield frame[place : place + 1]


def inside_characters(frames: Iterable[bytes]) -> Iterator[bytes]:
    """Cut before every byte that continues a character of UTF-8."""
    for frame in frames:
        start = 0
        for place, byte in enumerate(frame):
            if byte & 0xC0 == 0x80:
                yield frame[start:place]
                start = place
        yield frame[start:]


def inside_line_ends(frames: Iterable[bytes]) -> Iterator[bytes]:
    """Cut between CR and LF, and between two line ends."""
    held = b""
    for frame in frames:
        for byte in frame:
            held += bytes((byte,))
            if byte in b"\r\n":
                yield held
                held = b""
    if held:
        yield held


__all__ = [
    "BOM",
    "DONE",
    "PLAIN",
    "Event",
    "Framing",
    "Raw",
    "Reads",
    "all_at_once",
    "byte_by_byte",
    "in_groups",
    "inside_characters",
    "inside_line_ends",
]
