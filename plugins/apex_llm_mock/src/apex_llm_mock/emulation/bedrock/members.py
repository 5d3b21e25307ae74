"""Checks of the members of a JSON body, in the way of Bedrock's front: types first, then every broken constraint at once.

A check takes a value, the place of it, and the list of complaints; it adds a complaint for a broken constraint and raises
for what cannot be read at all.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from apex_llm_mock.emulation.bedrock.errors import invalid, refusal

#: Members and positions from the body down to a value.
Place = tuple[str | int, ...]
Check = Callable[[Any, Place, list[str]], None]


def check_members(body: Any, check: Check) -> Mapping[str, Any]:
    """Return *body*, a JSON object that passes the *check*.

    Raises:
        RefusedError: it does not, or it is no object.
    """
    if not isinstance(body, Mapping):
        raise _unreadable()
    complaints: list[str] = []
    check(body, (), complaints)
    if complaints:
        count = len(complaints)
        noun = "error" if count == 1 else "errors"
        raise invalid(f"{count} validation {noun} detected: {'; '.join(complaints)}")
    return body


def text(
    *,
    pattern: str | None = None,
    low: int | None = None,
    high: int | None = None,
    choices: Collection[str] | None = None,
) -> Check:
    """Return the check of a string; *low* and *high* bound its length."""
    compiled = re.compile(pattern) if pattern is not None else None

    def check(value: Any, place: Place, complaints: list[str]) -> None:
        if not isinstance(value, str):
            raise _unreadable()
        if compiled is not None and compiled.fullmatch(value) is None:
            _complain(complaints, value, place, f"satisfy regular expression pattern: {pattern}")
        if low is not None and len(value) < low:
            _complain(complaints, value, place, f"have length greater than or equal to {low}")
        if high is not None and len(value) > high:
            _complain(complaints, value, place, f"have length less than or equal to {high}")
        if choices is not None and value not in choices:
            _complain(complaints, value, place, f"satisfy enum value set: [{', '.join(sorted(choices))}]")

    return check


def number(*, low: float | None = None, high: float | None = None, whole: bool = False) -> Check:
    """Return the check of a number."""

    def check(value: Any, place: Place, complaints: list[str]) -> None:
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
            raise _unreadable()
        if low is not None and value < low:
            _complain(complaints, value, place, f"have value greater than or equal to {low}")
        if high is not None and value > high:
            _complain(complaints, value, place, f"have value less than or equal to {high}")

    return check


def flag(value: Any, _place: Place, _complaints: list[str]) -> None:
    """Check a boolean."""
    if not isinstance(value, bool):
        raise _unreadable()


def anything(_value: Any, _place: Place, _complaints: list[str]) -> None:
    """Check nothing: a document."""


def blob(value: Any, place: Place, complaints: list[str]) -> None:
    """Check bytes in base64, at least one."""
    if not isinstance(value, str):
        raise _unreadable()
    if not value:
        _complain(complaints, value, place, "have length greater than or equal to 1")
        return
    try:
        base64.b64decode(value, validate=True)
    except (ValueError, binascii.Error) as error:
        raise _unreadable() from error


def items(item: Check, *, low: int = 0, high: int | None = None) -> Check:
    """Return the check of a list; *low* and *high* bound its length."""

    def check(value: Any, place: Place, complaints: list[str]) -> None:
        if not isinstance(value, list):
            raise _unreadable()
        if len(value) < low:
            _complain(complaints, value, place, f"have length greater than or equal to {low}")
        if high is not None and len(value) > high:
            _complain(complaints, value, place, f"have length less than or equal to {high}")
        for position, element in enumerate(value):
            item(element, (*place, position), complaints)

    return check


def mapping(key: Check, value: Check, *, low: int = 0, high: int | None = None) -> Check:
    """Return the check of a map; *low* and *high* bound the number of its entries."""

    def check(given: Any, place: Place, complaints: list[str]) -> None:
        if not isinstance(given, Mapping):
            raise _unreadable()
        if len(given) < low:
            _complain(complaints, dict(given), place, f"have length greater than or equal to {low}")
        if high is not None and len(given) > high:
            _complain(complaints, dict(given), place, f"have length less than or equal to {high}")
        for name, element in given.items():
            key(name, (*place, name), complaints)
            value(element, (*place, name), complaints)

    return check


def structure(members: Mapping[str, Check], *required: str) -> Check:
    """Return the check of an object with these members, of which some are *required*; null is as good as absent."""

    def check(value: Any, place: Place, complaints: list[str]) -> None:
        _check_known(value, members, place)
        for name in required:
            if value.get(name) is None:
                _complain(complaints, None, (*place, name), "not be null")
        for name, member in value.items():
            if member is not None:
                members[name](member, (*place, name), complaints)

    return check


def union(title: str, members: Mapping[str, Check]) -> Check:
    """Return the check of an object that has exactly one of these members; *title* is its name in Bedrock's model."""

    def check(value: Any, place: Place, complaints: list[str]) -> None:
        _check_known(value, members, place)
        given = [name for name, member in value.items() if member is not None]
        if len(given) != 1:
            keys = ", ".join(members)
            raise invalid(
                f"The {title} object at {plain(place)} must set one of the following keys: {keys}."
                if not given
                else f"The {title} object at {plain(place)} must set only one of the following keys: {keys}."
            )
        members[given[0]](value[given[0]], (*place, given[0]), complaints)

    return check


def plain(place: Place) -> str:
    """Return *place* as most messages have it: "messages.0.content.1"."""
    return ".".join(map(str, place))


def _check_known(value: Any, members: Mapping[str, Check], place: Place) -> None:
    if not isinstance(value, Mapping):
        raise _unreadable()
    for name in value:
        if name not in members:
            pointer = "#" + "".join(f"/{step}" for step in place)
            raise invalid(
                f"Malformed input request: {pointer}: extraneous key [{name}] is not permitted, please reformat your input "
                "and try again."
            )


def _complain(complaints: list[str], value: Any, place: Place, rule: str) -> None:
    # The front counts from one, and says so.
    where = ".".join(f"{step + 1}.member" if isinstance(step, int) else step for step in place)
    shown = "null" if value is None else f"'{value}'"
    complaints.append(f"Value {shown} at '{where}' failed to satisfy constraint: Member must {rule}")


def _unreadable() -> Exception:
    return refusal("SerializationException", "Unexpected field type")


__all__ = [
    "Check",
    "Place",
    "anything",
    "blob",
    "check_members",
    "flag",
    "items",
    "mapping",
    "number",
    "plain",
    "structure",
    "text",
    "union",
]
