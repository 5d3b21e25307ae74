from __future__ import annotations

import math

import pytest
from apex_llm_mock.schemas import example
from hypothesis import given, settings
from hypothesis import strategies as st


def fits(value, schema):
    """Whether a value satisfies the part of JSON Schema that the strategy below makes."""
    if "const" in schema:
        return value == schema["const"]
    if "enum" in schema:
        return value in schema["enum"]
    if "anyOf" in schema:
        return any(fits(value, branch) for branch in schema["anyOf"])
    kind = schema["type"]
    if isinstance(kind, list):
        return any(fits(value, {**schema, "type": word}) for word in kind)
    if kind == "object":
        properties = schema.get("properties", {})
        required = set(schema.get("required", ()))
        return (
            type(value) is dict
            and required <= value.keys()
            and all(fits(item, properties[name]) for name, item in value.items() if name in properties)
        )
    if kind == "array":
        right = type(value) is list and schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", math.inf)
        return right and all(fits(item, schema["items"]) for item in value)
    if kind in ("integer", "number"):
        multiple = schema.get("multipleOf")
        return (
            type(value) in ((int,) if kind == "integer" else (int, float))
            and schema.get("minimum", -math.inf) <= value <= schema.get("maximum", math.inf)
            and schema.get("exclusiveMinimum", -math.inf) < value < schema.get("exclusiveMaximum", math.inf)
            and (multiple is None or value % multiple == 0)
        )
    if kind == "string":
        return type(value) is str and schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", math.inf)
    return value is {"boolean": True, "null": None}[kind]


@st.composite
def numbers(draw):
    schema = {"type": draw(st.sampled_from(["integer", "number"]))}
    low = draw(st.none() | st.integers(-50, 50))
    if low is not None:
        schema[draw(st.sampled_from(["minimum", "exclusiveMinimum"]))] = low
    if draw(st.booleans()):
        schema[draw(st.sampled_from(["maximum", "exclusiveMaximum"]))] = (low or 0) + draw(st.integers(12, 30))
    if draw(st.booleans()):
        schema["multipleOf"] = draw(st.integers(1, 5))
    return schema


strings = st.fixed_dictionaries(
    {"type": st.just("string")}, optional={"minLength": st.integers(0, 99)}
) | st.fixed_dictionaries({"type": st.just("string"), "maxLength": st.integers(0, 99)})
leaves = (
    numbers()
    | strings
    | st.fixed_dictionaries({"type": st.sampled_from(["boolean", "null"])})
    | st.fixed_dictionaries({"const": st.integers()})
    | st.fixed_dictionaries({"enum": st.lists(st.text(), min_size=1)})
    | st.fixed_dictionaries({"type": st.sampled_from([["null", "string"], ["string", "null"], ["null"]])})
)


def deeper(children):
    @st.composite
    def objects(draw):
        properties = draw(st.dictionaries(st.text(max_size=5), children, max_size=4))
        required = [name for name in properties if draw(st.booleans())]
        return {"type": "object", "properties": properties, "required": required}

    least = st.integers(0, 3)
    arrays = st.builds(lambda items, low: {"type": "array", "items": items, "minItems": low}, children, least)
    capped = st.builds(lambda items, high: {"type": "array", "items": items, "maxItems": high}, children, least)
    choices = st.fixed_dictionaries({"anyOf": st.lists(children, min_size=1, max_size=3)})
    return objects() | arrays | capped | choices


@settings(deadline=None)
@given(st.recursive(leaves, deeper, max_leaves=8), st.text(max_size=99))
def test_examples_fit_their_schema(schema, prompt):
    assert fits(example(schema, prompt), schema)


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (
            {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}, "required": ["a"]},
            {"a": "hi you"},
        ),
        ({"type": "object", "required": ["a"]}, {"a": "hi you"}),
        ({"$ref": "#/$defs/A", "$defs": {"A": {"type": "integer", "minimum": 7}}}, 7),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"const": 1}}}, 1),
        (
            {
                "allOf": [
                    {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]},
                    {"properties": {"b": {"const": 2}}, "required": ["b"]},
                ]
            },
            {"a": 1, "b": 2},
        ),
        ({"oneOf": [{"type": "boolean"}, {"type": "null"}]}, True),
        ({"type": "string", "format": "date"}, "2025-01-31"),
        ({"type": "string", "default": "d"}, "d"),
        ({"type": "string", "examples": ["e"]}, "e"),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 3, "uniqueItems": True}, [1, 2, 3]),
        ({"type": "array", "items": {"type": "string"}, "minItems": 2, "uniqueItems": True}, ["hi you", "hi you 2"]),
        ({"prefixItems": [{"type": "boolean"}, {"const": 5}]}, [True, 5]),
        ({"properties": {"a": {}}, "required": ["a"]}, {"a": "hi you"}),
        ({"minimum": 3.5}, 4.5),
        (True, {}),
        ({}, "hi you"),
    ],
)
def test_examples(schema, expected):
    assert example(schema, "hi  you\n") == expected


def test_a_schema_that_refers_to_itself_ends():
    tree = {
        "type": "object",
        "properties": {"value": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
        "required": ["value", "next"],
    }
    node, depth = example(tree, "x"), 0
    while node is not None:
        assert node["value"] == 1
        node, depth = node["next"], depth + 1
    assert 1 < depth < 20


def test_a_list_that_refers_to_itself_ends():
    tree = {
        "type": "object",
        "properties": {"children": {"type": "array", "items": {"$ref": "#"}}},
        "required": ["children"],
    }
    assert example(tree, "x")["children"]
