"""AWS's event stream: bytes in, messages out. A pure state machine, no I/O.

A message on the wire, all numbers big-endian::

    total length     4 bytes, of the whole message
    headers length   4 bytes
    prelude CRC      4 bytes, CRC-32 of the 8 before it
    headers          each: name length (1), name, type (1), value
    payload          JSON, whatever is left
    message CRC      4 bytes, CRC-32 of everything before it

Both sums are checked. What follows a broken message means nothing any more: `failure` says what is wrong, and no message
comes after it. The headers of a stream repeat, so that each block of them is read once.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple
from zlib import crc32

#: The service's own limits, with room: a larger message is no message.
LARGEST_MESSAGE: Final = 32 << 20
_LARGEST_HEADERS: Final = 128 << 10
#: Lengths and sum of the prelude.
_PRELUDE: Final = Struct(">III").unpack_from
_SUM: Final = Struct(">I").unpack_from
_OVERHEAD: Final = 16
_FAILURES: Final = frozenset({"exception", "error"})
#: Blocks of headers that are remembered.
_KEPT: Final = 64
#: Bytes of a header's value by its type; 6 and 7 carry a length of two bytes before it.
_SIZES: Final = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
_BYTES, _TEXT = 6, 7


class Message(NamedTuple):
    """One message. `kind` is "event", "exception" or "error"; `name` the event's or exception's type, or the error's code."""

    kind: str
    name: str
    payload: bytes
    #: What an error says of itself in its headers.
    text: str = ""

    @property
    def is_failure(self) -> bool:
        """Whether the stream ends with it; messages of a kind that nobody knows are events."""
        return self.kind in _FAILURES


class EventStreamDecoder:
    """Feed it what each network read brought.

    After `feed` or `close` returned, look at `failure`: the messages returned with it were whole.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        #: The buffer is not looked at before it has so many bytes.
        self._wanted = 12
        self._blocks: dict[bytes, tuple[str, str, str]] = {}
        #: What is wrong with the stream; empty while nothing is.
        self.failure = ""

    def feed(self, data: bytes) -> list[Message]:
        """Return the messages that *data* completes."""
        messages: list[Message] = []
        if self.failure:
            return messages
        buffer = self._buffer
        if buffer:
            buffer += data
            if len(buffer) < self._wanted:
                return messages
            data = bytes(buffer)
            buffer.clear()
        used = self._read(data, messages)
        if used < len(data) and not self.failure:
            # The copy of a cut message is small, but for a huge one, whose length is then known: it is copied once.
            buffer += data[used:] if used else data
        return messages

    def close(self) -> None:
        """Take note of the end of the stream; inside a message it is a `failure`."""
        if self._buffer and not self.failure:
            self.failure = f"it ended inside a message, {len(self._buffer)} bytes of {self._wanted} or more"

    def _read(self, data: bytes, messages: list[Message]) -> int:
        """Add the whole messages in *data* to *messages*; return how many bytes they take."""
        position, size = 0, len(data)
        blocks = self._blocks
        self._wanted = 12
        while size - position >= 12:
            total, headers, prelude_sum = _PRELUDE(data, position)
            if prelude_sum != (running := crc32(data[position : position + 8])):
                self.failure = "the checksum of a message's prelude is wrong"
                break
            if total > LARGEST_MESSAGE or headers > _LARGEST_HEADERS or headers + _OVERHEAD > total:
                self.failure = f"a message has impossible lengths ({total} bytes, {headers} of headers)"
                break
            end = position + total
            if end > size:
                self._wanted = total
                break
            if crc32(data[position + 8 : end - 4], running) != _SUM(data, end - 4)[0]:
                self.failure = "the checksum of a message is wrong"
                break
            start = position + 12 + headers
            block = data[position + 12 : start]
            known = blocks.get(block)
            if known is None:
                known = self._remember(block)
                if known is None:
                    break
            kind, name, text = known
            messages.append(Message(kind, name, data[start : end - 4], text))
            position = end
        return position

    def _remember(self, block: bytes) -> tuple[str, str, str] | None:
        try:
            headers = read_headers(block)
        except ValueError as reason:
            self.failure = str(reason)
            return None
        kind = headers.get(":message-type", "event")
        name = headers.get({"exception": ":exception-type", "error": ":error-code"}.get(kind, ":event-type"), "")
        if len(self._blocks) >= _KEPT:
            self._blocks.clear()
        known = self._blocks[block] = (kind, name, headers.get(":error-message", ""))
        return known


def read_headers(block: bytes) -> dict[str, str]:
    """Return the headers of a message that are texts; the others are passed over.

    Raises:
        ValueError: *block* is no whole number of headers.
    """
    found: dict[str, str] = {}
    position = 0
    try:
        while position < len(block):
            start = position + 1 + block[position]
            name, kind = block[position + 1 : start], block[start]
            start += 1
            if kind in (_BYTES, _TEXT):
                length = block[start] << 8 | block[start + 1]
                start += 2
            else:
                length = _SIZES[kind]
            position = start + length
            if position > len(block):
                raise IndexError
            if kind == _TEXT:
                found[name.decode()] = block[start:position].decode()
    except (IndexError, KeyError, UnicodeDecodeError) as reason:
        raise ValueError("the headers of a message cannot be read") from reason
    return found


__all__ = ["LARGEST_MESSAGE", "EventStreamDecoder", "Message", "read_headers"]
