"""The forms in which Bedrock, and what stands in front of it, report a failure; all of them become one `Report`.

::

    x-amzn-errortype: ThrottlingException:http://…   {"message": "…"}             the service
    {"message": "…"}   {"Message": "…"}                                           its front, bearer tokens
    {"__type": "com.amazon.coral.service#…Exception", "message": "…"}             control plane, front
    200 {"Output": {"__type": "…#UnknownOperationException"}, "Version": "1.0"}   a path that leads nowhere
    {"message": "…", "originalStatusCode": 500, "originalMessage": "…"}           the model's container broke
    <UnknownOperationException><Message>…</Message></…>                           front, without JSON
    {"error": {"message", "type", "code"}}   {"error": "…"}   {"detail": "…"}     gateways, other model servers
    HTML, plain text, nothing                                                     proxies

The code is taken from where botocore takes it, in the same order: the header, then ``code`` or ``Code``, then ``__type``.
Any member may be missing or of another type: nothing here raises.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from typing import Any

import attrs

from apex_llm_bedrock.ratelimits import header

#: Characters of the service's words that go into a message.
SHOWN = 500
#: Characters of a code or the name of a resource.
_WORD = 100
#: Bytes of a body that are read; nothing longer is an error report.
_READ = 1 << 20
#: Characters of a page or a text that are looked at.
_PAGE = 1 << 16

_TITLE = re.compile(r"<(title|h1|h2)\b[^<>]*>([^<]+)", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")
_XML_CODE = re.compile(r"<Code>([^<]{1,200})</Code>|<(?:\w+:)?(\w{1,100}Exception)\b", re.ASCII)
_XML_MESSAGE = re.compile(r"<[Mm]essage>([^<]*)</[Mm]essage>")
_QUOTED_REQUEST = re.compile(r"(?:The )?(?:Canonical String|String[- ]to[- ]Sign)\b", re.IGNORECASE)
_MESSAGE_KEYS = ("message", "Message", "errorMessage", "error_description", "detail", "title", "msg")
#: Where an object may hold the object that is meant.
_INNER_KEYS = ("error", "Error", "Output")
#: Members of an object that reports a failure and nothing else.
_REPORT_KEYS = frozenset(
    (*_MESSAGE_KEYS, *_INNER_KEYS, "__type", "code", "Code", "type", "Version", "status", "statusCode", "request_id")
)
_NOTHING: Mapping[str, Any] = {}


@attrs.frozen(kw_only=True)
class Report:
    """What a failed answer says; "" and None where it does not."""

    message: str = ""
    #: Without namespace and address: ``ThrottlingException``.
    code: str = ""
    #: The status and the words that the model itself answered to the service.
    original_status_code: int | None = None
    original_message: str = ""
    #: The model that broke.
    resource_name: str = ""


def is_failure(document: Mapping[str, Any], headers: Mapping[str, str] = _NOTHING) -> bool:
    """Return whether a JSON object that came under a good status reports a failure all the same.

    An object that has anything of an answer is one: ``error`` beside images tells of those that are missing.
    """
    if header(headers, "x-amzn-errortype"):
        return True
    if not document or not document.keys() <= _REPORT_KEYS:
        return False
    output = document.get("Output")
    if isinstance(output, Mapping):
        return _is_said(output.get("__type"))
    told = any(isinstance(document.get(key), Mapping) and document[key] for key in ("error", "Error"))
    return told or any(_is_said(document.get(key)) for key in ("__type", "error", "Error", *_MESSAGE_KEYS))


def _is_said(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def read_body(headers: Mapping[str, str], body: bytes) -> Report:
    """Return what *body*, whatever it is, and *headers* say."""
    body = body[:_READ]
    try:
        text = body.decode(json.detect_encoding(body), "replace").lstrip("\ufeff").strip()
    except UnicodeError:
        text = ""
    if text[:1] in {"{", "[", '"'}:
        try:
            return read_document(headers, json.loads(text))
        except (ValueError, RecursionError):
            pass
    report = _read_page(text) if text.startswith("<") else Report(message=one_line(_without_request(text), _PAGE))
    code = _header_code(headers)
    return attrs.evolve(report, code=code) if code else report


def read_document(headers: Mapping[str, str], document: Any) -> Report:
    """Return what *document*, the JSON of a body or of a message in a stream, and *headers* say."""
    if isinstance(document, list):
        document = next((entry for entry in document if isinstance(entry, Mapping)), None)
    if isinstance(document, str):
        document = {"message": document}
    if not isinstance(document, Mapping):
        return Report(code=_header_code(headers))
    inner = next((found for key in _INNER_KEYS if isinstance(found := document.get(key), Mapping)), _NOTHING)
    said = _first_text(document, ("error",))
    message = _message(inner) or _message(document)
    # "error" is then a code or a status phrase, where a sentence stands beside it.
    code = _header_code(headers) or _body_code(inner) or _body_code(document) or (said if message else "")
    status = document.get("originalStatusCode")
    return Report(
        message=one_line(message or said, _PAGE),
        code=one_line(code, _WORD),
        original_status_code=status if isinstance(status, int) and 100 <= status < 600 else None,
        original_message=one_line(_first_text(document, ("originalMessage",)), SHOWN),
        resource_name=one_line(_first_text(document, ("resourceName",)), _WORD),
    )


def plain_code(text: str) -> str:
    """Return a code without what stands around it: ``ns#ThrottlingException:http://…`` is ``ThrottlingException``."""
    return text.split(":", 1)[0].rsplit("#", 1)[-1].strip()


def one_line(text: str, limit: int) -> str:
    """Return *text* as one printable line of at most *limit* characters."""
    line = " ".join(text[:_PAGE].split())
    if not line.isprintable():
        line = "".join(char if char.isprintable() else "\ufffd" for char in line)
    return line if len(line) <= limit else f"{line[: limit - 1].rstrip()}…"


def _header_code(headers: Mapping[str, str]) -> str:
    return one_line(plain_code(header(headers, "x-amzn-errortype")), _WORD)


def _body_code(place: Mapping[str, Any]) -> str:
    return plain_code(_first_text(place, ("code", "Code"))) or plain_code(_first_text(place, ("__type", "type")))


def _message(place: Mapping[str, Any]) -> str:
    return _without_request(_first_text(place, _MESSAGE_KEYS))


def _without_request(text: str) -> str:
    """Return *text* without the signed request that the service quotes: its headers carry the session token."""
    return _QUOTED_REQUEST.split(text, maxsplit=1)[0].rstrip()


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
        return inner.strip()[:_PAGE] if isinstance(inner, str) else ""
    return ""


def _read_page(page: str) -> Report:
    """Return what XML of AWS says, else the title of an HTML page, its first heading, or its text."""
    page = page[:_PAGE]
    code = _XML_CODE.search(page)
    if code is not None:
        message = _XML_MESSAGE.search(page)
        return Report(
            code=one_line(code[1] or code[2], _WORD),
            message=one_line(_without_request(html.unescape(message[1])), _PAGE) if message is not None else "",
        )
    titles = (html.unescape(match[2]) for match in _TITLE.finditer(page))
    title = next((title for title in titles if title.strip()), "")
    return Report(message=one_line(title or html.unescape(_TAG.sub(" ", page)), _PAGE))


__all__ = ["SHOWN", "Report", "is_failure", "one_line", "plain_code", "read_body", "read_document"]
