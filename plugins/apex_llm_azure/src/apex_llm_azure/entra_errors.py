"""What Microsoft Entra ID says when it refuses a token, in the words of the error taxonomy, and what to do about it.

==========================================================  ===========================
what came                                                   error
==========================================================  ===========================
an AADSTS number of the table below                         as the table says
HTTP 5xx, or a redirect, which is not followed              `ServiceUnavailableError`
HTTP 429, ``temporarily_unavailable``                       `RateLimitError`
``invalid_scope``, ``invalid_resource``, ``access_denied``  `AuthorizationError`
every other refusal                                         `AuthenticationError`
==========================================================  ===========================
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from apex_llm_core.errors import (
    AuthenticationError,
    AuthorizationError,
    LLMError,
    RateLimitError,
    ServiceUnavailableError,
)

#: AADSTS number -> class and advice. https://learn.microsoft.com/entra/identity-platform/reference-error-codes
_NUMBERS: Mapping[int, tuple[type[LLMError], str]] = {
    7000215: (AuthenticationError, "the client secret is wrong: it must be the secret's value, not its id"),
    7000222: (AuthenticationError, "the client secret has expired: create a new one for the application"),
    7000218: (AuthenticationError, "the application is no public client: allow public client flows in its settings"),
    700016: (AuthenticationError, "no such application in this tenant: check client_id and tenant_id"),
    700024: (AuthenticationError, "the assertion is too old or too new: check the federated token file and the clock"),
    700027: (AuthenticationError, "the certificate is not registered with the application: upload it there"),
    50027: (AuthenticationError, "the assertion is malformed: check the federated token file or the certificate"),
    70021: (AuthenticationError, "no federated credential of the application matches the token's issuer and subject"),
    700213: (AuthenticationError, "no federated credential of the application matches the token's subject"),
    700211: (AuthenticationError, "no federated credential of the application matches the token's issuer"),
    700212: (AuthenticationError, "no federated credential of the application matches the token's audience"),
    90002: (AuthenticationError, "no such tenant: check tenant_id, and that the authority is that of your cloud"),
    900023: (AuthenticationError, "tenant_id is neither a tenant's id nor a domain of it"),
    50034: (AuthenticationError, "no such user in this tenant"),
    50076: (AuthenticationError, "the user must sign in again, with a second factor"),
    50173: (AuthenticationError, "the user must sign in again: the grant was revoked"),
    70008: (AuthenticationError, "the user must sign in again: the refresh token has expired"),
    700082: (AuthenticationError, "the user must sign in again: the refresh token has expired"),
    70020: (AuthenticationError, "nobody entered the device code in time: try again"),
    500011: (AuthorizationError, "the scope's resource does not exist in this tenant: check scope and authority"),
    70011: (
        AuthorizationError,
        "the scope is invalid: it should look like https://cognitiveservices.azure.com/.default",
    ),
    1002012: (AuthorizationError, "the scope is invalid: it must end with /.default"),
    65001: (AuthorizationError, "the application needs consent: let an administrator grant it"),
    50105: (
        AuthorizationError,
        "the user or application is not assigned to the application: let an administrator do so",
    ),
    53003: (AuthorizationError, "a Conditional Access policy forbids it: ask the tenant's administrator"),
    50057: (AuthorizationError, "the user account is disabled"),
    7000112: (AuthorizationError, "the application is disabled: ask the tenant's administrator"),
}
_FORBIDDEN = frozenset({"invalid_scope", "invalid_resource", "access_denied"})
_AADSTS = re.compile(r"AADSTS(\d+)")
#: What Entra writes behind its sentence, for its support; it goes into the error's details.
_TRAILER = re.compile(r"\s*(?:Trace ID|Correlation ID|Timestamp):.*", re.DOTALL)
_LONGEST = 300


def refusal(answer: Mapping[str, Any], *, status: int | None = None, retry_after: float | None = None) -> LLMError:
    """Return the error that *answer* amounts to.

    Args:
        answer: the JSON with ``error``, ``error_description``, ``error_codes``, ``correlation_id``; any may be missing.
        status: the HTTP status, None when it is not known.
        retry_after: seconds that the authority asked to wait.
    """
    name = str(answer.get("error") or "")
    text = str(answer.get("error_description") or answer.get("message") or "")
    numbers = _numbers(answer.get("error_codes"), text)
    cls, advice = _meaning(name, numbers, status)
    said = shortened(text) or name or (f"HTTP {status}" if status else "nothing")
    correlation = answer.get("correlation_id")
    facts = {
        "error": name or None,
        "aadsts": numbers or None,
        "correlation_id": correlation,
        "trace_id": answer.get("trace_id"),
    }
    return cls(
        f"Entra ID gave no token: {said}{'; ' if advice else ''}{advice}",
        status_code=status,
        retry_after=retry_after,
        request_id=correlation if isinstance(correlation, str) else None,
        details={key: value for key, value in facts.items() if value is not None},
    )


def identity_refusal(
    answer: Mapping[str, Any], *, status: int | None = None, retry_after: float | None = None
) -> LLMError:
    """Return the error of a managed identity endpoint, which has other words: HTTP status first.

    404 and 410 are what virtual machines answer while the endpoint restarts.
    """
    text = shortened(str(answer.get("error_description") or answer.get("message") or "")) or f"HTTP {status}"
    cls: type[LLMError]
    advice = ""
    if status == 429:
        cls = RateLimitError
    elif status is not None and (status in {404, 410} or status >= 500):
        cls = ServiceUnavailableError
    else:
        cls = AuthenticationError
        advice = "; is the identity assigned to this machine, and the scope right?"
    return cls(f"managed identity gave no token: {text}{advice}", status_code=status, retry_after=retry_after)


def shortened(text: str) -> str:
    """Return *text* without Entra's trailer, on one line and not endless."""
    line = " ".join(_TRAILER.sub("", text).split()).rstrip(".")
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"


def _numbers(listed: object, text: str) -> list[int]:
    found = [number for number in listed if isinstance(number, int)] if isinstance(listed, list) else []
    return found or [int(number) for number in _AADSTS.findall(text)]


def _meaning(name: str, numbers: list[int], status: int | None) -> tuple[type[LLMError], str]:
    for number in numbers:
        if number in _NUMBERS:
            return _NUMBERS[number]
    if status is not None and (status >= 500 or 300 <= status < 400):
        return ServiceUnavailableError, ""
    if status == 429 or name == "temporarily_unavailable":
        return RateLimitError, ""
    if name in _FORBIDDEN:
        return AuthorizationError, "check scope and authority"
    if name == "authorization_declined":
        return AuthenticationError, "the user declined to sign in"
    return AuthenticationError, ""


__all__ = ["identity_refusal", "refusal", "shortened"]
