"""Server-sent events, without I/O: bytes in, events out, whatever the packets look like.

The format is that of the WHATWG (HTML, section 9.2): lines end in LF, CRLF or CR, a blank line ends an event, lines of one
field name are joined by LF, a line that begins with a colon is a comment, one byte-order mark at the very beginning is
ignored. Two things differ on purpose, because a model's answer is at stake:

- `close` hands out an event that lacks its blank line: its end may hold the answer's last words. The standard drops it.
- Data stays bytes. Only complete events are decoded, by their reader, who can tell where invalid UTF-8 stands.

Any split of the same bytes gives the same events; the work is linear in the number of bytes.
"""

from __future__ import annotations

from typing import NamedTuple

_BOM = b"\xef\xbb\xbf"
#: Makes an event at half the cost of its constructor.
_event_of = tuple.__new__


class SseEvent(NamedTuple):
    """One event: its data, lines joined by LF, and its name ("" is the standard's "message")."""

    data: bytes
    name: str = ""


class SseError(ValueError):
    """The stream cannot be server-sent events that anybody means: an event has no end."""


class SseDecoder:
    """Feed it what each network read brought.

    Args:
        max_event_bytes: the most bytes an event may have, line ends and comments included.
    """

    __slots__ = ("_after_cr", "_beginning", "_max", "_pending", "_searched")

    def __init__(self, *, max_event_bytes: int = 32 << 20) -> None:
        self._max = max_event_bytes
        #: What has no blank line behind it yet, line ends made LF.
        self._pending = bytearray()
        #: So many of its bytes are known to have no blank line.
        self._searched = 0
        #: The first bytes of the stream, while they may still be a byte-order mark.
        self._beginning: bytes | None = b""
        #: The last byte so far was CR: an LF that follows belongs to it.
        self._after_cr = False

    def feed(self, data: bytes) -> list[SseEvent]:
        """Return the events that *data* completes, in order.

        Raises:
            SseError: an event grows beyond `max_event_bytes`.
        """
        complete = self._completed(data)
        return _events(complete) if complete else []

    def feed_data(self, data: bytes) -> list[bytes]:
        """As `feed`, for services whose events have no names: return their data only, at a fraction of the cost.

        Raises:
            SseError: as `feed`.
        """
        complete = self._completed(data)
        if not complete:
            return []
        lines = _lines(complete)
        return [event.data for event in _events(complete)] if lines is None else lines

    def _completed(self, data: bytes) -> bytes:
        """Return all events that *data* completes as they came, without the last blank line."""
        if self._beginning is not None:
            data = self._begin(data)
        if self._after_cr or b"\r" in data:
            data = self._unify(data)
        pending = self._pending
        if not pending and data.endswith(b"\n\n") and len(data) <= self._max:
            # What services send: whole events.
            return data[:-2]
        if pending:
            pending += data
            end = pending.rfind(b"\n\n", max(0, self._searched - 1))
            if end < 0:
                self._searched = len(pending)
                self._check_size()
                return b""
            complete = bytes(pending[:end])
            del pending[: end + 2]
        else:
            end = data.rfind(b"\n\n")
            if end < 0:
                pending += data
                self._searched = len(pending)
                self._check_size()
                return b""
            complete = data[:end]
            pending += data[end + 2 :]
        self._searched = len(pending)
        self._check_size()
        if len(complete) > self._max:
            self._refuse(max((len(event.data) for event in _events(complete)), default=0))
        return complete

    def close(self) -> list[SseEvent]:
        """Return what the end of the stream completes: at most one event."""
        beginning, self._beginning = self._beginning, None
        self._pending += beginning or b""
        rest = bytes(self._pending).rstrip(b"\n")
        self._pending.clear()
        self._searched = 0
        return _events(rest)

    def _begin(self, data: bytes) -> bytes:
        seen = (self._beginning or b"") + data
        if len(seen) < len(_BOM) and _BOM.startswith(seen):
            self._beginning = seen
            return b""
        self._beginning = None
        return seen.removeprefix(_BOM)

    def _unify(self, data: bytes) -> bytes:
        if not data:
            return data
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
            if not data:
                self._after_cr = False
                return data
        self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _check_size(self) -> None:
        if len(self._pending) > self._max:
            self._refuse(len(self._pending))

    def _refuse(self, size: int) -> None:
        if size > self._max:
            self._pending.clear()
            self._searched = 0
            raise SseError(f"an event of at least {size} bytes; at most {self._max} are taken")


def _lines(complete: bytes) -> list[bytes] | None:
    """Return the data of events of one line of data each, which is what services send; None: there are others."""
    if complete.startswith(b"data: "):
        lines = complete[6:].split(b"\n\ndata: ")
        # To look for a first line break is ten times as fast as to count all.
        if b"\n" not in b"".join(lines):
            return lines
    return None


def _events(complete: bytes) -> list[SseEvent]:
    lines = _lines(complete)
    if lines is not None:
        # They need no look at each line.
        return [_event_of(SseEvent, (line, "")) for line in lines]
    events = []
    for block in complete.split(b"\n\n"):
        if block:
            event = _event(block)
            if event is not None:
                events.append(event)
    return events


def _event(block: bytes) -> SseEvent | None:
    lines: list[bytes] = []
    name = ""
    for line in block.split(b"\n"):
        field, colon, value = line.partition(b":")
        if colon and value.startswith(b" "):
            value = value[1:]
        if field == b"data":
            lines.append(value)
        elif field == b"event":
            name = value.decode(errors="replace")
    # Names, ids and comments without data dispatch nothing.
    return SseEvent(b"\n".join(lines), name) if lines else None


__all__ = ["SseDecoder", "SseError", "SseEvent"]
