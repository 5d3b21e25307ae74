"""What does not fit: where, why, and the nearest valid name; one walk over cattrs' tree of errors."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import NoReturn

import attrs

from apex_llm_core.errors import ApexLLMError, ConfigurationError, nearest

Step = str | int

#: How validators of attrs begin: "'size' must be >= 1".
_NAMED = re.compile(r"'(\w+)' must ")
_LONG_NUMBER = 10**12
_BARE_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def place(steps: Iterable[Step], root: str = "") -> str:
    """Return the written form of a path: names with dots, positions and unusual keys in brackets."""
    text = root
    for step in steps:
        if isinstance(step, int) or not _BARE_KEY.fullmatch(step):
            text += f"[{json.dumps(step)}]"
        else:
            text += f".{step}" if text else step
    return text


@attrs.frozen
class Problem:
    """One thing that does not fit: where, as steps from the root, and why."""

    path: tuple[Step, ...]
    message: str


class StructureError(ValueError):
    """Data does not fit a class; `problems` has everything that was found, in the order of the class's fields."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{place(problem.path)}: {problem.message}" for problem in self.problems))


class MisfitError(ValueError):
    """A value that does not fit; *path* leads from the value to the culprit inside it."""

    def __init__(self, message: str, *path: Step) -> None:
        super().__init__(message)
        self.path = path


def refuse(what: str, value: object) -> NoReturn:
    """Raise for *value* where *what* is expected."""
    raise MisfitError(f"expected {what}, not {describe(value)}")


def describe(value: object) -> str:
    """Name the JSON kind of *value*. Texts and long numbers are not repeated: they may be prompts or secrets."""
    if value is None:
        return "null"
    if isinstance(value, bool | int | float):
        # A whole number without a sign may be a key that somebody wrote without quotes.
        return json.dumps(value) if abs(value) < _LONG_NUMBER or isinstance(value, float) else "a long number"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, Mapping):
        return "an object"
    return f"a {type(value).__name__}"


def flatten(error: BaseException, path: tuple[Step, ...], spell: Callable[[str], str]) -> list[Problem]:
    """Return the leaves of cattrs' tree of errors with their paths; *spell* gives the keys of the fields."""
    from cattrs.errors import (
        AttributeValidationNote,
        BaseValidationError,
        ForbiddenExtraKeysError,
        IterableValidationNote,
    )

    required = False
    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            path = (*path, spell(note.name))
            # cattrs looks a required key up; no hook of ours raises KeyError.
            required = isinstance(error, KeyError)
        elif isinstance(note, IterableValidationNote):
            path = (*path, note.index)
    if isinstance(error, BaseValidationError):
        # A misspelt key comes before the key it should have been, which then is missing.
        inner_errors = sorted(error.exceptions, key=lambda inner: not isinstance(inner, ForbiddenExtraKeysError))
        fields = {field.name for field in attrs.fields(error.cl)} if attrs.has(error.cl) else set()
        found: list[Problem] = []
        for inner in inner_errors:
            named = _NAMED.search(str(inner)) if isinstance(inner, ValueError | TypeError) else None
            # attrs validates while it makes the instance, when cattrs no longer knows which field it is.
            is_field = named is not None and named[1] in fields and not hasattr(inner, "__notes__")
            found += flatten(inner, (*path, spell(named[1])) if is_field and named else path, spell)
        return found
    if isinstance(error, ForbiddenExtraKeysError):
        known = [spell(field.name) for field in attrs.fields(error.cl) if field.init]
        return [
            Problem((*path, str(key)), f"unknown key{nearest(str(key), known)}")
            for key in sorted(error.extra_fields, key=str)
        ]
    if required:
        return [Problem(path, "is required")]
    if isinstance(error, MisfitError):
        return [Problem((*path, *error.path), str(error))]
    if isinstance(error, ConfigurationError):
        return [Problem((*path, *error.key.split(".")) if error.key else path, error.reason)]
    if isinstance(error, ApexLLMError):
        return [Problem(path, error.message)]
    if len(error.args) > 1 and isinstance(error.args[1], attrs.Attribute):
        # Validators of attrs give (message, attribute, …), which looks odd as a text.
        return [Problem(path, str(error.args[0]))]
    return [Problem(path, str(error) or type(error).__name__)]


__all__ = ["MisfitError", "Problem", "Step", "StructureError", "describe", "flatten", "place", "refuse"]
