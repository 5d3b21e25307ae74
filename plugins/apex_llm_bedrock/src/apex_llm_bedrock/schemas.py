"""JSON Schemas as ``outputConfig`` takes them: every object must say that it has no further members."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Keywords whose value is a schema, a list of schemas, or a mapping of names to schemas.
_ONE = frozenset({"items", "contains"})
_SEVERAL = frozenset({"anyOf", "oneOf", "prefixItems"})
_NAMED = frozenset({"properties", "$defs", "definitions"})
#: Keywords beside which a closed object means something else.
_UNCLOSABLE = frozenset({"allOf", "not", "if", "then", "else", "dependentSchemas", "patternProperties"})


def closed(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return *schema* with its objects closed where it says nothing; None where they cannot be.

    What fits the closed schema fits *schema*, too.
    """
    if not _UNCLOSABLE.isdisjoint(schema):
        return None
    found: dict[str, Any] = {}
    for name, value in schema.items():
        changed: Any = value
        if name in _ONE and isinstance(value, Mapping):
            changed = closed(value)
        elif name in _SEVERAL and isinstance(value, list | tuple):
            schemas = [closed(each) if isinstance(each, Mapping) else each for each in value]
            changed = None if None in schemas else schemas
        elif name in _NAMED and isinstance(value, Mapping):
            named = {key: closed(each) if isinstance(each, Mapping) else each for key, each in value.items()}
            changed = None if None in named.values() else named
        if changed is None and value is not None:
            return None
        found[name] = changed
    if found.get("additionalProperties", False) is not False:
        return None
    kind = found.get("type")
    if kind == "object" or "properties" in found or (isinstance(kind, list | tuple) and "object" in kind):
        found["additionalProperties"] = False
    return found


__all__ = ["closed"]
