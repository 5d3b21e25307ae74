"""The decoder of streamed chat completions, fed with the bytes that Azure sends."""

from __future__ import annotations

import json

import pytest
from apex_llm_azure.streaming import ChatStreamDecoder
from hypothesis import example, given
from hypothesis import strategies as st

from apex_llm_core.errors import ServiceUnavailableError, UnknownError
from apex_llm_core.models import ChatGenerationChunk, ToolCallDelta, Usage

SAFE = {category: {"filtered": False, "severity": "safe"} for category in ("hate", "sexual", "violence", "self_harm")}
PROMPT = {
    "id": "",
    "object": "",
    "created": 0,
    "model": "",
    "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": SAFE}],
    "choices": [],
    "usage": None,
}
DONE = b"data: [DONE]\n\n"


def chunk(delta=None, *, index=0, finish_reason=None, **more):
    choice = {"index": index, "finish_reason": finish_reason, "logprobs": None, **more}
    if delta is not None:
        choice["delta"] = delta
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "model": "gpt-4o-2024-08-06",
        "choices": [choice],
        "usage": None,
    }


def usage(prompt=7, completion=3):
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return {"id": "chatcmpl-1", "model": "gpt-4o-2024-08-06", "choices": [], "usage": counts}


def sse(*documents, end="\n\n"):
    return "".join(f"data: {json.dumps(document, ensure_ascii=False)}{end}" for document in documents).encode()


ANSWER = (
    PROMPT,
    chunk({"role": "assistant", "content": "", "refusal": None}),
    chunk({"content": "Grüß "}, content_filter_results=SAFE),
    chunk({"content": "Gott 👋"}, content_filter_results=SAFE),
    chunk({}, finish_reason="stop", content_filter_results={}),
    usage(),
)


def error_of(document):
    return UnknownError(document["error"]["message"])


def decode(*packets, choices=1):
    decoder = ChatStreamDecoder(error_of, choices=choices)
    chunks = [piece for packet in packets for piece in decoder.feed(packet)]
    chunks += decoder.close()
    return chunks, decoder


def text_of(chunks):
    return "".join(piece.text for piece in chunks)


def test_an_answer_with_everything_around_it():
    chunks, decoder = decode(sse(*ANSWER) + DONE)
    assert decoder.done
    assert decoder.failure is None
    assert [piece.text for piece in chunks] == ["Grüß ", "Gott 👋", ""]
    last = chunks[-1]
    assert (last.finish_reason, last.usage) == ("stop", Usage(prompt_tokens=7, completion_tokens=3))
    assert last.details == {
        "content_filter_results": SAFE,
        "served_model": "gpt-4o-2024-08-06",
        "prompt_filter_results": PROMPT["prompt_filter_results"],
    }


@given(st.lists(st.integers(0, 3000), max_size=20), st.sampled_from(["\n\n", "\r\n\r\n", "\r\r"]))
@example(list(range(3000)), "\r\n\r\n")
def test_any_split_gives_the_same_answer(cuts, end):
    stream = sse(*ANSWER, end=end) + DONE
    places = sorted({cut % len(stream) for cut in cuts})
    packets = [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]
    assert decode(*packets)[0] == decode(sse(*ANSWER) + DONE)[0]


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=6))
@example(b'data: {"choices": 7}\n\n', [])
@example(b'data: {"choices": [7]}\n\n', [])
@example(b'data: {"choices": [{"delta": 7}]}\n\n', [])
@example(b'data: {"choices": [{"delta": {"tool_calls": 7}}]}\n\n', [])
@example(b'data: {"choices": [{"index": [], "delta": {"content": "x"}}]}\n\n', [])
@example(b'data: {"choices": [{"delta": {"content": {"x": 1}}}]}\n\ndata: [DONE]\n\n', [])
@example(b'data: {"choices": [{"delta": {}, "finish_reason": {}}]}\n\ndata: [DONE]\n\n', [])
@example(b"data: null\n\n", [])
def test_garbage_is_a_typed_failure_and_nothing_else(stream, cuts):
    places = sorted({cut % (len(stream) + 1) for cut in cuts})
    packets = [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]
    chunks, decoder = decode(*packets)
    assert isinstance(decoder.failure, ServiceUnavailableError)
    assert not any(piece.finish_reason for piece in chunks)


def test_complaint_01_the_first_event_has_no_choices():
    chunks, decoder = decode(sse(PROMPT))
    assert chunks == []
    assert not decoder.done


@pytest.mark.parametrize("where", [1, 2, 3, 4, 5])
def test_complaint_02_an_annotation_without_delta_may_come_anywhere(where):
    late = {
        "id": "",
        "object": "",
        "model": "",
        "choices": [
            {
                "index": 0,
                "finish_reason": None,
                "content_filter_results": {"violence": {"filtered": False, "severity": "medium"}},
                "content_filter_offsets": {"check_offset": 44, "start_offset": 44, "end_offset": 198},
            }
        ],
    }
    chunks, decoder = decode(sse(*ANSWER[:where], late, *ANSWER[where:]) + DONE)
    assert decoder.done
    assert text_of(chunks) == "Grüß Gott 👋"
    assert [piece.finish_reason for piece in chunks if piece.finish_reason] == ["stop"]
    kept = chunks[-1].details["content_filter_results"]
    assert kept.keys() == SAFE.keys()


@pytest.mark.parametrize("reason", ["content_filter", None])
def test_a_late_verdict_overrides_the_finish_reason(reason):
    verdict = {"protected_material_text": {"detected": True, "filtered": True}}
    late = chunk(finish_reason=reason, content_filter_results=verdict)
    chunks, _ = decode(sse(*ANSWER[:5], late, ANSWER[5]) + DONE)
    assert [piece.finish_reason for piece in chunks if piece.finish_reason] == ["content_filter"]
    assert chunks[-1].details["content_filter_results"] == {**SAFE, **verdict}
    assert chunks[-1].usage is not None


HELD = {"protected_material_text": {"detected": True, "filtered": True}}


@pytest.mark.parametrize(
    "events",
    [
        [chunk({}, finish_reason="content_filter"), chunk({}, finish_reason="stop")],
        [chunk(content_filter_results=HELD), chunk({}, finish_reason="stop")],
        [chunk({}, finish_reason="stop"), chunk({}, content_filter_results=HELD)],
        [chunk({}, finish_reason="stop"), {**chunk(content_filter_results=HELD), "delta": None}],
        [chunk({}, finish_reason="stop"), chunk({"content": ""}, content_filter_results=HELD)],
    ],
    ids=["reason before stop", "annotation before stop", "empty delta", "no delta", "empty text"],
)
def test_a_verdict_stands_in_any_order(events):
    chunks, decoder = decode(sse(*ANSWER[:4], *events) + DONE)
    assert decoder.done
    assert [piece.finish_reason for piece in chunks if piece.finish_reason] == ["content_filter"]


def test_an_empty_finish_reason_is_none():
    stream = sse(chunk({"content": "Once upon"}, finish_reason=""), chunk({}, finish_reason=""))
    assert "finish reason" in decode(stream + DONE)[1].failure.message


@pytest.mark.parametrize(
    "document",
    [
        {"statusCode": 429, "message": "slow down"},
        {"code": "429", "message": "slow down"},
        {"object": "error", "message": "slow down"},
        {**chunk({"content": "x"}), "error": {"message": "slow down"}},
    ],
)
def test_a_failure_in_any_form_is_one(document):
    decoder = ChatStreamDecoder(lambda said: UnknownError(str(said)))
    decoder.feed(sse(*ANSWER[:3], document))
    assert isinstance(decoder.failure, UnknownError)


def test_a_milder_annotation_later_does_not_hide_a_verdict():
    held = {"hate": {"filtered": True, "severity": "high"}}
    stream = sse(
        chunk({"content": "x"}, content_filter_results=held),
        chunk({}, finish_reason="content_filter", content_filter_results=SAFE),
    )
    chunks, _ = decode(stream + DONE)
    assert chunks[-1].details["content_filter_results"]["hate"] == held["hate"]


@pytest.mark.parametrize("events", [0, 1, 3, 5, 6])
def test_complaint_03_an_end_without_the_terminal_event_is_an_error(events):
    chunks, decoder = decode(sse(*ANSWER[:events]))
    assert isinstance(decoder.failure, ServiceUnavailableError)
    assert "incomplete" in decoder.failure.message
    assert not any(piece.finish_reason for piece in chunks)


def test_done_without_a_finish_reason_is_an_error():
    chunks, decoder = decode(sse(*ANSWER[:4]) + DONE)
    assert "finish reason" in decoder.failure.message
    assert text_of(chunks) == "Grüß Gott 👋"


def test_one_of_two_choices_without_a_finish_reason_is_an_error():
    stream = sse(chunk({"content": "a"}), chunk({"content": "b"}, index=1), chunk({}, finish_reason="stop"))
    assert "choice 1" in decode(stream + DONE, choices=2)[1].failure.message


def test_a_final_event_without_newline_counts():
    chunks, decoder = decode(sse(*ANSWER) + b"data: [DONE]")
    assert decoder.done
    assert chunks[-1].finish_reason == "stop"


def test_an_error_event_comes_after_the_chunks_before_it():
    decoder = ChatStreamDecoder(error_of)
    chunks = decoder.feed(sse(*ANSWER[:3], {"error": {"code": "server_error", "message": "we are sorry"}}, ANSWER[3]))
    assert text_of(chunks) == "Grüß "
    assert decoder.failure.message == "we are sorry"
    assert decoder.feed(sse(ANSWER[3])) == []


@pytest.mark.parametrize(
    "broken", [b"data: {nope\n\n", b"data: \xff\n\n", b"data: 7\n\n", b'data: "x"\n\n', b"data: {}{}\n\n"]
)
def test_a_broken_event_comes_after_the_chunks_before_it(broken):
    decoder = ChatStreamDecoder(error_of)
    chunks = decoder.feed(sse(*ANSWER[:3]) + broken + sse(ANSWER[3]))
    assert text_of(chunks) == "Grüß "
    assert isinstance(decoder.failure, ServiceUnavailableError)
    assert "no JSON object" in decoder.failure.message


def test_two_halves_of_a_document_are_not_taken_for_one():
    decoder = ChatStreamDecoder(error_of)
    decoder.feed(b'data: {"choices": [{}\n\ndata: {}]}\n\n')
    assert "no JSON object" in decoder.failure.message


def test_nothing_after_done_counts():
    chunks, decoder = decode(sse(*ANSWER) + DONE + sse(chunk({"content": "more"})), sse({"error": {"message": "late"}}))
    assert text_of(chunks) == "Grüß Gott 👋"
    assert decoder.failure is None


def test_comments_and_keep_alives_are_nothing():
    stream = b": ping\n\n" + sse(*ANSWER[:3]) + b":\n\n" + sse(*ANSWER[3:]) + DONE
    assert decode(stream)[0] == decode(sse(*ANSWER) + DONE)[0]


def test_a_stream_without_usage_has_none():
    chunks, _ = decode(sse(*ANSWER[:5]) + DONE)
    assert chunks[-1].usage is None


def test_tool_calls_come_in_pieces():
    def call(index, **more):
        return chunk({"tool_calls": [{"index": index, **more}]})

    stream = sse(
        chunk({"role": "assistant", "content": None}),
        call(0, id="call_1", type="function", function={"name": "weather", "arguments": ""}),
        call(0, function={"arguments": '{"city":'}),
        call(0, function={"arguments": '"Oslo"}'}),
        call(1, id="call_2", type="function", function={"name": "time", "arguments": None}),
        chunk({}, finish_reason="tool_calls"),
    )
    chunks, _ = decode(stream + DONE)
    deltas = [delta for piece in chunks for delta in piece.tool_calls]
    assert deltas == [
        ToolCallDelta(index=0, id="call_1", name="weather"),
        ToolCallDelta(index=0, arguments='{"city":'),
        ToolCallDelta(index=0, arguments='"Oslo"}'),
        ToolCallDelta(index=1, id="call_2", name="time"),
    ]
    assert chunks[-1].finish_reason == "tool_calls"


def test_the_older_function_call_is_a_tool_call():
    stream = sse(
        chunk({"function_call": {"name": "weather", "arguments": "{}"}}), chunk({}, finish_reason="function_call")
    )
    chunks, _ = decode(stream + DONE)
    assert chunks[0].tool_calls == (ToolCallDelta(index=0, name="weather", arguments="{}"),)
    assert chunks[-1].finish_reason == "tool_calls"


def test_logprobs_refusals_reasoning_and_grounding_are_kept():
    logprobs = {"content": [{"token": "x", "logprob": -0.5}], "refusal": None}
    stream = sse(
        chunk({"content": "x"}, logprobs=logprobs),
        chunk({"refusal": "I will not."}),
        chunk({"reasoning_content": "hm"}),
        chunk({"role": "assistant", "context": {"intent": "[]", "citations": []}}),
        chunk({}, finish_reason="stop"),
    )
    (first, refusal, reasoning, grounded, _), _ = decode(stream + DONE)
    assert first == ChatGenerationChunk(text="x", logprobs=logprobs)
    assert refusal == ChatGenerationChunk(text="I will not.", details={"refusal": "I will not."})
    assert reasoning == ChatGenerationChunk(reasoning="hm")
    assert grounded.details == {"context": {"intent": "[]", "citations": []}}


def test_choices_take_turns_and_each_ends_once():
    stream = sse(
        chunk({"content": "a"}),
        chunk({"content": "b"}, index=1),
        chunk({}, index=1, finish_reason="length"),
        chunk({}, finish_reason="stop"),
        usage(),
    )
    chunks, _ = decode(stream + DONE, choices=2)
    assert [(piece.index, piece.text, piece.finish_reason) for piece in chunks] == [
        (0, "a", None),
        (1, "b", None),
        (0, "", "stop"),
        (1, "", "length"),
    ]
    assert [piece.usage is not None for piece in chunks] == [False, False, False, True]


def test_the_older_spelling_of_the_prompts_verdict():
    older = {**PROMPT, "prompt_annotations": PROMPT["prompt_filter_results"]}
    del older["prompt_filter_results"]
    chunks, _ = decode(sse(older, *ANSWER[1:]) + DONE)
    assert chunks[-1].details["prompt_filter_results"] == PROMPT["prompt_filter_results"]
