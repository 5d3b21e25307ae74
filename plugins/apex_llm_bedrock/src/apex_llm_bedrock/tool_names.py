"""Names of tools and ids of calls as Bedrock takes them: letters, digits, "_" and "-" (in ids also "." and ":"), at most 64.

What does not fit is written anew, the same everywhere in a request, and read back in the answer.
"""

from __future__ import annotations

import re
from hashlib import sha256

_LONGEST = 64
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_ID = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]")


class ToolNames:
    """The names of one request, both ways."""

    __slots__ = ("_originals", "_written")

    def __init__(self) -> None:
        self._written: dict[str, str] = {}
        self._originals: dict[str, str] = {}

    def written(self, name: str) -> str:
        """Return *name* as it goes over the wire; different names stay different."""
        found = self._written.get(name)
        if found is None:
            found = name if _NAME.fullmatch(name) else _fitting(name)
            number = 1
            while found in self._originals:
                # Somebody's name looks like what became of another one.
                number += 1
                found = _fitting(f"{name} {number}")
            self._written[name] = found
            self._originals[found] = name
        return found

    def original(self, written: str) -> str:
        """Return the name behind *written*; a name that nobody gave stays as it is."""
        return self._originals.get(written, written)

    def reserved(self, wish: str) -> str:
        """Return *wish*, or something like it that no tool is called; it is not read back."""
        name, number = wish, 1
        while name in self._originals:
            number += 1
            name = f"{wish}_{number}"
        return name


def written_id(call_id: str) -> str:
    """Return the id of a call as it goes over the wire."""
    return call_id if _ID.fullmatch(call_id) else _fitting(call_id)


def _fitting(text: str) -> str:
    # The sum keeps apart what looks alike once its characters are replaced.
    mark = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{_NOT_IN_NAMES.sub('_', text)[: _LONGEST - 9]}_{mark}"


__all__ = ["ToolNames", "written_id"]
