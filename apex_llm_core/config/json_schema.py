"""JSON Schema (draft 2020-12) of the configuration, made of the attrs classes and their metadata."""

from __future__ import annotations

import inspect
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin

import attrs

from apex_llm_core.config.loading import TABLES
from apex_llm_core.config.schema import Config, DegradationConfig, LimitConfig
from apex_llm_core.converters import unstructure

Schema = dict[str, Any]

_SCALARS: dict[Any, Schema] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
}


def _given(key: str, kind: str) -> Schema:
    return {"required": [key], "properties": {key: {"type": kind, "not": {"const": ""}}}}


def _when(key: str, value: Schema, then: Schema) -> Schema:
    return {"if": {"required": [key], "properties": {key: value}}, "then": then}


#: What a step of degradation may not have unless it needs it.
_ABSENT: Schema = {"to_model": {"const": None}, "max_tokens": {"const": None}, "message": {"const": ""}}


def _step(step: str, key: str | None, kind: str = "") -> Schema:
    others = {"properties": {name: absent for name, absent in _ABSENT.items() if name != key}}
    return _when("step", {"const": step}, {"allOf": [others, _given(key, kind)]} if key is not None else others)


#: What `__attrs_post_init__` of a class demands beyond its fields.
_RULES: dict[type, Schema] = {
    LimitConfig: {
        "anyOf": [_given(key, "number") for key in ("requests", "tokens", "cost", "concurrent")],
        "allOf": [
            _when(
                "match",
                {"not": {"const": "*"}},
                {"required": ["scope"], "properties": {"scope": {"not": {"const": "all"}}}},
            ),
            _when("tier", {"type": "string"}, {"properties": {"scope": {"not": {"enum": ["provider", "model"]}}}}),
        ],
    },
    DegradationConfig: {
        "allOf": [
            _step("smaller_model", "to_model", "string"),
            _step("shorter_answer", "max_tokens", "integer"),
            _step("refuse", "message", "string"),
            _step("cached_answer", None),
        ]
    },
}


class _Definitions(dict[str, Schema]):
    """What stands under ``$defs``, by name; a class whose name is taken by another gets its whole name."""

    def __init__(self) -> None:
        super().__init__()
        self._names: dict[type, str] = {}

    def name(self, cls: type) -> str:
        """Return the name of *cls*, described when it is asked for the first time."""
        name = self._names.get(cls)
        if name is None:
            name = cls.__name__ if cls.__name__ not in self else f"{cls.__module__}.{cls.__qualname__}"
            self._names[cls] = name
            # It may contain itself.
            self[name] = {}
            self[name] = _object(cls, self)
        return name


def config_json_schema(extensions: Mapping[str, type] = types.MappingProxyType({})) -> Schema:
    """Return the JSON Schema of a whole configuration, for editors and for `config schema`.

    Args:
        extensions: the settings classes of tables that extensions have described, by the name of the table. Tables of other
            extensions are allowed as any other table at the top.
    """
    definitions = _Definitions()
    root = _object(Config, definitions)
    others = root["properties"]["extensions"]
    described = {name: _type(cls, definitions) for name, cls in extensions.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "apex-llm configuration",
        "description": root["description"],
        "type": "object",
        "properties": {name: schema for name, schema in root["properties"].items() if name in TABLES} | described,
        "additionalProperties": {"type": "object", "description": others["description"]},
        "$defs": dict(definitions),
    }


def settings_json_schema(cls: type) -> Schema:
    """Return the JSON Schema of a plugin's settings class; fields made with `setting` bring their descriptions."""
    definitions = _Definitions()
    return {**_object(cls, definitions), **({"$defs": dict(definitions)} if definitions else {})}


def _object(cls: type, definitions: _Definitions) -> Schema:
    attrs.resolve_types(cls)
    fields = [field for field in attrs.fields(cls) if field.init]
    schema: Schema = {
        "description": (inspect.getdoc(cls) or cls.__name__).partition("\n\n")[0].replace("\n", " "),
        "type": "object",
        "properties": {field.name: _field(field, definitions) for field in fields},
        "additionalProperties": False,
        **_RULES.get(cls, {}),
    }
    required = [field.name for field in fields if field.default is attrs.NOTHING]
    if required:
        schema["required"] = required
    return schema


def _field(field: attrs.Attribute[Any], definitions: _Definitions) -> Schema:
    schema = dict(_type(field.type, definitions))
    metadata = field.metadata
    if metadata.get("doc"):
        schema["description"] = metadata["doc"]
    for key, keyword in (
        ("minimum", "minimum"),
        ("exclusive_minimum", "exclusiveMinimum"),
        ("maximum", "maximum"),
    ):
        if metadata.get(key) is not None:
            schema[keyword] = metadata[key]
    if metadata.get("choices") is not None:
        schema["items"] = {"type": "string", "enum": list(metadata["choices"])}
    default: Any = field.default
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        default = default.factory() if not default.takes_self else attrs.NOTHING
    # The default of a table is the defaults of its keys.
    if default is not attrs.NOTHING and not attrs.has(type(default)):
        schema["default"] = unstructure(default)
    return schema


def _type(cls: Any, definitions: _Definitions) -> Schema:
    origin, arguments = get_origin(cls), get_args(cls)
    if cls in _SCALARS:
        return _SCALARS[cls]
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, types.UnionType):
        return _union([_type(member, definitions) for member in arguments if member is not types.NoneType], arguments)
    if origin in (tuple, list, frozenset, set):
        return {"type": "array", "items": _type(arguments[0], definitions) if arguments else {}}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        item = arguments[1]
        return (
            {"type": "object"} if item is Any else {"type": "object", "additionalProperties": _type(item, definitions)}
        )
    if attrs.has(cls):
        return {"$ref": f"#/$defs/{definitions.name(cls)}"}
    # Secrets and paths are written as text.
    return {} if cls is Any else {"type": "string"}


def _union(members: list[Schema], arguments: tuple[Any, ...]) -> Schema:
    nullable = types.NoneType in arguments
    if len(members) == 1 and nullable:
        member = dict(members[0])
        if "enum" in member:
            member["enum"] = [*member["enum"], None]
            return member
        if isinstance(member.get("type"), str):
            member["type"] = [member["type"], "null"]
            return member
    return {"anyOf": [*members, {"type": "null"}] if nullable else members}


__all__ = ["config_json_schema", "settings_json_schema"]
