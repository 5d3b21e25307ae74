from __future__ import annotations

import copy

import jsonschema
import pytest
from apex_llm_bedrock.schemas import closed
from hypothesis import given
from hypothesis import strategies as st

NAMES = st.sampled_from(["a", "b", "items", "properties", "type"])
LEAVES = st.sampled_from([{"type": "string"}, {"type": "integer"}, {"enum": [None, 1]}, {"const": None}, {}])
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(lambda props: {"type": "object", "properties": props}, st.dictionaries(NAMES, inner, max_size=3)),
        st.builds(lambda item: {"type": "array", "items": item}, inner),
        st.builds(lambda some: {"anyOf": some}, st.lists(inner, min_size=1, max_size=2)),
    ),
    max_leaves=6,
)
VALUES = st.recursive(
    st.one_of(st.none(), st.integers(0, 2), st.sampled_from(["a", ""])),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(NAMES, inner, max_size=2)),
    max_leaves=5,
)


def objects(schema):
    """Yield every schema of an object."""
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield schema
        for value in schema.values():
            yield from objects(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from objects(value)


@given(SCHEMAS)
def test_every_object_is_closed_and_nothing_else_changes(schema):
    before = copy.deepcopy(schema)
    found = closed(schema)
    assert schema == before
    assert all(each["additionalProperties"] is False for each in objects(found))
    assert closed(found) == found


@given(SCHEMAS, VALUES)
def test_what_fits_the_closed_schema_fits_the_open_one(schema, value):
    if jsonschema.Draft202012Validator(closed(schema)).is_valid(value):
        assert jsonschema.Draft202012Validator(schema).is_valid(value)


@pytest.mark.parametrize("wish", [True, {"type": "string"}, {}])
@pytest.mark.parametrize(
    "put",
    [
        lambda inner: inner,
        lambda inner: {"type": "object", "properties": {"x": inner}},
        lambda inner: {"type": "array", "items": inner},
        lambda inner: {"anyOf": [{"type": "null"}, inner]},
        lambda inner: {"$defs": {"x": inner}},
    ],
)
def test_a_schema_that_wants_open_objects_has_no_closed_form(put, wish):
    assert closed(put({"type": "object", "additionalProperties": wish})) is None


@pytest.mark.parametrize("keyword", ["allOf", "not", "if", "patternProperties"])
def test_nor_has_one_where_closing_would_change_the_meaning(keyword):
    inner = [{"type": "object"}] if keyword == "allOf" else {"type": "object"}
    assert closed({"type": "object", "properties": {"x": {keyword: inner}}}) is None


def test_definitions_are_closed_too():
    schema = {"$defs": {"x": {"type": "object"}}, "$ref": "#/$defs/x"}
    assert closed(schema)["$defs"]["x"] == {"type": "object", "additionalProperties": False}


def test_names_of_members_are_no_keywords():
    schema = {
        "type": "object",
        "properties": {"additionalProperties": {"type": "boolean"}, "items": {"type": "string"}},
    }
    assert closed(schema) == {**schema, "additionalProperties": False}


def test_several_types():
    assert closed({"type": ["object", "null"]}) == {"type": ["object", "null"], "additionalProperties": False}
