"""How long to wait, and how much is left: what Azure says in headers and, where it says it nowhere else, in the message."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from apex_llm_core.context import NoteRateLimits

_NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,15})?", re.ASCII)
_MOST_DIGITS = 15
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
#: The longer of two units that begin alike stands first; no letter may follow, so that "2 monkeys" are no minutes.
_UNIT = r"(milliseconds?|msecs?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d)(?![a-z])"
_AMOUNT = re.compile(rf"({_NUMBER.pattern})\s*{_UNIT}", re.IGNORECASE | re.ASCII)
_AMOUNTS = rf"{_NUMBER.pattern}(?:\s*{_UNIT}(?:[\s,]*(?:and\s+)?{_NUMBER.pattern}\s*{_UNIT})*)?"
_ADVICE = re.compile(
    rf"(?:retry|try again|wait|available|replenished)\s+(?:(?:your request|after|in|for|at least)\s+){{0,3}}({_AMOUNTS})(?![-:\d])",
    re.IGNORECASE | re.ASCII,
)
#: API Management counts quotas in "[days.]hours:minutes:seconds".
_CLOCK = re.compile(r"replenished in (?:(\d{1,5})\.)?(\d{1,2}):(\d{2}):(\d{2})", re.IGNORECASE | re.ASCII)
#: No message needs more to say how long to wait.
_READ = 2_000
_PREFIX = "x-ratelimit-"
_COUNTS = frozenset({"limit-requests", "limit-tokens", "remaining-requests", "remaining-tokens"})
_RESETS = ("reset-requests", "reset-tokens")
_REMAINING_REQUESTS = f"{_PREFIX}remaining-requests"
_REMAINING_TOKENS = f"{_PREFIX}remaining-tokens"
_RESET_REQUESTS = f"{_PREFIX}reset-requests"
_RESET_TOKENS = f"{_PREFIX}reset-tokens"


def header(headers: Mapping[str, str], name: str) -> str:
    """Return the header *name* (lower case), in whatever case it was sent; "" without one."""
    value = headers.get(name)
    if value is None:
        value = next((headers[key] for key in headers if key.lower() == name), "")
    return value.strip()


def retry_delay(headers: Mapping[str, str], message: str, *, now: float | None = None) -> float | None:
    """Return the seconds to wait by the service's own words, None when it gave none.

    The first of these counts: ``retry-after-ms``; ``retry-after`` in seconds or as a date; the message ("Please retry after
    26 seconds"); the reset of the limit that is used up.

    *now* is the wall clock in seconds since the epoch; without it dates are not understood.
    """
    delay = advised_delay(headers, message, now=now)
    return _reset(headers) if delay is None else delay


def advised_delay(headers: Mapping[str, str], message: str, *, now: float | None = None) -> float | None:
    """As `retry_delay`, without the resets: those say when a limit is whole again, not when to ask again."""
    delay = _number(header(headers, "retry-after-ms"))
    if delay is not None:
        return delay / 1000
    text = header(headers, "retry-after")
    delay = _number(text)
    if delay is None and text:
        delay = _until(text, now)
    return _in_words(message) if delay is None else delay


def remaining(headers: Mapping[str, str]) -> dict[str, int | float]:
    """Return what the ``x-ratelimit-…`` headers tell: ``remaining_tokens``, ``limit_requests`` and so on.

    Counts are whole numbers, ``reset_requests`` and ``reset_tokens`` seconds. What is absent or unreadable is left out; the
    service says -1 for "unknown".
    """
    found: dict[str, int | float] = {}
    for name in headers:
        if name[: len(_PREFIX)].lower() != _PREFIX:
            continue
        what = name[len(_PREFIX) :].lower()
        value = headers[name].strip()
        if what in _COUNTS:
            count = _count(value)
            if count is not None:
                found[what.replace("-", "_")] = count
        elif what in _RESETS:
            seconds = duration(value)
            if seconds is not None:
                found[what.replace("-", "_")] = seconds
    return found


def note_remaining(headers: Mapping[str, str], note: NoteRateLimits) -> None:
    """Tell *note* what is left by the *headers* of an answer; nothing where they do not say.

    It holds until the limits that are used up are whole again; where none is, until the first of them is.
    """
    # With every answer: look-ups only, in whatever case the mapping of a response finds the names.
    requests, tokens = _count(headers.get(_REMAINING_REQUESTS)), _count(headers.get(_REMAINING_TOKENS))
    if requests is None and tokens is None:
        return
    used_up = requests == 0 or tokens == 0
    seconds = _seconds(headers.get(_RESET_REQUESTS)) if requests == 0 or not used_up else None
    other = _seconds(headers.get(_RESET_TOKENS)) if tokens == 0 or not used_up else None
    if seconds is None or (other is not None and (other > seconds if used_up else other < seconds)):
        seconds = other
    note(remaining_requests=requests, remaining_tokens=tokens, seconds=seconds)


def _count(text: str | None) -> int | None:
    if text is None:
        return None
    text = text.strip()
    return int(text) if len(text) <= _MOST_DIGITS and text.isascii() and text.isdecimal() else None


def _seconds(text: str | None) -> float | None:
    return None if text is None else duration(text.strip())


def duration(text: str) -> float | None:
    """Return the seconds that *text* means: "10", "1s", "6m0s", "120ms", "1h2m3.5s"; None for anything else."""
    seconds = _number(text)
    if seconds is not None:
        return seconds
    total, end = 0.0, 0
    for match in _AMOUNT.finditer(text):
        if text[end : match.start()].strip(" ,") not in {"", "and"}:
            return None
        unit = match[2].lower()
        total += float(match[1]) * _SECONDS["ms" if unit.startswith(("ms", "milli")) else unit[0]]
        end = match.end()
    return total if end and not text[end:].strip() else None


def _number(text: str) -> float | None:
    return float(text) if _NUMBER.fullmatch(text) else None


def _until(text: str, now: float | None) -> float | None:
    if now is None:
        return None
    try:
        moment = parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError, OSError):
        return None
    return max(0.0, moment - now) if math.isfinite(moment) else None


def _in_words(message: str) -> float | None:
    message = message[:_READ]
    clock = _CLOCK.search(message)
    if clock is not None:
        days, hours, minutes, seconds = (int(part or 0) for part in clock.groups())
        return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
    advice = _ADVICE.search(message)
    return duration(advice[1]) if advice is not None else None


def _reset(headers: Mapping[str, str]) -> float | None:
    """Return the seconds until the limits that are used up are whole again; until all are, when none is named as used up."""
    told = remaining(headers)
    resets = {name: told[f"reset_{name}"] for name in ("requests", "tokens") if f"reset_{name}" in told}
    used_up = [seconds for name, seconds in resets.items() if told.get(f"remaining_{name}") == 0]
    return max(used_up or resets.values(), default=None)


__all__ = ["advised_delay", "duration", "header", "note_remaining", "remaining", "retry_delay"]
