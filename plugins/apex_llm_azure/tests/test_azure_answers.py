"""Bodies of whole chat completions, as Azure sends them."""

from __future__ import annotations

import json

import pytest
from apex_llm_azure.answers import chat_result, parse, usage_of
from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.errors import ServiceUnavailableError
from apex_llm_core.models import FunctionCall, ReasoningPart, TextPart, ToolCallPart, Usage

HEADERS = {"apim-request-id": "apim-1", "x-request-id": "x-1", "x-ms-region": "Sweden Central"}
SAFE = {"hate": {"filtered": False, "severity": "safe"}}


def choice(message, finish_reason="stop", **more):
    return {"index": 0, "finish_reason": finish_reason, "logprobs": None, "message": message, **more}


def answer(*choices, **more):
    return {"id": "chatcmpl-1", "model": "gpt-4o-2024-08-06", "choices": list(choices), **more}


def result(document, headers=HEADERS, **more):
    return chat_result(document, headers, model="gpt-4o", provider="azure", **more)


def test_a_whole_answer():
    usage = {
        "prompt_tokens": 20,
        "completion_tokens": 9,
        "total_tokens": 29,
        "prompt_tokens_details": {"cached_tokens": 16, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 5},
    }
    found = result(
        answer(
            choice({"role": "assistant", "content": "Hello"}, content_filter_results=SAFE),
            usage=usage,
            system_fingerprint="fp_1",
            prompt_filter_results=[{"prompt_index": 0, "content_filter_results": SAFE}],
        )
    )
    assert (found.message.text, found.finish_reason, found.request_id) == ("Hello", "stop", "apim-1")
    assert found.usage == Usage(
        prompt_tokens=20, completion_tokens=9, total_tokens=29, cached_tokens=16, reasoning_tokens=5
    )
    assert found.details == {
        "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": SAFE}],
        "content_filter_results": {"0": SAFE},
        "system_fingerprint": "fp_1",
        "served_model": "gpt-4o-2024-08-06",
        "region": "Sweden Central",
    }


def test_tool_calls_keep_their_arguments_as_the_model_wrote_them():
    calls = [
        {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"'}},
        {"id": "call_2", "type": "function", "function": {"name": "time", "arguments": ""}},
    ]
    found = result(answer(choice({"role": "assistant", "content": None, "tool_calls": calls}, "tool_calls")))
    assert found.message.content == (
        ToolCallPart(id="call_1", name="weather", arguments='{"city": "Oslo"'),
        ToolCallPart(id="call_2", name="time", arguments="{}"),
    )


def test_the_older_function_call():
    called = {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": "{}"}}
    found = result(answer(choice(called, "function_call")))
    assert found.message.function_call == FunctionCall(name="weather", arguments="{}")
    assert found.finish_reason == "tool_calls"


def test_reasoning_refusals_grounding_and_logprobs_are_kept():
    logprobs = {"content": [{"token": "a", "logprob": -1.0}]}
    context = {"intent": "[]", "citations": [{"content": "c"}]}
    found = result(
        answer(
            choice(
                {"role": "assistant", "content": "a", "reasoning_content": "hm", "context": context}, logprobs=logprobs
            ),
            {**choice({"role": "assistant", "content": None, "refusal": "I will not."}), "index": 1},
        )
    )
    assert found.message.content == (ReasoningPart(text="hm"), TextPart(text="a"))
    assert found.choices[0].logprobs == logprobs
    assert found.choices[1].message.text == "I will not."
    assert found.details["refusal"] == {"1": "I will not."}
    assert found.details["context"] == {"0": context}


def test_complaint_07_a_filtered_answer_says_so_although_it_has_text():
    held = {"hate": {"filtered": True, "severity": "high"}}
    found = result(
        answer(choice({"role": "assistant", "content": "Once upon"}, "content_filter", content_filter_results=held))
    )
    assert found.finish_reason == "content_filter"
    assert found.message.text == "Once upon"
    assert found.details["content_filter_results"] == {"0": held}


def test_an_answer_that_was_held_back_entirely_has_no_message():
    found = result(answer({"index": 0, "finish_reason": "content_filter", "content_filter_results": SAFE}))
    assert (found.finish_reason, found.message.text) == ("content_filter", "")


def test_complaint_09_a_filter_that_did_not_run_is_no_failure():
    failed = {"error": {"code": "content_filter_error", "message": "The contents are not filtered"}}
    found = result(answer(choice({"role": "assistant", "content": "fine"}, content_filter_results=failed)))
    assert found.message.text == "fine"
    assert found.finish_reason == "stop"
    assert found.details["content_filter_results"] == {"0": failed}


def test_spill_over_and_dropped_parameters_are_told():
    found = result(
        answer(choice({"content": "x"})), {"x-ms-spillover-from-deployment": "ptu"}, dropped=("temperature",)
    )
    assert found.details["spilled_over_from"] == "ptu"
    assert found.details["dropped_parameters"] == ["temperature"]


def test_usage_that_is_not_told_is_unknown():
    assert result(answer(choice({"content": "x"}))).usage is None
    assert usage_of({}) is None


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"choices": []},
        {"choices": None},
        {"choices": ["x"]},
        {"choices": [None]},
        {"choices": {"index": 0}},
        {"choices": [choice({"content": "x"}, None)]},
        {"choices": [choice({"content": 7})]},
        {"choices": [choice({"content": "x", "tool_calls": [{"id": "1"}]})]},
        {"choices": [choice("text")]},
        {"choices": [choice({"content": {"a": 1}})]},
        {"choices": [choice({"content": "x"}, True)]},
        {"choices": [{**choice({"content": "x"}), "index": "0"}]},
    ],
)
def test_an_answer_of_another_form_is_a_typed_error(document):
    with pytest.raises(ServiceUnavailableError) as caught:
        result(document)
    assert caught.value.request_id == "apim-1"


@pytest.mark.parametrize(
    "data", [b"", b"  ", b"<html>", b'{"choices": [', b"\xff\xfe", b"[]", b"7", b"null", b"[" * 100_000]
)
def test_a_body_that_is_no_object_is_a_typed_error(data):
    with pytest.raises(ServiceUnavailableError):
        parse(data, {"content-type": "text/html"})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "message", "content", "usage", "finish_reason", "tool_calls", "function", "index"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(json_values)
def test_any_json_is_an_answer_or_a_typed_error(document):
    try:
        found = result(parse(json.dumps(document).encode(), HEADERS))
    except ServiceUnavailableError:
        return
    assert all(type(choice.finish_reason) is str and choice.finish_reason for choice in found.choices)
    assert type(found.message.text) is str
