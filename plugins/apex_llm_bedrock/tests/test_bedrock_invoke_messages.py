"""Chat completions by InvokeModel: the rules for conversations and tools are those of Converse."""

from __future__ import annotations

import json

import pytest
from apex_llm_bedrock.answers import Reading
from apex_llm_bedrock.families import family_of
from apex_llm_bedrock.invoke.text import InvokeStream, invoke_body, invoke_result
from apex_llm_bedrock.model_ids import parse_model_id
from apex_llm_bedrock.models import Model
from apex_llm_bedrock.requests import converse_body
from apex_llm_bedrock.settings import BedrockSettings
from apex_llm_bedrock.tool_names import ToolNames

from apex_llm_core.errors import InvalidRequestError
from apex_llm_core.models import (
    CacheHintPart,
    ChatGenerationOptions,
    ChatMessage,
    DocumentPart,
    FunctionCall,
    FunctionChoice,
    FunctionDefinition,
    GenerateRequest,
    ImagePart,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    Usage,
)

GPT = "openai.gpt-oss-120b-1:0"
GLM = "zai.glm-4.7"
IMPORTED = "arn:aws:bedrock:us-east-1:123456789012:imported-model/abc123"
JPEG = "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAgGBg=="
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = FunctionDefinition(name="weather", parameters=CITY)


def user(content="Hello"):
    return ChatMessage(role="user", content=content)


def assistant(content):
    return ChatMessage(role="assistant", content=content)


def result(call_id, content, **more):
    return ChatMessage(role="tool", content=[ToolResultPart(tool_call_id=call_id, content=content, **more)])


CALLED = assistant([ToolCallPart(id="1", name="weather", arguments='{"city":"Ulm"}')])


def asked(messages, model, options):
    model_id = parse_model_id(model)
    meant = Model(name=model, id=model_id, family=family_of(model_id.base), base=model_id.base, invoke_format="openai")
    chat = ChatGenerationOptions(**options)
    return GenerateRequest(kind="chat", messages=messages or (user(),), model="m", options=chat), meant


def body(*messages, model=GPT, unsupported="error", **options):
    settings = BedrockSettings(unsupported_parameters=unsupported)
    return invoke_body("openai", *asked(messages, model, options), settings)


def messages_of(*messages, **more):
    return body(*messages, **more).document["messages"]


class TestMistakes:
    @pytest.mark.parametrize(
        ("messages", "options", "says"),
        [
            ((), {"tools": [WEATHER], "tool_choice": FunctionChoice(name="wether")}, "no tool of the request"),
            ((), {"functions": [WEATHER], "function_call": "wether"}, "did you mean 'weather'"),
            ((), {"tool_choice": "required"}, "the request has no tools"),
            ((user(), CALLED, user()), {"tools": [WEATHER]}, "tool call '1' has no result"),
            ((user(), CALLED, result("1", "a"), result("1", "b")), {}, r"messages\[3\] is a second result"),
            ((user(), ChatMessage(role="tool", content="sun")), {}, r"messages\[1\] has role 'tool'"),
            ((user([ImagePart(data="%%%", media_type="image/png")]),), {}, r"messages\[0\]: the data is no base64"),
            ((user([DocumentPart(text=" ")]),), {}, "the document is empty"),
            ((user("  "),), {}, "messages say nothing"),
        ],
    )
    def test_get_the_words_that_converse_has_for_them(self, messages, options, says):
        with pytest.raises(InvalidRequestError, match=says) as ours:
            body(*messages, **options)
        with pytest.raises(InvalidRequestError) as theirs:
            converse_body(*asked(messages, GPT, options), BedrockSettings())
        assert ours.value.message == theirs.value.message

    def test_pictures_are_not_fetched_from_s3(self):
        with pytest.raises(InvalidRequestError, match=r"messages\[1\].*no pictures from S3.*base64"):
            body(user("a"), user([ImagePart(url="S3://bucket/key.png")]))

    @pytest.mark.parametrize("media_type", ["application/pdf", "application/msword"])
    def test_documents_that_are_no_text_are_refused(self, media_type):
        with pytest.raises(InvalidRequestError, match=r"no (pdf|doc) documents"):
            body(user([DocumentPart(data="aGVsbG8gd29ybGQ=", media_type=media_type)]))


class TestMessages:
    def test_pictures_are_what_they_are(self):
        [message] = messages_of(user([ImagePart(data=JPEG, media_type="image/png"), TextPart(text="?")]))
        assert message["content"] == [
            {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{JPEG}"}},
            {"type": "text", "text": "?"},
        ]

    def test_a_picture_that_came_as_a_document_is_one(self):
        [message] = messages_of(user([DocumentPart(data=PNG, media_type="application/pdf")]))
        assert message["content"][0]["type"] == "image_url"

    def test_texts_of_one_side_are_one(self):
        history = user([TextPart(text="a"), CacheHintPart(), TextPart(text=" "), TextPart(text="b")]), user("c")
        assert messages_of(*history) == [{"role": "user", "content": "a\n\nb\n\nc"}]

    def test_system_messages_are_one_at_the_beginning(self):
        history = (
            user("a"),
            ChatMessage(role="system", content="Be brief."),
            ChatMessage(role="developer", content="Be kind."),
        )
        assert messages_of(*history) == [
            {"role": "system", "content": "Be brief.\n\nBe kind."},
            {"role": "user", "content": "a"},
        ]

    def test_documents_of_text_stand_under_their_name(self):
        parts = [DocumentPart(text="1,ä", name="sales.csv", media_type="text/csv"), TextPart(text="Sum?")]
        assert messages_of(user(parts)) == [{"role": "user", "content": "sales:\n1,ä\n\nSum?"}]

    def test_results_come_in_the_order_of_their_calls_before_what_is_said_beside_them(self):
        calls = [
            ReasoningPart(text="Hm."),
            TextPart(text="Look."),
            *(ToolCallPart(id=each, name="weather") for each in "12"),
        ]
        beside = user([ToolResultPart(tool_call_id="1", content="sun"), TextPart(text="And?")])
        history = messages_of(user(), assistant(calls), result("2", "fog", is_error=True), beside)
        assert history[1]["content"] == "Look."
        assert [call["id"] for call in history[1]["tool_calls"]] == ["1", "2"]
        assert history[2:] == [
            {"role": "tool", "tool_call_id": "1", "content": "sun"},
            {"role": "tool", "tool_call_id": "2", "content": "Error: fog"},
            {"role": "user", "content": "And?"},
        ]

    def test_arguments_are_always_an_object(self):
        broken = assistant([ToolCallPart(id="a b", name="größe", arguments="{bad")])
        [_, called, answered] = messages_of(user(), broken, result("a b", ""))
        [call] = called["tool_calls"]
        assert json.loads(call["function"]["arguments"]) == {"arguments": "{bad"}
        assert call["id"] == answered["tool_call_id"] != "a b"
        assert called["content"] is None

    def test_calls_of_the_older_spelling_keep_their_results_apart(self):
        calls = [
            message
            for name in ("weather", "time", "weather")
            for message in (
                ChatMessage(role="assistant", function_call=FunctionCall(name=name)),
                ChatMessage(role="function", name=name, content=name),
            )
        ]
        history = messages_of(user(), *calls)
        made = [message["tool_calls"][0]["id"] for message in history if "tool_calls" in message]
        assert [message["tool_call_id"] for message in history if message["role"] == "tool"] == made
        assert len(set(made)) == 3


class TestTools:
    @pytest.mark.parametrize(
        ("options", "choice"),
        [
            ({}, None),
            ({"tool_choice": "auto"}, "auto"),
            ({"tool_choice": "required"}, "required"),
            ({"tool_choice": "none"}, "none"),
            ({"function_call": "none"}, "none"),
            ({"function_call": "weather"}, {"type": "function", "function": {"name": "weather"}}),
            ({"tool_choice": FunctionChoice(name="weather")}, {"type": "function", "function": {"name": "weather"}}),
        ],
    )
    @pytest.mark.parametrize("model", [GPT, IMPORTED])
    def test_are_chosen_in_the_models_own_words(self, model, options, choice):
        # Converse has no choice for gpt-oss at all.
        found, reading = body(model=model, tools=[WEATHER], **options)
        assert (found.get("tool_choice"), reading.dropped) == (choice, ())
        assert found["tools"] == [{"type": "function", "function": {"name": "weather", "parameters": CITY}}]

    def test_are_held_to_their_schema_where_the_model_knows_it(self):
        strict = FunctionDefinition(name="weather", parameters=CITY, strict=True)
        found, reading = body(tools=[strict])
        [tool] = found["tools"]
        assert tool["function"]["strict"] is True
        assert tool["function"]["parameters"] == {**CITY, "additionalProperties": False}
        assert reading.dropped == ()
        found, reading = body(model=IMPORTED, tools=[strict])
        assert found["tools"] == [{"type": "function", "function": {"name": "weather", "parameters": CITY}}]
        assert reading.dropped == ("strict",)


class TestEffort:
    def test_is_a_word_the_model_knows(self):
        assert body(reasoning_effort="minimal").document["reasoning_effort"] == "low"
        assert body(model=IMPORTED, reasoning_effort="xhigh").document["reasoning_effort"] == "xhigh"
        with pytest.raises(InvalidRequestError, match="did you mean 'high'"):
            body(reasoning_effort="xhigh")
        with pytest.raises(InvalidRequestError, match="valid: high"):
            body(model=GLM, reasoning_effort="low")


ANSWER = {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}
COUNTED = {"prompt_tokens": 5, "completion_tokens": 7}


class TestUsage:
    @pytest.mark.parametrize(
        ("usage", "expected"),
        [
            (
                {"prompt_tokens_details": {"cached_tokens": 3}},
                Usage(prompt_tokens=5, completion_tokens=7, cached_tokens=3),
            ),
            ({"prompt_tokens_details": None}, Usage(prompt_tokens=5, completion_tokens=7)),
            ({"prompt_tokens_details": True}, Usage(prompt_tokens=5, completion_tokens=7)),
            ({"prompt_tokens_details": [3]}, Usage(prompt_tokens=5, completion_tokens=7)),
            ({"prompt_tokens_details": {"cached_tokens": "3"}}, None),
            ({"prompt_tokens": "5"}, None),
            ({"completion_tokens": None}, None),
        ],
    )
    def test_that_cannot_be_read_is_none(self, usage, expected):
        reading = Reading(names=ToolNames())
        document = {**ANSWER, "usage": {**COUNTED, **usage}}
        found = invoke_result("openai", document, {}, reading, model="m", provider="p")
        assert (found.message.text, found.usage) == ("Hi", expected)
        stream = InvokeStream("openai", {}, reading)
        piece = {"choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}], "usage": document["usage"]}
        assert [chunk.text for chunk in stream.take(piece)] == ["Hi"]
        assert stream.finish()[-1].usage == expected

    @pytest.mark.parametrize("count", ["9" * 5000, "-1", "x", ""])
    def test_in_headers_that_are_no_counts_is_none(self, count):
        headers = {"x-amzn-bedrock-input-token-count": count, "x-amzn-bedrock-output-token-count": "7"}
        found = invoke_result("openai", ANSWER, headers, Reading(names=ToolNames()), model="m", provider="p")
        assert found.usage is None
