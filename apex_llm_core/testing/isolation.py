"""The state of an object in comparable form, to tell whether something changed it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from random import Random
from typing import Any

_DEPTH = 6


def state_of(value: object) -> object:
    """Return what *value* holds: containers, random generators, and attributes of objects of its own package.

    A class stands for its attributes that are no functions. What belongs to other packages stands for itself.
    """
    package = (value if isinstance(value, type) else type(value)).__module__.partition(".")[0]
    return _state(value, package, _DEPTH)


def _state(value: Any, package: str, depth: int) -> object:
    if depth == 0 or isinstance(value, (str, bytes, int, float, type(None))):
        return value
    if isinstance(value, Random):
        return value.getstate()
    if isinstance(value, Mapping):
        return {repr(key): _state(item, package, depth - 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset, deque)):
        return [_state(item, package, depth - 1) for item in value]
    if isinstance(value, bytearray):
        return bytes(value)
    if isinstance(value, type):
        return {
            name: _state(item, package, depth - 1)
            for name, item in vars(value).items()
            if not callable(item) and not name.startswith("__")
        }
    if type(value).__module__.partition(".")[0] == package and not callable(value):
        slots = (name for cls in type(value).__mro__ for name in getattr(cls, "__slots__", ()))
        attributes = {name: getattr(value, name) for name in slots if hasattr(value, name)}
        attributes |= getattr(value, "__dict__", {})
        return {name: _state(item, package, depth - 1) for name, item in attributes.items()}
    return id(value)


__all__ = ["state_of"]
