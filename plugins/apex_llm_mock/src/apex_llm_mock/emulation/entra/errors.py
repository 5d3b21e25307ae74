"""What Microsoft Entra ID says when it refuses: HTTP status, OAuth error, AADSTS number and text of each case."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from typing import Any

import attrs


@attrs.frozen
class EntraError:
    """One way to be refused."""

    status: int
    #: The OAuth error of RFC 6749 and its relatives.
    error: str
    number: int
    text: str


#: By a name of ours; where Entra has one text for an OAuth error, the name is the OAuth error's.
ENTRA_ERRORS: Mapping[str, EntraError] = {
    "invalid_client": EntraError(
        401,
        "invalid_client",
        7000215,
        "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not"
        " the client secret ID, for a secret added to the app.",
    ),
    "expired_secret": EntraError(
        401, "invalid_client", 7000222, "The provided client secret keys for the app are expired."
    ),
    "missing_credential": EntraError(
        401,
        "invalid_client",
        7000218,
        "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
    ),
    "invalid_assertion_signature": EntraError(
        401,
        "invalid_client",
        700027,
        "The certificate with identifier used to sign the client assertion is not registered.",
    ),
    "expired_assertion": EntraError(
        401, "invalid_client", 700024, "Client assertion is not within its valid time range."
    ),
    "malformed_assertion": EntraError(401, "invalid_client", 50027, "JWT token is invalid or malformed."),
    "unknown_federated_identity": EntraError(
        401,
        "invalid_client",
        700213,
        "No matching federated identity record found for presented assertion subject.",
    ),
    "unauthorized_client": EntraError(
        400, "unauthorized_client", 700016, "Application with identifier was not found in the directory."
    ),
    "invalid_tenant": EntraError(
        400, "invalid_request", 90002, "Tenant not found. Check to make sure you have the correct tenant ID."
    ),
    "invalid_grant": EntraError(400, "invalid_grant", 70008, "The refresh token has expired due to inactivity."),
    "invalid_scope": EntraError(
        400,
        "invalid_scope",
        1002012,
        "The provided value for scope is not valid. Client credential flows must have a scope value with /.default"
        " suffixed to the resource identifier.",
    ),
    "invalid_resource": EntraError(
        400, "invalid_resource", 500011, "The resource principal named was not found in the tenant."
    ),
    "consent_required": EntraError(
        400, "invalid_grant", 65001, "The user or administrator has not consented to use the application."
    ),
    "access_denied": EntraError(400, "access_denied", 53003, "Access has been blocked by Conditional Access policies."),
    "unsupported_grant_type": EntraError(
        400, "unsupported_grant_type", 70003, "The app requested an unsupported grant type."
    ),
    "authorization_pending": EntraError(
        400, "authorization_pending", 70016, "OAuth 2.0 device flow error. Authorization is pending. Continue polling."
    ),
    "authorization_declined": EntraError(
        400, "authorization_declined", 70000, "The end user declined the authorization request."
    ),
    "expired_token": EntraError(400, "expired_token", 70020, "The provided value for the device code has expired."),
    "bad_verification_code": EntraError(400, "bad_verification_code", 70019, "The device code is not recognised."),
    "throttled": EntraError(429, "temporarily_unavailable", 90055, "Too many requests. Try again later."),
    "temporarily_unavailable": EntraError(
        503, "temporarily_unavailable", 90033, "A transient error has occurred. Please try again."
    ),
}


def error_body(name: str, *, now: float) -> dict[str, Any]:
    """Return the JSON that Entra sends for the case *name*; *now* is seconds since 1970."""
    case = ENTRA_ERRORS[name]
    trace, correlation = str(uuid.uuid4()), str(uuid.uuid4())
    stamp = dt.datetime.fromtimestamp(now, dt.UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    return {
        "error": case.error,
        "error_description": f"AADSTS{case.number}: {case.text} Trace ID: {trace} Correlation ID: {correlation}"
        f" Timestamp: {stamp}",
        "error_codes": [case.number],
        "timestamp": stamp,
        "trace_id": trace,
        "correlation_id": correlation,
        "error_uri": f"https://login.microsoftonline.com/error?code={case.number}",
    }


__all__ = ["ENTRA_ERRORS", "EntraError", "error_body"]
