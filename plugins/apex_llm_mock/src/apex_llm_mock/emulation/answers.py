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


def encoded(document: object) -> bytes:
    """Return *document* as JSON in UTF-8; what UTF-8 cannot carry is escaped."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:
        return json.dumps(document, separators=(",", ":")).encode()


@attrs.frozen(kw_only=True)
class WholeAnswer:
    """An answer that is known to its end."""

    body: bytes = attrs.field(repr=False)
    status: int = 200
    headers: Mapping[str, str] = NO_HEADERS
    content_type: str = "application/json; charset=utf-8"
    #: Announce so many bytes more than there are.
    missing: int = 0


@attrs.frozen(kw_only=True)
class StreamedAnswer:
    """An answer that is sent piece by piece."""

    #: What each read of the client should bring.
    reads: Iterator[bytes] = attrs.field(repr=False)
    headers: Mapping[str, str] = NO_HEADERS
    content_type: str = "text/event-stream; charset=utf-8"
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


__all__ = ["NO_HEADERS", "Ending", "RefusedError", "StreamedAnswer", "WholeAnswer", "document_answer", "encoded"]
