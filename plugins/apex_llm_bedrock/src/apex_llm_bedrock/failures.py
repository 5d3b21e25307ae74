"""From a failed answer to the core's errors: what went wrong by the service's code first, then by its words, then by status.

::

    code                                                      error                 again
    AccessDenied, FTUFormNotFilled, BadCScore                 authorization         no
      … because of prompt caching                             invalid request       no
    UnrecognizedClient, InvalidSignature, Expired*, …         authentication        no; `expired` tells when new ones help
    ResourceNotFound, UnknownOperation                        model not found       no
      … details about the use case                            authorization         no
    Validation, Conflict                                      invalid request       no
      … no such model, no on-demand throughput                model not found       no
      … input too long                                        context length        no
      … blocked by content filters                            content filter        no
    Throttling and its kin                                    rate limit            yes
      … per day, or a wait of `quota_after` seconds and more  quota                 no
    ServiceQuotaExceeded                                      quota                 no
    ModelNotReady, InternalServer, ServiceUnavailable         service unavailable   yes
    ModelStreamError                                          service unavailable   yes
    ModelError, MPAgreementBeingCreated                       service unavailable   no
    ModelTimeout                                              timeout               no: it may have cost money
    none of these: 429, 500, 502, 503, 504                    by status             yes

Every message ends in what to do next. Of the headers only code, request id, waiting times and a redirection's host are read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

import attrs

from apex_llm_bedrock.advice import advice
from apex_llm_bedrock.failure_kinds import kind_of, plain, retryable, told_status
from apex_llm_bedrock.failure_shapes import SHOWN, Report, is_failure, one_line, read_body, read_document
from apex_llm_bedrock.ratelimits import header, retry_delay
from apex_llm_core.errors import ERROR_CLASSES, AuthenticationError, LLMError, LLMErrorType

Kind = LLMErrorType

#: What exceptions inside a stream would have had as status.
_STREAM_STATUSES: Mapping[str, int] = {
    "accessdenied": 403,
    "conflict": 400,
    "internalserver": 500,
    "modelerror": 424,
    "modelnotready": 429,
    "modelstreamerror": 424,
    "modeltimeout": 408,
    "resourcenotfound": 404,
    "servicequotaexceeded": 400,
    "serviceunavailable": 503,
    "throttling": 429,
    "validation": 400,
}
#: Codes whose credentials may be renewed.
_RENEWABLE = frozenset(
    {
        "expiredtoken",
        "unrecognizedclient",
        "invalidclienttokenid",
        "invalidaccesskeyid",
        "tokenrefreshrequired",
        "invalidtoken",
    }
)
_CLOCK_TEXT = re.compile(r"signature not yet current|signature expired", re.IGNORECASE)
_EXPIRED_TEXT = re.compile(r"token .{0,40}expired|expired token|credentials .{0,40}expired", re.IGNORECASE)
_STREAMED_TOOLS_TEXT = re.compile(
    r"tool use in streaming mode|unsupported for streaming|streaming .{0,40}tool", re.IGNORECASE
)
_WAITING = frozenset(
    {Kind.RATE_LIMIT_ERROR, Kind.QUOTA_EXCEEDED_ERROR, Kind.SERVICE_UNAVAILABLE_ERROR, Kind.TIMEOUT_ERROR}
)
_REQUEST_IDS = ("x-amzn-requestid", "x-amzn-request-id", "x-amz-request-id", "x-request-id")


def failure(
    status: int, headers: Mapping[str, str], body: bytes, *, quota_after: float = 3600.0, now: float
) -> LLMError:
    """Return the error that an answer other than a good one means; nothing in *body* makes this raise.

    Args:
        status: of HTTP.
        headers: of the answer; look-up ignores case.
        body: of the answer, whatever it is.
        quota_after: seconds; a wait of so many or more is a used-up quota, not a rate limit.
        now: the wall clock in seconds since the epoch, for waits given as a date.
    """
    return _error(read_body(headers, body), status, headers, quota_after=quota_after, now=now)


def failure_in(
    document: Mapping[str, Any], headers: Mapping[str, str], *, quota_after: float = 3600.0, now: float = 0.0
) -> LLMError | None:
    """Return the error that *document*, which came under status 200, means; None where it is an answer."""
    if not is_failure(document, headers):
        return None
    return _error(read_document(headers, document), 200, headers, quota_after=quota_after, now=now)


def stream_failure(
    kind: Literal["exception", "error"],
    name: str,
    payload: bytes,
    *,
    headers: Mapping[str, str],
    message: str = "",
    quota_after: float = 3600.0,
    now: float,
) -> LLMError:
    """Return the error that a message of a stream means.

    Args:
        kind: its ``:message-type``.
        name: its ``:exception-type`` (``throttlingException``) or ``:error-code``.
        payload: of the message; of an exception JSON.
        headers: of the answer that the stream is the body of.
        message: its ``:error-message``.
        quota_after: as in `failure`.
        now: as in `failure`.
    """
    report = read_body({}, payload)
    code = one_line(name, 100) or report.code
    if kind == "exception" and code[:1].islower():
        # The same names as in headers and documents, where they begin with a capital.
        code = code[0].upper() + code[1:]
    report = attrs.evolve(report, code=code, message=one_line(message, SHOWN) or report.message)
    status = _STREAM_STATUSES.get(plain(code))
    return _error(report, status, headers, quota_after=quota_after, now=now)


def expired(error: LLMError) -> bool:
    """Return whether *error* says that the credentials are refused in a way that fresh ones may cure."""
    if not isinstance(error, AuthenticationError):
        return False
    details = error.details or {}
    if details.get("reason") in {"clock", "expired"}:
        return bool(details["reason"] == "expired")
    # Refused API keys come without a code.
    return plain(str(details.get("code", ""))) in _RENEWABLE or "code" not in details


def refuses_streamed_tools(error: LLMError) -> bool:
    """Return whether *error* says that the model takes tools in Converse alone, not in ConverseStream."""
    return error.type is Kind.INVALID_REQUEST_ERROR and _STREAMED_TOOLS_TEXT.search(error.message) is not None


def _error(
    report: Report, status: int | None, headers: Mapping[str, str], *, quota_after: float, now: float
) -> LLMError:
    told = told_status(report, status)
    kind = kind_of(report, told)
    delay = retry_delay(headers, report.message, now=now) if kind in _WAITING else None
    if kind is Kind.RATE_LIMIT_ERROR and delay is not None and delay >= quota_after:
        kind = Kind.QUOTA_EXCEEDED_ERROR
    redirected = status is not None and 300 <= status < 400
    step = advice(kind, report.code, report.message, redirected_to=_target(headers) if redirected else None)
    said = one_line(report.message, SHOWN) or report.original_message or _unsaid(report.code, status)
    return ERROR_CLASSES[kind](
        f"{said.removesuffix('.')}; {step}",
        retryable=retryable(kind, plain(report.code), told),
        status_code=status,
        retry_after=delay,
        request_id=next((found for name in _REQUEST_IDS if (found := _short_header(headers, name))), None),
        details=_details(report, kind),
    )


def _unsaid(code: str, status: int | None) -> str:
    return code or (f"HTTP {status} without a message" if status is not None else "an error without a message")


def _details(report: Report, kind: Kind) -> dict[str, Any] | None:
    reason = ""
    if kind is Kind.AUTHENTICATION_ERROR:
        reason = "clock" if _is_clock(report) else "expired" if _EXPIRED_TEXT.search(report.message) else ""
    facts: dict[str, Any] = {
        "code": report.code,
        "original_status_code": report.original_status_code,
        "original_message": report.original_message,
        "resource_name": report.resource_name,
        "reason": reason,
    }
    return {name: value for name, value in facts.items() if value} or None


def _is_clock(report: Report) -> bool:
    return plain(report.code) in {"requestexpired", "requesttimetooskewed"} or bool(_CLOCK_TEXT.search(report.message))


def _short_header(headers: Mapping[str, str], name: str) -> str:
    value = header(headers, name)[:128]
    return value if value.isprintable() else ""


def _target(headers: Mapping[str, str]) -> str:
    """Return scheme and host of a redirection, and nothing else of it: its path and query may carry secrets."""
    try:
        split = urlsplit(header(headers, "location"))
        host, port = split.hostname or "", split.port
    except ValueError:
        return ""
    if split.scheme not in {"http", "https"} or not re.fullmatch(r"[a-z0-9_.-]{1,253}", host):
        return ""
    return f"{split.scheme}://{host}{'' if port is None else f':{port}'}"


__all__ = ["expired", "failure", "failure_in", "refuses_streamed_tools", "stream_failure"]
