"""Short ways to write JSON Schema."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
#: Names and ids: neither empty nor long.
NAME: Schema = {"type": "string", "minLength": 1, "maxLength": 2048}
FLAG: Schema = {"type": "boolean"}
NUMBER: Schema = {"type": "number"}
#: Seconds, money, shares.
AMOUNT: Schema = {"type": "number", "minimum": 0}
WHOLE: Schema = {"type": "integer"}
COUNT: Schema = {"type": "integer", "minimum": 0}
OBJECT: Schema = {"type": "object"}
NULL: Schema = {"type": "null"}
ANYTHING: Schema = {}


def described(schema: Schema, description: str) -> Schema:
    """Return *schema* with a description."""
    return {**schema, "description": description}


def ref(name: str) -> Schema:
    """Return a reference to the schema *name* of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def words(*choices: str) -> Schema:
    """Return the schema of one of *choices*."""
    return {"type": "string", "enum": list(choices)}


def one(value: str | bool | int) -> Schema:
    """Return the schema of nothing but *value*."""
    return {"const": value}


def items(schema: Schema, *, least: int = 0, most: int | None = None) -> Schema:
    """Return the schema of a list."""
    found: Schema = {"type": "array", "items": schema}
    if least:
        found["minItems"] = least
    if most is not None:
        found["maxItems"] = most
    return found


def either(*schemas: Schema) -> Schema:
    """Return the schema of what fits one of *schemas* at least."""
    return {"anyOf": list(schemas)}


def nullable(schema: Schema) -> Schema:
    """Return *schema* with null, which counts as absent in bodies of requests."""
    if schema is ANYTHING or "type" not in schema or "const" in schema or "enum" in schema:
        return schema if schema is ANYTHING else either(schema, NULL)
    kinds = schema["type"]
    return {**schema, "type": [*(kinds if isinstance(kinds, list) else [kinds]), "null"]}


def members(required: dict[str, Schema], optional: dict[str, Schema] | None = None, **more: Any) -> Schema:
    """Return the schema of an object with *required* and *optional* members; *more* are further keywords."""
    found: Schema = {"type": "object", "properties": {**required, **(optional or {})}}
    if required:
        found["required"] = list(required)
    return {**found, **more}


def table(values: Schema) -> Schema:
    """Return the schema of an object whose members have names of their own."""
    return {"type": "object", "additionalProperties": values}


__all__ = [
    "AMOUNT",
    "ANYTHING",
    "COUNT",
    "FLAG",
    "NAME",
    "NULL",
    "NUMBER",
    "OBJECT",
    "TEXT",
    "WHOLE",
    "Schema",
    "described",
    "either",
    "items",
    "members",
    "nullable",
    "one",
    "ref",
    "table",
    "words",
]
