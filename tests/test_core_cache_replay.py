from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apex_llm_core.cache import Recorder, replayed
from apex_llm_core.models import (
    ChatGenerationChunk,
    ChatGenerationOptions,
    ChatGenerationResult,
    ChatMessage,
    Choice,
    FunctionCall,
    FunctionDefinition,
    GenerateRequest,
    ImagePart,
    ReasoningPart,
    TextPart,
    ToolCallDelta,
    ToolCallPart,
    Usage,
)
from apex_llm_core.testing.streams import put_together

Chunk = ChatGenerationChunk


def asked(**options: Any) -> GenerateRequest:
    return GenerateRequest(
        kind="chat",
        messages=(ChatMessage(role="user", content="?"),),
        model="m",
        options=ChatGenerationOptions(**options),
        stream=True,
    )


def recorded(
    *batches: list[Chunk], cost: float | None = None, request: GenerateRequest | None = None
) -> ChatGenerationResult | None:
    recorder = Recorder()
    for batch in batches:
        recorder.add(batch)
    return recorder.result("p", "m", cost, request or asked())


def answer(*content: Any, finish_reason: str = "stop", **fields: Any) -> ChatGenerationResult:
    message = ChatMessage(role="assistant", content=content[0] if content and type(content[0]) is str else content)
    return ChatGenerationResult(message=message, finish_reason=finish_reason, model="m", provider="p", **fields)


texts = st.text(st.characters(codec=None), min_size=1, max_size=5)
words = st.sampled_from(["stop", "length", "tool_calls", "content_filter", "own_word"])
usages = st.none() | st.builds(
    Usage, prompt_tokens=st.integers(0, 9), completion_tokens=st.integers(0, 9), cached_tokens=st.integers(0, 3)
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=3,
)
details = st.none() | st.dictionaries(texts, json_values, max_size=2)
logprobs = st.none() | st.lists(json_values, max_size=2) | st.fixed_dictionaries({"content": st.lists(json_values)})
reasoning = st.builds(ReasoningPart, text=texts | st.just(""), signature=st.none() | texts, data=st.none() | texts)
tool_calls = st.builds(ToolCallPart, id=texts, name=texts, arguments=texts)


def as_one_writes_it(parts: list[Any]) -> Any:
    """Return content in the form providers give it: text alone as text, no two texts in a row."""
    content: list[Any] = []
    for part in parts:
        if isinstance(part, TextPart) and content and isinstance(content[-1], TextPart):
            content[-1] = TextPart(text=content[-1].text + part.text)
        else:
            content.append(part)
    if not content:
        return ""
    return content[0].text if len(content) == 1 and isinstance(content[0], TextPart) else content


contents = st.lists(st.builds(TextPart, text=texts) | reasoning | tool_calls, max_size=4).map(as_one_writes_it)


@st.composite
def results(draw):
    choices = [
        Choice(
            index=index,
            message=ChatMessage(role="assistant", content=draw(contents)),
            finish_reason=draw(words),
            logprobs=draw(logprobs),
        )
        for index in range(draw(st.integers(1, 3)))
    ]
    return ChatGenerationResult.of(
        choices,
        model="m",
        provider="p",
        usage=draw(usages),
        cost=draw(st.none() | st.floats(0, 1)),
        details=draw(details),
    )


@settings(max_examples=400, deadline=None)
@given(result=results())
def test_what_is_replayed_is_a_stream_and_is_recorded_as_it_was(result):
    batches = replayed(result)
    streamed = put_together(batches)
    assert [choice.text for choice in streamed.choices] == [choice.message.text for choice in result.choices]
    assert [choice.tool_calls for choice in streamed.choices] == [c.message.tool_calls for c in result.choices]
    assert [choice.finish_reason for choice in streamed.choices] == [c.finish_reason for c in result.choices]
    assert streamed.usage == result.usage
    request = asked(n=len(result.choices))
    assert recorded(*batches, cost=result.cost, request=request) == result


@st.composite
def streams(draw):
    """Draw the reads of a stream that keeps the rules: choices, calls and reasoning interleaved."""
    chunks: list[Chunk] = []
    choices = draw(st.integers(1, 2))
    begun = [0] * choices
    thought = [""] * choices
    for index in draw(st.lists(st.integers(0, choices - 1), max_size=12)):
        what = draw(st.sampled_from(["text", "reasoning", "part", "call", "arguments", "odd"]))
        if what == "text":
            chunks.append(Chunk(text=draw(texts), index=index))
        elif what == "reasoning":
            # Its whole block follows, so that nothing may stand between its pieces.
            pieces = draw(st.lists(texts, min_size=1, max_size=3))
            chunks.extend(Chunk(reasoning=piece, index=index) for piece in pieces)
            thought[index] = "".join(pieces)
            if draw(st.booleans()):
                part = ReasoningPart(text=thought[index], signature=draw(texts))
                chunks.append(Chunk(reasoning_part=part, index=index))
            else:
                chunks.append(Chunk(text="|", index=index))
        elif what == "part":
            chunks.append(Chunk(reasoning_part=ReasoningPart(data=draw(texts)), index=index))
        elif what == "call":
            delta = ToolCallDelta(index=begun[index], id=draw(texts), name=draw(texts), arguments=draw(texts))
            chunks.append(Chunk(tool_calls=(delta,), index=index))
            begun[index] += 1
        elif what == "arguments" and begun[index]:
            # Parallel calls come in turns.
            delta = ToolCallDelta(index=draw(st.integers(0, begun[index] - 1)), arguments=draw(texts))
            chunks.append(Chunk(tool_calls=(delta,), index=index))
        else:
            chunks.append(Chunk(index=index))
    usage = draw(usages)
    for index in range(choices):
        last = index == choices - 1
        chunks.append(Chunk(finish_reason=draw(words), usage=usage if last else None, index=index))
    reads: list[list[Chunk]] = []
    while chunks:
        size = draw(st.integers(1, len(chunks)))
        reads.append(chunks[:size])
        chunks = chunks[size:]
    return reads


@settings(max_examples=400, deadline=None)
@given(reads=streams())
def test_what_was_recorded_is_replayed_to_the_same(reads):
    original = put_together(reads)
    result = recorded(*reads, request=asked(n=len(original.choices)))
    assert result is not None
    again = put_together(replayed(result))
    assert again.usage == original.usage
    for one, other in zip(again.choices, original.choices, strict=True):
        assert (one.text, one.reasoning, one.tool_calls, one.finish_reason) == (
            *(other.text, other.reasoning),
            *(other.tool_calls, other.finish_reason),
        )
        # What came without its whole block gets one that nothing has to be sent back with.
        plain = [part for part in one.reasoning_parts if part in other.reasoning_parts]
        assert plain == other.reasoning_parts
        assert all(p.signature is None and p.data is None for p in one.reasoning_parts if p not in plain)


class TestRecorder:
    def test_text_is_text_and_details_cost_and_usage_come_along(self):
        usage = Usage(prompt_tokens=1, completion_tokens=2)
        result = recorded(
            [Chunk(text="Hel"), Chunk(text="lo", details={"region": "eu"})],
            [Chunk(finish_reason="stop", details={"model": "x", "region": "eu"}), Chunk(usage=usage)],
            cost=0.5,
        )
        assert result == answer("Hello", usage=usage, cost=0.5, details={"region": "eu", "model": "x"})

    def test_parts_keep_the_order_in_which_they_began(self):
        signed = ReasoningPart(text="ab", signature="s")
        result = recorded(
            [Chunk(reasoning="a"), Chunk(reasoning="b"), Chunk(reasoning_part=signed), Chunk(text="x")],
            [Chunk(tool_calls=(ToolCallDelta(index=0, id="i", name="f", arguments="{"),)), Chunk(text="y")],
            [Chunk(tool_calls=(ToolCallDelta(index=0, arguments="}"),)), Chunk(finish_reason="tool_calls")],
        )
        assert result is not None
        call = ToolCallPart(id="i", name="f", arguments="{}")
        assert result.message.content == (signed, TextPart(text="x"), call, TextPart(text="y"))

    def test_calls_come_in_the_order_of_their_indexes(self):
        calls = [ToolCallDelta(index=index, id=f"i{index}", name="f", arguments="{}") for index in (1, 0)]
        result = recorded([Chunk(tool_calls=(call,)) for call in calls], [Chunk(finish_reason="tool_calls")])
        assert result is not None
        assert [call.id for call in result.message.tool_calls] == ["i0", "i1"]

    def test_a_block_of_reasoning_may_be_completed_after_the_text(self):
        signed = ReasoningPart(text="why", signature="s")
        result = recorded(
            [Chunk(reasoning="why"), Chunk(text="so"), Chunk(reasoning_part=signed), Chunk(finish_reason="stop")]
        )
        assert result == answer(signed, TextPart(text="so"))

    def test_reasoning_without_a_whole_block_is_a_part_as_well(self):
        result = recorded([Chunk(reasoning="w"), Chunk(reasoning="hy", text="so"), Chunk(finish_reason="stop")])
        assert result == answer(ReasoningPart(text="why"), TextPart(text="so"))

    @pytest.mark.parametrize(
        ("pieces", "whole"),
        [
            ([[1], [2, 3]], [1, 2, 3]),
            ([{"content": [1], "refusal": None}, {"content": [2]}], {"content": [1, 2], "refusal": None}),
            ([{"content": [1], "refusal": [9]}, {"content": None}], {"content": [1], "refusal": [9]}),
            (["opaque"], "opaque"),
        ],
    )
    def test_log_probabilities_are_joined(self, pieces, whole):
        result = recorded([Chunk(text="x", logprobs=piece) for piece in pieces], [Chunk(finish_reason="stop")])
        assert result is not None
        assert result.choices[0].logprobs == whole

    def test_what_is_done_to_a_list_of_chunks_later_does_not_matter(self):
        recorder = Recorder()
        batch = [Chunk(text="kept"), Chunk(finish_reason="stop")]
        recorder.add(batch)
        batch.clear()
        assert recorder.result("p", "m", None, asked()) == answer("kept")

    end = Chunk(finish_reason="stop")
    call = Chunk(tool_calls=(ToolCallDelta(index=0, id="i", name="f", arguments="{}"),))

    @pytest.mark.parametrize(
        ("chunks", "options"),
        [
            ([], {}),
            ([Chunk(text="x")], {}),
            ([Chunk(text="x"), end], {"n": 2}),
            ([Chunk(text="x"), Chunk(text="y", index=1), end], {}),
            ([end, attrs.evolve(end, index=2)], {}),
            ([end, end], {}),
            ([end, Chunk(text="more")], {}),
            ([end, Chunk(reasoning="more")], {}),
            ([end, call], {}),
            ([Chunk(finish_reason="")], {}),
            ([Chunk(tool_calls=(ToolCallDelta(index=0, name="f", arguments="{}"),)), end], {}),
            ([Chunk(tool_calls=(ToolCallDelta(index=0, id="i", arguments="{}"),)), end], {}),
            ([call, Chunk(tool_calls=(ToolCallDelta(index=0, id="j"),)), end], {}),
            ([call, Chunk(tool_calls=(ToolCallDelta(index=0, name="g"),)), end], {}),
            ([Chunk(tool_calls=(ToolCallDelta(index=0, id="i", name="f"),)), end], {}),
            ([call, end], {"functions": [FunctionDefinition(name="f")]}),
            ([Chunk(reasoning="a"), Chunk(reasoning_part=ReasoningPart(text="b", signature="s")), end], {}),
            ([Chunk(reasoning_part=ReasoningPart(text="b", signature="s")), end], {}),
            ([Chunk(text="x", details={"refusal": "I "}), Chunk(text="y", details={"refusal": "won't"}), end], {}),
            ([Chunk(text="x", logprobs=[1]), Chunk(text="y", logprobs={"content": [2]}), end], {}),
            ([Chunk(text="x", logprobs=0.5), Chunk(text="y", logprobs=0.5), end], {}),
        ],
        ids=[
            *("empty", "truncated", "choice-missing", "choice-truncated", "choice-left-out", "two-ends"),
            *("text-after-end", "reasoning-after-end", "call-after-end", "empty-reason", "call-without-id"),
            *("call-without-name", "call-changes-id", "call-changes-name", "call-without-arguments", "function"),
            *("other-reasoning", "unheard-reasoning", "details-in-pieces", "logprobs-of-two-forms", "logprob-numbers"),
        ],
    )
    def test_there_is_no_recording_of(self, chunks, options):
        assert recorded(chunks, request=asked(**options)) is None


class TestReplayed:
    def test_usage_and_details_come_with_the_last_finish_reason(self):
        usage = Usage(prompt_tokens=1, completion_tokens=2)
        choices = [
            Choice(index=index, message=ChatMessage(role="assistant", content=text), finish_reason="stop")
            for index, text in enumerate(["a", "b"])
        ]
        result = ChatGenerationResult.of(choices, model="m", provider="p", usage=usage, details={"region": "eu"})
        assert replayed(result) == [
            [Chunk(text="a"), Chunk(finish_reason="stop")],
            [
                Chunk(text="b", index=1),
                Chunk(finish_reason="stop", index=1, usage=usage, details={"region": "eu"}),
            ],
        ]

    def test_choices_are_numbered_as_they_stand(self):
        twice = [Choice(message=ChatMessage(role="assistant", content=text), finish_reason="stop") for text in "ab"]
        streamed = put_together(replayed(ChatGenerationResult.of(twice, model="m", provider="p")))
        assert [choice.text for choice in streamed.choices] == ["a", "b"]

    def test_an_answer_without_choices_is_its_message(self):
        result = attrs.evolve(answer("hi"), choices=())
        assert put_together(replayed(result)).text == "hi"

    def test_calls_in_the_older_spelling_and_without_an_id_get_one(self):
        message = ChatMessage(
            role="assistant",
            content=[ToolCallPart(id="", name="f", arguments="1")],
            function_call=FunctionCall(name="g", arguments="2"),
        )
        result = ChatGenerationResult(message=message, finish_reason="tool_calls", model="m", provider="p")
        assert put_together(replayed(result)).choices[0].tool_calls == (
            ToolCallPart(id="call_0", name="f", arguments="1"),
            ToolCallPart(id="call_1", name="g", arguments="2"),
        )

    def test_what_no_stream_carries_is_named(self):
        image = ImagePart(url="https://example.com/cat.png")
        (batch,) = replayed(answer(TextPart(text="look"), image, details={"region": "eu"}))
        assert put_together([batch]).text == "look"
        assert batch[-1].details == {"region": "eu", "left_out": ["image"]}

    def test_log_probabilities_come_with_the_text_or_with_the_end(self):
        def told(content: Any) -> list[Any]:
            choice = Choice(
                message=ChatMessage(role="assistant", content=content), finish_reason="stop", logprobs=[0.5]
            )
            return [chunk.logprobs for chunk in replayed(ChatGenerationResult.of([choice], model="m", provider="p"))[0]]

        assert told([ReasoningPart(text="r"), TextPart(text="x")]) == [None, [0.5], None]
        assert told("") == [[0.5]]
