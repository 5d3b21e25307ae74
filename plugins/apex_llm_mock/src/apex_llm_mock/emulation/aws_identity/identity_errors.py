"""How the services refuse: status, code and text of each case, in the form of the place that says it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Literal
from xml.sax.saxutils import escape

import attrs
from aiohttp import web

#: STS; the portal and the token endpoint of IAM Identity Center; instance metadata; container credentials.
Place = Literal["sts", "sso", "oidc", "imds", "container"]
STS_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"


@attrs.frozen
class IdentityError:
    """One way to be refused."""

    status: int
    text: str


#: By the code that AWS sends.
IDENTITY_ERRORS: Mapping[str, IdentityError] = {
    "AccessDenied": IdentityError(403, "User is not authorized to perform: sts:AssumeRole on resource"),
    "ExpiredToken": IdentityError(403, "The security token included in the request is expired"),
    "ExpiredTokenException": IdentityError(
        400, "Token expired: current date/time must be before the expiration date/time"
    ),
    "IDPCommunicationError": IdentityError(400, "Couldn't retrieve verification key from your identity provider"),
    "IncompleteSignature": IdentityError(400, "Authorization header requires 'Credential' parameter."),
    "InternalFailure": IdentityError(500, "The request processing has failed because of an unknown error."),
    "InvalidAction": IdentityError(400, "Could not find operation for version 2011-06-15"),
    "InvalidClientTokenId": IdentityError(403, "The security token included in the request is invalid."),
    "InvalidIdentityToken": IdentityError(400, "No OpenIDConnect provider found in your account"),
    "MissingAuthenticationToken": IdentityError(403, "Request is missing Authentication Token"),
    "RegionDisabledException": IdentityError(403, "STS is not activated in this region for account"),
    "ServiceUnavailable": IdentityError(503, "The request has failed due to a temporary failure of the server."),
    "SignatureDoesNotMatch": IdentityError(
        403,
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key"
        " and signing method. Consult the service documentation for details.",
    ),
    "Throttling": IdentityError(400, "Rate exceeded"),
    "ValidationError": IdentityError(400, "1 validation error detected"),
    "ForbiddenException": IdentityError(403, "No access"),
    "ResourceNotFoundException": IdentityError(404, "Role or account not found"),
    "TooManyRequestsException": IdentityError(429, "HTTP 429 Unknown Code"),
    "UnauthorizedException": IdentityError(401, "Session token not found or invalid"),
    "InvalidGrantException": IdentityError(400, "Invalid refresh token provided"),
    "Unauthorized": IdentityError(401, "Unauthorized"),
    "NotFound": IdentityError(404, "Not Found"),
}


class Refusal(Exception):  # noqa: N818 - an answer, not an error of ours
    """Raised by a handler whose answer is an error of `IDENTITY_ERRORS`, with a text of its own if it has one."""

    def __init__(self, code: str, text: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.text = text or IDENTITY_ERRORS[code].text


def refused(refusal: Refusal, place: Place, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return *refusal* in the form of *place*."""
    code, text = refusal.code, refusal.text
    status = IDENTITY_ERRORS[code].status
    headers = dict(headers or {})
    if place == "sts":
        return xml_answer(
            f'<ErrorResponse xmlns="{STS_NAMESPACE}"><Error><Type>{"Sender" if status < 500 else "Receiver"}</Type>'
            f"<Code>{code}</Code><Message>{escape(text)}</Message></Error>"
            f"<RequestId>{uuid.uuid4()}</RequestId></ErrorResponse>",
            status=status,
            headers=headers,
        )
    if place == "imds":
        page = f"<html><head><title>{status} - {code}</title></head><body>{escape(text)}</body></html>"
        return web.Response(status=status, text=page, content_type="text/html", headers=headers)
    if place == "container":
        body = {"code": code, "message": text}
    elif place == "oidc":
        body = {"error": "invalid_grant", "error_description": text}
    else:
        body = {"message": text}
    headers |= {"x-amzn-ErrorType": code, "x-amzn-RequestId": str(uuid.uuid4())}
    return web.Response(status=status, text=json.dumps(body), content_type="application/json", headers=headers)


def xml_answer(text: str, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return an answer of STS."""
    return web.Response(status=status, text=text, content_type="text/xml", headers=headers)


__all__ = ["IDENTITY_ERRORS", "STS_NAMESPACE", "IdentityError", "Place", "Refusal", "refused", "xml_answer"]
