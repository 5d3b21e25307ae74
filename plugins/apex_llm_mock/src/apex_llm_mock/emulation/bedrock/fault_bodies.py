"""Errors and answers of unusual or broken form, and connections that break, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from apex_llm_mock.emulation.answers import WholeAnswer, encoded
from apex_llm_mock.emulation.bedrock.errors import JSON
from apex_llm_mock.emulation.bedrock.failures import TOO_MANY_REQUESTS
from apex_llm_mock.emulation.fault_forms import ConnectionFault, Fault, InsteadFault, UnstreamedFault, WholeFault

HUGE = 20 * 2**20
LOGIN_PAGE = b"<!DOCTYPE html><html><head><title>Sign in to your network</title></head><body>Sign in</body></html>"


def _error(doc: str, document: Any, status: int = 429, **headers: str) -> InsteadFault:
    renamed = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = WholeAnswer(body=encoded(document), status=status, headers=renamed, content_type=JSON)
    return InsteadFault(doc=doc, answer=answer)


def _body(doc: str, change: Callable[[WholeAnswer], WholeAnswer]) -> WholeFault:
    return WholeFault(doc=doc, body=change)


def _halved(answer: WholeAnswer) -> WholeAnswer:
    return attrs.evolve(answer, body=answer.body[: len(answer.body) // 2])


def _without(doc: str, name: str) -> WholeFault:
    return WholeFault(doc=doc, document=lambda document: {k: v for k, v in document.items() if k != name})


_ERRORS: dict[str, Fault] = {
    "code_in_body": _error("429, the code is a member", {"code": "ThrottlingException", "message": TOO_MANY_REQUESTS}),
    "code_in_type": _error(
        "429, the code is in __type, with a namespace, the message with a capital letter",
        {"__type": "com.amazon.coral.service#ThrottlingException", "Message": TOO_MANY_REQUESTS},
    ),
    "code_with_uri": _error(
        "429, the code is in the header, with a namespace before it",
        {"message": TOO_MANY_REQUESTS},
        x_amzn_errortype="aws.protocoltests.restjson#ThrottlingException:http://internal.amazon.com/coral/",
    ),
    "gateway_error": _error(
        "429 of a gateway, in OpenAI's form", {"error": {"message": "Rate limited.", "type": "rate_limit_error"}}
    ),
    "gateway_unauthorized": _error(
        "401 of a gateway, in OpenAI's form", {"error": {"message": "Invalid key.", "code": "invalid_api_key"}}, 401
    ),
    "string_error": _error("400, the error is a string", {"error": "The request was refused."}, 400),
    "array_error": _error("400, a list of errors", [{"message": "The request was refused."}], 400),
    "null_message": _error("400, the message is null", {"message": None}, 400, x_amzn_errortype="ValidationException"),
    "truncated_error": InsteadFault(
        doc="500, half an error", answer=WholeAnswer(body=b'{"message":"The system enc', status=500, content_type=JSON)
    ),
    "huge_error": InsteadFault(
        doc="500, 20 MB of text", answer=WholeAnswer(body=b"", status=500, content_type="text/plain"), filler=HUGE
    ),
    "error_with_200": _error(
        "200, and yet an error",
        {"Output": {"__type": "com.amazon.bedrock#InternalServerException", "message": "Failed."}},
        200,
    ),
}
_ANSWERS: dict[str, Fault] = {
    "empty_answer": _body("200 without a body", lambda answer: attrs.evolve(answer, body=b"")),
    "garbage_answer": _body("200, bytes that are no JSON", lambda a: attrs.evolve(a, body=b"\x00\xff\xfenothing")),
    "truncated_json": _body("200, half the JSON, as if it were all", _halved),
    "cut_answer": _body(
        "200, half the JSON, then the connection breaks",
        lambda answer: attrs.evolve(_halved(answer), missing=len(answer.body)),
    ),
    "wrong_content_type": _body(
        "200, the right JSON under text/html", lambda answer: attrs.evolve(answer, content_type="text/html")
    ),
    "html_answer": InsteadFault(
        doc="200, the login page of a network", answer=WholeAnswer(body=LOGIN_PAGE, content_type="text/html")
    ),
    "null_answer": _body("200, null", lambda answer: attrs.evolve(answer, body=b"null")),
    "huge_answer": _body("200, the JSON and 20 MB of blanks", lambda a: attrs.evolve(a, body=a.body + b" " * HUGE)),
    "no_output": _without("200 of Converse, without output", "output"),
    "no_usage": _without("200 of Converse, without usage", "usage"),
    "no_stop_reason": _without("200 of Converse, without a stop reason", "stopReason"),
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
    "garbage_stream": UnstreamedFault(
        doc="bytes that are no frames under the right content type",
        answer=WholeAnswer(body=b"\x00" * 64, content_type="application/vnd.amazon.eventstream"),
    ),
}
BODY_FAULTS = {**_ERRORS, **_ANSWERS, **_CONNECTIONS, **_UNSTREAMED}

__all__ = ["BODY_FAULTS", "HUGE", "LOGIN_PAGE"]
