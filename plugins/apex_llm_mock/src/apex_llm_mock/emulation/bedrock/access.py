"""Who may come in: requests signed with Signature Version 4, and bearers of the API key."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from apex_llm_mock.emulation.answers import RefusedError
from apex_llm_mock.emulation.aws_identity.keybook import KeyBook
from apex_llm_mock.emulation.bedrock import sigv4
from apex_llm_mock.emulation.bedrock.errors import bad_api_key, refusal
from apex_llm_mock.emulation.bedrock.sigv4 import Authorization, WireRequest

#: The name under which both halves of Bedrock, runtime and control plane, are signed for.
SERVICE = "bedrock"
#: How far the clocks of client and service may be apart.
SKEW = timedelta(minutes=5)
MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and "
    "signing method. Consult the service documentation for details."
)
INVALID_TOKEN = "The security token included in the request is invalid."  # noqa: S105 - a message
EXPIRED_TOKEN = "The security token included in the request is expired"  # noqa: S105 - a message


class Access:
    """Checks the credentials of requests.

    Args:
        region: the one that signatures must be for.
        api_key: the bearer token.
        keys: knows the access keys.
        wall: seconds since 1970.
    """

    def __init__(self, *, region: str, api_key: str, keys: KeyBook, wall: Callable[[], float]) -> None:
        self._region = region
        self._api_key = api_key.encode()
        self._keys = keys
        self._wall = wall

    def check(self, request: WireRequest) -> None:
        """Raise `RefusedError` for missing or wrong credentials."""
        headers = {name.lower(): value for name, value in request.headers}
        value = headers.get("authorization", "")
        scheme, _, rest = value.partition(" ")
        if scheme.lower() == "bearer":
            if not hmac.compare_digest(rest.strip().encode("utf-8", "surrogateescape"), self._api_key):
                raise bad_api_key()
            return
        if not value:
            raise refusal("MissingAuthenticationTokenException", "Missing Authentication Token")
        if scheme != sigv4.ALGORITHM:
            raise refusal("IncompleteSignatureException", f"Unsupported AWS 'algorithm': '{scheme}'.")
        try:
            authorization = sigv4.parse_authorization(value)
        except ValueError as error:
            raise refusal("IncompleteSignatureException", str(error)) from error
        time = headers.get("x-amz-date", "")
        self._check_time(time, authorization)
        self._check_scope(authorization)
        self._check_signed_headers(headers, authorization)
        secret = self._secret(authorization.access_key_id, headers.get("x-amz-security-token", ""))
        self._check_signature(request, authorization, time, secret)

    def _check_time(self, value: str, authorization: Authorization) -> None:
        if not value:
            raise refusal(
                "IncompleteSignatureException",
                "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
            )
        try:
            signed = sigv4.parse_time(value)
        except ValueError as error:
            message = (
                f"Date must be in ISO-8601 'basic format'. Got '{value}'. See http://en.wikipedia.org/wiki/ISO_8601"
            )
            raise refusal("IncompleteSignatureException", message) from error
        now = datetime.fromtimestamp(self._wall(), UTC)
        if signed < now - SKEW:
            bound = f"{_text(now - SKEW)} ({_text(now)} - 5 min.)"
            raise _invalid(f"Signature expired: {value} is now earlier than {bound}")
        if signed > now + SKEW:
            bound = f"{_text(now + SKEW)} ({_text(now)} + 5 min.)"
            raise _invalid(f"Signature not yet current: {value} is still later than {bound}")
        if authorization.date != value[:8]:
            raise _invalid(
                f"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
                f"'{authorization.date}' != '{value[:8]}', from '{value}'."
            )

    def _check_scope(self, authorization: Authorization) -> None:
        if authorization.region != self._region:
            raise _invalid("Credential should be scoped to a valid region.")
        if authorization.service != SERVICE:
            raise _invalid(f"Credential should be scoped to correct service: '{SERVICE}'.")
        if authorization.terminator != sigv4.TERMINATOR:
            raise _invalid(
                f"Credential should be scoped with a valid terminator: '{sigv4.TERMINATOR}', not '{authorization.terminator}'."
            )

    def _check_signed_headers(self, headers: dict[str, str], authorization: Authorization) -> None:
        signed = set(authorization.signed_headers)
        if "host" not in signed:
            raise _invalid("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
        for name in headers:
            if name.startswith("x-amz-") and name not in signed:
                raise _invalid(f"'{name}' must be a 'SignedHeader' in the AWS Authorization.")

    def _secret(self, access_key_id: str, session_token: str) -> str:
        state = self._keys.check(access_key_id, session_token)
        key = self._keys.find(access_key_id)
        if key is None or state in ("unknown", "wrong_token", "revoked"):
            raise refusal("UnrecognizedClientException", INVALID_TOKEN)
        if state == "expired":
            raise refusal("ExpiredTokenException", EXPIRED_TOKEN)
        return key.secret_access_key

    def _check_signature(self, request: WireRequest, authorization: Authorization, time: str, secret: str) -> None:
        canonical = sigv4.canonical_request(request, authorization.signed_headers)
        text = sigv4.string_to_sign(canonical, time=time, scope=authorization.scope)
        expected = sigv4.signature(secret, authorization, text)
        if not hmac.compare_digest(expected, authorization.signature):
            raise _invalid(
                f"{MISMATCH}\n\nThe Canonical String for this request should have been\n'{canonical}'\n\n"
                f"The String-to-Sign should have been\n'{text}'\n"
            )


def _invalid(message: str) -> RefusedError:
    return refusal("InvalidSignatureException", message)


def _text(moment: datetime) -> str:
    return sigv4.format_time(moment)


__all__ = ["EXPIRED_TOKEN", "INVALID_TOKEN", "MISMATCH", "SERVICE", "SKEW", "Access"]
