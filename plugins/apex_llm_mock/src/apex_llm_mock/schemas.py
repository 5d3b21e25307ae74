"""Example values for a JSON Schema: what a model would write as tool arguments or as a structured answer.

Understands ``type``, ``enum``, ``const``, ``default``, ``examples``, ``properties`` and ``required``, ``items`` and
``prefixItems``, ``minItems``, bounds and ``multipleOf`` of numbers, lengths and the common ``format`` of strings, ``anyOf``, ``oneOf``, ``allOf`` and local ``$ref``. A ``pattern`` is not understood: give such a
property an ``enum``, ``default`` or ``examples``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

#: Deeper than this only what is required; schemas may refer to themselves.
DEPTH = 8
LONGEST_TEXT = 64

_FORMATS = {
    "date": "2025-01-31",
    "date-time": "2025-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "duration": "PT1H",
    "email": "someone@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "url": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}

Schema = Mapping[str, Any]


def example(schema: Schema, prompt: str) -> Any:
    """Return a value that *schema* accepts; free texts are the beginning of *prompt*."""
    return _Example(schema, prompt).value(schema, 0)


class _Example:
    def __init__(self, root: Schema, prompt: str) -> None:
        self._root = root
        self._prompt = " ".join(prompt.split())[:LONGEST_TEXT].strip() or "example"

    def value(self, schema: Any, depth: int) -> Any:
        if not isinstance(schema, Mapping):
            # true and false are schemas, too.
            return {}
        schema = self._merged(schema, depth)
        for key in ("const", "default"):
            if key in schema:
                return schema[key]
        for key in ("enum", "examples"):
            if schema.get(key):
                return schema[key][0]
        match _kind(schema):
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "integer":
                return _number(schema, whole=True)
            case "number":
                return _number(schema, whole=False)
            case "boolean":
                return True
            case "null":
                return None
            case _:
                return self._text(schema)

    def _merged(self, schema: Schema, depth: int) -> Schema:
        """Resolve references and combinations into one flat schema."""
        for _ in range(DEPTH):
            if "$ref" in schema:
                rest = {key: value for key, value in schema.items() if key != "$ref"}
                schema = _joined(self._resolve(schema["$ref"]), rest)
            elif schema.get("allOf"):
                rest = {key: value for key, value in schema.items() if key != "allOf"}
                for part in schema["allOf"]:
                    rest = _joined(rest, self._merged(part, depth + 1) if depth < DEPTH else part)
                schema = rest
            elif schema.get("anyOf") or schema.get("oneOf"):
                key = "anyOf" if schema.get("anyOf") else "oneOf"
                rest = {name: value for name, value in schema.items() if name != key}
                schema = _joined(rest, self._branch(schema[key], depth))
            else:
                break
        return schema

    def _branch(self, branches: Sequence[Schema], depth: int) -> Schema:
        # An optional recursion ends at its null branch.
        if depth >= DEPTH:
            for branch in branches:
                if branch.get("type") == "null":
                    return branch
        return branches[0]

    def _resolve(self, reference: str) -> Schema:
        found: Any = self._root
        for step in reference.removeprefix("#").strip("/").split("/") if reference != "#" else ():
            name = step.replace("~1", "/").replace("~0", "~")
            found = found.get(name, {}) if isinstance(found, Mapping) else {}
        return found if isinstance(found, Mapping) else {}

    def _object(self, schema: Schema, depth: int) -> dict[str, Any]:
        properties: Schema = schema.get("properties") or {}
        required = schema.get("required") or ()
        return {name: self.value(properties.get(name, {"type": "string"}), depth + 1) for name in required}

    def _array(self, schema: Schema, depth: int) -> list[Any]:
        prefix = schema.get("prefixItems") or ()
        least = max(int(schema.get("minItems", 0 if depth >= DEPTH else 1)), len(prefix))
        count = min(least, int(schema.get("maxItems", least)))
        items = [self.value(item, depth + 1) for item in prefix[:count]]
        while len(items) < count:
            item = self.value(schema.get("items", {"type": "string"}), depth + 1)
            items.append(_distinct(item, len(items)) if schema.get("uniqueItems") else item)
        return items

    def _text(self, schema: Schema) -> str:
        if schema.get("format") in _FORMATS:
            return _FORMATS[schema["format"]]
        text = self._prompt
        least = int(schema.get("minLength", 0))
        if len(text) < least:
            text = (text + " ") * (least // (len(text) + 1) + 1)
            text = text[:least]
        return text[: int(schema["maxLength"])] if "maxLength" in schema else text


def _kind(schema: Schema) -> str:
    kind = schema.get("type")
    if isinstance(kind, str):
        return kind
    if isinstance(kind, Sequence) and kind:
        return str(next((word for word in kind if word != "null"), "null"))
    if "properties" in schema or "required" in schema:
        return "object"
    if "items" in schema or "prefixItems" in schema:
        return "array"
    if any(key in schema for key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")):
        return "number"
    return "string"


def _joined(first: Schema, second: Schema) -> dict[str, Any]:
    joined = {**first, **second}
    if "properties" in first and "properties" in second:
        joined["properties"] = {**first["properties"], **second["properties"]}
    if "required" in first and "required" in second:
        joined["required"] = list(dict.fromkeys([*first["required"], *second["required"]]))
    return joined


def _number(schema: Schema, *, whole: bool) -> float | int:
    low = max((schema[key] for key in ("minimum", "exclusiveMinimum") if key in schema), default=None)
    high = min((schema[key] for key in ("maximum", "exclusiveMaximum") if key in schema), default=None)
    step = schema.get("multipleOf", 1 if whole else None)
    if step is None:
        if low is not None and high is not None:
            return float((low + high) / 2)
        if low is not None:
            return float(low + 1)
        return 1.0 if high is None else float(high - 1)
    # The multiple nearest to one that the bounds allow.
    count = 1
    if low is not None:
        least = math.ceil(low / step)
        count = max(count, least + 1 if least * step == schema.get("exclusiveMinimum") else least)
    if high is not None:
        most = math.floor(high / step)
        count = min(count, most - 1 if most * step == schema.get("exclusiveMaximum") else most)
    return int(count * step) if whole else float(count * step)


def _distinct(item: Any, position: int) -> Any:
    if position == 0 or isinstance(item, bool):
        return item
    if isinstance(item, str):
        return f"{item} {position + 1}"
    return item + position if isinstance(item, (int, float)) else item


__all__ = ["example"]
