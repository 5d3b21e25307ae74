"""What an emulator received: the last requests, with their credentials masked."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, overload

import attrs

#: Headers that carry credentials, in lower case.
SECRET_HEADERS = frozenset(
    {
        "api-key",
        "authorization",
        "cookie",
        "proxy-authorization",
        "ocp-apim-subscription-key",
        "x-amz-security-token",
    }
)
#: So many requests are remembered.
LONGEST = 1_000


@attrs.frozen(kw_only=True)
class Received:
    """One request. Names of headers are in lower case, credentials are fingerprints: equal ones look equal."""

    method: str
    #: Scheme and authority the request was sent to.
    origin: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    #: The JSON document, the fields of a form (files as name, type and size), or text.
    body: Any
    #: What the path stands for: "chat/completions", "models", …; empty when it is unknown.
    operation: str = ""
    deployment: str = ""
    #: The fault that struck it.
    fault: str | None = None

    def document(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {**attrs.asdict(self, recurse=False), "query": dict(self.query), "headers": dict(self.headers)}


class Journal(Sequence[Received]):
    """The last requests, oldest first."""

    def __init__(self) -> None:
        self._entries: deque[Received] = deque(maxlen=LONGEST)

    @overload
    def __getitem__(self, index: int) -> Received: ...
    @overload
    def __getitem__(self, index: slice) -> list[Received]: ...
    def __getitem__(self, index: int | slice) -> Received | list[Received]:
        return list(self._entries)[index] if isinstance(index, slice) else self._entries[index]

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, received: Received) -> None:
        """Remember *received*, forget the oldest when there are too many."""
        self._entries.append(received)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()


def masked(headers: Mapping[str, str]) -> dict[str, str]:
    """Return *headers* with lower-case names and fingerprints in place of credentials."""
    return {
        name.lower(): _fingerprint(value) if name.lower() in SECRET_HEADERS else value
        for name, value in headers.items()
    }


def _fingerprint(value: str) -> str:
    scheme, space, secret = value.rpartition(" ")
    digest = hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
    return f"{scheme}{space}***{digest[:8]}"


__all__ = ["LONGEST", "SECRET_HEADERS", "Journal", "Received", "masked"]
