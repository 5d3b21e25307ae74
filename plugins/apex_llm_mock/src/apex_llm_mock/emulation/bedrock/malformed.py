"""Checks bodies of InvokeModel against JSON Schema, with the words Bedrock has for what it finds.

Understands ``type`` (one), ``properties`` with ``required`` and ``additionalProperties: false``, ``items``, ``enum`` and the bounds of
strings, numbers and lists. That is what the bodies of the models need.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from apex_llm_mock.emulation.answers import RefusedError
from apex_llm_mock.emulation.bedrock.errors import invalid

Schema = Mapping[str, Any]

_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}
_NAMES: Mapping[type, str] = {
    dict: "JSONObject",
    list: "JSONArray",
    str: "String",
    int: "Integer",
    float: "BigDecimal",
    bool: "Boolean",
    type(None): "Null",
}
_WANTED: Mapping[str, str] = {
    "object": "JSONObject",
    "array": "JSONArray",
    "string": "String",
    "integer": "Integer",
    "number": "Number",
    "boolean": "Boolean",
}


def check_body(body: Any, schema: Schema) -> Mapping[str, Any]:
    """Return *body*, a JSON document, when *schema* accepts it; None stands for one that is no JSON.

    Raises:
        RefusedError: it does not; the message names all violations.
    """
    if body is None:
        raise malformed()
    found = list(violations(body, schema))
    if found:
        raise malformed(*found)
    checked: Mapping[str, Any] = body
    return checked


def malformed(*found: str) -> RefusedError:
    """Return the refusal of a body with these violations, for example "#: required key [texts] not found"."""
    what = f": {', '.join(found)}" if found else ""
    return invalid(f"Malformed input request{what}, please reformat your input and try again.")


def body_schema(required: tuple[str, ...] = (), /, **properties: Schema) -> Schema:
    """Return the schema of an object that takes the *properties* and nothing else."""
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def violations(value: Any, schema: Schema, where: str = "#") -> Iterator[str]:
    """Yield what *schema* has against *value*, which stands at *where*."""
    kind = schema.get("type")
    if kind is not None and (not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")):
        yield f"{where}: expected type: {_WANTED[kind]}, found: {_NAMES[type(value)]}"
        return
    choices = schema.get("enum")
    if choices is not None and value not in choices:
        yield f"{where}: {value} is not a valid enum value"
    match kind:
        case "string":
            yield from _bounds(where, len(value), schema, "minLength", "maxLength")
        case "number" | "integer":
            yield from _range(where, value, schema)
        case "array":
            yield from _items(value, schema, where)
        case "object":
            yield from _members(value, schema, where)


def _bounds(where: str, length: int, schema: Schema, low: str, high: str) -> Iterator[str]:
    if length < schema.get(low, 0):
        yield f"{where}: expected {low}: {schema[low]}, actual: {length}"
    if high in schema and length > schema[high]:
        yield f"{where}: expected {high}: {schema[high]}, actual: {length}"


def _range(where: str, value: float, schema: Schema) -> Iterator[str]:
    if "minimum" in schema and value < schema["minimum"]:
        yield f"{where}: {value} is not greater or equal to {schema['minimum']}"
    if "maximum" in schema and value > schema["maximum"]:
        yield f"{where}: {value} is not less or equal to {schema['maximum']}"


def _items(value: list[Any], schema: Schema, where: str) -> Iterator[str]:
    if len(value) < schema.get("minItems", 0):
        yield f"{where}: expected minimum item count: {schema['minItems']}, found: {len(value)}"
    if "maxItems" in schema and len(value) > schema["maxItems"]:
        yield f"{where}: expected maximum item count: {schema['maxItems']}, found: {len(value)}"
    if "items" in schema:
        for place, item in enumerate(value):
            yield from violations(item, schema["items"], f"{where}/{place}")


def _members(value: Mapping[str, Any], schema: Schema, where: str) -> Iterator[str]:
    properties: Mapping[str, Schema] = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{where}: required key [{name}] not found"
    for name, member in value.items():
        if name in properties:
            yield from violations(member, properties[name], f"{where}/{name}")
        elif schema.get("additionalProperties") is False:
            yield f"{where}: extraneous key [{name}] is not permitted"


__all__ = ["Schema", "body_schema", "check_body", "malformed", "violations"]
