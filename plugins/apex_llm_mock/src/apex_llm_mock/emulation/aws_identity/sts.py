"""The Security Token Service on loopback: roles to assume, with an access key or with another issuer's token."""

from __future__ import annotations

import datetime as dt
import hmac
import re
import uuid
from collections.abc import Callable, Collection, Mapping
from xml.sax.saxutils import escape

import attrs
from aiohttp import web

from apex_llm_mock.emulation.aws_identity.identity_errors import STS_NAMESPACE, Refusal, xml_answer
from apex_llm_mock.emulation.aws_identity.identity_journal import parameters_of
from apex_llm_mock.emulation.aws_identity.keybook import IssuedKey, KeyBook
from apex_llm_mock.emulation.bedrock import sigv4

_SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}")
_SHORTEST = 900
#: How far the clocks of client and service may be apart, in seconds.
_SKEW = 300.0


@attrs.frozen(kw_only=True)
class Role:
    """A role that can be assumed."""

    arn: str
    #: Who assumes it must name this; "": nobody asks.
    external_id: str = ""
    #: Access keys that may assume it; None: every one that is known.
    trusts: Collection[str] | None = None
    #: Seconds of the longest session.
    longest: int = 3600


class SecurityTokenService:
    """Answers the actions of STS.

    Args:
        book: issues the keys, and knows those of the callers.
        roles: by their ARN.
        identity_tokens: tokens of another issuer that open any role.
        wall: seconds since 1970.
    Attributes:
        lifetime: seconds that issued keys live whatever is asked for; None: as asked for.
    """

    def __init__(
        self,
        book: KeyBook,
        *,
        roles: dict[str, Role],
        identity_tokens: set[str],
        wall: Callable[[], float],
    ) -> None:
        self.book = book
        self.roles = roles
        self.identity_tokens = identity_tokens
        self.lifetime: float | None = None
        self._wall = wall

    async def act(self, request: web.Request) -> web.Response:
        """Answer ``POST /``; the form says which action is meant."""
        form = await parameters_of(request)
        action = form.get("Action", "")
        if action == "AssumeRoleWithWebIdentity":
            return self._assume_with_token(form)
        if action == "AssumeRole":
            return self._assume(form, await self._caller(request))
        if action == "GetCallerIdentity":
            return self._identify(await self._caller(request))
        raise Refusal("InvalidAction", f"Could not find operation {action} for version 2011-06-15")

    def _assume(self, form: Mapping[str, str], caller: IssuedKey) -> web.Response:
        arn = form.get("RoleArn", "")
        role = self.roles.get(arn)
        trusted = role is not None and (role.trusts is None or caller.access_key_id in role.trusts)
        if role is None or not trusted or (role.external_id and form.get("ExternalId") != role.external_id):
            raise Refusal(
                "AccessDenied",
                f"User: arn:aws:iam::123456789012:user/emulated is not authorized to perform: sts:AssumeRole on resource: {arn}",
            )
        return self._granted("AssumeRole", role, form)

    def _assume_with_token(self, form: Mapping[str, str]) -> web.Response:
        if form.get("WebIdentityToken", "") not in self.identity_tokens:
            raise Refusal("InvalidIdentityToken")
        arn = form.get("RoleArn", "")
        role = self.roles.get(arn)
        if role is None:
            raise Refusal("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
        return self._granted("AssumeRoleWithWebIdentity", role, form)

    def _granted(self, action: str, role: Role, form: Mapping[str, str]) -> web.Response:
        name = form.get("RoleSessionName", "")
        if _SESSION_NAME.fullmatch(name) is None:
            raise Refusal("ValidationError", f"1 validation error detected: Value '{name}' at 'roleSessionName' failed")
        given = form.get("DurationSeconds", "3600")
        duration = int(given) if given.isdecimal() else 0
        if duration < _SHORTEST:
            raise Refusal(
                "ValidationError", f"1 validation error detected: Value '{given}' at 'durationSeconds' failed"
            )
        if duration > role.longest:
            raise Refusal(
                "ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
            )
        key = self.book.issue(lifetime=duration if self.lifetime is None else self.lifetime)
        partition, _, _, account, path = role.arn.split(":", 5)[1:]
        assumed = f"arn:{partition}:sts::{account}:assumed-role/{path.removeprefix('role/')}/{name}"
        return _answer(
            action,
            f"<AssumedRoleUser><AssumedRoleId>AROAEMULATED:{escape(name)}</AssumedRoleId><Arn>{escape(assumed)}</Arn>"
            f"</AssumedRoleUser><Credentials><AccessKeyId>{key.access_key_id}</AccessKeyId>"
            f"<SecretAccessKey>{key.secret_access_key}</SecretAccessKey><SessionToken>{key.session_token}</SessionToken>"
            f"<Expiration>{timestamp(key.expires_on)}</Expiration></Credentials>",
        )

    def _identify(self, caller: IssuedKey) -> web.Response:
        return _answer(
            "GetCallerIdentity",
            "<Arn>arn:aws:iam::123456789012:user/emulated</Arn>"
            f"<UserId>{caller.access_key_id}</UserId><Account>123456789012</Account>",
        )

    async def _caller(self, request: web.Request) -> IssuedKey:
        """Return whose key signed *request*."""
        value = request.headers.get("Authorization", "")
        if not value:
            raise Refusal("MissingAuthenticationToken")
        try:
            authorization = sigv4.parse_authorization(value)
            time = request.headers.get("X-Amz-Date", "")
            signed_at = sigv4.parse_time(time).timestamp()
        except ValueError as error:
            raise Refusal("IncompleteSignature", str(error)) from error
        key = self.book.find(authorization.access_key_id)
        state = self.book.check(authorization.access_key_id, request.headers.get("X-Amz-Security-Token", ""))
        if state == "expired":
            raise Refusal("ExpiredToken")
        if key is None or state != "ok":
            raise Refusal("InvalidClientTokenId")
        path, _, query = request.raw_path.partition("?")
        wire = sigv4.WireRequest(
            method=request.method,
            path=path,
            query=query,
            headers=[(name.decode("latin-1"), text.decode("latin-1")) for name, text in request.raw_headers],
            body=await request.read(),
        )
        canonical = sigv4.canonical_request(wire, authorization.signed_headers)
        expected = sigv4.signature(
            key.secret_access_key,
            authorization,
            sigv4.string_to_sign(canonical, time=time, scope=authorization.scope),
        )
        stale = abs(signed_at - self._wall()) > _SKEW
        if stale or authorization.service != "sts" or not hmac.compare_digest(expected, authorization.signature):
            raise Refusal("SignatureDoesNotMatch")
        return key


def timestamp(seconds: float | None) -> str:
    """Return a time as AWS writes it, in whole seconds; None is far away."""
    moment = (
        dt.datetime.max.replace(tzinfo=dt.UTC) if seconds is None else dt.datetime.fromtimestamp(int(seconds), dt.UTC)
    )
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _answer(action: str, result: str) -> web.Response:
    return xml_answer(
        f'<{action}Response xmlns="{STS_NAMESPACE}"><{action}Result>{result}</{action}Result>'
        f"<ResponseMetadata><RequestId>{uuid.uuid4()}</RequestId></ResponseMetadata></{action}Response>"
    )


__all__ = ["Role", "SecurityTokenService", "timestamp"]
