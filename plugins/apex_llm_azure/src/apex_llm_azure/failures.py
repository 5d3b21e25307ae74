"""From a failed answer to the core's errors: what went wrong by code first, then by text, then by status.

::

    content filter      code or inner code, whatever the status (400, 403, 500, an event of a stream)
    context length      code, or one of the service's sentences
    quota               code, sentence, or a wait of `quota_after` seconds and more
    other codes         `_CODES`; a 429 stays a rate limit
    status              `_STATUSES`, for all that gives no code of its own
    types               `_TYPES`, for events of a stream, which have no status

Every message ends in what to do next. Of the headers only request id, region, deployment and waiting times are read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from apex_llm_azure.advice import advice
from apex_llm_azure.dialect import refused_parameter
from apex_llm_azure.failure_shapes import Report, read_body, read_document, shortened
from apex_llm_azure.ratelimits import advised_delay, header, retry_delay
from apex_llm_core.errors import ERROR_CLASSES, LLMError, LLMErrorType

Kind = LLMErrorType

#: Codes by kind, without case, underscores, hyphens and spaces.
_CODES: Mapping[str, Kind] = {
    code: kind
    for kind, codes in {
        Kind.CONTENT_FILTER_ERROR: (
            "contentfilter contentpolicyviolation responsibleaipolicyviolation contentfiltered moderationblocked"
        ),
        Kind.CONTEXT_LENGTH_EXCEEDED_ERROR: "contextlengthexceeded",
        Kind.QUOTA_EXCEEDED_ERROR: "insufficientquota quotaexceeded billinghardlimitreached",
        Kind.RATE_LIMIT_ERROR: "ratelimitreached ratelimitexceeded toomanyrequests nocapacity",
        Kind.AUTHENTICATION_ERROR: "invalidapikey invalidsubscriptionkey invalidauthenticationtoken expiredauthenticationtoken",
        Kind.AUTHORIZATION_ERROR: "permissiondenied authenticationtypedisabled authorizationfailed",
        Kind.MODEL_NOT_FOUND_ERROR: "deploymentnotfound modelnotfound unknownmodel operationnotsupported",
        Kind.TIMEOUT_ERROR: "timeout requesttimeout gatewaytimeout",
        # The filter itself broke: that refuses nothing.
        Kind.SERVICE_UNAVAILABLE_ERROR: "contentfiltererror servererror internalservererror serviceunavailable badgateway",
        Kind.INVALID_REQUEST_ERROR: (
            "unknownparameter unsupportedparameter unsupportedvalue invalidvalue unsupportedapiversion"
        ),
    }.items()
    for code in codes.split()
}
#: Types and codes that only repeat a status; they count where there is none.
_TYPES: Mapping[str, Kind] = {
    "invalidrequesterror": Kind.INVALID_REQUEST_ERROR,
    "badrequest": Kind.INVALID_REQUEST_ERROR,
    "authenticationerror": Kind.AUTHENTICATION_ERROR,
    "unauthorized": Kind.AUTHENTICATION_ERROR,
    "permissionerror": Kind.AUTHORIZATION_ERROR,
    "forbidden": Kind.AUTHORIZATION_ERROR,
    "notfounderror": Kind.MODEL_NOT_FOUND_ERROR,
    "ratelimiterror": Kind.RATE_LIMIT_ERROR,
    "requests": Kind.RATE_LIMIT_ERROR,
    "tokens": Kind.RATE_LIMIT_ERROR,
}
_STATUSES: Mapping[int, Kind] = {
    400: Kind.INVALID_REQUEST_ERROR,
    401: Kind.AUTHENTICATION_ERROR,
    402: Kind.QUOTA_EXCEEDED_ERROR,
    403: Kind.AUTHORIZATION_ERROR,
    404: Kind.MODEL_NOT_FOUND_ERROR,
    405: Kind.MODEL_NOT_FOUND_ERROR,
    408: Kind.TIMEOUT_ERROR,
    409: Kind.INVALID_REQUEST_ERROR,
    410: Kind.MODEL_NOT_FOUND_ERROR,
    413: Kind.INVALID_REQUEST_ERROR,
    415: Kind.INVALID_REQUEST_ERROR,
    422: Kind.INVALID_REQUEST_ERROR,
    429: Kind.RATE_LIMIT_ERROR,
    504: Kind.TIMEOUT_ERROR,
}
_FILTER_TEXT = re.compile(
    r"filtered due to the prompt triggering|rejected (?:as a result of our|by the) safety system|content management policy"
    r"|flagged as potentially violating our usage policy",
    re.IGNORECASE,
)
_CONTEXT_TEXT = re.compile(
    r"maximum context length is|input tokens exceed the configured limit of|input exceeds the context window"
    r"|maximum input length is \d+ tokens",
    re.IGNORECASE,
)
_QUOTA_TEXT = re.compile(r"exceeded your current quota|out of call volume quota", re.IGNORECASE)
_PRINCIPAL_TEXT = re.compile(r"principal does not have access|lacks the required data action", re.IGNORECASE)
_TIMEOUT_TEXT = re.compile(r"the operation was time\s?(?:d )?out", re.IGNORECASE)
_UNAVAILABLE_TEXT = re.compile(
    r"the server had an error|currently overloaded|temporarily unable to process", re.IGNORECASE
)
#: Statuses whose cause is not the prompt's length, whatever their text repeats.
_NOT_ABOUT_LENGTH = frozenset({401, 403, 404, 408, 429})
_PROMPT_PARAMETERS = frozenset({"input", "prompt", "messages"})
_WAITING = frozenset(
    {Kind.RATE_LIMIT_ERROR, Kind.QUOTA_EXCEEDED_ERROR, Kind.SERVICE_UNAVAILABLE_ERROR, Kind.TIMEOUT_ERROR}
)


def failure(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    quota_after: float = 3600.0,
    now: float | None = None,
) -> LLMError:
    """Return the error that an answer other than a good one means; nothing in *body* makes this raise.

    Args:
        status: of HTTP.
        headers: of the answer; look-up ignores case.
        body: of the answer, whatever it is.
        quota_after: seconds; a wait of so many or more is a used-up quota, not a rate limit.
        now: the wall clock in seconds since the epoch, for waits given as a date.
    """
    return _error(read_body(body), status, headers, quota_after=quota_after, now=now)


def stream_failure(
    event: Mapping[str, Any],
    *,
    headers: Mapping[str, str],
    status: int = 200,
    quota_after: float = 3600.0,
    now: float | None = None,
) -> LLMError:
    """Return the error that *event* of a stream (``data: {"error": …}``) means; arguments as in `failure`."""
    return _error(read_document(event), status, headers, quota_after=quota_after, now=now)


def _error(
    report: Report, status: int, headers: Mapping[str, str], *, quota_after: float, now: float | None
) -> LLMError:
    told = _told_status(report, status)
    kind = _kind(report, told)
    delay = _delay(kind, headers, report.message, now)
    if kind is Kind.RATE_LIMIT_ERROR:
        explicit = advised_delay(headers, report.message, now=now)
        if explicit is not None and explicit >= quota_after:
            kind, delay = Kind.QUOTA_EXCEEDED_ERROR, explicit
    said = shortened(report.message).removesuffix(".") or f"HTTP {status} without a message"
    next_step = advice(kind, told, report, target=_target(headers))
    message = f"{said}; {next_step}"
    redirected = 300 <= status < 400 and kind is Kind.SERVICE_UNAVAILABLE_ERROR
    return ERROR_CLASSES[kind](
        message,
        retryable=False if redirected else None,
        status_code=status,
        retry_after=delay,
        request_id=_short_header(headers, "apim-request-id") or _short_header(headers, "x-request-id") or None,
        details=_details(report, headers, kind),
    )


def _told_status(report: Report, status: int) -> int:
    """Return the status the failure is about: inside a good answer, the code of the report may be one."""
    if 200 <= status < 300 and re.fullmatch(r"[45]\d\d", report.code, re.ASCII):
        return int(report.code)
    return status


def _kind(report: Report, status: int) -> Kind:
    by_code = _kind_by_code(report, status)
    if by_code is not None:
        return by_code
    text = report.message
    if _FILTER_TEXT.search(text):
        return Kind.CONTENT_FILTER_ERROR
    if status not in _NOT_ABOUT_LENGTH and _CONTEXT_TEXT.search(text):
        return Kind.CONTEXT_LENGTH_EXCEEDED_ERROR
    if _QUOTA_TEXT.search(text):
        return Kind.QUOTA_EXCEEDED_ERROR
    if status == 401 and _PRINCIPAL_TEXT.search(text):
        return Kind.AUTHORIZATION_ERROR
    if status in _STATUSES:
        return _STATUSES[status]
    if status >= 500 or 300 <= status < 400:
        return Kind.SERVICE_UNAVAILABLE_ERROR
    for word in (report.code, report.type):
        if _plain(word) in _TYPES:
            return _TYPES[_plain(word)]
    if _TIMEOUT_TEXT.search(text):
        return Kind.TIMEOUT_ERROR
    return Kind.SERVICE_UNAVAILABLE_ERROR if _UNAVAILABLE_TEXT.search(text) else Kind.UNKNOWN_ERROR


def _kind_by_code(report: Report, status: int) -> Kind | None:
    if report.held_back:
        return Kind.CONTENT_FILTER_ERROR
    codes = map(_plain, (*report.inner_codes, report.code, report.type))
    kinds = [_CODES[code] for code in codes if code in _CODES]
    for decisive in (Kind.CONTENT_FILTER_ERROR, Kind.CONTEXT_LENGTH_EXCEEDED_ERROR, Kind.QUOTA_EXCEEDED_ERROR):
        if decisive in kinds:
            return decisive
    if _plain(report.code) == "stringabovemaxlength":
        # Other parameters have a longest length, too: `user`, names of tools.
        long_prompt = re.split(r"[.\[]", report.param)[0] in _PROMPT_PARAMETERS
        return Kind.CONTEXT_LENGTH_EXCEEDED_ERROR if long_prompt else Kind.INVALID_REQUEST_ERROR
    # Whatever else a 429 is called, it asks for patience.
    return kinds[0] if kinds and status != 429 else None


def _plain(code: str) -> str:
    return re.sub(r"[\s_-]", "", code).lower()


def _delay(kind: Kind, headers: Mapping[str, str], message: str, now: float | None) -> float | None:
    if kind is Kind.RATE_LIMIT_ERROR:
        return retry_delay(headers, message, now=now)
    return advised_delay(headers, message, now=now) if kind in _WAITING else None


def _details(report: Report, headers: Mapping[str, str], kind: Kind) -> dict[str, Any] | None:
    facts: dict[str, Any] = {
        "code": report.code,
        "type": report.type,
        "param": report.param,
        "refused_parameter": refused_parameter({"code": report.code, "param": report.param, "message": report.message}),
        "inner_code": next(iter(report.inner_codes), ""),
        "content_filter_result": report.content_filter_result,
        "revised_prompt": report.revised_prompt,
        "region": _short_header(headers, "x-ms-region"),
        "deployment": _short_header(headers, "x-ms-deployment-name"),
        "reason": "capacity" if kind is Kind.RATE_LIMIT_ERROR and _is_capacity(report) else "",
    }
    return {name: value for name, value in facts.items() if value} or None


def _is_capacity(report: Report) -> bool:
    text = report.message.lower()
    return (
        _plain(report.code) == "nocapacity"
        or "high demand" in text
        or "temporarily unable to process your request" in text
    )


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


__all__ = ["failure", "stream_failure"]
