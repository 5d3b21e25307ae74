"""Lines of a batch: what they ask for, and which of them can be asked at all."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any

import attrs

from apex_llm_core.converters import decode
from apex_llm_core.errors import nearest

_MEMBERS = ("custom_id", "method", "url", "body")


@attrs.frozen(kw_only=True)
class Line:
    """A line that can be asked."""

    number: int
    #: Of its bytes; tells a changed line from an answered one.
    id: str
    custom_id: str
    url: str
    body: Mapping[str, Any]


@attrs.frozen(kw_only=True)
class Unreadable:
    """A line that cannot be asked, and why."""

    number: int
    id: str
    custom_id: str | None
    code: str
    message: str


def record_id(raw: bytes) -> str:
    """Return the id of what is written about the line *raw*: that of its content, whatever stands around it."""
    return f"batch_req_{sha256(raw.strip()).hexdigest()[:32]}"


def read_line(number: int, raw: bytes, urls: Iterable[str]) -> Line | Unreadable:
    """Read one line; *number* is its place in the file, *urls* are those that can be asked."""
    identity = record_id(raw)
    custom_id: str | None = None

    def refused(message: str, code: str = "invalid_line") -> Unreadable:
        return Unreadable(
            number=number, id=identity, custom_id=custom_id, code=code, message=f"line {number}: {message}"
        )

    try:
        document = decode(raw)
    except (ValueError, RecursionError) as error:
        return refused(f"no JSON: {error}" if isinstance(error, ValueError) else "nested too deeply", "invalid_json")
    if not isinstance(document, dict):
        return refused("no JSON object")
    given = document.get("custom_id")
    if not isinstance(given, str) or not given:
        return refused("'custom_id' is missing, or no text")
    custom_id = given
    unknown = [name for name in document if name not in _MEMBERS]
    if unknown:
        return refused(f"unknown member {unknown[0]!r}{nearest(unknown[0], _MEMBERS)}")
    if document.get("method", "POST") != "POST":
        return refused("'method' is not POST")
    url, known = document.get("url"), tuple(urls)
    if not isinstance(url, str) or url not in known:
        return refused(f"'url' is none that can be asked{nearest(str(url), known)}", "invalid_url")
    body = document.get("body")
    if not isinstance(body, dict):
        return refused("'body' is missing, or no JSON object")
    return Line(number=number, id=identity, custom_id=custom_id, url=url, body=body)


def lines_of(path: Path, urls: Iterable[str]) -> Iterator[Line | Unreadable]:
    """Read the lines of the file *path* one after the other, blank ones left out; blocking.

    The later of two lines with one `custom_id` cannot be asked: nobody could tell their answers apart.

    Raises:
        OSError: the file cannot be read.
    """
    seen: dict[str, int] = {}
    with path.open("rb") as file:
        # Some editors mark UTF-8 so.
        first_line = file.readline().removeprefix(BOM_UTF8)
        for number, raw in enumerate(chain((first_line,), file), 1):
            if not raw.strip():
                continue
            line = read_line(number, raw, urls)
            if isinstance(line, Line):
                first = seen.setdefault(line.custom_id, number)
                if first != number:
                    line = Unreadable(
                        number=number,
                        id=line.id,
                        custom_id=line.custom_id,
                        code="duplicate_custom_id",
                        message=f"line {number}: custom_id {line.custom_id!r} is that of line {first}, too",
                    )
            yield line


__all__ = ["Line", "Unreadable", "lines_of", "read_line", "record_id"]
