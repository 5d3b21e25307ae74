from __future__ import annotations

import json

import pytest
from apex_llm_gateway.openai import chat_response, jsontext
from apex_llm_gateway.openai.chat_request import read_chat
from apex_llm_gateway.openai.chat_response import chat_body
from apex_llm_gateway.openai.endings import sum_of, usage_of
from apex_llm_gateway.openai.rules import Rules
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion
from openai.types.completion_usage import CompletionUsage

from apex_llm_core.models import (
    ChatGenerationResult,
    ChatMessage,
    Choice,
    FunctionCall,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    Usage,
)

USAGE = Usage(prompt_tokens=3, completion_tokens=5)
#: The official types are parsed by a strict parser, which takes no halves of surrogate pairs.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAMES = st.text("abc_", min_size=1, max_size=6)
PARTS = st.one_of(
    st.builds(TextPart, text=TEXTS),
    st.builds(ReasoningPart, text=TEXTS, signature=st.none() | TEXTS, data=st.none() | TEXTS),
    st.builds(ToolCallPart, id=NAMES, name=NAMES, arguments=TEXTS),
)
MESSAGES = st.builds(
    ChatMessage,
    role=st.just("assistant"),
    content=TEXTS | st.lists(PARTS, max_size=5),
    function_call=st.none() | st.builds(FunctionCall, name=NAMES, arguments=TEXTS),
)
COUNTS = st.integers(0, 10**12)
USAGES = st.builds(
    Usage,
    prompt_tokens=COUNTS,
    completion_tokens=COUNTS,
    cached_tokens=COUNTS,
    cache_write_tokens=COUNTS,
    reasoning_tokens=COUNTS,
    estimated=st.booleans(),
)
REASONS = st.sampled_from(["stop", "length", "tool_calls", "content_filter", "pause_turn"])
DETAILS = st.fixed_dictionaries(
    {},
    optional={
        "refusal": st.dictionaries(st.sampled_from("012"), TEXTS),
        "system_fingerprint": TEXTS,
        "service_tier": st.sampled_from(["default", "flex", "reserved"]) | st.just({"type": "priority"}) | st.just({}),
        "served_model": TEXTS,
        "prompt_filter_results": st.just([{"prompt_index": 0, "score": float("nan")}]),
    },
)


@st.composite
def results(draw):
    messages = draw(st.lists(MESSAGES, min_size=1, max_size=3))
    choices = [
        Choice(index=index, message=message, finish_reason=draw(REASONS), logprobs=draw(st.none() | st.just([{}])))
        for index, message in enumerate(messages)
    ]
    return ChatGenerationResult.of(
        choices,
        model=draw(TEXTS),
        provider="east",
        usage=draw(st.none() | USAGES),
        details=draw(st.none() | DETAILS),
    )


def result_of(content, **more) -> ChatGenerationResult:
    return ChatGenerationResult(
        message=ChatMessage(role="assistant", content=content), model="gpt-4o", provider="east", **more
    )


def document_of(result, **more):
    return json.loads(chat_body(result, request_id="r-1", created=17, **more))


def message_of(result, **more):
    return document_of(result, **more)["choices"][0]["message"]


class TestWholeAnswers:
    def test_a_plain_answer_is_what_openai_sends(self):
        assert document_of(result_of('Say "hé"\n', usage=USAGE)) == {
            "id": "chatcmpl-r-1",
            "object": "chat.completion",
            "created": 17,
            "model": "gpt-4o",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": 'Say "hé"\n', "refusal": None},
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
            "usage": {
                "prompt_tokens": 3,
                "completion_tokens": 5,
                "total_tokens": 8,
                "prompt_tokens_details": {"cached_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0},
            },
        }

    def test_every_choice_is_there(self):
        choices = [
            Choice(index=index, message=ChatMessage(role="assistant", content=f"{index}"), finish_reason="length")
            for index in range(3)
        ]
        document = document_of(ChatGenerationResult.of(choices, model="m", provider="p"))

        assert [choice["index"] for choice in document["choices"]] == [0, 1, 2]
        assert [choice["message"]["content"] for choice in document["choices"]] == ["0", "1", "2"]

    def test_tool_calls_without_text_have_null_content(self):
        result = result_of([ToolCallPart(id="c1", name="look", arguments='{"at": "x"}')], finish_reason="tool_calls")

        assert message_of(result) == {
            "role": "assistant",
            "content": None,
            "refusal": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": "x"}'}}],
        }

    def test_text_beside_tool_calls_is_kept(self):
        assert (
            message_of(result_of([TextPart(text="Let me "), TextPart(text="look"), ToolCallPart(id="c", name="f")]))[
                "content"
            ]
            == "Let me look"
        )

    def test_no_text_at_all_is_empty_and_not_null(self):
        assert message_of(result_of(""))["content"] == ""
        assert message_of(result_of([]))["content"] == ""

    def test_log_probabilities_are_told(self):
        choice = Choice(
            message=ChatMessage(role="assistant", content="a"),
            finish_reason="stop",
            logprobs=[{"token": "a", "logprob": float("-inf")}],
        )
        document = document_of(ChatGenerationResult.of([choice], model="m", provider="p"))

        assert document["choices"][0]["logprobs"]["content"][0]["logprob"] == -9999.0

    def test_halves_of_surrogate_pairs_do_not_break_it(self):
        assert message_of(result_of("a\ud83d"))["content"] == "a\ud83d"
        assert message_of(result_of([TextPart(text="\udc00"), ToolCallPart(id="c", name="f")]))["content"] == "\udc00"


class TestOldSpelling:
    CALLS = (ToolCallPart(id="c1", name="look", arguments="{}"), ToolCallPart(id="c2", name="go", arguments="{}"))

    def test_a_call_is_told_as_it_was_asked_for(self):
        document = document_of(result_of(self.CALLS[:1], finish_reason="tool_calls"), functions=True)
        choice = document["choices"][0]

        assert choice["finish_reason"] == "function_call"
        assert choice["message"]["function_call"] == {"name": "look", "arguments": "{}"}
        assert choice["message"]["content"] is None
        assert "tool_calls" not in choice["message"]

    def test_further_calls_are_not_lost(self):
        choice = document_of(result_of(self.CALLS, finish_reason="tool_calls"), functions=True)["choices"][0]

        assert choice["message"]["function_call"]["name"] == "look"
        assert [call["id"] for call in choice["message"]["tool_calls"]] == ["c2"]
        assert choice["finish_reason"] == "tool_calls"

    @pytest.mark.parametrize("functions", [True, False])
    def test_a_provider_may_use_it_itself(self, functions):
        message = ChatMessage(role="assistant", function_call=FunctionCall(name="look", arguments='{"a":1}'))
        result = ChatGenerationResult(message=message, model="m", provider="p", finish_reason="tool_calls")
        choice = document_of(result, functions=functions)["choices"][0]

        assert choice["message"]["function_call"] == {"name": "look", "arguments": '{"a":1}'}
        assert choice["message"]["content"] is None
        assert choice["finish_reason"] == "function_call"


class TestReasoning:
    def test_plain_reasoning_is_one_text(self):
        message = message_of(result_of([ReasoningPart(text="Well, "), ReasoningPart(text="yes"), TextPart(text="Yes")]))

        assert message["reasoning_content"] == "Well, yes"
        assert "reasoning_details" not in message

    def test_what_must_come_back_unchanged_is_told_by_part(self):
        parts = [
            ReasoningPart(text="Well", signature="sig=="),
            ReasoningPart(data="hidden=="),
            ReasoningPart(text=" yes"),
            TextPart(text="Yes"),
        ]

        message = message_of(result_of(parts))

        assert message["reasoning_content"] == "Well yes"
        assert message["reasoning_details"] == [
            {"type": "reasoning", "index": 0, "text": "Well", "signature": "sig=="},
            {"type": "reasoning", "index": 1, "text": "", "data": "hidden=="},
            {"type": "reasoning", "index": 2, "text": " yes"},
        ]

    @given(content=st.lists(PARTS, min_size=1, max_size=5))
    def test_an_answer_can_be_sent_back_as_it_came(self, content):
        message = message_of(result_of(content, finish_reason="tool_calls"))
        body = {"model": "m", "messages": [{"role": "user", "content": "?"}, message]}

        back = read_chat(body, Rules()).messages[1]

        expected = result_of(content).message
        assert back.text == expected.text
        assert back.tool_calls == expected.tool_calls
        thoughts = [part for part in content if isinstance(part, ReasoningPart)]
        returned = [part for part in back.content if isinstance(part, ReasoningPart)]
        if any(chat_response.is_opaque(part) for part in thoughts):
            assert returned == thoughts
        else:
            assert "".join(part.text for part in returned) == "".join(part.text for part in thoughts)


class TestWhatWasToldBeside:
    def test_a_refusal_is_no_content(self):
        message = message_of(result_of("I cannot.", details={"refusal": {"0": "I cannot."}}))

        assert message == {"role": "assistant", "content": None, "refusal": "I cannot."}

    def test_text_before_a_refusal_is_kept(self):
        message = message_of(result_of("Well.", details={"refusal": {"0": "I cannot."}}))

        assert (message["content"], message["refusal"]) == ("Well.", "I cannot.")

    def test_a_refusal_belongs_to_its_choice(self):
        choices = [
            Choice(index=index, message=ChatMessage(role="assistant", content="No."), finish_reason="stop")
            for index in range(2)
        ]
        result = ChatGenerationResult.of(choices, model="m", provider="p", details={"refusal": {"1": "No."}})

        assert [choice["message"]["refusal"] for choice in document_of(result)["choices"]] == [None, "No."]

    def test_audio_and_context_are_passed_on(self):
        details = {"audio": {"0": {"id": "a"}}, "context": {"0": {"intent": "x"}}}
        message = message_of(result_of("", details=details))

        assert (message["audio"], message["context"]) == ({"id": "a"}, {"intent": "x"})

    def test_the_service_is_named(self):
        document = document_of(result_of("", details={"system_fingerprint": "fp_1", "service_tier": "flex"}))

        assert (document["system_fingerprint"], document["service_tier"]) == ("fp_1", "flex")

    def test_a_tier_openai_does_not_have_is_not_told(self):
        assert "service_tier" not in document_of(result_of("", details={"service_tier": {"type": "reserved"}}))
        assert document_of(result_of("", details={"service_tier": {"type": "flex"}}))["service_tier"] == "flex"

    def test_a_finish_reason_openai_does_not_have_stands_beside(self):
        choice = document_of(result_of("", finish_reason="pause_turn"))["choices"][0]

        assert (choice["finish_reason"], choice["native_finish_reason"]) == ("stop", "pause_turn")

    def test_unknown_usage_is_not_told(self):
        assert "usage" not in document_of(result_of(""))

    def test_estimates_are_marked(self):
        usage = Usage(prompt_tokens=1, completion_tokens=1, estimated=True)

        assert document_of(result_of("", usage=usage))["usage"]["estimated"] is True


@given(result=results(), functions=st.booleans())
def test_every_answer_is_of_the_official_type(result, functions):
    body = chat_body(result, request_id="r", created=1, functions=functions)

    parsed = ChatCompletion.model_validate_json(body, strict=True)

    assert parsed.model == result.model
    assert len(parsed.choices) == len(result.choices)
    assert (parsed.usage is None) == (result.usage is None)
    for choice, expected in zip(parsed.choices, result.choices, strict=True):
        message = choice.message
        assert (message.content or message.refusal or "") in (expected.message.text, message.refusal)
        calls = len(message.tool_calls or ()) + (message.function_call is not None)
        assert calls == len(expected.message.tool_calls) + (expected.message.function_call is not None)


class TestUsage:
    @given(usage=USAGES)
    def test_all_counts_arrive(self, usage):
        parsed = CompletionUsage.model_validate_json(usage_of(usage), strict=True)

        assert parsed.prompt_tokens == usage.prompt_tokens
        assert parsed.completion_tokens == usage.completion_tokens
        assert parsed.total_tokens == usage.total_tokens
        assert parsed.prompt_tokens_details.cached_tokens == usage.cached_tokens
        assert (parsed.prompt_tokens_details.cache_write_tokens or 0) == usage.cache_write_tokens
        assert parsed.completion_tokens_details.reasoning_tokens == usage.reasoning_tokens

    def test_a_sum_with_an_unknown_is_unknown(self):
        assert sum_of([USAGE, None]) is None
        assert sum_of([]) is None

    def test_a_sum_has_every_count(self):
        one = Usage(
            prompt_tokens=1,
            completion_tokens=2,
            cached_tokens=3,
            cache_write_tokens=4,
            reasoning_tokens=5,
            estimated=True,
        )

        assert sum_of([one, USAGE]) == Usage(
            prompt_tokens=4,
            completion_tokens=7,
            total_tokens=11,
            cached_tokens=3,
            cache_write_tokens=4,
            reasoning_tokens=5,
            estimated=True,
        )


class TestQuotes:
    @pytest.fixture(params=["standard", "orjson"])
    def quote(self, request):
        if request.param == "standard":
            return jsontext.standard_quote
        return jsontext.fast_quote(pytest.importorskip("orjson").dumps)

    @given(text=st.text(st.characters(codec=None)))
    def test_texts_come_back(self, text):
        assert json.loads(jsontext.standard_quote(text)) == text
        assert json.loads(jsontext.quote(text)) == text

    def test_halves_of_surrogate_pairs_are_escaped(self, quote):
        assert quote("a\ud800é") == b'"a\\ud800\\u00e9"'

    def test_others_are_written_as_they_are(self, quote):
        assert quote('é"\n') == '"é\\"\\n"'.encode()

    def test_the_fast_way_falls_back(self):
        def dumps(text):
            raise TypeError("str is not valid UTF-8: surrogates not allowed")

        assert jsontext.fast_quote(dumps)("\ud800") == b'"\\ud800"'
