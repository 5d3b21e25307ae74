"""Whole answers of Converse: content, finish reasons, usage, what is told beside, and answers that are none."""

from __future__ import annotations

import json

import pytest
from apex_llm_bedrock.answers import (
    FINISH_REASONS,
    Reading,
    chat_result,
    count_of,
    finish_reason,
    malformed,
    parse,
    request_id_of,
    text_of,
    usage_of,
    word_of,
)
from apex_llm_bedrock.tool_names import ToolNames
from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.errors import ServiceUnavailableError
from apex_llm_core.models import ReasoningPart, TextPart, ToolCallPart, Usage

HEADERS = {"x-amzn-requestid": "req-1", "content-type": "application/json"}
READING = Reading(names=ToolNames())
JSON = Reading(names=ToolNames(), json_tool="json_answer")
HI = {"text": "Hi"}


def answer(*blocks, stop="end_turn", **more):
    return {"output": {"message": {"role": "assistant", "content": list(blocks)}}, "stopReason": stop, **more}


def use(name="look", call_id="t", **more):
    return {"toolUse": {"toolUseId": call_id, "name": name, "input": {"a": 1}, **more}}


def read(document, reading=READING):
    return chat_result(document, HEADERS, reading, model="m", provider="aws")


def content(*blocks, reading=READING, **more):
    return read(answer(*blocks, **more), reading).message.content


class TestContent:
    def test_of_text_is_text(self):
        result = read(answer(HI))
        assert (result.message.role, result.message.content) == ("assistant", "Hi")
        assert (result.model, result.provider, result.request_id) == ("m", "aws", "req-1")
        assert result.details is None

    @pytest.mark.parametrize("blocks", [[], [{"text": ""}]])
    def test_may_be_empty(self, blocks):
        assert content(*blocks) == ""

    def test_of_several_texts_is_one(self):
        assert content(HI, {"text": " there"}) == "Hi there"

    def test_of_calls_has_their_arguments_as_json(self):
        found = content(HI, use(), use("find", "u", input={}), stop="tool_use")
        assert found == (
            TextPart(text="Hi"),
            ToolCallPart(id="t", name="look", arguments='{"a":1}'),
            ToolCallPart(id="u", name="find", arguments="{}"),
        )

    def test_of_calls_may_lack_arguments(self):
        for nothing in (None, {}, ""):
            assert content(use(input=nothing))[0].arguments == "{}"

    def test_of_calls_keeps_other_scripts_and_has_any_value(self):
        arguments = content(use(input={"ß": [1.5, None, {"天": True}]}))[0].arguments
        assert arguments == '{"ß":[1.5,null,{"天":true}]}'

    def test_of_calls_has_the_name_that_the_caller_gave(self):
        names = ToolNames()
        wire = use(names.written("weather.now"))
        assert content(wire, reading=Reading(names=names))[0].name == "weather.now"

    def test_of_the_services_own_tools_is_no_call(self):
        own = use("nova_grounding", type="server_tool_use")
        result = read(answer(own, {"toolResult": {"toolUseId": "t", "content": []}}, HI))
        assert result.message.content == "Hi"
        assert result.details["other_content"] == [own, {"toolResult": {"toolUseId": "t", "content": []}}]

    def test_of_reasoning_goes_back_unmodified(self):
        found = content(
            {"reasoningContent": {"reasoningText": {"text": " Hm. ", "signature": "c2ln"}}},
            {"reasoningContent": {"reasoningText": {"text": "So."}}},
            {"reasoningContent": {"redactedContent": "ZW5j"}},
            HI,
        )
        assert found == (
            ReasoningPart(text=" Hm. ", signature="c2ln"),
            ReasoningPart(text="So."),
            ReasoningPart(data="ZW5j"),
            TextPart(text="Hi"),
        )

    def test_of_an_unknown_kind_is_kept_beside(self):
        strange = [{"reasoningContent": {"tomorrow": 1}}, {"image": {"format": "png"}}, {"tomorrow": {}}]
        result = read(answer(*strange, HI))
        assert result.message.content == "Hi"
        assert result.details == {"other_content": strange}

    def test_with_citations_has_its_text_and_tells_them(self):
        cited = {"content": [{"text": "Rome"}, {"text": "."}], "citations": [{"title": "Atlas"}]}
        result = read(answer({"text": "It is "}, {"citationsContent": cited}, {"citationsContent": {}}))
        assert result.message.content == "It is Rome."
        assert result.details == {"citations": [{"title": "Atlas"}]}


class TestAnswersByTool:
    def test_are_text(self):
        result = read(answer(use("json_answer"), stop="tool_use"), JSON)
        assert result.message.content == '{"a":1}'
        assert result.finish_reason == "stop"

    def test_are_not_spoilt_by_what_is_said_beside(self):
        thought = {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "s"}}}
        found = content(thought, HI, use("json_answer"), use("json_answer", input={"a": 2}), HI, reading=JSON)
        assert found == (ReasoningPart(text="Hm.", signature="s"), TextPart(text='{"a":1}'))

    def test_may_stand_beside_calls(self):
        result = read(answer(HI, use(), use("json_answer"), stop="tool_use"), JSON)
        assert result.message.text == '{"a":1}'
        assert [call.name for call in result.message.tool_calls] == ["look"]
        assert result.finish_reason == "tool_calls"

    def test_leave_the_callers_own_calls_alone(self):
        result = read(answer(HI, use(), stop="tool_use"), JSON)
        assert result.message.content == (TextPart(text="Hi"), ToolCallPart(id="t", name="look", arguments='{"a":1}'))

    def test_that_were_not_given_leave_what_was_said(self):
        result = read(answer(HI), JSON)
        assert (result.message.content, result.finish_reason) == ("Hi", "stop")

    def test_are_calls_where_nobody_asked(self):
        assert content(use("json_answer"))[0].name == "json_answer"

    def test_may_be_cut(self):
        assert read(answer(use("json_answer"), stop="max_tokens"), JSON).finish_reason == "length"


class TestFinishReasons:
    @pytest.mark.parametrize(("stop_reason", "reason"), [*FINISH_REASONS.items(), ("malformed_model_output",) * 2])
    def test_are_the_cores_words(self, stop_reason, reason):
        # langchain-aws#176/#214, camel#4261
        assert read(answer(HI, stop=stop_reason)).finish_reason == reason

    @pytest.mark.parametrize(
        ("calls", "answered", "reason"),
        [(True, False, "tool_calls"), (False, True, "stop"), (True, True, "tool_calls"), (False, False, "tool_calls")],
    )
    def test_of_calls_depend_on_whose_they_are(self, calls, answered, reason):
        assert finish_reason("tool_use", calls=calls, answered=answered) == reason

    @pytest.mark.parametrize("reason", ["end_turn", "tool_use", "max_tokens"])
    def test_that_say_everything_are_not_told_twice(self, reason):
        assert read(answer(HI, stop=reason)).details is None

    @pytest.mark.parametrize(
        "reason", ["stop_sequence", "guardrail_intervened", "model_context_window_exceeded", "new"]
    )
    def test_that_say_more_are_told(self, reason):
        assert read(answer(HI, stop=reason)).details == {"stop_reason": reason}


class TestUsage:
    def test_counts_the_cache_beside_the_input(self):
        # litellm#15270, ruby_llm#832: 562 + 3059 = 3621
        usage = {"inputTokens": 562, "outputTokens": 7, "totalTokens": 3628, "cacheReadInputTokens": 3059}
        result = read(answer(HI, usage=usage))
        assert result.usage == Usage(prompt_tokens=3621, completion_tokens=7, cached_tokens=3059, cache_write_tokens=0)

    def test_counts_what_the_cache_took(self):
        usage = {"inputTokens": 1, "outputTokens": 2, "cacheReadInputTokens": None, "cacheWriteInputTokens": 30}
        usage["cacheDetails"] = [{"ttl": "5m", "inputTokens": 30}]
        found, details = usage_of(usage)
        assert (found.prompt_tokens, found.cache_write_tokens, found.cached_tokens) == (31, 30, 0)
        assert details == {"cache_details": [{"ttl": "5m", "inputTokens": 30}]}

    @pytest.mark.parametrize(
        "usage",
        [
            None,
            {},
            [],
            "x",
            {"inputTokens": 1},
            {"inputTokens": None, "outputTokens": 1},
            {"inputTokens": 1.5, "outputTokens": 1},
            {"inputTokens": True, "outputTokens": 1},
        ],
    )
    def test_that_cannot_be_read_is_unknown_and_spoils_nothing(self, usage):
        result = read(answer(HI, usage=usage))
        assert (result.message.content, result.usage) == ("Hi", None)


class TestDetails:
    def test_tell_what_the_service_did(self):
        told = {
            "metrics": {"latencyMs": 12},
            "trace": {"promptRouter": {"invokedModelId": "m"}},
            "additionalModelResponseFields": {"stop_sequence": "END"},
            "performanceConfig": {"latency": "optimized"},
            "serviceTier": {"type": "flex"},
        }
        assert read(answer(HI, **told)).details == {
            "latency_ms": 12,
            "trace": {"promptRouter": {"invokedModelId": "m"}},
            "additional_model_response_fields": {"stop_sequence": "END"},
            "performance_config": {"latency": "optimized"},
            "service_tier": {"type": "flex"},
        }

    @pytest.mark.parametrize("metrics", [None, {}, [], 5])
    def test_may_be_missing(self, metrics):
        assert read(answer(HI, metrics=metrics, trace=None)).details is None

    def test_tell_what_became_of_options(self):
        reading = Reading(names=ToolNames(), dropped=("seed",), emulated=("response_format",))
        assert read(answer(HI), reading).details == {
            "dropped_parameters": ["seed"],
            "emulated_parameters": ["response_format"],
        }


class TestIncompleteAnswers:
    # Trap 3: what is no answer comes with a good status as well.
    @pytest.mark.parametrize(
        "document",
        [
            {},
            {"output": None, "stopReason": "end_turn"},
            {"output": {}, "stopReason": "end_turn"},
            {"output": {"message": None}, "stopReason": "end_turn"},
            {"output": {"message": {"content": None}}, "stopReason": "end_turn"},
            {"output": {"message": {"content": "Hi"}}, "stopReason": "end_turn"},
            {"message": "Not found"},
        ],
    )
    def test_have_no_message(self, document):
        with pytest.raises(ServiceUnavailableError, match="without a message") as caught:
            read(document)
        assert caught.value.request_id == "req-1"
        assert caught.value.status_code == 200

    @pytest.mark.parametrize("reason", [None, "", 5])
    def test_have_no_stop_reason(self, reason):
        with pytest.raises(ServiceUnavailableError, match="without a stop reason: it is incomplete"):
            read(answer(HI, stop=reason))

    @pytest.mark.parametrize(
        "block",
        [
            None,
            "text",
            5,
            {"text": 5},
            {"text": None},
            {"toolUse": None},
            {"toolUse": {}},
            {"toolUse": {"toolUseId": 5, "name": "look"}},
            {"toolUse": {"toolUseId": "t", "name": 5}},
            {"toolUse": {"toolUseId": "t", "name": ""}},
            {"toolUse": {"toolUseId": "", "name": "look"}},
            {"reasoningContent": None},
            {"reasoningContent": {"reasoningText": None}},
            {"reasoningContent": {"reasoningText": {"text": 5}}},
            {"reasoningContent": {"reasoningText": {"text": "x", "signature": 5}}},
            {"reasoningContent": {"redactedContent": 5}},
            {"citationsContent": None},
            {"citationsContent": {"content": [{"text": 5}]}},
        ],
    )
    def test_have_blocks_that_cannot_be_read(self, block):
        for blocks in ([block], [HI, block]):
            with pytest.raises(ServiceUnavailableError, match="with a message of an unknown form"):
                read(answer(*blocks))

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=4),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        ["text", "toolUse", "reasoningContent", "reasoningText", "name", "toolUseId", "input"]
                    ),
                    inner,
                    max_size=4,
                )
            ),
            max_leaves=10,
        )
    )
    def test_of_any_form_are_read_or_refused(self, block):
        try:
            result = read(answer(HI, block))
        except ServiceUnavailableError:
            return
        assert result.message.text.startswith("Hi")


class TestParsing:
    def test_gives_the_object(self):
        assert parse(json.dumps(answer(HI)).encode(), HEADERS) == answer(HI)

    @pytest.mark.parametrize(
        ("body", "kind", "said"),
        [
            (b"", "application/json", "empty"),
            (b" \n", "application/json", "empty"),
            (b"<html>Sign in</html>", "text/html", r"no JSON \(text/html, 20 bytes\)"),
            (b'{"output": {"mess', "application/json", r"no JSON \(application/json, 17 bytes\)"),
            (b"\xff\xfe", "", r"no JSON"),
            (b"NaN", "application/json", "no JSON"),
            (b"[" * 100_000, "application/json", "no JSON"),
        ],
    )
    def test_of_what_is_no_json_tells_what_it_is(self, body, kind, said):
        with pytest.raises(ServiceUnavailableError, match=f"the body of the answer is {said}") as caught:
            parse(body, {**HEADERS, "content-type": kind})
        assert caught.value.request_id == "req-1"
        assert isinstance(caught.value.original_error, ValueError)

    def test_without_a_content_type_says_so(self):
        with pytest.raises(ServiceUnavailableError, match="no content type"):
            parse(b"<html>", {})

    @pytest.mark.parametrize(("body", "kind"), [(b"[]", "list"), (b"null", "NoneType"), (b'"x"', "str"), (b"5", "int")])
    def test_of_what_is_no_object_tells_its_kind(self, body, kind):
        with pytest.raises(ServiceUnavailableError, match=f"a JSON {kind}, no object"):
            parse(body, HEADERS)


class TestPieces:
    @pytest.mark.parametrize(
        ("headers", "found"),
        [
            ({"x-amzn-requestid": "a", "x-amzn-request-id": "b"}, "a"),
            ({"x-amzn-request-id": "b"}, "b"),
            ({"x-amz-request-id": "c"}, "c"),
            ({}, None),
        ],
    )
    def test_request_ids_have_several_names(self, headers, found):
        assert request_id_of(headers) == found

    def test_malformed_answers_may_be_tried_elsewhere(self):
        error = malformed("something", HEADERS)
        assert (error.status_code, error.request_id) == (200, "req-1")
        assert "the service answered something" in str(error)

    @pytest.mark.parametrize("value", [None, 5, b"x", ["x"], True])
    def test_texts_are_texts(self, value):
        assert text_of("x") == word_of("x") == "x"
        assert text_of("") == ""
        for read_as in (text_of, word_of):
            with pytest.raises(TypeError):
                read_as(value)
        with pytest.raises(TypeError):
            word_of("")

    @pytest.mark.parametrize("value", [None, 1.0, "1", True, [1]])
    def test_counts_are_whole_numbers(self, value):
        assert count_of(0) == 0
        with pytest.raises(TypeError):
            count_of(value)
