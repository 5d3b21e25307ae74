"""Access tokens of the emulators: who issues one and who checks it agree through a `TokenBook`.

A token is a JWT signed with the book's own key, so that the book keeps nothing about the tokens it issued.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import itertools
import json
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

TokenState = Literal["ok", "unknown", "expired", "wrong_audience", "revoked"]
_DEFAULT_SUFFIX = "/.default"


def encode_segment(content: bytes) -> str:
    """Return *content* in the base64url form of JWTs, without padding."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def decode_segment(segment: str) -> bytes:
    """Return the bytes of one part of a JWT.

    Raises:
        ValueError: it is no base64url.
    """
    try:
        return base64.b64decode(segment + "=" * (-len(segment) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("no base64url") from error


def audience_of(scope_or_resource: str) -> str:
    """Return the audience behind a scope (``https://…/.default``) or a resource: without ending and last slash."""
    return scope_or_resource.removesuffix(_DEFAULT_SUFFIX).rstrip("/")


class TokenBook:
    """Issues access tokens and tells what became of them.

    Args:
        lifetime: seconds that a token is valid unless `issue` is told otherwise.
        wall: seconds since 1970.
        key: signs the tokens; random when absent.
    """

    def __init__(
        self, *, lifetime: int = 3599, wall: Callable[[], float] = time.time, key: bytes | None = None
    ) -> None:
        self.lifetime = lifetime
        self._wall = wall
        self._key = secrets.token_bytes(32) if key is None else key
        self._numbers = itertools.count(1)
        self._first_valid = 1

    def issue(self, scope_or_resource: str, *, lifetime: int | None = None) -> str:
        """Return a new token for the audience of *scope_or_resource*; *lifetime* in seconds."""
        now = int(self._wall())
        claims = {
            "aud": audience_of(scope_or_resource),
            "iat": now,
            "exp": now + (self.lifetime if lifetime is None else lifetime),
            "jti": next(self._numbers),
        }
        return self.sign(claims)

    def sign(self, claims: Mapping[str, Any]) -> str:
        """Return *claims* as a JWT of this book."""
        head = encode_segment(b'{"alg":"HS256","typ":"JWT"}')
        body = encode_segment(json.dumps(claims).encode())
        return f"{head}.{body}.{self._signature(f'{head}.{body}')}"

    def check(self, token: str, audience: str) -> TokenState:
        """Tell whether *token* opens *audience* now, and if not, why."""
        signed, _, signature = token.rpartition(".")
        if not hmac.compare_digest(self._signature(signed).encode(), signature.encode()):
            return "unknown"
        claims = json.loads(decode_segment(signed.partition(".")[2]))
        if "jti" not in claims:
            return "unknown"
        if claims["jti"] < self._first_valid:
            return "revoked"
        if claims["exp"] <= self._wall():
            return "expired"
        return "ok" if claims["aud"] == audience_of(audience) else "wrong_audience"

    def revoke_all(self) -> None:
        """Let no token issued so far open anything any more."""
        self._first_valid = next(self._numbers) + 1

    def _signature(self, signed: str) -> str:
        return encode_segment(hmac.digest(self._key, signed.encode(), "sha256"))


__all__ = ["TokenBook", "TokenState", "audience_of", "decode_segment", "encode_segment"]
