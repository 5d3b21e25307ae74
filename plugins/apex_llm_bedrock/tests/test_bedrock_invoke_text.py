"""Text by InvokeModel: answers and streams of every form."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from apex_llm_bedrock.answers import Reading
from apex_llm_bedrock.invoke.forms import FORMS
from apex_llm_bedrock.invoke.text import InvokeStream, invoke_result
from apex_llm_bedrock.tool_names import ToolNames
from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.errors import LLMError, RateLimitError, ServiceUnavailableError
from apex_llm_core.models import ChatMessage, ReasoningPart, TextPart, ToolCallPart, Usage

HEADERS = {"x-amzn-requestid": "req-1"}
COUNTED = {**HEADERS, "x-amzn-bedrock-input-token-count": "5", "x-amzn-bedrock-output-token-count": "7"}


def assistant(text):
    return ChatMessage(role="assistant", content=text)


def reading_of(names=None, **more):
    return Reading(names=names or ToolNames(), **more)


def result(form, answer, headers=HEADERS, **more):
    return invoke_result(form, answer, headers, reading_of(**more), model="m", provider="aws")


def stream(form, *documents, headers=HEADERS, **more):
    reader = InvokeStream(form, headers, reading_of(**more))
    chunks = [chunk for each in documents for chunk in reader.take(each)]
    return [*chunks, *reader.finish()]


def said(chunks):
    return "".join(chunk.text for chunk in chunks)


USAGE = Usage(prompt_tokens=5, completion_tokens=7)
#: Form, answer, text, finish reason, what is told of tokens in the body.
ANSWERS = [
    (
        "openai",
        {
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
        },
        "stop",
        True,
    ),
    (
        "anthropic",
        {
            "content": [{"type": "text", "text": "Hi"}],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 5, "output_tokens": 7},
        },
        "stop",
        True,
    ),
    (
        "titan",
        {
            "inputTextTokenCount": 5,
            "results": [{"tokenCount": 7, "outputText": "Hi", "completionReason": "FINISH"}],
        },
        "stop",
        True,
    ),
    (
        "llama",
        {"generation": "Hi", "prompt_token_count": 5, "generation_token_count": 7, "stop_reason": "length"},
        "length",
        True,
    ),
    ("mistral", {"outputs": [{"text": "Hi", "stop_reason": "stop"}]}, "stop", False),
    ("cohere", {"text": "Hi", "finish_reason": "MAX_TOKENS", "response_id": "1"}, "length", False),
    ("cohere", {"generations": [{"id": "1", "text": "Hi", "finish_reason": "COMPLETE"}]}, "stop", False),
    (
        "ai21",
        {
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "length"}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 7},
        },
        "length",
        True,
    ),
    (
        "ai21",
        {"id": 1, "completions": [{"data": {"text": "Hi"}, "finishReason": {"reason": "endoftext"}}]},
        "stop",
        False,
    ),
]


@pytest.mark.parametrize(("form", "answer", "finish", "counted"), ANSWERS)
def test_answers_of_every_form(form, answer, finish, counted):
    found = result(form, answer)
    assert found.message == assistant("Hi")
    assert found.finish_reason == finish
    assert found.usage == (USAGE if counted else None)
    assert (found.model, found.provider, found.request_id) == ("m", "aws", "req-1")
    assert result(form, answer, COUNTED).usage == USAGE


@pytest.mark.parametrize(
    ("form", "answer", "finish"),
    [
        ("titan", {"results": [{"outputText": "", "completionReason": "CONTENT_FILTERED"}]}, "content_filter"),
        ("titan", {"results": [{"outputText": "", "completionReason": "LENGTH"}]}, "length"),
        (
            "titan",
            {"results": [{"outputText": "", "completionReason": "RAG_QUERY_WHEN_RAG_DISABLED"}]},
            "RAG_QUERY_WHEN_RAG_DISABLED",
        ),
        ("cohere", {"text": "", "finish_reason": "ERROR_TOXIC"}, "content_filter"),
        ("anthropic", {"content": [], "stop_reason": "refusal"}, "content_filter"),
        ("anthropic", {"content": [], "stop_reason": "max_tokens"}, "length"),
        ("anthropic", {"content": [], "stop_reason": "model_context_window_exceeded"}, "length"),
        ("anthropic", {"content": [], "stop_reason": "pause_turn"}, "pause_turn"),
        ("openai", {"choices": [{"message": {}, "finish_reason": "content_filter"}]}, "content_filter"),
    ],
)
def test_ends_are_told_in_the_cores_words(form, answer, finish):
    assert result(form, answer).finish_reason == finish


def test_what_the_cores_word_does_not_say_is_kept():
    found = result("anthropic", {"content": [], "stop_reason": "stop_sequence"}, dropped=("seed",))
    assert (found.finish_reason, found.details) == (
        "stop",
        {"stop_reason": "stop_sequence", "dropped_parameters": ["seed"]},
    )


def test_a_guardrail_that_intervened_is_a_content_filter():
    answer = {
        "content": [{"type": "text", "text": "Sorry."}],
        "stop_reason": "end_turn",
        "amazon-bedrock-guardrailAction": "INTERVENED",
        "amazon-bedrock-trace": {"guardrail": {}},
    }
    found = result("anthropic", answer)
    assert found.finish_reason == "content_filter"
    assert found.details == {"guardrail_action": "INTERVENED", "trace": {"guardrail": {}}}
    assert result("anthropic", {**answer, "amazon-bedrock-guardrailAction": "NONE"}).finish_reason == "stop"


def test_several_answers_are_choices():
    answer = {"outputs": [{"text": "a", "stop_reason": "stop"}, {"text": "b", "stop_reason": "length"}]}
    assert [(each.index, each.message.text, each.finish_reason) for each in result("mistral", answer).choices] == [
        (0, "a", "stop"),
        (1, "b", "length"),
    ]


def test_claudes_answer_in_parts():
    names = ToolNames()
    written = names.written("get weather")
    found = result(
        "anthropic",
        {
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "sig"},
                {"type": "redacted_thinking", "data": "secret"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "c1", "name": written, "input": {"city": "Ulm"}},
                {"type": "web_search_tool_result", "content": []},
            ],
            "stop_reason": "tool_use",
            "usage": {
                "input_tokens": 3,
                "cache_read_input_tokens": 100,
                "cache_creation_input_tokens": 20,
                "output_tokens": 7,
            },
        },
        names=names,
    )
    assert found.message.content == (
        ReasoningPart(text="Hm.", signature="sig"),
        ReasoningPart(data="secret"),
        TextPart(text="I look."),
        ToolCallPart(id="c1", name="get weather", arguments='{"city":"Ulm"}'),
    )
    assert found.finish_reason == "tool_calls"
    assert found.usage == Usage(prompt_tokens=123, completion_tokens=7, cached_tokens=100, cache_write_tokens=20)


def test_chat_completions_answer_with_tools_and_reasoning():
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":'}}
    message = {"content": None, "reasoning_content": "Hm.", "tool_calls": [call]}
    found = result("openai", {"choices": [{"message": message, "finish_reason": "tool_calls"}]})
    assert found.message.content == (
        ReasoningPart(text="Hm."),
        ToolCallPart(id="c1", name="weather", arguments='{"city":'),
    )
    assert found.finish_reason == "tool_calls"


def test_gpt_oss_reasons_between_tags():
    content = "<reasoning>Say hi.</reasoning>Hi"
    choice = {"message": {"content": content}, "finish_reason": "stop"}
    found = result("openai", {"model": "openai.gpt-oss-20b-1:0", "choices": [choice]})
    assert found.message.content == (ReasoningPart(text="Say hi."), TextPart(text="Hi"))
    # Another model may have been asked for tags.
    assert result("openai", {"model": "qwen", "choices": [choice]}).message.text == content


@pytest.mark.parametrize(("form", "answer"), [(form, answer) for form, answer, _, _ in ANSWERS])
def test_an_answer_without_its_end_is_incomplete(form, answer):
    text = json.dumps(answer)
    for member in ("finish_reason", "stop_reason", "completionReason", "reason"):
        text = text.replace(f'"{member}"', '"nothing"')
    with pytest.raises(ServiceUnavailableError, match="incomplete") as raised:
        result(form, json.loads(text))
    assert raised.value.request_id == "req-1"


@pytest.mark.parametrize("form", sorted(FORMS))
@pytest.mark.parametrize(
    "answer",
    [{}, {"choices": []}, {"content": 5}, {"results": [5]}, {"generation": 5}, {"outputs": [None]}, {"text": 5}],
)
def test_answers_of_another_form_are_a_broken_service(form, answer):
    with pytest.raises(ServiceUnavailableError):
        result(form, answer)


def test_a_model_that_broke_off_says_so():
    with pytest.raises(ServiceUnavailableError, match="broke off") as raised:
        result("cohere", {"text": "Hi", "finish_reason": "ERROR"})
    assert raised.value.request_id == "req-1"


METRICS = {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 5, "outputTokenCount": 7, "invocationLatency": 9}}
OPENAI_ENVELOPE = {"model": "openai.gpt-oss-20b-1:0", "object": "chat.completion.chunk"}


def delta(content, finish=None, index=0):
    choice = {"index": index, "delta": {"content": content}, "finish_reason": finish}
    return {**OPENAI_ENVELOPE, "choices": [choice]}


STREAMS = {
    "openai": [delta("Hel"), delta("lo"), delta("", "stop"), {**OPENAI_ENVELOPE, "choices": [], **METRICS}],
    "anthropic": [
        {"type": "message_start", "message": {"usage": {"input_tokens": 5, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hel"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "lo"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}},
        {"type": "message_stop"},
    ],
    "titan": [
        {"outputText": "Hel", "index": 0, "inputTextTokenCount": 5, "completionReason": None},
        {"outputText": "lo", "index": 0, "totalOutputTextTokenCount": 7, "completionReason": "FINISH"},
    ],
    "llama": [
        {"generation": "Hel", "prompt_token_count": 5, "generation_token_count": 1, "stop_reason": None},
        {"generation": "lo", "prompt_token_count": None, "generation_token_count": 7, "stop_reason": None},
        {"generation": "", "prompt_token_count": None, "generation_token_count": 7, "stop_reason": "stop"},
    ],
    "mistral": [
        {"outputs": [{"text": "Hel", "stop_reason": None}]},
        {"outputs": [{"text": "lo", "stop_reason": "stop"}], **METRICS},
    ],
    "cohere": [
        {"event_type": "stream-start", "is_finished": False},
        {"event_type": "text-generation", "text": "Hel", "is_finished": False},
        {"event_type": "text-generation", "text": "lo", "is_finished": False},
        {
            "event_type": "stream-end",
            "is_finished": True,
            "finish_reason": "COMPLETE",
            "response": {"text": "Hello", "finish_reason": "COMPLETE"},
            **METRICS,
        },
    ],
    "ai21": [delta("Hel"), delta("lo", "stop"), METRICS],
}


@pytest.mark.parametrize("form", sorted(FORMS))
def test_streams_of_every_form(form):
    chunks = stream(form, *STREAMS[form])
    assert said(chunks) == "Hello"
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["stop"]
    assert chunks[-1].usage == USAGE
    assert chunks[-1].finish_reason == "stop"


@pytest.mark.parametrize("form", sorted(FORMS))
def test_a_stream_that_breaks_off_is_an_error(form):
    for length in range(len(STREAMS[form])):
        documents = STREAMS[form][:length]
        if any('"stop"' in json.dumps(each) or "COMPLETE" in str(each) or "FINISH" in str(each) for each in documents):
            continue
        if any("end_turn" in str(each) for each in documents):
            continue
        with pytest.raises(ServiceUnavailableError, match="incomplete") as raised:
            stream(form, *documents)
        assert raised.value.request_id == "req-1"


def test_older_command_models_stream():
    documents = [
        {"text": "Hel", "is_finished": False},
        {"text": "lo", "is_finished": False},
        {"text": "<EOS_TOKEN>", "is_finished": False},
        {"is_finished": True, "generations": [{"text": "Hello", "finish_reason": "MAX_TOKENS"}], **METRICS},
    ]
    chunks = stream("cohere", *documents)
    assert said(chunks) == "Hello"
    assert chunks[-1].finish_reason == "length"


def test_streams_are_counted_by_the_service_or_its_headers_or_not_at_all():
    documents = [{"outputs": [{"text": "Hi", "stop_reason": "stop"}]}]
    assert stream("mistral", *documents)[-1].usage is None
    assert stream("mistral", *documents, headers=COUNTED)[-1].usage == USAGE
    metrics = {"inputTokenCount": 5, "outputTokenCount": 7, "cacheReadInputTokenCount": 100}
    last = {"amazon-bedrock-invocationMetrics": metrics}
    usage = stream("mistral", *documents, last)[-1].usage
    assert usage == Usage(prompt_tokens=105, completion_tokens=7, cached_tokens=100)
    half = {"amazon-bedrock-invocationMetrics": {"outputTokenCount": 7}}
    assert stream("mistral", *documents, half)[-1].usage is None


def test_claude_streams_thoughts_and_tools():
    names = ToolNames()
    written = names.written("get weather")

    def block(index, content, *deltas):
        start = {"type": "content_block_start", "index": index, "content_block": content}
        middle = [{"type": "content_block_delta", "index": index, "delta": each} for each in deltas]
        return [start, *middle, {"type": "content_block_stop", "index": index}]

    chunks = stream(
        "anthropic",
        {"type": "message_start", "message": {"usage": {"input_tokens": 3, "cache_read_input_tokens": 100}}},
        *block(
            0,
            {"type": "thinking", "thinking": ""},
            {"type": "thinking_delta", "thinking": "H"},
            {"type": "thinking_delta", "thinking": "m."},
            {"type": "signature_delta", "signature": "sig"},
        ),
        *block(1, {"type": "redacted_thinking", "data": "secret"}),
        *block(
            2,
            {"type": "tool_use", "id": "c1", "name": written, "input": {}},
            {"type": "input_json_delta", "partial_json": ""},
            {"type": "input_json_delta", "partial_json": '{"city":'},
            {"type": "input_json_delta", "partial_json": '"Ulm"}'},
        ),
        *block(3, {"type": "tool_use", "id": "c2", "name": "other", "input": {}}),
        *block(4, {"type": "server_tool_use", "id": "s"}, {"type": "input_json_delta", "partial_json": "{}"}),
        *block(5, {"type": "text", "text": ""}, {"type": "citations_delta", "citation": {}}),
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 7}},
        {"type": "message_stop", **METRICS},
        names=names,
    )
    assert "".join(chunk.reasoning for chunk in chunks) == "Hm."
    parts = [chunk.reasoning_part for chunk in chunks if chunk.reasoning_part]
    assert parts == [ReasoningPart(text="Hm.", signature="sig"), ReasoningPart(data="secret")]
    calls = [call for chunk in chunks for call in chunk.tool_calls]
    assert [(call.index, call.id, call.name) for call in calls if call.id] == [
        (0, "c1", "get weather"),
        (1, "c2", "other"),
    ]
    assert "".join(call.arguments for call in calls if call.index == 0) == '{"city":"Ulm"}'
    assert "".join(call.arguments for call in calls if call.index == 1) == "{}"
    assert chunks[-1].finish_reason == "tool_calls"
    assert chunks[-1].usage == Usage(prompt_tokens=103, completion_tokens=7, cached_tokens=100)


def test_chat_completions_stream_tools():
    def calls(*wire, finish=None):
        return {"choices": [{"index": 0, "delta": {"tool_calls": list(wire)}, "finish_reason": finish}]}

    chunks = stream(
        "openai",
        calls({"index": 0, "id": "c1", "function": {"name": "weather", "arguments": ""}}),
        calls({"index": 0, "function": {"arguments": '{"city":'}}),
        calls({"index": 0, "function": {"arguments": '"Ulm"}'}}, finish="tool_calls"),
    )
    found = [call for chunk in chunks for call in chunk.tool_calls]
    assert (found[0].id, found[0].name) == ("c1", "weather")
    assert "".join(call.arguments for call in found) == '{"city":"Ulm"}'
    assert chunks[-1].finish_reason == "tool_calls"


def test_every_choice_of_a_stream_has_its_end():
    chunks = stream("openai", delta("a"), delta("b", index=1), delta("", "stop"), delta("", "length", index=1), METRICS)
    assert [(chunk.index, chunk.finish_reason, chunk.usage) for chunk in chunks if chunk.finish_reason] == [
        (0, "stop", None),
        (1, "length", USAGE),
    ]
    with pytest.raises(ServiceUnavailableError, match="incomplete"):
        stream("openai", delta("a"), delta("b", index=1), delta("", "stop"))


@given(st.data())
def test_reasoning_between_tags_is_found_however_it_is_cut(data):
    reasoning = data.draw(st.text("<>/reasoning x", max_size=30).filter(lambda text: "</reasoning>" not in text))
    text = data.draw(st.text("<>/reasoning x", max_size=30))
    tagged = data.draw(st.booleans())
    whole = f"<reasoning>{reasoning}</reasoning>{text}" if tagged else text
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    chunks = stream("openai", *map(delta, pieces), delta("", "stop"))
    split = result("openai", {**OPENAI_ENVELOPE, "choices": [{"message": {"content": whole}, "finish_reason": "stop"}]})
    assert said(chunks) == split.message.text
    if tagged and (reasoning + "</reasoning>").index("</reasoning>") == len(reasoning):
        assert "".join(chunk.reasoning for chunk in chunks) == reasoning
        assert said(chunks) == text


def test_reasoning_that_never_ends_is_reasoning():
    chunks = stream("openai", delta("<reasoning>Hm"), delta("…</reas", "length"))
    assert "".join(chunk.reasoning for chunk in chunks) == "Hm…</reas"
    assert chunks[-1].finish_reason == "length"


def test_a_guardrail_in_a_stream_overrides_the_end():
    documents = [
        {"outputs": [{"text": "Sorry.", "stop_reason": "stop"}], "amazon-bedrock-guardrailAction": "INTERVENED"},
        {"amazon-bedrock-guardrailAction": "NONE", **METRICS},
    ]
    chunks = stream("mistral", *documents, dropped=("seed",))
    assert chunks[-1].finish_reason == "content_filter"
    assert chunks[-1].details == {"guardrail_action": "INTERVENED", "dropped_parameters": ["seed"]}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"type": "overloaded_error", "message": "Overloaded"}, ServiceUnavailableError),
        ({"type": "rate_limit_error", "message": "Overloaded"}, RateLimitError),
        ("Overloaded", ServiceUnavailableError),
    ],
)
def test_an_error_in_a_stream_is_raised(error, kind):
    reader = InvokeStream("anthropic", HEADERS, reading_of())
    with pytest.raises(kind, match="Overloaded") as raised:
        reader.take({"type": "error", "error": error})
    assert raised.value.request_id == "req-1"
    assert raised.value.retryable


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["text", "content", "index", "delta", "type", "finish_reason"]), inner)
    ),
    max_leaves=10,
)
MEMBERS = (
    *("choices", "content", "results", "generation", "outputs", "text", "type", "delta", "index", "error"),
    *("outputText", "completions", "generations", "is_finished", "usage", "stop_reason", "finish_reason", "message"),
)


@given(st.sampled_from(sorted(FORMS)), st.dictionaries(st.sampled_from(MEMBERS), JSON))
def test_whatever_comes_is_an_answer_or_a_typed_error(form, answer):
    with suppress(LLMError):
        assert result(form, answer).finish_reason
    reader = InvokeStream(form, {}, reading_of())
    with suppress(LLMError):
        reader.take(answer)
        assert reader.finish()[-1].finish_reason
