"""What kind of failure an answer tells of: by its code, then by its words, then by its status."""

from __future__ import annotations

import re
from collections.abc import Mapping

from apex_llm_bedrock.failure_shapes import Report
from apex_llm_core.errors import LLMErrorType

Kind = LLMErrorType

#: Codes by kind, without case, punctuation and the word Exception.
_CODES: Mapping[str, Kind] = {
    code: kind
    for kind, codes in {
        Kind.AUTHORIZATION_ERROR: "accessdenied ftuformnotfilled badcscore optinrequired notauthorized unauthorizedoperation",
        Kind.AUTHENTICATION_ERROR: (
            "unrecognizedclient invalidsignature signaturedoesnotmatch invalidclienttokenid invalidaccesskeyid expiredtoken "
            "tokenrefreshrequired requestexpired requesttimetooskewed incompletesignature missingauthenticationtoken "
            "authfailure invalidtoken invalidapikey authenticationerror"
        ),
        Kind.MODEL_NOT_FOUND_ERROR: "resourcenotfound unknownoperation modelnotfound notfounderror",
        Kind.INVALID_REQUEST_ERROR: (
            "validation validationerror conflict serialization malformedinput invalidrequest invalidrequesterror badrequest "
            "requestentitytoolarge unsupportedoperation"
        ),
        Kind.RATE_LIMIT_ERROR: (
            "throttling throttled requestthrottled toomanyrequests provisionedthroughputexceeded transactioninprogress "
            "requestlimitexceeded bandwidthlimitexceeded limitexceeded slowdown priorrequestnotcomplete ec2throttled "
            "ratelimiterror ratelimitexceeded"
        ),
        Kind.QUOTA_EXCEEDED_ERROR: "servicequotaexceeded insufficientquota",
        Kind.CONTEXT_LENGTH_EXCEEDED_ERROR: "contextlengthexceeded",
        Kind.CONTENT_FILTER_ERROR: "contentfilter contentpolicyviolation",
        Kind.TIMEOUT_ERROR: "modeltimeout requesttimeout",
        Kind.SERVICE_UNAVAILABLE_ERROR: (
            "modelnotready modelerror modelstreamerror mpagreementbeingcreated internalserver internalservererror "
            "internalfailure internalerror servererror serviceunavailable serviceunavailableerror overloadederror"
        ),
    }.items()
    for code in codes.split()
}
#: Codes after which the same request is not sent again, although their kind allows it.
_ONCE = frozenset({"modelerror", "mpagreementbeingcreated", "modeltimeout"})
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
    424: Kind.SERVICE_UNAVAILABLE_ERROR,
    429: Kind.RATE_LIMIT_ERROR,
    504: Kind.TIMEOUT_ERROR,
}
#: Statuses that are worth a second try without a code that says so.
_AGAIN = frozenset({500, 502, 503, 504})


def _pattern(*sentences: str) -> re.Pattern[str]:
    return re.compile("|".join(sentences), re.IGNORECASE)


_FILTER_TEXT = _pattern(r"blocked by our content filters?", r"content filtering policy", r"filter reason:")
_CONTEXT_TEXT = _pattern(
    r"input is too long",
    r"prompt is too long",
    r"input tokens? exceed",
    r"too many input tokens",
    r"expected maxLength",
    r"maximum context length",
    r"exceeds? (?:the )?(?:model's )?(?:maximum )?context",
)
_MODEL_TEXT = _pattern(
    r"model identifier is invalid",
    r"on-demand throughput isn",
    r"could not resolve the foundation model",
    r"provided ARN is invalid for the service region",
    r"end of its life",
)
#: The model is there, but the account did not say what it wants with it.
_FORM_TEXT = _pattern(r"use case details")
_CACHING_TEXT = _pattern(r"did not allow prompt caching", r"prompt caching is not supported")
_FORBIDDEN_TEXT = _pattern(r"operation not allowed")
_DAILY_TEXT = _pattern(r"\bper day\b", r"\bdaily\b")
_CREDENTIAL_TEXT = _pattern(
    r"authentication failed",
    r"missing authentication",
    r"security token",
    r"bearer token",
    r"api key",
    r"request signature",
    r"signature (?:we|not|expired)",
)


def told_status(report: Report, status: int | None) -> int | None:
    """Return the status the failure is about: inside a good answer, the code of the report may be one."""
    if (status is None or 200 <= status < 300) and re.fullmatch(r"[45]\d\d", report.code, re.ASCII):
        return int(report.code)
    return status


def plain(code: str) -> str:
    """Return *code* as this module compares codes: ``ThrottlingException`` is ``throttling``."""
    return re.sub(r"[^a-z0-9]", "", code.lower()).removesuffix("exception")


def kind_of(report: Report, status: int | None) -> Kind:
    """Return the kind of failure that *report* and *status*, None where there is none, tell of."""
    kind = _CODES.get(plain(report.code)) or _by_status(status)
    text = report.message
    match kind:
        case Kind.INVALID_REQUEST_ERROR:
            return _invalid(text)
        case Kind.MODEL_NOT_FOUND_ERROR:
            return Kind.AUTHORIZATION_ERROR if _FORM_TEXT.search(text) else kind
        case Kind.AUTHORIZATION_ERROR:
            if _CACHING_TEXT.search(text):
                return Kind.INVALID_REQUEST_ERROR
            known = "not authorized to perform" in text
            return Kind.AUTHENTICATION_ERROR if _CREDENTIAL_TEXT.search(text) and not known else kind
        case Kind.RATE_LIMIT_ERROR:
            return Kind.QUOTA_EXCEEDED_ERROR if _DAILY_TEXT.search(text) else kind
        case None:
            by_text = _invalid(text)
            return Kind.UNKNOWN_ERROR if by_text is Kind.INVALID_REQUEST_ERROR else by_text
    return kind


def _by_status(status: int | None) -> Kind | None:
    if status is None or 200 <= status < 300:
        return None
    known = _STATUSES.get(status)
    if known is not None:
        return known
    return Kind.SERVICE_UNAVAILABLE_ERROR if status >= 500 or 300 <= status < 400 else Kind.INVALID_REQUEST_ERROR


def _invalid(text: str) -> Kind:
    """Return what a refused request is refused for, as far as the service says it in words only."""
    if _FILTER_TEXT.search(text):
        return Kind.CONTENT_FILTER_ERROR
    if _MODEL_TEXT.search(text):
        return Kind.MODEL_NOT_FOUND_ERROR
    if _CONTEXT_TEXT.search(text):
        return Kind.CONTEXT_LENGTH_EXCEEDED_ERROR
    return Kind.AUTHORIZATION_ERROR if _FORBIDDEN_TEXT.search(text) else Kind.INVALID_REQUEST_ERROR


def retryable(kind: Kind, code: str, status: int | None) -> bool | None:
    """Return whether the same request may be sent again; None for what is usual for *kind*."""
    if kind not in {Kind.SERVICE_UNAVAILABLE_ERROR, Kind.TIMEOUT_ERROR}:
        return None
    return code not in _ONCE if code in _CODES else status in _AGAIN


__all__ = ["kind_of", "plain", "retryable", "told_status"]
