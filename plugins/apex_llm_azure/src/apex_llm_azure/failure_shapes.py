"""The forms in which Azure, and what stands in front of it, report a failure; all of them become one `Report`.

::

    {"error": {"code", "message", "type", "param", "innererror": {"code", "content_filter_result"}}}   the service
    {"error": {…, "inner_error": {"code", "content_filter_results", "revised_prompt"}}}                images, specifications
    {"statusCode": 401, "message": "…"}                                                                API Management
    {"error": "…"}   {"error": "…", "message": "…"}   {"error": "…", "error_description": "…"}         gateways
    {"code", "message"}   {"object": "error", "message", …}   {"detail": "…"}   [{"error": …}]         other model servers
    HTML, plain text, nothing                                                                          proxies

Codes may be numbers, types null, any member missing or of another type: nothing here raises.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from typing import Any

import attrs

#: Characters of the service's words that go into a message.
SHOWN = 500
#: Characters of a code, a type or the name of a parameter.
_WORD = 100
#: Bytes of a body that are read; nothing longer is an error report.
_READ = 1 << 20
#: Characters of a page that are searched for its title.
_PAGE = 1 << 16
#: How deep an inner error may lie.
_DEPTH = 4

_TITLE = re.compile(r"<(title|h1|h2)\b[^<>]*>([^<]+)", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")
_MESSAGE_KEYS = ("message", "Message", "error_description", "detail", "title", "msg")
_INNER_KEYS = ("innererror", "inner_error", "innerError")
_FILTER_KEYS = ("content_filter_result", "content_filter_results", "contentFilterResults")
_NOTHING: Mapping[str, Any] = {}


def is_failure(document: Mapping[str, Any]) -> bool:
    """Return whether a JSON object that came under a good status reports a failure all the same."""
    if document.get("error") or document.get("object") == "error":
        return True
    return "choices" not in document and "message" in document and ("statusCode" in document or "code" in document)


@attrs.frozen(kw_only=True)
class Report:
    """What a failed answer says; "" and None where it does not."""

    message: str = ""
    code: str = ""
    type: str = ""
    param: str = ""
    #: The codes of the inner errors, the outermost first.
    inner_codes: tuple[str, ...] = ()
    #: The verdicts of the content filter, as they were sent.
    content_filter_result: Any = None
    revised_prompt: str = ""

    @property
    def held_back(self) -> tuple[str, ...]:
        """The categories of the content filter that refused, with their severity where it is told."""
        verdicts = self.content_filter_result
        if not isinstance(verdicts, Mapping):
            return ()
        return tuple(
            f"{category} ({severity})" if isinstance(severity := verdict.get("severity"), str) else str(category)
            for category, verdict in verdicts.items()
            if isinstance(verdict, Mapping) and verdict.get("filtered") is True
        )


def read_body(body: bytes) -> Report:
    """Return what *body* says, whatever it is."""
    body = body[:_READ]
    try:
        text = body.decode(json.detect_encoding(body), "replace").lstrip("\ufeff").strip()
    except UnicodeError:
        text = ""
    if text[:1] in {"{", "[", '"'}:
        try:
            return read_document(json.loads(text))
        except (ValueError, RecursionError):
            pass
    return Report(message=_words(_page_title(text) if text.startswith("<") else text))


def read_document(document: Any) -> Report:
    """Return what *document*, the JSON of a body or of an event in a stream, says."""
    if isinstance(document, list):
        document = next((entry for entry in document if isinstance(entry, Mapping)), None)
    if isinstance(document, str):
        return Report(message=_words(document))
    if not isinstance(document, Mapping):
        return Report()
    error = document.get("error")
    if isinstance(error, list):
        error = next((entry for entry in error if isinstance(entry, Mapping)), None)
    if isinstance(error, Mapping):
        return _read(error, document)
    said = _text(error)
    message = _message(document)
    if said and message:
        # "error" is then a code or a status phrase, and the sentence stands beside it.
        return attrs.evolve(_read(document, _NOTHING), code=_word(document, "code") or one_line(said, _WORD))
    return _read(document, {"message": said})


def _read(error: Mapping[str, Any], around: Mapping[str, Any]) -> Report:
    """Return what the object *error* says; *around* it stands what some services put outside."""
    inner = _inner(error) or _inner(around)
    verdicts = next(
        (found for place in (*inner, error, around) for key in _FILTER_KEYS if (found := place.get(key))), None
    )
    return Report(
        message=_words(_message(error) or _message(around)),
        code=_word(error, "code", "statusCode", "status") or _word(around, "code", "statusCode"),
        type=_word(error, "type"),
        param=_word(error, "param"),
        inner_codes=tuple(code for place in inner if (code := _word(place, "code"))),
        content_filter_result=verdicts if isinstance(verdicts, Mapping | list) else None,
        revised_prompt=next((text for place in inner if (text := _first_text(place, ("revised_prompt",)))), ""),
    )


def _inner(error: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the inner errors of *error*, the outermost first."""
    found: list[Mapping[str, Any]] = []
    place = error
    for _ in range(_DEPTH):
        nested = next((place[key] for key in _INNER_KEYS if isinstance(place.get(key), Mapping)), None)
        if nested is None:
            break
        found.append(nested)
        place = nested
    return found


def _message(error: Mapping[str, Any]) -> str:
    return _first_text(error, _MESSAGE_KEYS)


def _word(place: Mapping[str, Any], *keys: str) -> str:
    return one_line(_first_text(place, keys), _WORD)


def _first_text(place: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    return next((text for key in keys if (text := _text(place.get(key)))), "")


def _text(value: Any) -> str:
    """Return *value* as text: numbers too, an object by its message, everything else as ""."""
    if isinstance(value, str):
        return value.strip()[:_PAGE]
    if isinstance(value, int) and not isinstance(value, bool):
        # Python refuses to write numbers of thousands of digits, and nobody means them.
        return str(value) if abs(value) < 1 << 63 else ""
    if isinstance(value, Mapping):
        inner = value.get("message")
        return inner.strip() if isinstance(inner, str) else ""
    return ""


def _page_title(page: str) -> str:
    """Return the title of an HTML page, else its first heading, else its text."""
    page = page[:_PAGE]
    for match in _TITLE.finditer(page):
        title = html.unescape(match[2])
        if title.strip():
            return title
    return html.unescape(_TAG.sub(" ", page))


def _words(text: str) -> str:
    """Return *text* on one line, without what a terminal would obey and halves of surrogate pairs."""
    line = " ".join(text[:_PAGE].split())
    return line if line.isprintable() else "".join(char if char.isprintable() else "\ufffd" for char in line)


def one_line(text: str, limit: int) -> str:
    """Return *text* as one printable line of at most *limit* characters."""
    return shortened(_words(text), limit)


def shortened(text: str, limit: int = SHOWN) -> str:
    """Return *text* in at most *limit* characters."""
    return text if len(text) <= limit else f"{text[: limit - 1].rstrip()}…"


__all__ = ["SHOWN", "Report", "is_failure", "one_line", "read_body", "read_document", "shortened"]
