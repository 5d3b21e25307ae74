"""How long to wait: what Bedrock, and gateways in front of it, say in headers and, failing those, in the message."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

_NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,15})?", re.ASCII)
#: A number alone means seconds, "2 monkeys" nothing, and "2026-01-01" is no number of seconds either.
_ADVICE = re.compile(
    rf"(?:retry|try again|wait)\s+(?:(?:your request|after|in|for|at least)\s+){{0,3}}({_NUMBER.pattern})"
    r"(?:\s*(milliseconds?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h)(?![a-z])|(?!\s*[a-z]))(?!\.?[:\d-])",
    re.IGNORECASE | re.ASCII,
)
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
#: No message needs more to say how long to wait.
_READ = 2_000


def header(headers: Mapping[str, str], name: str) -> str:
    """Return the header *name* (lower case), in whatever case it was sent; "" without one."""
    value = headers.get(name)
    if value is None:
        value = next((headers[key] for key in headers if key.lower() == name), "")
    return value.strip()


def retry_delay(headers: Mapping[str, str], message: str, *, now: float) -> float | None:
    """Return the seconds to wait by the service's own words, None when it gave none.

    ``x-amz-retry-after`` and ``retry-after-ms`` are milliseconds, ``retry-after`` is seconds or a date. Where several are
    sent the longest wait counts; the message ("Please retry after 26 seconds") only where none is.

    Args:
        headers: of the answer; look-up ignores case.
        message: what the answer says in words.
        now: the wall clock in seconds since the epoch, for dates.
    """
    waits = [
        wait / 1000
        for name in ("x-amz-retry-after", "retry-after-ms")
        if (wait := _number(header(headers, name))) is not None
    ]
    text = header(headers, "retry-after")
    wait = _number(text)
    if wait is None and text:
        wait = _until(text, now)
    if wait is not None:
        waits.append(wait)
    return max(waits) if waits else _in_words(message[:_READ])


def _number(text: str) -> float | None:
    return float(text) if _NUMBER.fullmatch(text) else None


def _until(text: str, now: float) -> float | None:
    try:
        moment = parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError, OSError):
        return None
    return max(0.0, moment - now) if math.isfinite(moment) else None


def _in_words(message: str) -> float | None:
    advice = _ADVICE.search(message)
    if advice is None:
        return None
    unit = (advice[2] or "s").lower()
    return float(advice[1]) * (0.001 if unit.startswith(("ms", "milli")) else _SECONDS[unit[0]])


__all__ = ["header", "retry_delay"]
