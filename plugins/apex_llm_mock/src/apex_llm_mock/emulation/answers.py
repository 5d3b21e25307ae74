"""What an emulator sends back, before it is sent."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Literal

import attrs

#: How a connection ends after the last byte: in good order, by a reset, or not at all until somebody hangs up.
Ending = Literal["close", "reset", "stall"]
NO_HEADERS: Mapping[str, str] = MappingProxyType({})
#: The usual content types.
JSON = "application/json; charset=utf-8"
EVENT_STREAM = "text/event-stream; charset=utf-8"
_AS_TEXT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def encoded(document: object) -> bytes:
    """Return *document* as JSON in UTF-8; what UTF-8 cannot carry is escaped."""
    try:
        return _AS_TEXT(document).encode()
    except UnicodeEncodeError:
        return json.dumps(document, separators=(",", ":")).encode()


@attrs.frozen(kw_only=True)
class WholeAnswer:
    """An answer that is known to its end."""

    body: bytes = attrs.field(repr=False)
    status: int = 200
    headers: Mapping[str, str] = NO_HEADERS
    content_type: str = JSON
    #: Announce so many bytes more than there are.
    missing: int = 0


@attrs.frozen(kw_only=True)
class StreamedAnswer:
    """An answer that is sent piece by piece."""

    #: What each read of the client should bring.
    reads: Iterator[bytes] = attrs.field(repr=False)
    headers: Mapping[str, str] = NO_HEADERS
    content_type: str = EVENT_STREAM
    #: Seconds between two reads.
    pause: float = 0.0
    ending: Ending = "close"


def document_answer(
    document: Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str] = NO_HEADERS
) -> WholeAnswer:
    """Return *document* as a JSON answer."""
    return WholeAnswer(body=encoded(document), status=status, headers=headers)


class RefusedError(Exception):
    """The request gets this answer instead of being served."""

    def __init__(self, answer: WholeAnswer) -> None:
        super().__init__(answer.status)
        self.answer = answer


__all__ = [
    "EVENT_STREAM",
    "JSON",
    "NO_HEADERS",
    "Ending",
    "RefusedError",
    "StreamedAnswer",
    "WholeAnswer",
    "document_answer",
    "encoded",
]
