"""Errors as OpenAI's clients know them, and what these clients do about them.

::

    what was raised             status  type                   code
    HttpError                   its own by the status          its own
    AuthenticationError         401     authentication_error   upstream_authentication
    AuthorizationError          403     permission_error       upstream_authorization
    ModelNotFoundError          404     invalid_request_error  model_not_found
    InvalidRequestError         400     invalid_request_error  none, or unsupported_parameter
    ContextLengthExceededError  400     invalid_request_error  context_length_exceeded
    ContentFilterError          400     invalid_request_error  content_filter
    RateLimitError              429     rate_limit_error       rate_limit_exceeded
    QuotaExceededError          429     insufficient_quota     insufficient_quota
    LLMTimeoutError             504     server_error           timeout
    ServiceUnavailableError     503     server_error           service_unavailable
      of an answer with 2xx     502     server_error           bad_upstream_answer
    UnknownError                500     server_error           unknown_error
    anything else               500     server_error           internal_error

Clients try again at 408, 409, 429 and from 500 on, unless ``x-should-retry`` tells otherwise: it does where the same request
would fail again, since retries and fallbacks are behind us.
"""

from __future__ import annotations

import math
from typing import Any, Final

import attrs

from apex_llm_core.converters import encode
from apex_llm_core.errors import ApexLLMError, Attempt, LLMError, LLMErrorType, UnsupportedParameterError
from apex_llm_gateway.http import HttpError
from apex_llm_gateway.openai.rules import ParameterError

_INVALID: Final = "invalid_request_error"
_SERVER: Final = "server_error"
_BY_TYPE: Final[dict[LLMErrorType, tuple[int, str, str | None]]] = {
    LLMErrorType.AUTHENTICATION_ERROR: (401, "authentication_error", "upstream_authentication"),
    LLMErrorType.AUTHORIZATION_ERROR: (403, "permission_error", "upstream_authorization"),
    LLMErrorType.MODEL_NOT_FOUND_ERROR: (404, _INVALID, "model_not_found"),
    LLMErrorType.INVALID_REQUEST_ERROR: (400, _INVALID, None),
    LLMErrorType.CONTEXT_LENGTH_EXCEEDED_ERROR: (400, _INVALID, "context_length_exceeded"),
    LLMErrorType.CONTENT_FILTER_ERROR: (400, _INVALID, "content_filter"),
    LLMErrorType.RATE_LIMIT_ERROR: (429, "rate_limit_error", "rate_limit_exceeded"),
    LLMErrorType.QUOTA_EXCEEDED_ERROR: (429, "insufficient_quota", "insufficient_quota"),
    LLMErrorType.TIMEOUT_ERROR: (504, _SERVER, "timeout"),
    LLMErrorType.SERVICE_UNAVAILABLE_ERROR: (503, _SERVER, "service_unavailable"),
    LLMErrorType.UNKNOWN_ERROR: (500, _SERVER, "unknown_error"),
}
_BROKEN_ANSWER: Final = (502, _SERVER, "bad_upstream_answer")
#: `type` of errors that have nothing but a status; others go by its first digit.
_BY_STATUS: Final = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


@attrs.frozen(kw_only=True)
class ErrorAnswer:
    """The answer to a request that failed; `document` is its body."""

    status: int
    document: dict[str, Any]
    headers: dict[str, str]


def error_answer(error: BaseException, *, request_id: str) -> ErrorAnswer:
    """Return how *error* is told to the caller.

    What an exception says that nobody raised on purpose is for the log alone: the caller gets *request_id* to find it by.
    """
    if isinstance(error, LLMError):
        return _of_provider(error, request_id)
    if isinstance(error, HttpError):
        kind = _BY_STATUS.get(error.status) or (_SERVER if error.status >= 500 else _INVALID)
        return ErrorAnswer(
            status=error.status,
            document=_document(error.message, kind, error.code),
            headers={**_headers_of(error.status), **error.headers},
        )
    return ErrorAnswer(
        status=500,
        document=_document(f"internal error; the log tells more of request {request_id}", _SERVER, "internal_error"),
        headers={"x-should-retry": "false"},
    )


def event_bytes(error: BaseException, request_id: str) -> bytes:
    """Return the frame that ends a stream in which *error* happened."""
    return b"data: " + encode(error_answer(error, request_id=request_id).document) + b"\n\n"


def _of_provider(error: LLMError, request_id: str) -> ErrorAnswer:
    status, kind, code = _BY_TYPE[error.type]
    if status == 503 and error.status_code is not None and 200 <= error.status_code < 300:
        status, kind, code = _BROKEN_ANSWER
    param: str | None = None
    if isinstance(error, ParameterError):
        param = error.param
    elif isinstance(error, UnsupportedParameterError):
        code = "unsupported_parameter"
        param = error.parameters[0] if error.parameters else None
    elif error.type is LLMErrorType.MODEL_NOT_FOUND_ERROR:
        param = "model"
    message = error.message
    if _is_unforeseen(error):
        message = f"an unforeseen error; the log tells more of request {request_id}"
    document = _document(message, kind, code, param)
    details = document["error"]
    if error.provider is not None:
        details["provider"] = error.provider
    if error.model is not None:
        details["model"] = error.model
    if error.attempts:
        details["attempts"] = [_attempt(attempt) for attempt in error.attempts]
    details["retryable"] = error.retryable
    headers = _headers_of(status)
    if status in (429, 503) and error.retry_after is not None and math.isfinite(error.retry_after):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if not error.retryable:
        headers["x-should-retry"] = "false"
    return ErrorAnswer(status=status, document=document, headers=headers)


def _document(message: str, kind: str, code: str | None, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _headers_of(status: int) -> dict[str, str]:
    return {"WWW-Authenticate": "Bearer"} if status == 401 else {}


def _is_unforeseen(error: LLMError) -> bool:
    """Whether *error* repeats what a stray exception said: not a word of a provider's, and perhaps too much of ours."""
    return (
        error.type is LLMErrorType.UNKNOWN_ERROR
        and error.status_code is None
        and error.original_error is not None
        and not isinstance(error.original_error, ApexLLMError)
    )


def _attempt(attempt: Attempt) -> dict[str, Any]:
    unforeseen = attempt.error_type is LLMErrorType.UNKNOWN_ERROR and attempt.status_code is None
    return {
        "provider": attempt.provider,
        "model": attempt.model,
        "error_type": None if attempt.error_type is None else attempt.error_type.value,
        "message": "an unforeseen error" if unforeseen else attempt.message,
        "status_code": attempt.status_code,
        "duration": round(attempt.duration, 6),
    }


__all__ = ["ErrorAnswer", "error_answer", "event_bytes"]
