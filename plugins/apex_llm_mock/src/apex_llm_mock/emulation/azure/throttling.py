"""Rate limits, quotas, missing capacity and failures of the service, by name."""

from __future__ import annotations

from collections.abc import Mapping

from apex_llm_mock.emulation.answers import NO_HEADERS, WholeAnswer, document_answer
from apex_llm_mock.emulation.azure.errors import from_model, front_door
from apex_llm_mock.emulation.fault_forms import InsteadFault

_LIMITED = (
    "Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-10-21 have exceeded {limit} limit "
    "of your current OpenAI S0 pricing tier. {advice}Please go here: https://aka.ms/oai/quotaincrease if you would like to "
    "further increase the default rate limit."
)


def limited_message(limit: str, advice: str = "") -> str:
    """Return what Azure says about *limit* ("call rate" or "token rate")."""
    return _LIMITED.format(limit=limit, advice=advice)


def _limited(
    doc: str,
    headers: Mapping[str, str] = NO_HEADERS,
    *,
    advice: str = "",
    code: str = "429",
    date_ahead: float | None = None,
) -> InsteadFault:
    answer = front_door(429, code, limited_message("token rate", advice), headers=headers)
    return InsteadFault(doc=doc, answer=answer, date_ahead=date_ahead)


def _fault(doc: str, answer: WholeAnswer) -> InsteadFault:
    return InsteadFault(doc=doc, answer=answer)


def _gateway(message: str) -> WholeAnswer:
    return document_answer({"statusCode": 429, "message": message}, status=429)


_RATE_LIMITS = {
    "rate_limit": _limited(
        "429 with retry-after-ms 40 and the rounded retry-after 1",
        {"retry-after-ms": "40", "retry-after": "1"},
        advice="Please retry after 1 second. ",
    ),
    "rate_limit_seconds": _limited("429 with retry-after 2", {"retry-after": "2"}),
    "rate_limit_date": _limited("429 with the date five seconds ahead as retry-after", date_ahead=5.0),
    "rate_limit_reset_requests": _limited("429 with x-ratelimit-reset-requests 3", {"x-ratelimit-reset-requests": "3"}),
    "rate_limit_reset_tokens": _limited("429 with x-ratelimit-reset-tokens 6m0s", {"x-ratelimit-reset-tokens": "6m0s"}),
    "rate_limit_reset_both": _limited(
        "429 with both resets, 120ms and 1s", {"x-ratelimit-reset-requests": "120ms", "x-ratelimit-reset-tokens": "1s"}
    ),
    "rate_limit_text": _limited("429, only the text says 7 seconds", advice="Please retry after 7 seconds. "),
    "rate_limit_try_again": _fault(
        "429 of the gateway, the text says 3 seconds", _gateway("Rate limit is exceeded. Try again in 3 seconds.")
    ),
    "rate_limit_wait": _fault(
        "429, the text says 4 seconds", front_door(429, "429", "Please wait 4 seconds before you try again.")
    ),
    "rate_limit_bare": _fault("429 without any advice", front_door(429, "RateLimitReached", "Rate limit reached.")),
    "too_many_requests": _fault(
        "429 with the code too_many_requests",
        from_model("Too many requests.", status=429, code="too_many_requests", kind="too_many_requests"),
    ),
    "rate_limit_exceeded": _fault(
        "429 with the code rate_limit_exceeded",
        from_model("Rate limit exceeded.", status=429, code="rate_limit_exceeded", kind="requests"),
    ),
}
_QUOTAS = {
    "insufficient_quota": _fault(
        "429 with the code insufficient_quota",
        from_model(
            "You exceeded your current quota, please check your plan and billing details.",
            status=429,
            code="insufficient_quota",
            kind="insufficient_quota",
        ),
    ),
    "quota_exceeded": _fault(
        "429 with the code quota_exceeded", front_door(429, "quota_exceeded", "The quota of the resource is used up.")
    ),
    "retry_after_day": _limited("429 with retry-after 86400: a quota, not a rate", {"retry-after": "86400"}),
    "capacity": _fault(
        "429, high demand",
        from_model(
            "The system is currently experiencing high demand and cannot process your request. Your request exceeds the "
            "maximum usage size allowed during peak load.",
            status=429,
            code="too_many_requests",
            kind="too_many_requests",
        ),
    ),
    "no_capacity": _fault(
        "429 with the code NoCapacity",
        front_door(
            429, "NoCapacity", "The service is temporarily unable to process your request. Please try again later."
        ),
    ),
}
_SORRY = "The server had an error while processing your request. Sorry about that!"
_HTML = b"""<html>
<head><title>502 Bad Gateway</title></head>
<body><center><h1>502 Bad Gateway</h1></center><hr><center>Microsoft-Azure-Application-Gateway/v2</center></body>
</html>
"""
_FAILURES = {
    "server_error": _fault("500 of the model's server", from_model(_SORRY, status=500, kind="server_error")),
    "internal_error": _fault("500 of the front door", front_door(500, "InternalServerError", "Internal server error")),
    "bad_gateway": _fault("502, a page of HTML", WholeAnswer(body=_HTML, status=502, content_type="text/html")),
    "unavailable": _fault(
        "503", front_door(503, "ServiceUnavailable", "The service is temporarily unable to process your request.")
    ),
    "unavailable_text": _fault(
        "503, plain text of a proxy",
        WholeAnswer(
            body=b"upstream connect error or disconnect/reset before headers. reset reason: overflow",
            status=503,
            content_type="text/plain",
        ),
    ),
    "gateway_timeout": _fault("504", front_door(504, "Timeout", "The operation was timeout.")),
    "request_timeout": _fault("408", front_door(408, "Timeout", "The operation was timeout.")),
}
THROTTLING = {**_RATE_LIMITS, **_QUOTAS, **_FAILURES}

__all__ = ["THROTTLING", "limited_message"]
