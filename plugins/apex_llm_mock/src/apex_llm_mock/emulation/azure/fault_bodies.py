"""Answers of unusual or broken form, and connections that break, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from apex_llm_mock.emulation.answers import WholeAnswer, document_answer
from apex_llm_mock.emulation.fault_forms import ConnectionFault, Fault, InsteadFault, UnstreamedFault, WholeFault

HUGE = 20 * 2**20
LOGIN_PAGE = b"<!DOCTYPE html><html><head><title>Sign in to your network</title></head><body>Sign in</body></html>"


def _error(doc: str, document: dict[str, Any], *, status: int = 400) -> InsteadFault:
    return InsteadFault(doc=doc, answer=document_answer(document, status=status))


def _body(doc: str, change: Callable[[WholeAnswer], WholeAnswer]) -> WholeFault:
    return WholeFault(doc=doc, body=change)


def _halved(answer: WholeAnswer) -> WholeAnswer:
    return attrs.evolve(answer, body=answer.body[: len(answer.body) // 2])


def _padded(answer: WholeAnswer) -> WholeAnswer:
    return attrs.evolve(answer, body=answer.body + b" " * HUGE)


_FORMS: dict[str, Fault] = {
    "string_error": _error("400, the error is a string", {"error": "The request was refused."}),
    "integer_code": _error(
        "400, the code is a number, the type null",
        {"error": {"code": 400, "message": "The request was refused.", "type": None, "param": None}},
    ),
    "top_level_error": _error(
        "400, code and message without an envelope", {"code": "BadRequest", "message": "The request was refused."}
    ),
    "object_error": _error(
        "400, an object called error",
        {
            "object": "error",
            "message": "The request was refused.",
            "type": "BadRequestError",
            "param": None,
            "code": 40303,
        },
    ),
    "array_error": InsteadFault(
        doc="400, a list of errors",
        answer=WholeAnswer(body=b'[{"error":{"code":"BadRequest","message":"The request was refused."}}]', status=400),
    ),
    "plain_text_error": InsteadFault(
        doc="400, plain text", answer=WholeAnswer(body=b"Bad Request", status=400, content_type="text/plain")
    ),
    "empty_error": InsteadFault(doc="500 without a body", answer=WholeAnswer(body=b"", status=500, content_type="")),
    "truncated_error": InsteadFault(
        doc="500, half an error", answer=WholeAnswer(body=b'{"error":{"code":"InternalServerErr', status=500)
    ),
    "huge_error": InsteadFault(
        doc="500, 20 MB of text", answer=WholeAnswer(body=b"", status=500, content_type="text/plain"), filler=HUGE
    ),
    "error_with_200": _error("200, and yet an error", {"error": {"code": "500", "message": "Failed."}}, status=200),
    "empty_answer": _body("200 without a body", lambda answer: attrs.evolve(answer, body=b"")),
    "truncated_json": _body("200, half the JSON, as if it were all", _halved),
    "cut_answer": _body(
        "200, half the JSON, then the connection breaks",
        lambda answer: attrs.evolve(_halved(answer), missing=len(answer.body)),
    ),
    "wrong_content_type": _body(
        "200, the right JSON under text/html",
        lambda answer: attrs.evolve(answer, content_type="text/html; charset=utf-8"),
    ),
    "html_answer": InsteadFault(
        doc="200, the login page of a network", answer=WholeAnswer(body=LOGIN_PAGE, content_type="text/html")
    ),
    "null_answer": _body("200, null", lambda answer: attrs.evolve(answer, body=b"null")),
    "bom_answer": _body("200, JSON after a byte order mark", lambda a: attrs.evolve(a, body=b"\xef\xbb\xbf" + a.body)),
    "huge_answer": _body("200, the JSON and 20 MB of blanks", _padded),
    "no_choices": WholeFault(doc="200, no choice at all", document=lambda document: {**document, "choices": []}),
    "no_usage": WholeFault(
        doc="200, without usage", document=lambda document: {k: v for k, v in document.items() if k != "usage"}
    ),
}
_CONNECTIONS: dict[str, Fault] = {
    "drop": ConnectionFault(doc="the connection is reset before the head", what="drop"),
    "garbage": ConnectionFault(doc="bytes that are no HTTP", what="garbage"),
    "hang": ConnectionFault(doc="silence until somebody hangs up", what="hang"),
    "slow_answer": ConnectionFault(doc="the usual answer after the slow pause", what="slow"),
    "redirect": ConnectionFault(doc="307 to another origin; its status can be changed", what="redirect"),
}
_UNSTREAMED: dict[str, Fault] = {
    "json_stream": UnstreamedFault(doc="the whole document instead of a stream"),
    "html_stream": UnstreamedFault(
        doc="a login page instead of a stream", answer=WholeAnswer(body=LOGIN_PAGE, content_type="text/html")
    ),
}
BODY_FAULTS = {**_FORMS, **_CONNECTIONS, **_UNSTREAMED}

__all__ = ["BODY_FAULTS", "HUGE", "LOGIN_PAGE"]
