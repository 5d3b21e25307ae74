"""Durations and spans of time as a scenario writes them: "90s", "1h30m", "5m-8m"."""

from __future__ import annotations

import re
from functools import cache
from math import inf
from typing import Any

import attrs

from apex_llm_core.config import setting

#: A span of simulated time, [from, until) in seconds since the start.
Span = tuple[float, float]

_UNITS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_NUMBER = r"\d+(?:\.\d+)?"
_PART = re.compile(rf"({_NUMBER})(ms|[dhms])")
_WHOLE = re.compile(rf"(?:{_NUMBER}(?:ms|[dhms]))+")


@cache
def seconds(text: str) -> float:
    """Return the seconds of a duration such as "1h30m"; "0" needs no unit.

    Raises:
        ValueError: it is no duration.
    """
    if text == "0":
        return 0.0
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"must be a duration such as '90s', '5m' or '1h30m', not {text!r}")
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


@cache
def span(text: str) -> Span:
    """Return [from, until) of a span such as "5m-8m", in seconds.

    Raises:
        ValueError: it is no span, or does not go forward.
    """
    begin, dash, end = (part.strip() for part in text.partition("-"))
    if not dash or not end:
        raise ValueError(f"must be a span such as '5m-8m' or '0-1h30m', not {text!r}")
    found = seconds(begin), seconds(end)
    if found[0] >= found[1]:
        raise ValueError(f"must be a span that goes forward, not {text!r}")
    return found


def spans(texts: tuple[str, ...]) -> tuple[Span, ...]:
    """Return the spans of several texts, in their order."""
    return tuple(map(span, texts))


def is_within(at: float, windows: tuple[Span, ...]) -> bool:
    """Tell whether *at* is in one of *windows*; where there is none, everything is within."""
    return not windows or any(begin <= at < end for begin, end in windows)


def until_within(at: float, windows: tuple[Span, ...]) -> float:
    """Return the seconds from *at* until one of *windows* is reached, 0 within one, infinity after the last."""
    if is_within(at, windows):
        return 0.0
    return min((begin - at for begin, _ in windows if begin > at), default=inf)


def in_words(length: float) -> str:
    """Return a length in seconds as people write it: "24 h", "30 min", "45 s"."""
    for unit, size in (("h", 3_600.0), ("min", 60.0)):
        if length >= 2 * size or length == size:
            return f"{length / size:g} {unit}"
    return f"{length:g} s"


def duration(default: Any = attrs.NOTHING, *, doc: str) -> Any:
    """Declare a key that holds a duration; "" stands for none where it is the default."""
    return setting(default, doc=doc, validator=_checked(lambda text: text == default or seconds(text)))


def windows(*, doc: str) -> Any:
    """Declare a key that holds a list of spans."""
    return setting((), doc=doc, converter=tuple, validator=_checked(spans))


def window(*, doc: str) -> Any:
    """Declare a key that holds one span, or "" for the whole time."""
    return setting("", doc=doc, validator=_checked(lambda text: text == "" or span(text)))


def _checked(parse: Any) -> Any:
    def validate(_instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        try:
            parse(value)
        except ValueError as error:
            raise ValueError(f"'{attribute.name}' {error}") from None

    return validate


__all__ = ["Span", "duration", "in_words", "is_within", "seconds", "span", "spans", "until_within", "window", "windows"]
