"""Keys of callers: read from the configuration once, kept as hashes, looked up in constant time."""

from __future__ import annotations

import re
import secrets
import warnings
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from fnmatch import translate
from hashlib import sha256
from hmac import compare_digest
from typing import Protocol

import attrs

from apex_llm_core.config import is_reference
from apex_llm_core.errors import ConfigurationError, ConfigurationWarning, nearest
from apex_llm_core.redaction import Secret
from apex_llm_gateway.addresses import is_loopback
from apex_llm_gateway.http import HttpError
from apex_llm_gateway.settings import ApiKeySettings, GatewaySettings
from apex_llm_gateway.strength import is_guessable, is_known_digest, refusal

#: Roles that open something here; others are for routing rules.
ROLES = frozenset({"user", "admin"})
_WHERE = "send it as 'Authorization: Bearer KEY' (the header 'api-key' or 'x-api-key' does, too)"
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")


class Matches(Protocol):
    """Tells whether a whole text fits one of some patterns."""

    def __call__(self, text: str, /) -> object:
        """Return something true when *text* fits."""


def _matcher(patterns: Iterable[str]) -> Matches | None:
    """Compile *patterns*, which know * and ?; None fits everything."""
    chosen = tuple(patterns)
    if "*" in chosen:
        return None
    # Without any pattern, nothing fits.
    return re.compile("|".join(map(translate, chosen)) or r"(?!)").match


def _set(words: Iterable[str]) -> frozenset[str]:
    return frozenset(words)


@attrs.frozen(kw_only=True, eq=False)
class Key:
    """A key that somebody may use, without its text."""

    #: For limits, logs and the dashboard; None for callers without a key.
    name: str | None = None
    #: SHA-256 of its text.
    digest: bytes = attrs.field(default=b"", repr=False)
    user: str | None = None
    tier: str | None = None
    roles: frozenset[str] = attrs.field(default=frozenset(), converter=_set)
    #: Patterns of the models that it may name, and of the providers that it may choose.
    models: tuple[str, ...] = ("*",)
    providers: tuple[str, ...] = ("*",)
    _fits_model: Matches | None = attrs.field(init=False, repr=False)
    _fits_provider: Matches | None = attrs.field(init=False, repr=False)

    @_fits_model.default
    def _compile_models(self) -> Matches | None:
        return _matcher(self.models)

    @_fits_provider.default
    def _compile_providers(self) -> Matches | None:
        return _matcher(self.providers)

    def admits(self, model: str, provider: str | None = None) -> bool:
        """Tell whether it may name *model*, by its generic id or as "provider/model", and choose *provider*."""
        if provider is not None and self._fits_provider is not None and not self._fits_provider(provider):
            return False
        fits = self._fits_model
        return fits is None or bool(fits(model) or (provider is not None and fits(f"{provider}/{model}")))


#: Callers of routes that need no key.
NOBODY = Key()
#: Everybody, where no keys are configured.
OPEN = Key(roles=ROLES)
#: Compared with where nothing was found, so that this takes as long; no text has this digest.
_NONE = Key(digest=bytes(32))


class KeyRing:
    """The keys of all callers; without any, everybody may do everything.

    Keys are looked up by their digests: nobody can steer what those begin with, so how long that takes tells nothing about keys.
    """

    def __init__(self, keys: Sequence[Key] = ()) -> None:
        self.keys = tuple(keys)
        self._by_digest = {key.digest: key for key in self.keys}

    @property
    def open(self) -> bool:
        """Whether there are no keys."""
        return not self.keys

    def current(self, key: Key) -> Key | None:
        """Return what has become of *key*, which another ring gave out: None when nobody has it any more."""
        return OPEN if not self.keys else self._by_digest.get(key.digest)

    def authenticate(self, headers: Mapping[str, str]) -> Key:
        """Return the key that a request brought in its headers; look-up in *headers* ignores case.

        Raises:
            HttpError: it brought none, an unknown one, or several (401, ``invalid_api_key``); the message quotes nothing.
        """
        if not self.keys:
            return OPEN
        text = headers.get("authorization")
        if text is not None:
            scheme, _, text = text.partition(" ")
            text = text.strip() if scheme.lower() == "bearer" else None
        for name in ("x-api-key", "api-key"):
            other = headers.get(name)
            if other:
                if text and other != text:
                    raise _refused("the request brings several different keys; send one")
                text = other
        if not text:
            raise _refused(f"this needs a key; {_WHERE}")
        digest = sha256(text.encode("utf-8", "surrogatepass")).digest()
        found = self._by_digest.get(digest, _NONE)
        if not compare_digest(found.digest, digest):
            raise _refused(f"nobody here knows this key; {_WHERE}, whole and without quotes")
        return found


def _refused(message: str) -> HttpError:
    return HttpError(401, message, code="invalid_api_key")


def new_key() -> str:
    """Make a key of 256 random bits."""
    return "apex-" + secrets.token_urlsafe(32)


# -- from the configuration --------------------------------------------------------------------------------------------


async def load_keys(
    settings: GatewaySettings, resolve: Callable[[str | Secret], Awaitable[Secret]], *, file: str | None = None
) -> KeyRing:
    """Resolve the configured keys, check them, and keep their hashes.

    Args:
        settings: the table ``[gateway]``.
        resolve: turns references into secrets, for example `LLMProviderManager.resolve_secret`.
        file: the configuration's file, for messages.

    Returns:
        The ring of all keys.

    Raises:
        ConfigurationError: a key cannot be had, is weak, or is there twice; names its place, never the key.

    Warns:
        ConfigurationWarning: a key stands in the configuration itself, or is easy to guess.
    """
    keys: list[Key] = []
    #: Positions by digest and by name.
    digests: dict[bytes, int] = {}
    names: dict[str, int] = {}
    for position, entry in enumerate(settings.api_keys):
        loading = _Loading(position, file)
        chosen = ApiKeySettings(key=entry) if isinstance(entry, str) else entry
        place = "" if isinstance(entry, str) else ".key"
        name = chosen.name or chosen.user or f"key-{position + 1}"
        key = Key(
            name=name,
            digest=await loading.digest(chosen, place, resolve),
            user=chosen.user,
            tier=chosen.tier,
            roles=chosen.roles,
            models=chosen.models,
            providers=chosen.providers,
        )
        loading.check(key, digests.setdefault(key.digest, position), names.setdefault(name, position))
        keys.append(key)
    return KeyRing(keys)


@attrs.frozen
class _Loading:
    """Loads the entry at *position* of ``api_keys``; *within* it is where a problem stands."""

    position: int
    file: str | None

    async def digest(
        self, entry: ApiKeySettings, within: str, resolve: Callable[[str | Secret], Awaitable[Secret]]
    ) -> bytes:
        if entry.key is None:
            return self._given_digest(entry.key_sha256 or "")
        if not is_reference(entry.key):
            self._warn(
                "a literal secret in the configuration; keep it elsewhere and write 'env:NAME' or 'file:PATH'", within
            )
        try:
            secret = await resolve(entry.key)
        except ConfigurationError as error:
            raise self._error(error.reason, within) from error
        text = secret.reveal()
        reason = refusal(text)
        if reason is not None:
            raise self._error(f"the key {reason}; make one, for example: {_MAKE}", within)
        if is_guessable(text):
            self._warn(f"the key is easy to guess; make a random one, for example: {_MAKE}", within)
        return sha256(text.encode()).digest()

    def check(self, key: Key, same_key: int, same_name: int) -> None:
        """Check *key*; the first entry with its digest, and the first with its name, stand at the given positions."""
        for word, text in (("user", key.user), ("name", key.name)):
            if text is not None and not text.isprintable():
                raise self._error("contains a control character", f".{word}")
        if not key.roles & ROLES:
            unknown = "".join(nearest(role, ROLES) for role in sorted(key.roles)[:1])
            raise self._error(f"with neither 'user' nor 'admin' among its roles a key opens nothing{unknown}", ".roles")
        if same_key != self.position:
            raise self._error(f"is the key of gateway.api_keys[{same_key}], too; every caller needs an own one")
        if same_name != self.position:
            raise self._error(
                f"gateway.api_keys[{same_name}] is named {key.name!r}, too; give each key of a user a name of its own",
                ".name",
            )

    def _given_digest(self, text: str) -> bytes:
        if not _DIGEST.fullmatch(text):
            raise self._error("expected the 64 hexadecimal digits of a SHA-256", ".key_sha256")
        digest = bytes.fromhex(text)
        if is_known_digest(digest):
            raise self._error(f"is the hash of a well-known key; make one, for example: {_MAKE}", ".key_sha256")
        return digest

    def _error(self, message: str, within: str = "") -> ConfigurationError:
        return ConfigurationError(message, file=self.file, key=self._place(within))

    def _warn(self, message: str, within: str) -> None:
        place = ": ".join(part for part in (self.file, self._place(within)) if part)
        warnings.warn(f"{place}: {message}", ConfigurationWarning, stacklevel=4)

    def _place(self, within: str) -> str:
        return f"gateway.api_keys[{self.position}]{within}"


_MAKE = "apex-llm serve --new-key"


def check_open(ring: KeyRing, host: str, *, file: str | None = None) -> None:
    """Make sure that without keys only this machine reaches the gateway.

    Raises:
        ConfigurationError: there are no keys, and *host* is not a loopback address.
    """
    if ring.open and not is_loopback(host):
        raise ConfigurationError(
            f"without keys everybody who reaches {host or 'this machine'!r} could use your providers; configure"
            f" [gateway] api_keys, or listen at 127.0.0.1. A key is made by: {_MAKE}",
            file=file,
            key="gateway.host",
        )


__all__ = ["NOBODY", "OPEN", "ROLES", "Key", "KeyRing", "check_open", "load_keys", "new_key"]
