"""Claude by InvokeModel: the rules are those of Converse, for requests, for answers and for streams."""

from __future__ import annotations

import json

import attrs
import pytest
from apex_llm_bedrock.answers import Reading
from apex_llm_bedrock.families import family_of
from apex_llm_bedrock.invoke.text import InvokeStream, invoke_body, invoke_result
from apex_llm_bedrock.model_ids import parse_model_id
from apex_llm_bedrock.models import Model
from apex_llm_bedrock.requests import converse_body
from apex_llm_bedrock.settings import BedrockSettings
from apex_llm_bedrock.tool_names import ToolNames
from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.errors import InvalidRequestError
from apex_llm_core.models import (
    CacheHintPart,
    ChatGenerationOptions,
    ChatMessage,
    FunctionDefinition,
    GenerateRequest,
    ImagePart,
    ReasoningPart,
    ResponseFormat,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from apex_llm_core.testing.streams import put_together

SONNET = "anthropic.claude-sonnet-4-20250514-v1:0"
NATIVE = "anthropic.claude-sonnet-4-5-20250929-v1:0"
ADAPTIVE = "anthropic.claude-opus-4-6-v1"
HAIKU = "anthropic.claude-3-haiku-20240307-v1:0"
SERVED = f"us.{SONNET}"
PROFILE = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = FunctionDefinition(name="weather", parameters=CITY)
SHAPE = ResponseFormat(type="json_schema", schema=CITY)
ANY_JSON = ResponseFormat(type="json")


def user(content="Hello"):
    return ChatMessage(role="user", content=content)


def assistant(content):
    return ChatMessage(role="assistant", content=content)


def asked(messages, model, stream, options):
    model_id = parse_model_id(model)
    family = family_of(model_id.base)
    meant = Model(name=model, id=model_id, family=family, base=model_id.base, invoke_format="anthropic")
    chat = ChatGenerationOptions(**options)
    request = GenerateRequest(kind="chat", messages=messages or (user(),), model="m", options=chat, stream=stream)
    return request, meant


def body(*messages, model=SONNET, unsupported="drop", stream=False, settings=(), **options):
    request, meant = asked(messages, model, stream, options)
    return invoke_body(
        "anthropic", request, meant, BedrockSettings(unsupported_parameters=unsupported, **dict(settings))
    )


def converse(*messages, model=SONNET, unsupported="drop", **options):
    request, meant = asked(messages, model, False, options)
    return converse_body(
        request, attrs.evolve(meant, invoke_format=""), BedrockSettings(unsupported_parameters=unsupported)
    )


class TestThinking:
    @pytest.mark.parametrize(
        ("options", "lost"),
        [
            ({"temperature": 0.2}, "temperature"),
            ({"top_p": 0.5}, "top_p"),
            ({"temperature": 0}, "temperature"),
        ],
    )
    def test_excludes_sampling(self, options, lost):
        with pytest.raises(InvalidRequestError, match=f"^{lost} .*not taken"):
            body(reasoning_effort="low", max_tokens=4000, unsupported="error", **options)
        found, reading = body(reasoning_effort="low", max_tokens=4000, **options)
        assert (found["thinking"]["budget_tokens"], lost in found, reading.dropped) == (2000, False, (lost,))

    def test_leaves_sampling_that_it_takes(self):
        found, reading = body(reasoning_effort="low", max_tokens=4000, temperature=1, unsupported="error")
        assert (found["temperature"], reading.dropped) == (1, ())

    def test_does_not_begin_after_calls_that_another_model_made(self):
        found, reading = body(
            user(),
            assistant([ToolCallPart(id="1", name="weather", arguments="{}")]),
            ChatMessage(role="tool", content=[ToolResultPart(tool_call_id="1", content="sun")]),
            reasoning_effort="low",
            tools=[WEATHER],
        )
        assert ("thinking" in found, reading.dropped) == (False, ("reasoning_effort",))

    @pytest.mark.parametrize(
        ("model", "options", "least", "most"),
        [
            # Bedrock takes max_tokens off the quota before it answers: the model's maximum would use it up.
            (SONNET, {}, 4096, 4096),
            (ADAPTIVE, {}, 4096, 4096),
            (HAIKU, {}, 4096, 4096),
            (PROFILE, {}, 4096, 4096),
            (SONNET, {"max_tokens": 9}, 9, 9),
            (SONNET, {"reasoning_effort": "minimal"}, 1024 + 4096, 64_000),
            (SONNET, {"reasoning_effort": "high"}, 16_384 + 4096, 64_000),
            (ADAPTIVE, {"reasoning_effort": "high"}, 16_384 + 4096, 128_000),
            (SONNET, {"extra": {"thinking": {"type": "enabled", "budget_tokens": 30_000}}}, 34_096, 34_096),
            (SONNET, {"extra": {"thinking": {"type": "enabled", "budget_tokens": 63_000}}}, 64_000, 64_000),
            (SONNET, {"extra": {"thinking": {"type": "disabled"}}}, 4096, 4096),
            (SONNET, {"extra": {"max_tokens": 77}}, 77, 77),
        ],
    )
    def test_raises_the_limit_of_tokens(self, model, options, least, most):
        assert least <= body(model=model, **options).document["max_tokens"] <= most


class TestOptions:
    @given(
        st.sampled_from([SONNET, NATIVE, ADAPTIVE, HAIKU]),
        st.fixed_dictionaries(
            {},
            optional={
                "temperature": st.sampled_from([0, 0.5, 1, 1.5]),
                "top_p": st.sampled_from([0.5, 0.97, 1]),
                "max_tokens": st.sampled_from([2000, 9000]),
                "stop": st.sampled_from([["END"], ["END", " "]]),
                "seed": st.just(1),
                "logprobs": st.booleans(),
                "user": st.sampled_from(["u-1", "jürgen\nx"]),
                "reasoning_effort": st.sampled_from(["minimal", "low", "high"]),
                "tools": st.just([WEATHER]),
                "parallel_tool_calls": st.booleans(),
                "response_format": st.sampled_from([SHAPE, ANY_JSON]),
            },
        ),
        st.sampled_from(["error", "drop"]),
    )
    def test_are_taken_dropped_and_refused_as_by_converse(self, model, options, policy):
        refused = []
        for make in (converse, body):
            try:
                make(model=model, unsupported=policy, **options)
            except InvalidRequestError as error:
                refused.append(error.message)
        if refused:
            assert refused == refused[:1] * 2
            return
        document, theirs = converse(model=model, unsupported=policy, **options)
        found, ours = body(model=model, unsupported=policy, **options)
        assert (ours.dropped, ours.emulated, ours.json_tool) == (theirs.dropped, theirs.emulated, theirs.json_tool)
        said = document.get("inferenceConfig", {})
        names = {"temperature": "temperature", "topP": "top_p", "stopSequences": "stop_sequences"}
        assert {name: said.get(name) for name in names} == {name: found.get(ours) for name, ours in names.items()}
        assert found["max_tokens"] == said.get("maxTokens", found["max_tokens"])
        assert found.get("thinking") == document.get("additionalModelRequestFields", {}).get("thinking")

    def test_leave_the_user_to_the_headers(self):
        found, reading = body(user="u-1", unsupported="error", settings={"request_metadata": {"team": "search"}})
        assert (found.keys(), reading.dropped) == ({"anthropic_version", "max_tokens", "messages"}, ())

    def test_leave_the_rest_of_the_settings_to_the_headers(self):
        settings = {
            "guardrail_identifier": "g",
            "guardrail_version": "1",
            "service_tier": "flex",
            "latency": "optimized",
        }
        assert body(settings=settings).document == body().document


class TestTools:
    def test_are_held_to_their_schema_where_the_model_knows_it(self):
        strict = attrs.evolve(WEATHER, strict=True)
        found, reading = body(model=NATIVE, tools=[strict], unsupported="error")
        [tool] = found["tools"]
        assert (tool["strict"], tool["input_schema"]) == (True, {**CITY, "additionalProperties": False})
        assert reading.dropped == ()
        found, reading = body(model=HAIKU, tools=[strict], unsupported="error")
        assert found["tools"] == [{"name": "weather", "input_schema": CITY}]
        assert reading.dropped == ("strict",)

    def test_that_may_not_be_called_stay_without_a_word_on_how_many(self):
        found = body(tools=[WEATHER], tool_choice="none", parallel_tool_calls=False).document
        assert found["tool_choice"] == {"type": "none"}
        assert [tool["name"] for tool in found["tools"]] == ["weather"]

    def test_that_may_not_be_called_leave_the_answers_tool(self):
        found, reading = body(tools=[WEATHER], tool_choice="none", response_format=SHAPE)
        assert [tool["name"] for tool in found["tools"]] == [reading.json_tool]
        assert found["tool_choice"] == {"type": "tool", "name": reading.json_tool}

    def test_are_called_one_at_a_time_also_by_a_claude_nobody_knows(self):
        found, reading = body(model=PROFILE, tools=[WEATHER], parallel_tool_calls=False, unsupported="error")
        assert found["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
        assert reading.dropped == ()


class TestHistory:
    def test_thoughts_are_not_cached(self):
        thoughts = [ReasoningPart(text="t", signature="s"), ReasoningPart(data="QQ==")]
        for before in ([TextPart(text="a")], []):
            parts = [*before, *thoughts, CacheHintPart(), TextPart(text="b")]
            blocks = body(user(), assistant(parts), user()).document["messages"][1]["content"]
            cached = [block["type"] for block in blocks if "cache_control" in block]
            assert cached == ["text"] * len(before)

    @pytest.mark.parametrize("model", [SONNET, PROFILE])
    def test_thoughts_go_back_with_their_signature_or_not_at_all(self, model):
        parts = [ReasoningPart(text="unsigned"), ReasoningPart(text="t", signature="s"), TextPart(text="a")]
        [thought, _] = body(user(), assistant(parts), user(), model=model).document["messages"][1]["content"]
        assert thought == {"type": "thinking", "thinking": "t", "signature": "s"}

    def test_pictures_are_not_fetched_from_s3(self):
        messages = user("a"), assistant("b"), user([ImagePart(url="s3://bucket/key.png")])
        with pytest.raises(InvalidRequestError, match=r"messages\[2\].*no pictures from S3"):
            body(*messages)


class TestSchemas:
    def test_stand_beside_the_effort(self):
        found = body(model="anthropic.claude-opus-4-8", response_format=SHAPE, reasoning_effort="low").document
        form = {"type": "json_schema", "schema": {**CITY, "additionalProperties": False}}
        assert found["output_config"] == {"effort": "low", "format": form}

    def test_are_asked_for_by_a_tool_where_they_are_not_native(self):
        found, reading = body(response_format=SHAPE, unsupported="error")
        [tool] = found["tools"]
        assert (tool["name"], tool["input_schema"]) == (reading.json_tool, CITY)
        assert found["tool_choice"] == {"type": "tool", "name": reading.json_tool}
        assert reading.emulated == ("response_format",)

    def test_any_json_is_asked_for_in_words(self):
        found, reading = body(ChatMessage(role="system", content="Be brief."), user(), response_format=ANY_JSON)
        assert [block["text"][:15] for block in found["system"]] == ["Be brief.", "Answer with one"]
        assert (reading.json_tool, reading.emulated) == ("", ("response_format",))


def use(call_id, name, arguments):
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}


SAID = {"type": "text", "text": "Here it is:"}
THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": "sig"}
ANSWER = use("a", "json_answer", {"city": "Ulm"})
AGAIN = use("b", "json_answer", {"city": "Bonn"})
CALL = use("c", "weather", {"city": "Köln"})
#: Blocks, stop reason; then text, calls, finish reason.
ENDS = [
    ([ANSWER], "tool_use", '{"city":"Ulm"}', [], "stop"),
    ([SAID, ANSWER, SAID], "tool_use", '{"city":"Ulm"}', [], "stop"),
    ([ANSWER, AGAIN], "tool_use", '{"city":"Ulm"}', [], "stop"),
    ([use("a", "json_answer", {})], "tool_use", "{}", [], "stop"),
    ([ANSWER], "max_tokens", '{"city":"Ulm"}', [], "length"),
    ([ANSWER, CALL], "tool_use", '{"city":"Ulm"}', ["weather"], "tool_calls"),
    ([SAID, CALL], "tool_use", "Here it is:", ["weather"], "tool_calls"),
    ([SAID], "end_turn", "Here it is:", [], "stop"),
    ([THOUGHT, ANSWER], "tool_use", '{"city":"Ulm"}', [], "stop"),
]
READING = Reading(names=ToolNames(), json_tool="json_answer", emulated=("response_format",))
DETAILS = {"emulated_parameters": ["response_format"]}


def events(blocks, reason):
    """Return the events of a stream of *blocks*, without the end of the last one: it may be missing."""
    for index, block in enumerate(blocks):
        start, deltas = dict(block), []
        if block["type"] == "tool_use":
            text = json.dumps(block["input"]) if block["input"] else ""
            start["input"] = {}
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ("", text[:4], text[4:])]
        elif block["type"] == "text":
            start["text"] = ""
            deltas = [{"type": "text_delta", "text": piece} for piece in (block["text"][:4], block["text"][4:])]
        else:
            deltas = [
                {"type": "thinking_delta", "thinking": block["thinking"]},
                {"type": "signature_delta", "signature": block["signature"]},
            ]
        yield {"type": "content_block_start", "index": index, "content_block": start}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        if index < len(blocks) - 1:
            yield {"type": "content_block_stop", "index": index}
    yield {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 7}}


class TestAnswers:
    @pytest.mark.parametrize(("blocks", "reason", "text", "calls", "finish"), ENDS)
    def test_of_the_tool_that_stands_for_them(self, blocks, reason, text, calls, finish):
        document = {"content": blocks, "stop_reason": reason}
        found = invoke_result("anthropic", document, {}, READING, model="m", provider="p")
        assert (found.message.text, [call.name for call in found.message.tool_calls]) == (text, calls)
        missed = {} if text[0] == "{" or calls else {"response_format_missed": True}
        assert (found.finish_reason, found.details) == (finish, {**DETAILS, **missed})

    @pytest.mark.parametrize(("blocks", "reason", "text", "calls", "finish"), ENDS)
    def test_of_that_tool_in_streams(self, blocks, reason, text, calls, finish):
        stream = InvokeStream("anthropic", {}, READING)
        chunks = [chunk for event in events(blocks, reason) for chunk in stream.take(event)]
        last = stream.finish()
        [choice] = put_together([chunks + last]).choices
        assert choice.text.replace(" ", "") == text.replace(" ", "")
        assert [call.name for call in choice.tool_calls] == calls
        missed = {} if text[0] == "{" or calls else {"response_format_missed": True}
        assert (choice.finish_reason, last[-1].details) == (finish, {**DETAILS, **missed})
        assert choice.reasoning_parts == [ReasoningPart(text="Hm.", signature="sig")] * (THOUGHT in blocks)

    def test_words_of_claudes_own_tools_are_nobodys(self):
        blocks = [{"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}, SAID]
        start = {"type": "content_block_start", "index": 0, "content_block": blocks[0]}
        delta = {"type": "input_json_delta", "partial_json": '{"query":"x"}'}
        stream = InvokeStream("anthropic", {}, READING)
        assert stream.take(start) == []
        assert stream.take({"type": "content_block_delta", "index": 0, "delta": delta}) == []
        assert stream.take({"type": "content_block_stop", "index": 0}) == []


class TestAgainstTheService:
    @pytest.fixture
    def client(self, bedrock):
        return bedrock.client(models=[SERVED], options={"invoke": {SERVED: "anthropic"}})

    @pytest.mark.parametrize(
        "options",
        [
            {"response_format": SHAPE},
            {"response_format": SHAPE, "tools": [WEATHER], "tool_choice": "none"},
        ],
    )
    def test_schemas_are_answered_whole_and_in_streams(self, client, options):
        whole = client.chat(model=SERVED, **options)
        streamed = client.stream(model=SERVED, **options)
        assert json.loads(whole.message.text).keys() == json.loads(streamed.whole.text).keys() == {"city"}
        assert (whole.finish_reason, whole.message.tool_calls) == ("stop", ())
        assert whole.details["emulated_parameters"] == streamed.details["emulated_parameters"] == ["response_format"]

    @pytest.mark.parametrize("effort", ["minimal", "low", "medium", "high"])
    def test_thinking_has_room(self, client, effort):
        assert client.chat(model=SERVED, reasoning_effort=effort).finish_reason == "stop"
