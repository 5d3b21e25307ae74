"""The official client is content with the emulator, on both surfaces."""

from __future__ import annotations

import json
from base64 import b64decode

import pytest
from apex_llm_mock import MockSettings, Reply
from apex_llm_mock.emulation import AzureEmulator

openai = pytest.importorskip("openai")

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def user(text):
    return [{"role": "user", "content": text}]


@pytest.fixture(scope="module")
def emulator():
    with AzureEmulator(chunk_size=4).run_in_thread() as emulator:
        yield emulator


@pytest.fixture(params=["dated", "v1"])
def client(emulator, request):
    if request.param == "v1":
        made = openai.OpenAI(base_url=f"{emulator.url}/openai/v1/", api_key=emulator.api_key, max_retries=0)
    else:
        made = openai.AzureOpenAI(
            azure_endpoint=emulator.url, api_key=emulator.api_key, api_version="2025-04-01-preview", max_retries=0
        )
    with made:
        yield made


def test_chat(client):
    answer = client.chat.completions.create(model="gpt-4o", messages=user("Hello there"), n=2)
    assert [choice.message.content for choice in answer.choices] == ["Hello there", "Hello there (2)"]
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.model == "gpt-4o-2024-11-20"


def test_streams_with_usage(client):
    stream = client.chat.completions.create(
        model="gpt-4o", messages=user("Hello there"), stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "Hello there"
    assert chunks[0].choices == []
    assert [chunk.usage.completion_tokens for chunk in chunks if chunk.usage] == [3]


def test_tools_there_and_back(client):
    asked = user("what does get_weather say?")
    message = client.chat.completions.create(model="gpt-4o", messages=asked, tools=[WEATHER]).choices[0].message
    [call] = message.tool_calls
    assert json.loads(call.function.arguments).keys() == {"city"}
    answered = [*asked, message, {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    final = client.chat.completions.create(model="gpt-4o", messages=answered, tools=[WEATHER])
    assert final.choices[0].message.content == "The tool get_weather answered: sunny"


def test_streamed_tool_calls_are_put_together_by_index(client):
    other = {**WEATHER, "function": {**WEATHER["function"], "name": "get_time"}}
    prompt = user("get_weather and get_time please")
    with client.chat.completions.stream(model="gpt-4o", messages=prompt, tools=[WEATHER, other]) as stream:
        message = stream.get_final_completion().choices[0].message
    assert [call.function.name for call in message.tool_calls] == ["get_weather", "get_time"]
    assert [json.loads(call.function.arguments) for call in message.tool_calls] == [
        {"city": "get_weather and get_time please"}
    ] * 2


def test_embeddings_are_the_same_as_floats_and_in_base64(client):
    # The client asks for base64 by itself.
    packed = client.embeddings.create(model="text-embedding-3-small", input=["a", "b"], dimensions=64)
    plain = client.embeddings.create(
        model="text-embedding-3-small", input=["a", "b"], dimensions=64, encoding_format="float"
    )
    assert [item.index for item in packed.data] == [0, 1]
    for one, other in zip(packed.data, plain.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)


def test_images_and_edits(client):
    drawn = client.images.generate(model="gpt-image-1", prompt="a cat", n=2, size="1024x1536")
    pictures = [b64decode(item.b64_json) for item in drawn.data]
    assert len(set(pictures)) == 2
    edited = client.images.edit(
        model="gpt-image-1",
        image=[("one.png", pictures[0], "image/png"), ("two.png", pictures[1], "image/png")],
        mask=("mask.png", pictures[0], "image/png"),
        prompt="a dog",
    )
    assert edited.usage.input_tokens_details.image_tokens == 170
    assert b64decode(edited.data[0].b64_json).startswith(b"\x89PNG")


def test_models(client):
    models = client.models.list().data
    assert "gpt-4o-2024-11-20" in {model.id for model in models}
    assert client.models.retrieve("o3-2025-04-16").capabilities["chat_completion"] is True


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("content_filter", openai.BadRequestError),
        ("unauthorized", openai.AuthenticationError),
        ("firewall", openai.PermissionDeniedError),
        ("deployment_not_found", openai.NotFoundError),
        ("conflict", openai.ConflictError),
        ("unprocessable", openai.UnprocessableEntityError),
        ("rate_limit", openai.RateLimitError),
        ("bad_gateway", openai.InternalServerError),
        ("drop", openai.APIConnectionError),
        ("garbage", openai.APIConnectionError),
    ],
)
def test_faults_are_its_exceptions(client, fault, error):
    with pytest.raises(error):
        client.chat.completions.create(model=f"fault-{fault}", messages=user("x"))


def test_it_repeats_a_request_that_was_limited_once(emulator, client):
    emulator.faults.add("rate_limit", times=2, headers={"retry-after-ms": "1"})
    answer = client.with_options(max_retries=2).chat.completions.create(model="gpt-4o", messages=user("again"))
    assert answer.choices[0].message.content == "again"
    assert [received.fault for received in emulator.journal[-3:]] == ["rate_limit", "rate_limit", None]


def test_tokens_of_the_directory_open_both_surfaces(emulator):
    scope = "https://cognitiveservices.azure.com/.default"
    with openai.AzureOpenAI(
        azure_endpoint=emulator.url,
        azure_ad_token_provider=lambda: emulator.book.issue(scope),
        api_version="2024-10-21",
        max_retries=0,
    ) as client:
        assert client.chat.completions.create(model="gpt-4o", messages=user("hi")).choices[0].message.content == "hi"
    with openai.OpenAI(
        base_url=f"{emulator.url}/openai/v1/", api_key=emulator.book.issue("https://ai.azure.com/.default")
    ) as client:
        assert client.chat.completions.create(model="gpt-4o", messages=user("hi")).choices[0].message.content == "hi"


def test_replies_can_be_written():
    replies = MockSettings(script=(Reply(text="one"), Reply(text="two")), script_end="repeat")
    with (
        AzureEmulator(replies=replies).run_in_thread() as emulator,
        openai.OpenAI(base_url=f"{emulator.url}/openai/v1/", api_key=emulator.api_key) as client,
    ):
        said = [
            client.chat.completions.create(model="gpt-4o", messages=user("x")).choices[0].message.content
            for _ in range(3)
        ]
    assert said == ["one", "two", "two"]
