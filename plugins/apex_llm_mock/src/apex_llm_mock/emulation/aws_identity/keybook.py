"""Access keys of the emulators: who issues one and who checks a signature agree through a `KeyBook`."""

from __future__ import annotations

import base64
import hmac
import random
import string
import time
from collections.abc import Callable
from typing import Literal

import attrs

KeyState = Literal["ok", "unknown", "expired", "wrong_token", "revoked"]
_ALPHABET = string.ascii_uppercase + "234567"


@attrs.frozen(kw_only=True)
class IssuedKey:
    """An access key. Times are seconds since 1970."""

    access_key_id: str
    secret_access_key: str = attrs.field(repr=False)
    #: Temporary credentials have one; "" for a key of long life.
    session_token: str = attrs.field(default="", repr=False)
    #: None: never.
    expires_on: float | None = None


class KeyBook:
    """Issues access keys and tells what became of them.

    Args:
        lifetime: seconds that a temporary key is valid unless `issue` is told otherwise.
        wall: seconds since 1970.
        seed: of the keys; the same seed gives the same keys.
    """

    def __init__(self, *, lifetime: float = 3600.0, wall: Callable[[], float] = time.time, seed: int = 0) -> None:
        self.lifetime = lifetime
        self._wall = wall
        self._random = random.Random(seed)
        self._keys: dict[str, IssuedKey] = {}
        self._revoked: set[str] = set()

    def issue(self, *, lifetime: float | None = None, session: bool = True) -> IssuedKey:
        """Return a new key: a temporary one of *lifetime* seconds, or without *session* one that lasts."""
        prefix = "ASIA" if session else "AKIA"
        key = IssuedKey(
            access_key_id=prefix + "".join(self._random.choices(_ALPHABET, k=16)),
            secret_access_key=base64.b64encode(self._random.randbytes(30)).decode(),
            session_token=base64.b64encode(self._random.randbytes(96)).decode() if session else "",
            expires_on=self._wall() + (self.lifetime if lifetime is None else lifetime) if session else None,
        )
        self._keys[key.access_key_id] = key
        return key

    def add(
        self, access_key_id: str, secret_access_key: str, *, session_token: str = "", expires_on: float | None = None
    ) -> IssuedKey:
        """Let a key that was chosen elsewhere be known; one of the same name is replaced, and no longer revoked."""
        key = IssuedKey(
            access_key_id=access_key_id,
            secret_access_key=secret_access_key,
            session_token=session_token,
            expires_on=expires_on,
        )
        self._keys[access_key_id] = key
        self._revoked.discard(access_key_id)
        return key

    def find(self, access_key_id: str) -> IssuedKey | None:
        """Return the key of that name whatever became of it, None if there never was one."""
        return self._keys.get(access_key_id)

    def check(self, access_key_id: str, session_token: str = "") -> KeyState:
        """Tell whether the key is good now together with that token, and if not, why."""
        key = self._keys.get(access_key_id)
        if key is None:
            return "unknown"
        if not hmac.compare_digest(key.session_token.encode(), session_token.encode()):
            return "wrong_token"
        if access_key_id in self._revoked:
            return "revoked"
        return "expired" if key.expires_on is not None and key.expires_on <= self._wall() else "ok"

    def revoke(self, access_key_id: str) -> None:
        """Let the key open nothing any more."""
        self._revoked.add(access_key_id)

    def revoke_all(self) -> None:
        """Let no key known so far open anything any more."""
        self._revoked.update(self._keys)


__all__ = ["IssuedKey", "KeyBook", "KeyState"]
