"""The tables of docs/configuration.md, made of the JSON Schema so that they cannot say anything else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from apex_llm_core.config.json_schema import Schema, config_json_schema


def reference_markdown() -> str:
    """Return one section of Markdown a table of the configuration: its heading, meaning, and a row a key.

    A key that holds a table of its own has a section instead of a row; one that holds tables under free names has both. The
    document has the text between two marks; a test compares them.
    """
    schema = config_json_schema()
    top = {name: item for name, item in schema["properties"].items() if "type" in item and _table(item) is None}
    lines = ["### Top level", "", *_rows(top, frozenset()), ""]
    for name, item in schema["properties"].items():
        if name not in top:
            lines += _section(name, item, schema["$defs"])
        elif _table(_named(item)) is not None:
            lines += _section(f"{name}.NAME", _named(item), schema["$defs"])
    return "\n".join(lines)


def _section(name: str, item: Schema, definitions: dict[str, Schema]) -> Iterator[str]:
    table = definitions[_table(item) or ""]
    inner = {key: value for key, value in table["properties"].items() if _table(value) is not None}
    yield f"### `{'[[' if 'items' in item else '['}{name}{']]' if 'items' in item else ']'}`"
    yield ""
    yield table["description"]
    yield ""
    rows = {key: value for key, value in table["properties"].items() if key not in inner}
    yield from _rows(rows, frozenset(table.get("required", ())))
    yield ""
    for key, value in inner.items():
        yield from _section(f"{name}.{key}", value, definitions)


def _rows(properties: dict[str, Schema], required: frozenset[str]) -> Iterator[str]:
    yield "| key | type | default | meaning |"
    yield "|---|---|---|---|"
    for key, schema in properties.items():
        default = "required" if key in required else _default(schema.get("default"))
        meaning = " ".join(filter(None, (schema["description"], _bounds(schema))))
        yield f"| `{key}` | {_type(schema)} | {default} | {meaning} |"


def _table(schema: Schema) -> str | None:
    """Return the name of the definition that *schema* is, or is a list of, or may be."""
    for part in (schema, schema.get("items", {}), *schema.get("anyOf", ())):
        if "$ref" in part:
            return str(part["$ref"]).rpartition("/")[2]
    return None


def _named(schema: Schema) -> Schema:
    """Return what a table with free names holds under each of them."""
    inner = schema.get("additionalProperties")
    return inner if isinstance(inner, dict) else {}


def _type(schema: Schema) -> str:
    if "$ref" in schema:
        return "table"
    if "anyOf" in schema:
        return " or ".join(_type(part) for part in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f'`"{word}"`' for word in schema["enum"] if word is not None)
    kind: Any = schema.get("type", "any")
    name = kind[0] if isinstance(kind, list) else kind
    if name == "array":
        return f"list of {_plural({'type': schema['items'].get('type', 'any')})}"
    if name == "object":
        return f"table of {_plural(_named(schema))}" if _named(schema) else "table"
    return str(name)


def _plural(schema: Schema) -> str:
    if "anyOf" in schema:
        return " or ".join(_plural(part) for part in schema["anyOf"])
    name = _type(schema)
    return name.replace("list of", "lists of") if name.startswith("list of") else f"{name}s"


def _default(value: Any) -> str:
    return "none" if value is None else f"`{json.dumps(value)}`"


def _bounds(schema: Schema) -> str:
    bounds = []
    if "minimum" in schema:
        bounds.append(f"at least {schema['minimum']:g}")
    if "exclusiveMinimum" in schema:
        bounds.append(f"above {schema['exclusiveMinimum']:g}")
    if "maximum" in schema:
        bounds.append(f"at most {schema['maximum']:g}")
    return f"({', '.join(bounds)})" if bounds else ""


__all__ = ["reference_markdown"]
