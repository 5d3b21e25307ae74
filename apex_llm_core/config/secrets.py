"""References to secrets: what is one, what looks like a literal secret, and the two built-in schemes.

A reference is ``scheme:rest``: ``env:NAME`` and ``file:PATH`` are built in, extensions add others. Everything else is the
value itself, among it URLs, Windows paths and cloud resource names.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from apex_llm_core.errors import ConfigurationError, nearest
from apex_llm_core.markers import hookimpl
from apex_llm_core.redaction import Redactor, Secret

BUILT_IN_SCHEMES = frozenset({"env", "file"})
#: One letter before the colon is a Windows drive, a double slash after it a URL.
_REFERENCE = re.compile(r"([a-z][a-z0-9_-]+):(?!//).", re.DOTALL)
#: Prefixes of names that are no references: Amazon's resource names and URNs.
_NAMES = frozenset({"arn", "urn"})
_SECRET_WORDS = re.compile(r"key|secret|token|password|passphrase|certificate|credential|assertion", re.IGNORECASE)
#: Endings of keys that tell where something is or what it is called, not what it is.
_PLACES = ("_path", "_file", "_url", "_uri", "_endpoint", "_name", "_key_id")
_FILE_LIMIT = 64 * 1024


def is_reference(value: str) -> bool:
    """Tell whether *value* is a reference to a secret, of a known scheme or of one that an extension may know."""
    scheme = value.partition(":")[0]
    if scheme in BUILT_IN_SCHEMES and scheme != value:
        return True
    return _REFERENCE.match(value) is not None and scheme not in _NAMES


def looks_secret(key: str) -> bool:
    """Tell by the name of a credential whether its value must not be shown: ``api_key``, but not ``certificate_path``."""
    return _SECRET_WORDS.search(key) is not None and not key.lower().endswith(_PLACES)


def iter_references(credentials: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield ``(key, reference)`` of every reference in *credentials*; keys of inner tables are joined with dots."""
    for key, value in credentials.items():
        if isinstance(value, str):
            if is_reference(value):
                yield key, value
        elif isinstance(value, Mapping):
            for inner, reference in iter_references(value):
                yield f"{key}.{inner}", reference


class EnvSecrets:
    """``env:NAME``: a variable of the environment it was made with; one newline at the end is removed."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    @hookimpl
    async def apex_resolve_secret(self, reference: str) -> Secret:
        """Return the variable's value.

        Raises:
            ConfigurationError: it is not set, or empty.
        """
        value = self._environ.get(reference)
        if value is None:
            hint = nearest(reference, self._environ)
            # Without a near name, a list of the machine's variables helps nobody.
            hint = hint if "did you mean" in hint else ""
            raise ConfigurationError(f"secret 'env:{reference}': the environment variable {reference} is not set{hint}")
        return _secret(value, f"env:{reference}", "the environment variable")


class FileSecrets:
    """``file:PATH``: the content of a file (UTF-8, up to 64 KiB); one newline at the end is removed.

    Relative paths start at the working directory, ``~`` is the home directory.
    """

    @hookimpl
    async def apex_resolve_secret(self, reference: str) -> Secret:
        """Return the file's content.

        Raises:
            ConfigurationError: the file is missing, unreadable, too large, no text, or empty.
        """
        return await asyncio.to_thread(self._read, reference)

    @staticmethod
    def _read(reference: str) -> Secret:
        try:
            with Path(reference).expanduser().open("rb") as file:
                content = file.read(_FILE_LIMIT + 1)
        except (OSError, ValueError, RuntimeError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise ConfigurationError(f"secret 'file:{reference}': the file cannot be read: {reason}") from error
        if len(content) > _FILE_LIMIT:
            raise ConfigurationError(f"secret 'file:{reference}': the file is larger than {_FILE_LIMIT} bytes")
        try:
            text = content.decode()
        except UnicodeDecodeError:
            # The cause would carry the content.
            raise ConfigurationError(f"secret 'file:{reference}': the file is not UTF-8 text") from None
        return _secret(text, f"file:{reference}", "the file")


def _secret(text: str, reference: str, what: str) -> Secret:
    value = text.removesuffix("\n").removesuffix("\r")
    if not value.strip():
        raise ConfigurationError(f"secret {reference!r}: {what} is empty")
    return Secret(value)


class SecretResolver:
    """Turns references into secrets by their scheme, and teaches the redactor every one of them."""

    def __init__(self, schemes: Mapping[str, Callable[[str], Awaitable[Secret]]], redactor: Redactor) -> None:
        self._schemes = schemes
        self._redactor = redactor

    async def resolve(self, value: str | Secret) -> Secret:
        """Return the secret that *value* refers to, or *value* itself as a secret when it is none of our references.

        Raises:
            ConfigurationError: the scheme is unknown, or the reference leads nowhere; the message names it, never a value.
        """
        text = value.reveal() if isinstance(value, Secret) else value
        scheme, _, rest = text.partition(":")
        fetch = self._schemes.get(scheme)
        if fetch is not None and scheme != text:
            if not rest:
                raise ConfigurationError(f"secret {text!r} names nothing")
            secret = await self._fetch(fetch, rest, text)
        elif isinstance(value, str) and is_reference(value):
            raise ConfigurationError(
                f"unknown secret scheme in {scheme + ':…'!r}{nearest(scheme, self._schemes)}"
                " A value that contains a colon itself must come from 'env:NAME' or 'file:PATH'."
            )
        else:
            secret = Secret(text)
        self._redactor.learn(secret)
        return secret

    async def _fetch(self, fetch: Callable[[str], Awaitable[Secret]], rest: str, reference: str) -> Secret:
        try:
            secret: object = await fetch(rest)
        except ConfigurationError:
            raise
        except Exception as error:
            reason = self._redactor.scrub(str(error)) or type(error).__name__
            raise ConfigurationError(f"secret {reference!r} cannot be resolved: {reason}") from error
        if not isinstance(secret, Secret):
            raise ConfigurationError(
                f"secret {reference!r}: its scheme returned a {type(secret).__name__}; expected a Secret"
            )
        return secret


__all__ = [
    "BUILT_IN_SCHEMES",
    "EnvSecrets",
    "FileSecrets",
    "SecretResolver",
    "is_reference",
    "iter_references",
    "looks_secret",
]
