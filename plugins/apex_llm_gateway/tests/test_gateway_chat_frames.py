from __future__ import annotations

import json

import attrs
import pytest
from apex_llm_gateway.openai.chat_frames import ChatFrames
from apex_llm_gateway.openai.chat_response import chat_body
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from apex_llm_core.models import (
    ChatGenerationChunk,
    ChatGenerationResult,
    ChatMessage,
    Choice,
    ReasoningPart,
    TextPart,
    ToolCallDelta,
    ToolCallPart,
    Usage,
    text_chunk,
)

DONE = b"data: [DONE]\n\n"
USAGE = Usage(prompt_tokens=3, completion_tokens=5, cached_tokens=2)


def frames_of(*, include_usage=False, **more) -> ChatFrames:
    return ChatFrames(request_id="r-1", created=17, model="gpt-4o", include_usage=include_usage, **more)


def parsed(said: bytes) -> list[dict]:
    assert said.endswith(b"\n\n") or not said
    events = said.split(b"\n\n")[:-1]
    assert all(event.startswith(b"data: ") and b"\n" not in event for event in events)
    return [json.loads(event[len(b"data: ") :]) for event in events]


def fed(*chunks: ChatGenerationChunk, **more) -> list[dict]:
    return parsed(frames_of(**more).feed(chunks))


def deltas(documents: list[dict], index: int = 0) -> list[dict]:
    return [choice["delta"] for document in documents for choice in document["choices"] if choice["index"] == index]


class TestFrames:
    def test_a_stream_of_text_is_what_openai_sends(self):
        frames = frames_of()
        common = {"id": "chatcmpl-r-1", "object": "chat.completion.chunk", "created": 17, "model": "gpt-4o"}

        documents = parsed(frames.feed([text_chunk('Say "hé"'), text_chunk("\n")]))
        documents += parsed(frames.feed([ChatGenerationChunk(finish_reason="stop", usage=USAGE)]))

        choices = [
            ({"role": "assistant", "content": "", "refusal": None}, None),
            ({"content": 'Say "hé"'}, None),
            ({"content": "\n"}, None),
            ({}, "stop"),
        ]
        assert documents == [
            common | {"choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}]}
            for delta, reason in choices
        ]
        assert frames.finish(USAGE, cost=None, provider="east", attempts=1) == DONE

    def test_a_chunk_that_says_nothing_has_no_frame(self):
        frames = frames_of()
        frames.feed([text_chunk("a")])

        assert frames.feed([text_chunk(""), ChatGenerationChunk(usage=USAGE), ChatGenerationChunk(details={})]) == b""
        assert frames.feed([]) == b""

    def test_the_last_text_stands_before_the_end(self):
        documents = fed(ChatGenerationChunk(text="a", finish_reason="stop"))

        assert deltas(documents)[1:] == [{"content": "a"}, {}]
        assert [document["choices"][0]["finish_reason"] for document in documents] == [None, None, "stop"]

    def test_choices_begin_in_their_order(self):
        documents = fed(text_chunk("b", 1), text_chunk("a", 0))

        assert [document["choices"][0]["index"] for document in documents] == [0, 1, 1, 0]
        assert deltas(documents, 0) == [{"role": "assistant", "content": "", "refusal": None}, {"content": "a"}]
        assert deltas(documents, 1) == [{"role": "assistant", "content": "", "refusal": None}, {"content": "b"}]

    def test_a_choice_far_off_does_not_begin_all_before_it(self):
        assert len(fed(text_chunk("a", 10**9))) < 200

    def test_halves_of_surrogate_pairs_do_not_break_the_stream(self):
        documents = fed(text_chunk("\ud83d"), text_chunk("\ude00"), ChatGenerationChunk(reasoning="\ud800"))

        assert deltas(documents)[1:] == [{"content": "\ud83d"}, {"content": "\ude00"}, {"reasoning_content": "\ud800"}]

    @given(
        st.lists(
            st.builds(
                ChatGenerationChunk,
                text=st.text() | st.sampled_from(["\0", "\\", "\\u0000", "u0000", '"', "\\\0", "\ud83d", "é", "", ""]),
                index=st.sampled_from([0, 0, 1]),
                finish_reason=st.sampled_from([None, None, None, "stop"]),
                details=st.sampled_from([None, None, {"system_fingerprint": "fp"}]),
                reasoning=st.sampled_from(["", "", "hm"]),
            )
            | st.builds(text_chunk, st.sampled_from(["a", "b", ""])),
            max_size=16,
        )
    )
    def test_chunks_together_say_what_they_say_one_by_one(self, chunks):
        frames = frames_of()

        assert fed(*chunks) == [document for chunk in chunks for document in parsed(frames.feed([chunk]))]

    def test_any_number_of_chunks_may_be_alike(self):
        chunks = [ChatGenerationChunk(text="a", details={"system_fingerprint": "fp"})] * 5000

        assert len(fed(*chunks)) == 5001

    def test_log_probabilities_go_with_their_tokens(self):
        documents = fed(ChatGenerationChunk(text="a", logprobs=[{"token": "a", "logprob": -1.0}]))

        entry = {"token": "a", "logprob": -1.0, "bytes": None, "top_logprobs": []}
        assert documents[-1]["choices"][0]["logprobs"] == {"content": [entry], "refusal": None}

    def test_log_probabilities_need_no_text(self):
        documents = fed(
            ChatGenerationChunk(logprobs=[{"token": "a", "logprob": -1.0}]), ChatGenerationChunk(logprobs=[])
        )

        assert len(documents) == 2
        assert documents[1]["choices"][0]["delta"] == {}

    def test_a_finish_reason_openai_does_not_have_stands_beside(self):
        choice = fed(ChatGenerationChunk(finish_reason="pause_turn"))[-1]["choices"][0]

        assert (choice["finish_reason"], choice["native_finish_reason"]) == ("stop", "pause_turn")


class TestToolCalls:
    def test_pieces_are_told_as_openai_tells_them(self):
        documents = fed(
            ChatGenerationChunk(tool_calls=(ToolCallDelta(index=0, id="c1", name="look"),)),
            ChatGenerationChunk(tool_calls=(ToolCallDelta(index=0, arguments='{"a"'),)),
        )

        first = {"index": 0, "id": "c1", "type": "function", "function": {"name": "look", "arguments": ""}}
        assert deltas(documents) == [
            {"role": "assistant", "content": None, "refusal": None},
            {"tool_calls": [first]},
            {"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]},
        ]

    def test_gaps_between_calls_are_closed(self):
        documents = fed(
            ChatGenerationChunk(
                tool_calls=(ToolCallDelta(index=5, id="c5", name="f"), ToolCallDelta(index=2, id="c2", name="g"))
            ),
            ChatGenerationChunk(tool_calls=(ToolCallDelta(index=2, arguments="{}"),)),
        )

        assert [[call["index"] for call in delta["tool_calls"]] for delta in deltas(documents)[1:]] == [[0, 1], [1]]

    def test_choices_count_their_own(self):
        call = (ToolCallDelta(index=0, id="c", name="f"),)
        documents = fed(ChatGenerationChunk(tool_calls=call), ChatGenerationChunk(tool_calls=call, index=1))

        assert [delta["tool_calls"][0]["index"] for index in (0, 1) for delta in deltas(documents, index)[1:]] == [0, 0]

    def test_the_old_spelling(self):
        documents = fed(
            ChatGenerationChunk(tool_calls=(ToolCallDelta(index=0, id="c1", name="look"),)),
            ChatGenerationChunk(tool_calls=(ToolCallDelta(index=0, arguments="{}"),)),
            ChatGenerationChunk(finish_reason="tool_calls"),
            functions=True,
        )

        assert deltas(documents)[1:] == [
            {"function_call": {"name": "look", "arguments": ""}},
            {"function_call": {"arguments": "{}"}},
            {},
        ]
        assert documents[-1]["choices"][0]["finish_reason"] == "function_call"

    def test_the_old_spelling_has_room_for_one(self):
        documents = fed(
            ChatGenerationChunk(
                tool_calls=(ToolCallDelta(index=0, id="c1", name="f"), ToolCallDelta(index=1, id="c2", name="g"))
            ),
            ChatGenerationChunk(finish_reason="tool_calls"),
            functions=True,
        )

        assert deltas(documents)[1]["function_call"]["name"] == "f"
        assert [call["id"] for call in deltas(documents)[1]["tool_calls"]] == ["c2"]
        assert documents[-1]["choices"][0]["finish_reason"] == "tool_calls"


class TestReasoning:
    def test_it_has_a_member_of_its_own(self):
        assert deltas(fed(ChatGenerationChunk(reasoning="Hm")))[1:] == [{"reasoning_content": "Hm"}]

    def test_plain_blocks_need_no_details(self):
        assert len(fed(ChatGenerationChunk(reasoning_part=ReasoningPart(text="Hm")))) == 1

    def test_details_are_counted_on(self):
        documents = fed(
            ChatGenerationChunk(reasoning_part=ReasoningPart(text="a")),
            ChatGenerationChunk(reasoning_part=ReasoningPart(text="b", signature="s")),
            ChatGenerationChunk(reasoning_part=ReasoningPart(text="c")),
        )

        assert [delta["reasoning_details"] for delta in deltas(documents)[1:]] == [
            [
                {"type": "reasoning", "index": 0, "text": "a"},
                {"type": "reasoning", "index": 1, "text": "b", "signature": "s"},
            ],
            [{"type": "reasoning", "index": 2, "text": "c"}],
        ]


class TestWhatWasToldBeside:
    def test_a_refusal_is_no_content(self):
        documents = fed(ChatGenerationChunk(text="I ca", details={"refusal": "I ca"}))

        assert deltas(documents)[1:] == [{"refusal": "I ca"}]

    def test_a_replayed_answer_has_its_refusal_by_choice(self):
        details = {"refusal": {"1": "No."}}
        documents = fed(text_chunk("No.", 1), ChatGenerationChunk(index=1, finish_reason="stop", details=details))

        assert deltas(documents, 1)[1:] == [{"content": "No."}, {"refusal": "No."}, {}]

    def test_audio_is_passed_on(self):
        documents = fed(ChatGenerationChunk(details={"audio": {"id": "a", "data": "AAAA"}}))

        assert deltas(documents)[1:] == [{"audio": {"id": "a", "data": "AAAA"}}]

    def test_the_service_is_named_once_it_is_known(self):
        frames = frames_of(include_usage=True)
        before = parsed(frames.feed([text_chunk("a")]))
        documents = parsed(frames.feed([ChatGenerationChunk(details={"system_fingerprint": "fp"}), text_chunk("b")]))
        documents += parsed(frames.feed([ChatGenerationChunk(finish_reason="stop")]))
        documents += parsed(frames.finish(USAGE, cost=None, provider="p", attempts=1).removesuffix(DONE))

        assert all("system_fingerprint" not in document for document in before)
        assert [document["system_fingerprint"] for document in documents] == ["fp"] * 3


class TestUsage:
    def test_all_frames_but_the_last_say_that_theirs_is_null(self):
        assert all(document["usage"] is None for document in fed(text_chunk("a"), include_usage=True))
        assert all("usage" not in document for document in fed(text_chunk("a")))

    def test_the_last_frame_tells_usage_and_origin(self):
        said = frames_of(include_usage=True).finish(USAGE, cost=0.25, provider="east", attempts=2)

        assert said.endswith(DONE)
        (document,) = parsed(said.removesuffix(DONE))
        assert document["choices"] == []
        assert document["usage"]["total_tokens"] == 8
        assert document["usage"]["prompt_tokens_details"] == {"cached_tokens": 2}
        assert document["x_apex"] == {"provider": "east", "model": "gpt-4o", "attempts": 2, "cost": 0.25}

    def test_what_is_unknown_is_not_told(self):
        said = frames_of(include_usage=True).finish(None, cost=None, provider="east", attempts=1)
        (document,) = parsed(said.removesuffix(DONE))

        assert document["usage"] is None
        assert "cost" not in document["x_apex"]

    def test_a_cost_that_is_no_number_is_null(self):
        said = frames_of(include_usage=True).finish(None, cost=float("inf"), provider="east", attempts=1)

        assert parsed(said.removesuffix(DONE))[0]["x_apex"]["cost"] is None


# What clients make of a stream.

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
THOUGHTS = st.builds(ReasoningPart, text=TEXTS, signature=st.none() | TEXTS, data=st.none() | TEXTS)


@attrs.define
class Said:
    """One choice: its chunks, and what they are together."""

    chunks: list[ChatGenerationChunk]
    choice: Choice


@st.composite
def choices(draw, index: int) -> Said:
    chunks: list[ChatGenerationChunk] = []
    parts = draw(st.lists(THOUGHTS, max_size=3))
    for part in parts:
        cut = draw(st.integers(0, len(part.text)))
        chunks += [ChatGenerationChunk(reasoning=piece, index=index) for piece in (part.text[:cut], part.text[cut:])]
        chunks.append(ChatGenerationChunk(reasoning_part=part, index=index))
    pieces = draw(st.lists(TEXTS, max_size=4))
    chunks += [text_chunk(piece, index) for piece in pieces]
    calls = []
    for position in draw(st.lists(st.integers(0, 9), max_size=3, unique=True)):
        arguments = draw(st.lists(TEXTS, max_size=3))
        calls.append(ToolCallPart(id=f"c{position}", name=f"f{position}", arguments="".join(arguments)))
        first = ToolCallDelta(index=position, id=f"c{position}", name=f"f{position}")
        later = [ToolCallDelta(index=position, arguments=piece) for piece in arguments]
        chunks += [ChatGenerationChunk(tool_calls=(delta,), index=index) for delta in (first, *later)]
    reason = draw(st.sampled_from(["stop", "length", "tool_calls", "content_filter"]))
    logprobs = [{"token": piece, "logprob": -1.0, "bytes": None, "top_logprobs": []} for piece in pieces]
    if draw(st.booleans()) and pieces:
        chunks = [
            attrs.evolve(chunk, logprobs=[{"token": chunk.text, "logprob": -1.0}]) if chunk.text else chunk
            for chunk in chunks
        ]
    else:
        logprobs = []
    chunks.append(ChatGenerationChunk(finish_reason=reason, index=index))
    message = ChatMessage(role="assistant", content=[*parts, TextPart(text="".join(pieces)), *calls])
    return Said(chunks, Choice(index=index, message=message, finish_reason=reason, logprobs=logprobs or None))


@st.composite
def streams(draw) -> tuple[list[list[ChatGenerationChunk]], list[Choice]]:
    """Choices that come in turn, cut into batches anywhere."""
    said = [draw(choices(index)) for index in range(draw(st.integers(1, 3)))]
    waiting = {index: list(one.chunks) for index, one in enumerate(said)}
    batches: list[list[ChatGenerationChunk]] = [[]]
    while waiting:
        index = draw(st.sampled_from(sorted(waiting)))
        batches[-1].append(waiting[index].pop(0))
        if not waiting[index]:
            del waiting[index]
        if draw(st.booleans()):
            batches.append([])
    return batches, [one.choice for one in said]


def message_without_nulls(message: dict) -> dict:
    kept = {name: value for name, value in message.items() if value not in (None, "", [])}
    # The official client adds what its helpers parsed, and the index that calls have in streams alone.
    kept.pop("parsed", None)
    kept["tool_calls"] = [
        {"id": call["id"], "function": {name: call["function"][name] for name in ("name", "arguments")}}
        for call in kept.get("tool_calls", ())
    ]
    return kept


@given(stream=streams(), include_usage=st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_official_client_makes_of_a_stream_what_the_whole_answer_says(stream, include_usage):
    batches, expected = stream
    frames = frames_of(include_usage=include_usage)
    said = b"".join(frames.feed(batch) for batch in batches)
    said += frames.finish(USAGE, cost=None, provider="p", attempts=1).removesuffix(DONE)
    state = ChatCompletionStreamState()
    for event in said.split(b"\n\n")[:-1]:
        list(state.handle_chunk(ChatCompletionChunk.model_validate_json(event[len(b"data: ") :], strict=True)))
    folded = state.current_completion_snapshot.to_dict()

    result = ChatGenerationResult.of(expected, model="gpt-4o", provider="p", usage=USAGE)
    whole = json.loads(chat_body(result, request_id="r-1", created=17))
    assert (folded["id"], folded["model"], folded["created"]) == (whole["id"], whole["model"], whole["created"])
    assert (folded.get("usage") is not None) == include_usage
    for one, other in zip(folded["choices"], whole["choices"], strict=True):
        assert one["finish_reason"] == other["finish_reason"]
        assert one["index"] == other["index"]
        assert message_without_nulls(one["message"]) == message_without_nulls(other["message"])
        assert (one["logprobs"] or {}).get("content") == (other["logprobs"] or {}).get("content")


@given(texts=st.lists(st.text(st.characters(codec=None), min_size=1), min_size=1))
def test_all_text_arrives_however_it_is_cut(texts):
    frames = frames_of()
    documents = [document for text in texts for document in parsed(frames.feed([text_chunk(text)]))]

    assert "".join(delta.get("content") or "" for delta in deltas(documents)) == "".join(texts)


@pytest.mark.parametrize("model", ['"', "\n\n", "\ud800", "日本"])
def test_no_name_breaks_a_frame(model):
    frames = ChatFrames(request_id="r", created=1, model=model, include_usage=True)
    said = frames.feed([text_chunk("a")]) + frames.finish(USAGE, cost=0.0, provider=model, attempts=1)

    assert {document["model"] for document in parsed(said.removesuffix(DONE))} == {model}
