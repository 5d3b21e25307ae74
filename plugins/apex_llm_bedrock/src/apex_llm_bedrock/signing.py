"""Proof of who is calling: Signature Version 4 for the service ``bedrock``, and bearer tokens.

The signature is the same, byte for byte, as that of ``botocore.auth.SigV4Auth``, at a fraction of its cost: what does not
change from one request to the next is computed once. The key that signs is derived once per day and region, the canonical
path once per path, the order of the headers once per set of header names. Unlike botocore's, nothing here is logged.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from typing import Protocol
from urllib.parse import quote

import attrs

from apex_llm_core.redaction import Secret

#: Headers that somebody on the way may change or drop; they are sent, but not signed.
UNSIGNED_HEADERS = frozenset(
    {
        "baggage",
        "connection",
        "expect",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "traceparent",
        "tracestate",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "x-amzn-trace-id",
    }
)
#: Headers made here; those of an earlier attempt are replaced.
_MADE_HERE = frozenset({"authorization", "x-amz-date", "x-amz-security-token"})
_ALGORITHM = "AWS4-HMAC-SHA256"
_TERMINATOR = "aws4_request"
#: Derived keys kept: a handful of regions, on both sides of midnight.
_MOST_SCOPES = 64


class Signature(Protocol):
    """Proves who is calling; one per set of credentials."""

    def headers(
        self,
        method: str,
        host: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        payload_hash: str | None,
        body: bytes,
        *,
        region: str,
        now: float,
    ) -> dict[str, str]:
        """Return *headers* with those that authenticate the request; made anew for every attempt.

        Args:
            method: "POST", "GET", …
            host: as the ``Host`` header will say it, with the port unless it is the scheme's own.
            path: exactly as it will be sent: encoded once.
            query: as it will be sent, without "?"; "" for none.
            headers: those that will be sent unchanged.
            payload_hash: the SHA-256 of *body* in hex, if the caller has it; None: it is computed.
            body: what will be sent.
            region: where the service is called.
            now: seconds since 1970.
        """


@attrs.frozen
class _Plan:
    """What a set of header names decides: which ones are sent, and how they stand in the canonical request."""

    #: Names of the caller's headers that are sent as they are.
    kept: tuple[str, ...]
    #: Each canonical line's beginning ("\\nname:"), and the header whose value follows.
    lines: tuple[tuple[str, str], ...]
    signed: str


@lru_cache(maxsize=256)
def _plan(names: tuple[str, ...], with_token: bool) -> _Plan:
    kept = tuple(name for name in names if name.lower() not in _MADE_HERE)
    made = ["X-Amz-Date", *(["X-Amz-Security-Token"] if with_token else [])]
    host = [] if any(name.lower() == "host" for name in kept) else ["Host"]
    signed = sorted(
        ((name.lower(), name) for name in (*kept, *made, *host) if name.lower() not in UNSIGNED_HEADERS),
        key=lambda pair: pair[0],
    )
    lines: list[tuple[str, str]] = []
    previous = ""
    for lower, name in signed:
        # Headers whose names differ in case only are one header with several values.
        lines.append(("," if lower == previous else f"\n{lower}:", name))
        previous = lower
    return _Plan(kept, tuple(lines), ";".join(sorted({lower for lower, _ in signed})))


@lru_cache(maxsize=1024)
def canonical_path(path: str) -> str:
    """Return *path*, encoded once as it is sent, in the form that is signed: normalised, and encoded once more."""
    segments: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del segments[-1:]
        elif segment and segment != ".":
            segments.append(segment)
    first = "/" if path.startswith("/") or not path else ""
    last = "/" if path.endswith("/") and segments else ""
    return quote(f"{first}{'/'.join(segments)}{last}", safe="/~")


@lru_cache(maxsize=256)
def canonical_query(query: str) -> str:
    """Return *query*, encoded as it is sent, in the form that is signed: sorted by name, then by value."""
    pairs = [pair.partition("=") for pair in query.split("&")] if query else []
    return "&".join(f"{name}={value}" for name, value in sorted((name, value) for name, _, value in pairs))


@attrs.frozen
class _Scope:
    """What a day and a region decide."""

    #: "20260101/us-east-1/bedrock/aws4_request"
    name: str
    key: bytes = attrs.field(repr=False)
    #: The beginning of the ``Authorization`` header.
    credential: str = attrs.field(repr=False)


class SigV4Signature:
    """Signs with an access key. To be used by one thread at a time.

    Args:
        access_key_id: names the key.
        secret_access_key: never leaves this object.
        session_token: of temporary credentials; "" without.
        service: the name in the credential scope.
    """

    def __init__(
        self,
        access_key_id: str,
        secret_access_key: Secret,
        session_token: Secret | None = None,
        *,
        service: str = "bedrock",
    ) -> None:
        self.access_key_id = access_key_id
        self._secret = secret_access_key
        self._token = "" if session_token is None else session_token.reveal()
        # In the canonical form blanks are single; a token has none, unless it was pasted.
        self._canonical_token = " ".join(self._token.split())
        self._service = service
        self._scopes: dict[tuple[str, str], _Scope] = {}
        self._second = -1
        self._stamp = ""

    def headers(
        self,
        method: str,
        host: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        payload_hash: str | None,
        body: bytes,
        *,
        region: str,
        now: float,
    ) -> dict[str, str]:
        """Return *headers* with ``X-Amz-Date``, ``X-Amz-Security-Token`` (if there is one) and ``Authorization``."""
        second = int(now)
        if second != self._second:
            self._stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
            self._second = second
        stamp = self._stamp
        scope = self._scopes.get((stamp[:8], region)) or self._derive(stamp[:8], region)
        plan = _plan(tuple(headers), bool(self._token))
        sent = {name: headers[name] for name in plan.kept}
        sent["X-Amz-Date"] = stamp
        if self._token:
            sent["X-Amz-Security-Token"] = self._token
        lines: list[str] = []
        for beginning, name in plan.lines:
            if name == "Host" and name not in sent:
                value = host
            elif name == "X-Amz-Security-Token":
                value = self._canonical_token
            else:
                value = " ".join(sent[name].split())
            lines.append(beginning + value)
        if payload_hash is None:
            payload_hash = sha256(body).hexdigest()
        # The lines of headers begin with their line end; an empty line follows the last one.
        canonical = (
            f"{method.upper()}\n{canonical_path(path)}\n{canonical_query(query)}"
            f"{''.join(lines)}\n\n{plan.signed}\n{payload_hash}"
        )
        text = f"{_ALGORITHM}\n{stamp}\n{scope.name}\n{sha256(canonical.encode()).hexdigest()}"
        signature = hmac.digest(scope.key, text.encode(), "sha256").hex()
        sent["Authorization"] = f"{scope.credential}, SignedHeaders={plan.signed}, Signature={signature}"
        return sent

    def _derive(self, date: str, region: str) -> _Scope:
        if len(self._scopes) >= _MOST_SCOPES:
            self._scopes.clear()
        key = f"AWS4{self._secret.reveal()}".encode()
        for part in (date, region, self._service, _TERMINATOR):
            key = hmac.digest(key, part.encode(), "sha256")
        name = f"{date}/{region}/{self._service}/{_TERMINATOR}"
        scope = _Scope(name, key, f"{_ALGORITHM} Credential={self.access_key_id}/{name}")
        self._scopes[date, region] = scope
        return scope

    def __repr__(self) -> str:
        return f"{type(self).__name__}(***)"


class BearerSignature:
    """Sends an API key of Bedrock, or another bearer token."""

    def __init__(self, token: Secret) -> None:
        self._authorization = f"Bearer {token.reveal()}"

    def headers(
        self,
        method: str,  # noqa: ARG002 - the interface's, as what follows
        host: str,  # noqa: ARG002
        path: str,  # noqa: ARG002
        query: str,  # noqa: ARG002
        headers: Mapping[str, str],
        payload_hash: str | None,  # noqa: ARG002
        body: bytes,  # noqa: ARG002
        *,
        region: str,  # noqa: ARG002
        now: float,  # noqa: ARG002
    ) -> dict[str, str]:
        """Return *headers* with ``Authorization``; nothing of the request is signed."""
        sent = {name: value for name, value in headers.items() if name.lower() not in _MADE_HERE}
        sent["Authorization"] = self._authorization
        return sent

    def __repr__(self) -> str:
        return f"{type(self).__name__}(***)"


__all__ = ["UNSIGNED_HEADERS", "BearerSignature", "SigV4Signature", "Signature", "canonical_path", "canonical_query"]
