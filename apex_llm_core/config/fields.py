"""How a key of the configuration, or of a plugin's settings, is declared: default, meaning, bounds, choices."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any

import attrs


def _bounds(low: float, high: float, *, above: bool = False) -> Callable[[Any], None]:
    wanted = f"above {low:g}" if above else f"of at least {low:g}"
    if high != math.inf:
        wanted += f" and at most {high:g}"

    def check(value: Any) -> None:
        if value is None:
            return
        number = isinstance(value, int | float) and not isinstance(value, bool)
        inside = number and (low < value if above else low <= value) and value <= high
        if not inside or math.isinf(value):
            raise ValueError(f"must be a finite number {wanted}, not {value if number else type(value).__name__}")

    return check


def _named(check: Callable[[Any], None]) -> Callable[[Any, Any, Any], None]:
    """Make an attrs validator of *check*, for instances made in code; its error begins as those of attrs do."""

    def validate(_instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        try:
            check(value)
        except ValueError as error:
            raise ValueError(f"'{attribute.name}' {error}") from None

    return validate


def setting(
    default: Any = attrs.NOTHING,
    *,
    doc: str,
    low: float | None = None,
    high: float = math.inf,
    above: float | None = None,
    choices: Collection[str] | None = None,
    factory: Callable[[], Any] | None = None,
    **more: Any,
) -> Any:
    """Declare one key: its default, its meaning, the bounds of a number, the words a list may hold.

    *low* is inclusive, *above* exclusive. The metadata is what the JSON Schema and the documentation are made of;
    its ``check`` lets the converter look at each value where it stands.
    """
    metadata: dict[str, Any] = {
        "doc": doc,
        "minimum": low,
        "exclusive_minimum": above,
        "maximum": None if high == math.inf else high,
        "choices": None if choices is None else tuple(sorted(choices)),
    }
    if low is not None or above is not None:
        metadata["check"] = _bounds(low if low is not None else above or 0.0, high, above=above is not None)
        more["validator"] = _named(metadata["check"])
    if factory is not None:
        return attrs.field(factory=factory, metadata=metadata, **more)
    return attrs.field(default=default, metadata=metadata, **more)


def empty() -> Mapping[str, Any]:
    """Return an empty table: the default of free ones."""
    return MappingProxyType({})


__all__ = ["empty", "setting"]
