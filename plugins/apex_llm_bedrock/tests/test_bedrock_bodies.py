"""Bodies of requests: the same bytes whether they are written at once or in pieces."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from unittest import mock

import pytest
from apex_llm_bedrock import bodies
from apex_llm_bedrock.bodies import large_body, small_body, weight
from hypothesis import example, given
from hypothesis import strategies as st

from apex_llm_core.errors import InvalidRequestError
from apex_llm_core.models import (
    CacheHintPart,
    ChatGenerationOptions,
    ChatMessage,
    DocumentPart,
    GenerateRequest,
    ImagePart,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
finite = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), finite, texts)
strange_scalars = st.one_of(scalars, st.integers(), st.floats(), st.text(max_size=30))
#: Characters of a text that are written at a time; few of them cut every text.
portions = st.sampled_from([1, 2, 7, bodies._PORTION])


def nested(leaves, keys):
    inner = st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
        max_leaves=20,
    )
    return st.dictionaries(keys, inner, max_size=6)


def in_portions(portion, document):
    with mock.patch.object(bodies, "_PORTION", portion):
        return large_body(document)


class TestBodies:
    @given(portions, nested(scalars, texts))
    @example(1, {})
    @example(3, {"a": [], "b": {}, "c": "", "d": ["x" * 20, '\n"\\\u2028𝄞' * 9], "e": 1.0})
    def test_are_the_same_in_pieces(self, portion, document):
        assert in_portions(portion, document) == small_body(document)

    @given(portions, nested(strange_scalars, st.text(max_size=9)))
    @example(1, {"x": float("inf"), "y": [float("nan"), {"z": float("-inf")}]})
    @example(1, {"x": 10**40, "y": "\ud83d\ude00", "\ud800": "\udfff"})
    def test_with_what_json_has_no_place_for_say_the_same(self, portion, document):
        assert json.loads(in_portions(portion, document)) == json.loads(small_body(document))

    @given(nested(scalars, texts))
    def test_say_what_the_document_says(self, document):
        assert json.loads(small_body(document)) == document

    @pytest.mark.parametrize("keys", [[1], [1.5], [True, False], [None], ["a", 2]])
    def test_with_keys_that_are_no_texts_are_the_same(self, keys):
        document = {"x": dict.fromkeys(keys, "y")}
        assert large_body(document) == small_body(document)

    def test_of_megabytes_are_the_same(self):
        document = {"data": "QUJD" * 500_000, "text": "ß" * 200_001, "list": [["x" * 70_000]] * 3}
        assert large_body(document) == small_body(document)

    @pytest.mark.parametrize("write", [small_body, large_body])
    def test_take_any_mapping_and_tuples(self, write):
        class Own(Mapping):
            def __getitem__(self, key: str) -> int:
                return {"b": 1}[key]

            def __iter__(self) -> Iterator[str]:
                return iter(["b"])

            def __len__(self) -> int:
                return 1

        document = {"a": MappingProxyType({"c": Own()}), "d": (1, (2,))}
        assert write(document) == b'{"a":{"c":{"b":1}},"d":[1,[2]]}'

    @pytest.mark.parametrize("write", [small_body, large_body])
    @pytest.mark.parametrize("value", [object(), b"bytes", {1, 2}, 1j, {("a", "b"): 1}, [object()], {"x": {"y": b""}}])
    def test_with_what_is_no_json_are_refused(self, write, value):
        with pytest.raises(InvalidRequestError, match="cannot be written as JSON") as caught:
            write({"x": value})
        assert isinstance(caught.value.original_error, TypeError)

    @pytest.mark.parametrize("write", [small_body, large_body])
    def test_in_a_circle_or_too_deep_are_refused(self, write):
        circle = {}
        circle["x"] = [circle]
        deep = []
        for _ in range(100_000):
            deep = [deep]
        for document in (circle, {"x": deep}):
            with pytest.raises(InvalidRequestError, match="cannot be written as JSON"):
                write(document)


class TestWeight:
    def of(self, *messages):
        return weight(GenerateRequest(kind="chat", messages=messages, model="m", options=ChatGenerationOptions()))

    def test_of_text_is_its_length(self):
        assert self.of(ChatMessage(role="user", content="abc"), ChatMessage(role="assistant", content="de")) == 85

    def test_counts_whatever_a_part_holds(self):
        parts = [
            TextPart(text="a" * 1),
            ImagePart(data="QQ==" * 5, media_type="image/png"),
            ImagePart(url="u" * 300),
            DocumentPart(text="d" * 4000),
            ReasoningPart(text="r" * 50_000),
            CacheHintPart(),
        ]
        calls = ChatMessage(role="assistant", content=(ToolCallPart(id="x", name="look", arguments="g" * 600_000),))
        results = ChatMessage(role="tool", content=(ToolResultPart(tool_call_id="x", content="c" * 7_000_000),))
        assert self.of(ChatMessage(role="user", content=parts), calls, results) == 7_654_321 + 3 * 40
