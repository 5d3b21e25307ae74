"""Hooks from objects to JSON-safe data: every field, None as null, sets sorted, secrets masked."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from enum import Enum, StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from apex_llm_core.converters.kinds import is_any, is_container, is_mapping, is_union
from apex_llm_core.converters.problems import describe
from apex_llm_core.errors import LLMError
from apex_llm_core.redaction import MASK, Secret

if TYPE_CHECKING:
    from cattrs import Converter

#: What an error says of itself to others; its cause may hold anything and stays here.
_ERROR_FIELDS = (
    *("type", "message", "provider", "model", "retryable"),
    *("status_code", "retry_after", "request_id", "attempts", "details"),
)
_SCALARS = frozenset({type(None), str, bool, int, float})


def plain(value: Any, converter: Converter) -> Any:
    """Return JSON-safe data for anything that may stand where any JSON may."""
    kind = type(value)
    if kind in _SCALARS:
        return value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"a key of an object must be a string, not {describe(key)}")
        return {str(key): plain(item, converter) for key, item in value.items()}
    if isinstance(value, list | tuple):
        if set(map(type, value)) <= _SCALARS:
            # Vectors have thousands of numbers.
            return list(value)
        return [plain(item, converter) for item in value]
    if isinstance(value, frozenset | set):
        return sorted(plain(item, converter) for item in value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Secret):
        return MASK
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, str | Path):
        return str(value)
    if attrs.has(kind) or isinstance(value, LLMError):
        return converter.unstructure(value)
    raise TypeError(f"{kind.__name__} has no JSON form")


def _unstructure_class(cls: Any, converter: Converter, spell: Callable[[str], str]) -> Callable[[Any], Any]:
    from cattrs.gen import make_dict_unstructure_fn, override

    attrs.resolve_types(cls)
    overrides = {field.name: override(rename=spell(field.name)) for field in attrs.fields(cls)}
    make: Any = make_dict_unstructure_fn
    function: Callable[[Any], Any] = make(cls, converter, **overrides)
    return function


def register(converter: Converter, spell: Callable[[str], str]) -> None:
    """Teach *converter* all of them; *spell* gives the keys of the fields."""

    def free(value: Any) -> Any:
        return plain(value, converter)

    def error_document(error: LLMError) -> dict[str, Any]:
        return {spell(name): free(getattr(error, name)) for name in _ERROR_FIELDS}

    converter.register_unstructure_hook(LLMError, error_document)
    for leaf in (StrEnum, Secret, Path):
        converter.register_unstructure_hook(leaf, free)
    for is_free in (is_any, is_union, is_mapping, is_container):
        converter.register_unstructure_hook_func(is_free, free)
    converter.register_unstructure_hook_func(lambda cls: cls == tuple[float, ...], list)
    factory: Any = converter.register_unstructure_hook_factory
    factory(attrs.has, lambda cls, converter: _unstructure_class(cls, converter, spell))


__all__ = ["plain", "register"]
