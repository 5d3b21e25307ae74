"""Errors: their form, and what comes with each status."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from apex_llm_core.errors import LLMErrorType
from apex_llm_gateway.http import JSON
from apex_llm_gateway.openapi.forms import (
    AMOUNT,
    FLAG,
    NULL,
    TEXT,
    WHOLE,
    Schema,
    described,
    either,
    items,
    members,
    nullable,
    ref,
    words,
)

#: What errors of a status say in `code`; None: nothing.
CODES: Mapping[int, tuple[str | None, ...]] = MappingProxyType(
    {
        400: (
            *(None, "invalid_json", "unsupported_parameter", "context_length_exceeded", "content_filter"),
            *("invalid_value", "unknown_parameter", "invalid_configuration"),
        ),
        401: ("invalid_api_key", "upstream_authentication"),
        403: (
            *("role_missing", "model_not_allowed", "upstream_authorization", "host_not_allowed"),
            "origin_not_allowed",
        ),
        404: ("model_not_found", "not_found"),
        405: ("method_not_allowed",),
        408: ("request_timeout",),
        413: ("request_too_large",),
        415: ("unsupported_encoding",),
        429: ("rate_limit_exceeded", "insufficient_quota"),
        500: ("internal_error", "unknown_error"),
        501: ("unsupported_encoding",),
        502: ("bad_upstream_answer",),
        503: ("service_unavailable", "worker_failed"),
        504: ("timeout",),
    }
)
_TITLES: Mapping[int, str] = MappingProxyType(
    {
        400: "The request cannot be understood, or no provider takes it; `param` is the place in the body.",
        401: "The caller's key is missing or unknown, or a provider did not accept the gateway's.",
        403: "The caller's key may not do this, or the gateway's may not at the provider.",
        404: "There is no such model, or no such address.",
        405: "This address takes other methods.",
        408: "The body did not arrive in time.",
        413: "The body is too large.",
        415: "The body is in a Content-Encoding that is not read here.",
        429: "A limit of the gateway's or of the provider's, or a quota, is used up.",
        500: "A defect here, or an error of the provider's that nobody knows.",
        501: "The body is in a Transfer-Encoding that is not read here.",
        502: "What the provider answered is broken.",
        503: "No provider can answer now, or another worker did not do what was ordered.",
        504: "No provider answered in time.",
    }
)
_NUMBER_OR_TEXT_HEADERS = {
    "WWW-Authenticate": {"schema": TEXT},
    "Retry-After": {"description": "Seconds to wait, where that is known.", "schema": {**WHOLE, "minimum": 1}},
    "Allow": {"description": "The methods that it takes.", "schema": TEXT},
    "x-should-retry": {
        "description": "The same request would fail again: retries and fallbacks are behind it.",
        "schema": words("false"),
    },
}
_BY_STATUS = {401: ("WWW-Authenticate",), 405: ("Allow",), 429: ("Retry-After",), 503: ("Retry-After",)}

FAILURE_SCHEMAS: dict[str, Schema] = {
    "Error": members(
        {
            "error": members(
                {
                    "message": TEXT,
                    "type": words(
                        *("invalid_request_error", "authentication_error", "permission_error", "rate_limit_error"),
                        *("insufficient_quota", "server_error"),
                    ),
                    "param": described(
                        nullable(TEXT), "The place in the body, for example `messages[2].content[0].type`."
                    ),
                    "code": nullable(TEXT),
                },
                {
                    "provider": TEXT,
                    "model": TEXT,
                    "attempts": items(ref("FailedAttempt")),
                    "retryable": FLAG,
                },
            )
        }
    ),
    "FailedAttempt": members(
        {
            "provider": TEXT,
            "model": TEXT,
            "error_type": either(words(*(kind.value for kind in LLMErrorType)), NULL),
            "message": nullable(TEXT),
            "status_code": nullable(WHOLE),
            "duration": described(AMOUNT, "Seconds."),
        },
        description="What was tried before the request failed.",
    ),
}


def failures(statuses: Iterable[int]) -> dict[str, Schema]:
    """Return references to the responses of *statuses*, by status."""
    return {str(status): {"$ref": f"#/components/responses/Error{status}"} for status in statuses}


def failure_responses() -> dict[str, Schema]:
    """Return the response of every status, by its name."""
    return {f"Error{status}": _response(status) for status in CODES}


def _response(status: int) -> Schema:
    codes = CODES[status]
    code: Schema = {"enum": list(codes)}
    names = (*_BY_STATUS.get(status, ()), "x-should-retry")
    return {
        "description": _TITLES[status],
        "headers": {
            "x-request-id": {"$ref": "#/components/headers/x-request-id"},
            **{name: _NUMBER_OR_TEXT_HEADERS[name] for name in names},
        },
        "content": {
            JSON: {"schema": {"allOf": [ref("Error"), {"properties": {"error": {"properties": {"code": code}}}}]}}
        },
    }


__all__ = ["CODES", "FAILURE_SCHEMAS", "failure_responses", "failures"]
