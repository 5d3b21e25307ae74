"""The official client, synchronous, is content with the gateway: every route, every feature."""

from __future__ import annotations

import json
import math
from base64 import b64decode
from typing import Literal

import pytest

openai = pytest.importorskip("openai")
pydantic = pytest.importorskip("pydantic")

#: One red pixel.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}


def user(text="Hello there"):
    return [{"role": "user", "content": text}]


@pytest.fixture(scope="module")
def client(house, served):
    with openai.OpenAI(base_url=f"{house.url}/v1", api_key=served.KEYS["user"], max_retries=0, timeout=20) as made:
        yield made


def asked(house):
    """Return the body that the upstream got last."""
    return house.upstream.journal[-1].body


class TestModels:
    def test_are_listed_once_each_with_their_provider(self, client, house):
        listed = {model.id: model.owned_by for model in client.models.list()}
        assert listed["mock-large"] == "mock"
        assert listed["gpt-4o"] == "azure"
        assert list(listed) == list(dict.fromkeys(listed))

    @pytest.mark.parametrize("name", ["mock-large", "mock/mock-large", "gpt-4o"])
    def test_are_told_one_by_one(self, client, name):
        model = client.models.retrieve(name)
        assert (model.id, model.object) == (name, "model")
        assert model.created > 1_700_000_000

    def test_that_are_unknown_are_not_found(self, client):
        with pytest.raises(openai.NotFoundError) as caught:
            client.models.retrieve("nobody")
        assert caught.value.code == "model_not_found"


class TestChat:
    def test_is_answered(self, client):
        answer = client.chat.completions.create(model="mock-small", messages=user())
        assert answer.object == "chat.completion"
        assert answer.id.startswith("chatcmpl-")
        assert answer.model == "mock-small"
        (choice,) = answer.choices
        assert (choice.index, choice.finish_reason, choice.message.role) == (0, "stop", "assistant")
        assert (choice.message.content, choice.message.refusal, choice.message.tool_calls) == (
            "Hello there",
            None,
            None,
        )
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0
        assert answer.usage.prompt_tokens_details.cached_tokens == 0

    def test_tells_where_its_answer_comes_from(self, client):
        raw = client.chat.completions.with_raw_response.create(
            model="mock-small", messages=user(), extra_headers={"x-request-id": "mine-1"}
        )
        assert raw.headers["x-request-id"] == "mine-1"
        assert raw.headers["x-apex-provider"] == "mock"
        assert raw.headers["x-apex-model"] == "mock-small"
        assert raw.headers["x-apex-attempts"] == "1"
        usage = raw.parse().usage
        expected = usage.prompt_tokens * 0.15e-6 + usage.completion_tokens * 0.6e-6
        assert math.isclose(float(raw.headers["x-apex-cost"]), expected, rel_tol=1e-6)
        assert raw.parse().id == "chatcmpl-mine-1"
        assert raw.parse()._request_id == "mine-1"

    def test_goes_to_the_provider_that_the_model_names(self, client):
        raw = client.chat.completions.with_raw_response.create(model="azure/gpt-4o", messages=user())
        assert raw.headers["x-apex-provider"] == "azure"

    def test_has_alternatives(self, client):
        answer = client.chat.completions.create(model="mock-large", messages=user(), n=3)
        assert [choice.index for choice in answer.choices] == [0, 1, 2]
        assert len({choice.message.content for choice in answer.choices}) == 3

    @pytest.mark.parametrize("stop", ["wolf", ["lamb", "wolf"]])
    def test_ends_at_stop_words(self, client, stop):
        answer = client.chat.completions.create(model="mock-large", messages=user("who fears the wolf?"), stop=stop)
        assert answer.choices[0].message.content == "who fears the "
        assert answer.choices[0].finish_reason == "stop"

    @pytest.mark.parametrize("spelling", ["max_tokens", "max_completion_tokens"])
    def test_is_cut_at_max_tokens(self, client, spelling):
        answer = client.chat.completions.create(model="mock-large", messages=user("word " * 40), **{spelling: 5})
        assert answer.choices[0].finish_reason == "length"
        assert answer.usage.completion_tokens == 5

    @pytest.mark.parametrize(("model", "others"), [("mock-large", 0), ("gpt-4o", 2)])
    def test_gives_log_probabilities(self, client, model, others):
        answer = client.chat.completions.create(model=model, messages=user(), logprobs=True, top_logprobs=2)
        tokens = answer.choices[0].logprobs.content
        assert "".join(token.token for token in tokens) == "Hello there"
        assert all(token.logprob <= 0 and len(token.top_logprobs) == others for token in tokens)

    def test_passes_parameters_on(self, client, house):
        client.chat.completions.create(
            model="gpt-4o", messages=user(), temperature=0.25, seed=7, user="u-1", metadata={"team": "blue"}, store=True
        )
        body = asked(house)
        assert (body["temperature"], body["seed"], body["user"]) == (0.25, 7, "u-1")
        assert (body["metadata"], body["store"]) == ({"team": "blue"}, True)

    def test_takes_all_roles(self, client, house):
        client.chat.completions.create(
            model="gpt-4o",
            messages=[
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Hello", "name": "ann"},
                {"role": "assistant", "content": "Hi."},
                {"role": "user", "content": [{"type": "text", "text": "How "}, {"type": "text", "text": "are you?"}]},
            ],
        )
        assert [message["role"] for message in asked(house)["messages"]] == ["system", "user", "assistant", "user"]
        assert asked(house)["messages"][1]["name"] == "ann"

    def test_takes_images(self, client, house):
        url = f"data:image/png;base64,{PNG}"
        content = [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": url, "detail": "low"}},
        ]
        answer = client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": content}])
        assert "[image image/png]" in answer.choices[0].message.content
        assert asked(house)["messages"][0]["content"][1]["image_url"] == {"url": url, "detail": "low"}

    def test_takes_documents(self, client):
        content = [
            {"type": "text", "text": "Read this."},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0x"}},
        ]
        answer = client.chat.completions.create(model="mock-large", messages=[{"role": "user", "content": content}])
        assert answer.choices[0].message.content == "Read this. [document a.pdf]"

    def test_thinks(self, client):
        message = (
            client.chat.completions.create(model="mock-large", messages=user(), reasoning_effort="low")
            .choices[0]
            .message
        )
        assert message.content == "Hello there"
        assert message.reasoning_content

    def test_gives_json(self, client):
        answer = client.chat.completions.create(
            model="mock-large", messages=user(), response_format={"type": "json_object"}
        )
        assert isinstance(json.loads(answer.choices[0].message.content), dict)


class Weather(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    city: str
    sky: Literal["clear", "grey"]
    degrees: int


class TestStructure:
    def test_comes_back_as_the_class_that_was_asked_for(self, client, house):
        answer = client.chat.completions.parse(model="gpt-4o", messages=user("Bern?"), response_format=Weather)
        assert isinstance(answer.choices[0].message.parsed, Weather)
        assert asked(house)["response_format"]["json_schema"]["strict"] is True

    def test_comes_back_from_a_stream(self, client):
        with client.chat.completions.stream(
            model="mock-large", messages=user("Bern?"), response_format=Weather
        ) as stream:
            final = stream.get_final_completion()
        assert isinstance(final.choices[0].message.parsed, Weather)


class TestTools:
    def test_go_round(self, client, house):
        messages = user("What does get_weather say of Bern?")
        first = client.chat.completions.create(model="gpt-4o", messages=messages, tools=[WEATHER])
        assert first.choices[0].finish_reason == "tool_calls"
        message = first.choices[0].message
        assert message.content is None
        (call,) = message.tool_calls
        assert (call.type, call.function.name) == ("function", "get_weather")
        assert set(json.loads(call.function.arguments)) == {"city", "days"}

        messages += [message, {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
        second = client.chat.completions.create(model="gpt-4o", messages=messages, tools=[WEATHER])
        assert "sunny" in second.choices[0].message.content
        sent = asked(house)["messages"]
        assert sent[1]["tool_calls"][0]["id"] == sent[2]["tool_call_id"] == call.id

    def test_can_be_demanded_one_by_name(self, client):
        answer = client.chat.completions.create(
            model="mock-large",
            messages=user(),
            tools=[WEATHER],
            tool_choice={"type": "function", "function": {"name": "get_weather"}},
        )
        assert answer.choices[0].message.tool_calls[0].function.name == "get_weather"

    def test_are_called_several_at_once(self, client):
        tools = [
            {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
            for name in ("weather", "time")
        ]
        message = client.chat.completions.create(model="looks-twice", messages=user(), tools=tools).choices[0].message
        assert message.content == "I will look."
        assert [call.function.name for call in message.tool_calls] == ["weather", "time"]
        assert [json.loads(call.function.arguments) for call in message.tool_calls] == [
            {"city": "Bern"},
            {"zone": "CET"},
        ]
        assert len({call.id for call in message.tool_calls}) == 2

    def test_are_parsed_by_the_client(self, client):
        class GetWeather(pydantic.BaseModel):
            city: str

        tool = openai.pydantic_function_tool(GetWeather)
        answer = client.chat.completions.parse(
            model="mock-large", messages=user(), tools=[tool], tool_choice="required"
        )
        assert isinstance(answer.choices[0].message.tool_calls[0].function.parsed_arguments, GetWeather)

    def test_are_called_in_the_older_spelling(self, client):
        function = WEATHER["function"]
        answer = client.chat.completions.create(
            model="mock-large", messages=user(), functions=[function], function_call={"name": "get_weather"}
        )
        message = answer.choices[0].message
        assert answer.choices[0].finish_reason == "function_call"
        assert message.function_call.name == "get_weather"
        assert message.tool_calls is None


class TestCompletions:
    def test_are_answered(self, client):
        answer = client.completions.create(model="mock-small", prompt="Once upon")
        assert answer.object == "text_completion"
        assert answer.choices[0].text == "Once upon"
        assert answer.choices[0].finish_reason == "stop"
        assert answer.usage.total_tokens > 0

    def test_of_several_prompts_are_numbered_through(self, client):
        answer = client.completions.create(model="mock-small", prompt=["one", "two"], n=2, echo=True)
        assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
        assert [choice.text[:6] for choice in answer.choices] == ["oneone", "oneone", "twotwo", "twotwo"]

    def test_give_log_probabilities(self, client):
        logprobs = client.completions.create(model="mock-large", prompt="Hello there", logprobs=2).choices[0].logprobs
        assert "".join(logprobs.tokens) == "Hello there"
        assert logprobs.text_offset[0] == 0
        assert all(logprob <= 0 for logprob in logprobs.token_logprobs)

    def test_refuse_token_ids(self, client):
        with pytest.raises(openai.BadRequestError, match="token ids"):
            client.completions.create(model="mock-small", prompt=[1, 2, 3])


class TestEmbeddings:
    def test_come_as_the_client_asks_for_them(self, client):
        by_default = client.embeddings.create(model="mock-embed", input=["one", "two"], dimensions=32)
        as_numbers = client.embeddings.create(
            model="mock-embed", input=["one", "two"], dimensions=32, encoding_format="float"
        )
        assert [item.index for item in by_default.data] == [0, 1]
        for mine, theirs in zip(by_default.data, as_numbers.data, strict=True):
            assert len(mine.embedding) == 32
            assert mine.embedding == pytest.approx(theirs.embedding, abs=1e-6)
        assert math.isclose(sum(x * x for x in by_default.data[0].embedding), 1, rel_tol=1e-4)

    def test_are_base64_when_that_is_what_was_asked_for(self, client):
        item = client.embeddings.create(model="mock-embed", input="one", encoding_format="base64").data[0]
        assert len(b64decode(item.embedding)) == 4 * 256

    def test_of_one_text_are_one(self, client):
        raw = client.embeddings.with_raw_response.create(model="text-embedding-3-small", input="one")
        assert raw.headers["x-apex-provider"] == "azure"
        assert len(raw.parse().data) == 1
        assert raw.parse().usage.prompt_tokens == raw.parse().usage.total_tokens > 0

    @pytest.mark.parametrize("tokens", [[1, 2], [[1, 2], [3]]])
    def test_refuse_token_ids(self, client, tokens):
        with pytest.raises(openai.BadRequestError, match="token ids") as caught:
            client.embeddings.create(model="mock-embed", input=tokens)
        assert caught.value.param == "input[0]"


class TestImages:
    def test_come_as_base64(self, client):
        answer = client.images.generate(model="mock-image", prompt="a cat", n=2, size="64x64")
        assert len(answer.data) == 2
        assert b64decode(answer.data[0].b64_json).startswith(b"\x89PNG")
        assert answer.output_format == "png"
        assert answer.usage.total_tokens > 0

    def test_tell_what_became_of_the_prompt(self, client):
        answer = client.images.generate(model="dall-e-3", prompt="a cat", size="1024x1024")
        image = answer.data[0]
        assert image.revised_prompt
        assert image.url or image.b64_json


@pytest.mark.parametrize("header", ["api-key", "x-api-key"])
def test_keys_may_come_in_the_headers_of_other_apis(house, served, header):
    headers = {header: served.KEYS["user"], "Authorization": openai.Omit()}
    with openai.OpenAI(base_url=f"{house.url}/v1", api_key="-", max_retries=0) as client:
        answer = client.chat.completions.create(model="mock-small", messages=user(), extra_headers=headers)
    assert answer.choices[0].message.content == "Hello there"
