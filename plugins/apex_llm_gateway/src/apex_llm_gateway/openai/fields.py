"""Members of a body, one by one: of the right type, or an error that names their place. Nothing is coerced."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from apex_llm_core.errors import nearest
from apex_llm_gateway.openai.rules import ParameterError

Json = dict[str, Any]
#: Characters of names and ids at most: longer ones name nothing, and are dear to compare.
LONGEST_NAME = 2048
#: Characters of a wrong value that a message repeats.
_SHOWN = 100


def kind_of(value: Any) -> str:
    """Return what *value* is, in JSON's terms."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    return "text" if isinstance(value, str) else "a list" if isinstance(value, list) else "an object"


def wrong(place: str, expected: str, value: Any) -> ParameterError:
    """Return the error of a value that is not of the *expected* type."""
    return ParameterError(f"{place}: expected {expected}, not {kind_of(value)}", param=place)


def mapping(value: Any, place: str) -> Json:
    """Return the object at *place*."""
    if type(value) is not dict:
        raise wrong(place, "an object", value)
    return value


def items(value: Any, place: str) -> list[Any]:
    """Return the list at *place*."""
    if type(value) is not list:
        raise wrong(place, "a list", value)
    return value


def text(value: Any, place: str) -> str:
    """Return the text at *place*."""
    if type(value) is not str:
        raise wrong(place, "text", value)
    return value


def name(value: Any, place: str) -> str:
    """Return the name or id at *place*: a text that is neither empty nor long."""
    found = text(value, place)
    if not found:
        raise ParameterError(f"{place} is empty", param=place)
    if len(found) > LONGEST_NAME:
        raise ParameterError(f"{place} has {len(found)} characters; at most {LONGEST_NAME} are taken", param=place)
    return found


def flag(value: Any, place: str) -> bool:
    """Return the boolean at *place*; null is false."""
    if value is None:
        return False
    if type(value) is not bool:
        raise wrong(place, "a boolean", value)
    return value


def word(value: Any, place: str, words: Collection[str]) -> str:
    """Return the text at *place*, which is one of *words*."""
    found = text(value, place)
    if found not in words:
        raise unknown_word(found, place, words)
    return found


def unknown_word(value: str, place: str, words: Collection[str]) -> ParameterError:
    """Return the error of a text that is none of *words*."""
    return ParameterError(f"{place} is {shown(value)}{nearest(value[:_SHOWN], words)}", param=place)


def shown(value: str) -> str:
    """Return the beginning of *value* in quotes."""
    return repr(value) if len(value) <= _SHOWN else f"{value[:_SHOWN]!r}…"


def given(members: Json, member: str, place: str) -> Any:
    """Return a member of the object at *place* that has to be there; null counts as absent."""
    value = members.get(member)
    if value is None:
        where = f"{place}.{member}" if place else member
        raise ParameterError(f"{where} is missing", param=where)
    return value


__all__ = [
    "LONGEST_NAME",
    "Json",
    "flag",
    "given",
    "items",
    "kind_of",
    "mapping",
    "name",
    "shown",
    "text",
    "unknown_word",
    "word",
    "wrong",
]
