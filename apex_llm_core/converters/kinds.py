"""Predicates on annotations."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_origin


def is_any(cls: Any) -> bool:
    """Tell whether anything fits *cls*."""
    return cls in (Any, object)


def is_union(cls: Any) -> bool:
    """Tell whether *cls* is a union, `X | None` among them."""
    return get_origin(cls) in (Union, types.UnionType)


def is_literal(cls: Any) -> bool:
    """Tell whether *cls* is a Literal."""
    return get_origin(cls) is Literal


def is_container(cls: Any) -> bool:
    """Tell whether *cls* is a tuple, list or set."""
    return (get_origin(cls) or cls) in (tuple, list, frozenset, set)


def is_mapping(cls: Any) -> bool:
    """Tell whether *cls* is a mapping."""
    origin = get_origin(cls) or cls
    return isinstance(origin, type) and issubclass(origin, Mapping)


__all__ = ["is_any", "is_container", "is_literal", "is_mapping", "is_union"]
