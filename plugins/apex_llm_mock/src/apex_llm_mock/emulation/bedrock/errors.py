"""The errors of Bedrock as they stand on the wire: the code in a header, the message in the body."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from apex_llm_mock.emulation.answers import NO_HEADERS, RefusedError, WholeAnswer, encoded

JSON = "application/json"
#: What follows the code in ``x-amzn-errortype``.
NAMESPACE = "http://internal.amazon.com/coral/com.amazon.bedrock/"
#: The HTTP status of each code.
STATUSES: Mapping[str, int] = MappingProxyType(
    {
        "AccessDeniedException": 403,
        "ConflictException": 400,
        "ExpiredTokenException": 403,
        "IncompleteSignatureException": 400,
        "InternalServerException": 500,
        "InvalidSignatureException": 403,
        "MissingAuthenticationTokenException": 403,
        "ModelErrorException": 424,
        "ModelNotReadyException": 429,
        "ModelStreamErrorException": 424,
        "ModelTimeoutException": 408,
        "ResourceNotFoundException": 404,
        "SerializationException": 400,
        "ServiceQuotaExceededException": 400,
        "ServiceUnavailableException": 503,
        "ThrottlingException": 429,
        "UnrecognizedClientException": 403,
        "ValidationException": 400,
    }
)


def error_answer(
    code: str,
    message: str,
    status: int | None = None,
    *,
    headers: Mapping[str, str] = NO_HEADERS,
    more: Mapping[str, Any] = NO_HEADERS,
) -> WholeAnswer:
    """Return an error; *status* is that of the *code* unless given, *more* are further members of its body."""
    return WholeAnswer(
        body=encoded({"message": message, **more}),
        status=STATUSES[code] if status is None else status,
        headers={"x-amzn-errortype": f"{code}:{NAMESPACE}", **headers},
        content_type=JSON,
    )


def refusal(code: str, message: str, status: int | None = None) -> RefusedError:
    """Return the exception for a request that gets an error."""
    return RefusedError(error_answer(code, message, status))


def invalid(message: str) -> RefusedError:
    """Return the exception for a request that fails its validation."""
    return refusal("ValidationException", message)


def refused_by_model(message: str) -> RefusedError:
    """Return the exception for a request that passed Bedrock and that the model behind it does not take."""
    return invalid(f"The model returned the following errors: {message}")


def bad_api_key() -> RefusedError:
    """Return the answer to a wrong bearer token: no code, and the message with a capital letter."""
    document = {"Message": "Authentication failed: Please make sure your API Key is valid."}
    return RefusedError(WholeAnswer(body=encoded(document), status=403, content_type=JSON))


def unknown_operation() -> WholeAnswer:
    """Return the answer to a path that means nothing, such as one with an ARN that was not escaped: status 200."""
    document = {"Output": {"__type": "com.amazon.coral.service#UnknownOperationException"}, "Version": "1.0"}
    return WholeAnswer(body=encoded(document), content_type=JSON)


__all__ = [
    "JSON",
    "NAMESPACE",
    "STATUSES",
    "bad_api_key",
    "error_answer",
    "invalid",
    "refusal",
    "refused_by_model",
    "unknown_operation",
]
