"""Values as they stand in the configurations that emulators print."""

from __future__ import annotations

import json


def quoted(value: str) -> str:
    """Return *value* as a basic string of TOML."""
    # JSON's strings are TOML's basic strings, but for one control character.
    return json.dumps(value).replace("\x7f", "\\u007f")


__all__ = ["quoted"]
