"""Names and values that AWS keeps in the invocation log of a request."""

from __future__ import annotations

import re
from typing import Final

#: So many names at most.
MOST: Final = 16
_TEXT = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,.-]{0,256}", re.ASCII)


def fits(text: str) -> bool:
    """Return whether AWS takes *text* as a value, or, unless it is empty, as a name."""
    return _TEXT.fullmatch(text) is not None


__all__ = ["MOST", "fits"]
