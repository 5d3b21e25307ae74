"""Content blocks of streamed answers."""

from __future__ import annotations

from base64 import b64decode, b64encode

import pytest
from apex_llm_bedrock.answers import Reading
from apex_llm_bedrock.content_blocks import ContentBlocks
from apex_llm_bedrock.tool_names import ToolNames
from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.models import ReasoningPart


def blocks_of(json_tool="", names=None):
    return ContentBlocks(Reading(names=names or ToolNames(), json_tool=json_tool))


def said(chunks):
    return "".join(chunk.text for chunk in chunks)


def calls(chunks):
    return [(call.index, call.id, call.name, call.arguments) for chunk in chunks for call in chunk.tool_calls]


def thoughts(chunks):
    return [chunk.reasoning_part for chunk in chunks if chunk.reasoning_part]


def test_words_go_out_as_they_come():
    blocks = blocks_of()
    assert said(blocks.say("a")) == "a"
    assert blocks.say("") == []
    assert blocks.close() == []


def test_calls_are_numbered_among_themselves_and_get_their_names_back():
    names = ToolNames()
    blocks = blocks_of(names=names)
    written = names.written("get weather")
    chunks = [*blocks.call(3, "a", written), *blocks.call(5, "b", "time"), *blocks.argue(3, "{"), *blocks.argue(3, "}")]
    assert calls(chunks) == [
        (0, "a", "get weather", ""),
        (1, "b", "time", ""),
        (0, None, None, "{"),
        (0, None, None, "}"),
    ]
    assert (blocks.calls, blocks.answered) == (2, False)


@pytest.mark.parametrize("ended", [True, False])
def test_a_call_without_arguments_has_none(ended):
    blocks = blocks_of()
    blocks.call(0, "a", "time")
    assert blocks.argue(0, "") == []
    chunks = [*(blocks.stop(0) if ended else ()), *blocks.close()]
    assert calls(chunks) == [(0, None, None, "{}")]
    assert blocks.close() == []


def test_arguments_of_no_call_are_an_error():
    with pytest.raises(KeyError):
        blocks_of().argue(0, "{}")


def test_what_is_ignored_says_nothing():
    blocks = blocks_of()
    blocks.ignore(0)
    assert [*blocks.argue(0, "{}"), *blocks.stop(0), *blocks.close()] == []
    assert (blocks.calls, blocks.answered) == (0, False)


@pytest.mark.parametrize("ended", [True, False])
def test_thoughts_are_told_in_pieces_and_whole(ended):
    blocks = blocks_of()
    chunks = [
        *blocks.think(1, "text", "H"),
        *blocks.think(1, "text", "m."),
        *blocks.think(1, "signature", "si"),
        *blocks.think(1, "signature", "g"),
        *blocks.think(1, "text", ""),
    ]
    assert [chunk.reasoning for chunk in chunks] == ["H", "m."]
    last = [*(blocks.stop(1) if ended else ()), *blocks.close()]
    assert thoughts(last) == [ReasoningPart(text="Hm.", signature="sig")]


@given(st.lists(st.binary(max_size=7), max_size=5))
def test_encrypted_thoughts_are_put_together_whatever_their_padding(pieces):
    blocks = blocks_of()
    for piece in pieces:
        assert blocks.think(0, "data", b64encode(piece).decode()) == []
    whole = b"".join(pieces)
    assert [b64decode(part.data) for part in thoughts(blocks.stop(0))] == ([whole] if whole else [])


def test_encrypted_thoughts_that_are_no_base64_are_an_error():
    blocks = blocks_of()
    blocks.think(0, "data", "QQ==")
    with pytest.raises(ValueError, match="base64"):
        blocks.think(0, "data", "%%")


def test_the_answers_tool_speaks_once_and_nobody_beside_it():
    blocks = blocks_of("answer")
    chunks = [
        *blocks.say("Here:"),
        *blocks.call(1, "a", "answer"),
        *blocks.argue(1, '{"a":'),
        *blocks.call(2, "b", "answer"),
        *blocks.argue(2, '{"a":2}'),
        *blocks.argue(1, "1}"),
        *blocks.stop(1),
        *blocks.stop(2),
        *blocks.close(),
    ]
    assert (said(chunks), calls(chunks)) == ('{"a":1}', [])
    assert (blocks.calls, blocks.answered) == (0, True)


def test_words_count_when_the_answers_tool_is_not_called():
    blocks = blocks_of("answer")
    assert [*blocks.say("a"), *blocks.say("b")] == []
    assert calls(blocks.call(1, "a", "time"))
    assert said(blocks.close()) == "ab"
    assert blocks.answered is False
