"""Secrets that do not show themselves, and the scrubbing of text that may contain one."""

from __future__ import annotations

import re
from typing import Any, NoReturn

#: Shapes of credentials as they appear in messages of providers and libraries; the first group stays.
_PATTERNS = (
    re.compile(r"(?i)\b(bearer\s+)[A-Za-z0-9._~+/=-]{8,}"),
    re.compile(
        r"(?i)\b((?:api[-_]?key|x-api-key|authorization|client_secret|password|access_token|sig)[\"']?\s*[:=]\s*[\"']?)[^\s\"'&,;]{6,}"
    ),
    re.compile(r"()\bsk-[A-Za-z0-9_-]{16,}"),
    re.compile(r"()\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    re.compile(r"()\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"),
)
MASK = "***"


class Secret:
    """A value that no repr, str, format, copy or pickle shows; `reveal()` at the place of use."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value itself."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __bool__(self) -> bool:
        return bool(self._value)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled; pass the reference ('env:…', 'file:…') instead")


class Redactor:
    """Removes known secret values, and anything shaped like a credential, from text."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        #: Made at the first use: a gateway learns thousands of keys before it scrubs anything.
        self._known_pattern: re.Pattern[str] | None = None

    def learn(self, secret: Secret) -> None:
        """Remember *secret*; values under four characters are too common to be searched for."""
        value = secret.reveal()
        if len(value) >= 4 and value not in self._known:
            self._known.add(value)
            self._known_pattern = None

    def scrub(self, text: str) -> str:
        """Return *text* with every secret masked."""
        if self._known:
            if self._known_pattern is None:
                longest_first = sorted(self._known, key=len, reverse=True)
                self._known_pattern = re.compile("|".join(map(re.escape, longest_first)))
            text = self._known_pattern.sub(MASK, text)
        for pattern in _PATTERNS:
            text = pattern.sub(rf"\g<1>{MASK}", text)
        return text


__all__ = ["MASK", "Redactor", "Secret"]
