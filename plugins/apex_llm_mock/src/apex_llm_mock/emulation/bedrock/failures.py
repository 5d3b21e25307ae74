"""Throttling and failures of the service and its models, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apex_llm_mock.emulation.answers import NO_HEADERS, WholeAnswer
from apex_llm_mock.emulation.bedrock.errors import JSON, error_answer
from apex_llm_mock.emulation.fault_forms import InsteadFault

TOO_MANY_REQUESTS = "Too many requests, please wait before trying again."
#: A throttle like any other, and no complaint about the length of a prompt.
TOO_MANY_TOKENS = "Too many tokens, please wait before trying again."
_HTML = b"""<html>
<head><title>%(title)s</title></head>
<body><center><h1>%(title)s</h1></center></body>
</html>
"""


def _fault(
    doc: str,
    code: str,
    message: str,
    status: int | None = None,
    *,
    headers: Mapping[str, str] = NO_HEADERS,
    date_ahead: float | None = None,
    **more: Any,
) -> InsteadFault:
    answer = error_answer(code, message, status, headers=headers, more=more)
    return InsteadFault(doc=doc, answer=answer, date_ahead=date_ahead)


def _throttled(doc: str, message: str = TOO_MANY_REQUESTS, **more: Any) -> InsteadFault:
    return _fault(doc, "ThrottlingException", message, **more)


def _page(doc: str, status: int, title: str) -> InsteadFault:
    body = _HTML % {b"title": title.encode()}
    return InsteadFault(doc=doc, answer=WholeAnswer(body=body, status=status, content_type="text/html"))


_THROTTLING = {
    "throttling": _throttled("429 without any advice"),
    "throttling_tokens": _throttled("429, too many tokens a minute", TOO_MANY_TOKENS),
    "throttling_day": _throttled(
        "429, too many tokens a day", "Too many tokens per day, please wait before trying again."
    ),
    "throttling_milliseconds": _throttled(
        "429 with x-amz-retry-after, which are milliseconds", headers={"x-amz-retry-after": "40"}
    ),
    "throttling_seconds": _throttled("429 with retry-after, which are seconds", headers={"retry-after": "2"}),
    "throttling_date": _throttled("429 with the date five seconds ahead as retry-after", date_ahead=5.0),
    "throttling_both": _throttled(
        "429 with both, of which the longer holds", headers={"x-amz-retry-after": "1500", "retry-after": "1"}
    ),
    "throttling_bare": InsteadFault(
        doc="429 without code or message", answer=WholeAnswer(body=b"{}", status=429, content_type=JSON)
    ),
    "too_many_requests": _fault("429 under another code", "TooManyRequestsException", TOO_MANY_REQUESTS, 429),
    "request_limit": _fault("503 that is a throttle", "RequestLimitExceeded", "Request limit exceeded.", 503),
    "slow_down": _fault("503 that is a throttle, too", "SlowDown", "Please reduce your request rate.", 503),
    "throttling_400": _fault("400 that is a throttle", "Throttling", "Rate exceeded", 400),
}
_QUOTAS = {
    "service_quota": _fault(
        "400, a quota", "ServiceQuotaExceededException", "You have exceeded the service quota for this account."
    ),
}
_MODELS = {
    "model_not_ready": _fault(
        "429, the model is being loaded",
        "ModelNotReadyException",
        "Model is not ready for inference. Wait a few minutes and try again.",
    ),
    "model_timeout": _fault(
        "408, the model took too long",
        "ModelTimeoutException",
        "Model has timed out in processing the request. Try your request again.",
    ),
    "model_error": _fault(
        "424, the model failed",
        "ModelErrorException",
        "The system encountered an unexpected error during processing. Try your request again.",
        originalStatusCode=500,
        resourceName="emulator",
    ),
    "model_stream_error": _fault(
        "424, the model failed before its stream",
        "ModelStreamErrorException",
        "The model could not stream its answer.",
        originalStatusCode=500,
        originalMessage="The worker ended.",
    ),
}
_SERVICE = {
    "internal_server": _fault(
        "500",
        "InternalServerException",
        "The system encountered an unexpected error during processing. Try your request again.",
    ),
    "internal_failure": _fault("500 under a common code", "InternalFailure", "Internal failure", 500),
    "service_unavailable": _fault("503", "ServiceUnavailableException", "Bedrock is unable to process your request."),
    "request_timeout": _fault("408 of the front", "RequestTimeoutException", "Request timed out", 408),
    "bad_gateway": _page("502, a page of HTML", 502, "502 Bad Gateway"),
    "unavailable_page": _page("503, a page of HTML", 503, "503 Service Temporarily Unavailable"),
    "gateway_timeout": _page("504, a page of HTML", 504, "504 Gateway Time-out"),
    "empty_error": InsteadFault(doc="500 without a body", answer=WholeAnswer(body=b"", status=500, content_type="")),
    "unavailable_text": InsteadFault(
        doc="503, plain text of a proxy",
        answer=WholeAnswer(body=b"upstream connect error", status=503, content_type="text/plain"),
    ),
}
FAILURES = {**_THROTTLING, **_QUOTAS, **_MODELS, **_SERVICE}

__all__ = ["FAILURES", "TOO_MANY_REQUESTS", "TOO_MANY_TOKENS"]
