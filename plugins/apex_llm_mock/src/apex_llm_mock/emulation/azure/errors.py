"""The errors of Azure OpenAI as they stand on the wire. The front door and the model behind it spell them differently."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apex_llm_mock.emulation.answers import NO_HEADERS, RefusedError, WholeAnswer, document_answer

BAD_KEY = (
    "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an active "
    "subscription and use a correct regional API endpoint for your resource."
)
NOT_AUTHORIZED = (
    "Unauthorized. Access token is missing, invalid, audience is incorrect (https://cognitiveservices.azure.com), or "
    "have expired."
)
NO_DEPLOYMENT = (
    "The API deployment for this resource does not exist. If you created the deployment within the last 5 minutes, "
    "please wait a moment and try again."
)


def front_door(status: int, code: str, message: str, *, headers: Mapping[str, str] = NO_HEADERS) -> WholeAnswer:
    """Return an error of the front door, which knows codes and messages only."""
    return document_answer({"error": {"code": code, "message": message}}, status=status, headers=headers)


def from_model(
    message: str,
    *,
    status: int = 400,
    code: str | None = None,
    param: str | None = None,
    kind: str = "invalid_request_error",
    more: Mapping[str, Any] = NO_HEADERS,
) -> WholeAnswer:
    """Return an error of the model's server, in OpenAI's form."""
    error = {"message": message, "type": kind, "param": param, "code": code, **more}
    return document_answer({"error": error}, status=status)


def refusal(message: str, *, status: int = 400, code: str | None = None, param: str | None = None) -> RefusedError:
    """Return the exception for a request that the model's server refuses."""
    return RefusedError(from_model(message, status=status, code=code, param=param))


def resource_not_found() -> RefusedError:
    """Return the answer to a path, version or host that means nothing."""
    return RefusedError(front_door(404, "404", "Resource not found"))


def deployment_not_found() -> RefusedError:
    """Return the answer to a deployment's name that nobody knows."""
    return RefusedError(front_door(404, "DeploymentNotFound", NO_DEPLOYMENT))


def bad_key() -> RefusedError:
    """Return the answer to a missing or wrong API key."""
    return RefusedError(front_door(401, "401", BAD_KEY))


def bad_token() -> RefusedError:
    """Return the gateway's answer to a token that does not hold."""
    return RefusedError(document_answer({"statusCode": 401, "message": NOT_AUTHORIZED}, status=401))


__all__ = [
    "BAD_KEY",
    "NOT_AUTHORIZED",
    "NO_DEPLOYMENT",
    "bad_key",
    "bad_token",
    "deployment_not_found",
    "from_model",
    "front_door",
    "refusal",
    "resource_not_found",
]
