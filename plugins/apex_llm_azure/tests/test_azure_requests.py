"""Bodies of chat completions: what is sent for what the caller asked."""

from __future__ import annotations

import json

import pytest
from apex_llm_azure.dialect import dialect_of
from apex_llm_azure.endpoints import parse_endpoint
from apex_llm_azure.families import family_of
from apex_llm_azure.requests import chat_body

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
    ResponseFormat,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

WEATHER = FunctionDefinition(
    name="weather", description="Now.", parameters={"type": "object", "properties": {"city": {"type": "string"}}}
)


def body(*messages, base_model="gpt-4o", api_version="", stream=False, unsupported="error", **options):
    endpoint = parse_endpoint("https://r.openai.azure.com", api_version=api_version)
    request = GenerateRequest(
        kind="chat",
        messages=messages or (ChatMessage(role="user", content="Hello"),),
        model="m",
        options=ChatGenerationOptions(model="m", **options),
        stream=stream,
    )
    dialect = dialect_of(endpoint, family_of(base_model))
    return chat_body(request, deployment="prod", dialect=dialect, unsupported=unsupported)


def document(*messages, **more):
    return body(*messages, **more).document


def test_the_plainest_request():
    assert document() == {"model": "prod", "messages": [{"role": "user", "content": "Hello"}]}


def test_every_option_has_its_place():
    found = document(
        max_tokens=50,
        temperature=0.2,
        top_p=0.9,
        frequency_penalty=0.1,
        presence_penalty=-0.1,
        stop=("END",),
        seed=7,
        n=2,
        user="alice",
        logprobs=True,
        top_logprobs=3,
        tools=(WEATHER,),
        tool_choice=FunctionChoice(name="weather"),
        parallel_tool_calls=False,
        response_format=ResponseFormat(type="json"),
        extra={"metadata": {"a": "b"}},
    )
    assert found == {
        "model": "prod",
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": 50,
        "temperature": 0.2,
        "top_p": 0.9,
        "frequency_penalty": 0.1,
        "presence_penalty": -0.1,
        "stop": ["END"],
        "seed": 7,
        "n": 2,
        "user": "alice",
        "logprobs": True,
        "top_logprobs": 3,
        "tools": [
            {
                "type": "function",
                "function": {"name": "weather", "description": "Now.", "parameters": dict(WEATHER.parameters)},
            }
        ],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "parallel_tool_calls": False,
        "response_format": {"type": "json_object"},
        "metadata": {"a": "b"},
    }
    json.dumps(found)


def test_the_older_spelling_of_tools_is_sent_as_it_is():
    found = document(functions=(FunctionDefinition(name="now", strict=True),), function_call="now")
    assert found["functions"] == [{"name": "now", "parameters": {"type": "object", "properties": {}}, "strict": True}]
    assert found["function_call"] == {"name": "now"}
    assert document(functions=(WEATHER,), function_call="none")["function_call"] == "none"


def test_a_conversation_with_parallel_tool_calls():
    found = document(
        ChatMessage(role="system", content="Be brief."),
        ChatMessage(role="user", content="Weather?", name="alice"),
        ChatMessage(
            role="assistant",
            content=[
                ReasoningPart(text="hm", signature="s"),
                TextPart(text="Looking."),
                ToolCallPart(id="1", name="weather", arguments='{"city":"Oslo"}'),
                ToolCallPart(id="2", name="weather"),
            ],
        ),
        ChatMessage(
            role="tool",
            content=[
                ToolResultPart(tool_call_id="1", content="cold"),
                ToolResultPart(tool_call_id="2", content="warm"),
            ],
        ),
    )
    assert found["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Weather?", "name": "alice"},
        {
            "role": "assistant",
            "content": "Looking.",
            "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}},
                {"id": "2", "type": "function", "function": {"name": "weather", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "1", "content": "cold"},
        {"role": "tool", "tool_call_id": "2", "content": "warm"},
    ]


def test_results_and_words_in_one_message_become_two():
    found = document(
        ChatMessage(role="assistant", content=[ToolCallPart(id="1", name="weather")]),
        ChatMessage(role="user", content=[TextPart(text="And now?"), ToolResultPart(tool_call_id="1", content="cold")]),
    )
    assert found["messages"][0]["content"] is None
    assert found["messages"][1:] == [
        {"role": "tool", "tool_call_id": "1", "content": "cold"},
        {"role": "user", "content": "And now?"},
    ]


def test_the_older_function_messages():
    found = document(
        ChatMessage(role="assistant", function_call=FunctionCall(name="now", arguments="{}")),
        ChatMessage(role="function", name="now", content="noon"),
    )
    assert found["messages"] == [
        {"role": "assistant", "content": None, "function_call": {"name": "now", "arguments": "{}"}},
        {"role": "function", "name": "now", "content": "noon"},
    ]


def test_images_and_text_documents_go_in():
    found = document(
        ChatMessage(
            role="user",
            content=[
                TextPart(text="Compare."),
                ImagePart(data="aGk=", media_type="image/png", detail="low"),
                ImagePart(url="https://example.com/a.png"),
                DocumentPart(text="Once.", name="story"),
                CacheHintPart(),
            ],
        )
    )
    assert found["messages"][0]["content"] == [
        {"type": "text", "text": "Compare."},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "text", "text": "story:\nOnce."},
    ]


def test_a_binary_document_is_refused_not_left_out():
    part = DocumentPart(data="aGk=", media_type="application/pdf")
    with pytest.raises(InvalidRequestError, match="application/pdf"):
        body(ChatMessage(role="user", content=[part]))


def test_json_schema():
    shape = ResponseFormat(type="json_schema", name="city", schema={"type": "object"}, strict=True)
    assert document(response_format=shape)["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "city", "schema": {"type": "object"}, "strict": True},
    }
    assert "response_format" not in document(response_format=ResponseFormat(type="text"))


def test_json_schema_needs_a_model_that_keeps_it():
    shape = ResponseFormat(type="json_schema", schema={"type": "object"})
    with pytest.raises(InvalidRequestError, match="response_format"):
        body(base_model="gpt-4", response_format=shape)


class TestReasoningModels:
    @pytest.mark.parametrize("api_version", ["", "2024-10-21"])
    def test_complaint_11_the_length_has_their_name_for_it(self, api_version):
        found = document(base_model="o3-mini", api_version=api_version, max_tokens=9)
        assert found["max_completion_tokens"] == 9
        assert "max_tokens" not in found

    @pytest.mark.parametrize(
        "option", [{"temperature": 0.2}, {"top_p": 0.5}, {"presence_penalty": 1}, {"logprobs": True}]
    )
    def test_sampling_is_refused_with_advice(self, option):
        with pytest.raises(InvalidRequestError, match="unsupported_parameters = 'drop'"):
            body(base_model="o3-mini", **option)

    def test_sampling_is_dropped_on_demand_and_told(self):
        found = body(base_model="o3-mini", temperature=0.2, logprobs=True, unsupported="drop")
        assert found.dropped == ("temperature", "logprobs")
        assert not {"temperature", "logprobs"} & found.document.keys()

    def test_values_that_change_nothing_are_no_complaint(self):
        found = body(base_model="o3-mini", temperature=1, top_p=1.0, frequency_penalty=0, logprobs=False)
        assert found.dropped == ()
        assert found.document.keys() == {"model", "messages"}

    def test_effort(self):
        assert document(base_model="o3-mini", reasoning_effort="low")["reasoning_effort"] == "low"
        with pytest.raises(InvalidRequestError, match="reasoning_effort"):
            body(base_model="gpt-4o", reasoning_effort="low")

    def test_they_never_get_both_developer_and_system(self):
        conversation = (
            ChatMessage(role="system", content="a"),
            ChatMessage(role="developer", content="b"),
            ChatMessage(role="user", content="c"),
        )
        roles = [message["role"] for message in document(*conversation, base_model="o3-mini")["messages"]]
        assert roles == ["developer", "developer", "user"]
        roles = [message["role"] for message in document(*conversation, base_model="gpt-4o")["messages"]]
        assert roles == ["system", "system", "user"]


def test_complaint_12_known_models_without_reasoning_keep_the_older_name():
    assert document(base_model="gpt-4o", max_tokens=9)["max_tokens"] == 9


def test_complaint_26_the_deployments_name_says_nothing():
    # "prod" is the deployment; what it is was declared, or nobody knows.
    assert "max_completion_tokens" in document(base_model="gpt-5", max_tokens=9)
    assert "max_tokens" in document(base_model=None, api_version="2024-10-21", max_tokens=9)


class TestStreams:
    def test_usage_is_asked_for(self):
        found = document(stream=True)
        assert found["stream"] is True
        assert found["stream_options"] == {"include_usage": True}

    def test_complaint_22_versions_before_september_2024_are_not_asked(self):
        assert "stream_options" not in document(stream=True, api_version="2024-06-01")

    def test_not_together_with_ones_own_data(self):
        assert "stream_options" not in document(stream=True, extra={"data_sources": []})


@pytest.mark.parametrize("name", ["messages", "model", "stream"])
def test_extra_cannot_contradict_the_request(name):
    with pytest.raises(InvalidRequestError, match=name):
        body(extra={name: 1})
