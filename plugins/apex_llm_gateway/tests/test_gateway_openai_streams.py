"""Streams to the official client: whole, in order, and honest about how they end."""

from __future__ import annotations

import asyncio
import json

import pytest

openai = pytest.importorskip("openai")

TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
    for name in ("weather", "time")
]


def user(text="Hello there"):
    return [{"role": "user", "content": text}]


@pytest.fixture(scope="module")
def client(house, served):
    with openai.OpenAI(base_url=f"{house.url}/v1", api_key=served.KEYS["user"], max_retries=0, timeout=20) as made:
        yield made


def joined(chunks, index=0):
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices if choice.index == index)


class TestChat:
    def test_comes_in_pieces(self, client):
        chunks = list(client.chat.completions.create(model="mock-large", messages=user(), stream=True))
        assert joined(chunks) == "Hello there"
        assert sum(bool(chunk.choices[0].delta.content) for chunk in chunks) > 1
        assert chunks[0].choices[0].delta.role == "assistant"
        assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == ["stop"]
        assert len({chunk.id for chunk in chunks}) == 1
        assert {chunk.model for chunk in chunks} == {"mock-large"}
        assert all(chunk.usage is None for chunk in chunks)

    def test_tells_usage_and_origin_at_the_end_when_asked(self, client):
        chunks = list(
            client.chat.completions.create(
                model="mock-large", messages=user(), stream=True, stream_options={"include_usage": True}
            )
        )
        assert chunks[-1].choices == []
        assert chunks[-1].usage.completion_tokens == 3
        assert chunks[-1].x_apex["provider"] == "mock"
        assert chunks[-1].x_apex["attempts"] == 1
        assert chunks[-1].x_apex["cost"] > 0
        assert all("usage" in chunk.model_fields_set and chunk.usage is None for chunk in chunks[:-1])

    def test_tells_its_origin_in_the_head(self, client):
        with client.chat.completions.with_streaming_response.create(
            model="mock-large", messages=user(), stream=True, extra_headers={"x-request-id": "s-1"}
        ) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            assert response.headers["x-apex-provider"] == "mock"
            assert response.headers["x-apex-model"] == "mock-large"
            assert response.headers["x-request-id"] == "s-1"
            lines = [line for line in response.iter_lines() if line]
        assert lines[-1] == "data: [DONE]"
        assert all(json.loads(line.removeprefix("data: "))["id"] == "chatcmpl-s-1" for line in lines[:-1])

    def test_has_alternatives(self, client):
        chunks = list(client.chat.completions.create(model="mock-large", messages=user(), stream=True, n=3))
        assert len({joined(chunks, index) for index in range(3)}) == 3

    def test_has_log_probabilities(self, client):
        chunks = client.chat.completions.create(model="gpt-4o", messages=user(), stream=True, logprobs=True)
        tokens = [token.token for chunk in chunks for c in chunk.choices if c.logprobs for token in c.logprobs.content]
        assert "".join(tokens) == "Hello there"

    def test_thinks_before_it_answers(self, client):
        chunks = list(client.chat.completions.create(model="thinks", messages=user(), stream=True))
        thought = "".join(getattr(chunk.choices[0].delta, "reasoning_content", None) or "" for chunk in chunks)
        assert thought == "Let me see."
        assert joined(chunks) == "It is noon."

    def test_is_put_together_by_the_client_as_it_comes_whole(self, client):
        with client.chat.completions.stream(model="looks-twice", messages=user(), tools=TOOLS) as stream:
            kinds = {event.type for event in stream}
            final = stream.get_final_completion()
        message = final.choices[0].message
        assert final.choices[0].finish_reason == "tool_calls"
        assert message.content == "I will look."
        assert [call.function.name for call in message.tool_calls] == ["weather", "time"]
        assert [json.loads(call.function.arguments) for call in message.tool_calls] == [
            {"city": "Bern"},
            {"zone": "CET"},
        ]
        assert {"tool_calls.function.arguments.delta", "tool_calls.function.arguments.done"} <= kinds

    def test_calls_in_the_older_spelling(self, client):
        chunks = list(
            client.chat.completions.create(
                model="mock-large",
                messages=user(),
                functions=[TOOLS[0]["function"]],
                function_call={"name": "weather"},
                stream=True,
            )
        )
        calls = [chunk.choices[0].delta.function_call for chunk in chunks if chunk.choices[0].delta.function_call]
        assert calls[0].name == "weather"
        assert isinstance(json.loads("".join(call.arguments or "" for call in calls)), dict)
        assert chunks[-1].choices[0].finish_reason == "function_call"

    @pytest.mark.parametrize("text", ["Grüezi, 世界 🌍", 'a "quoted" \\ back\nslash', "\u2028 and \x7f"])
    def test_keeps_every_character(self, client, text):
        assert joined(client.chat.completions.create(model="mock-large", messages=user(text), stream=True)) == text

    @pytest.mark.parametrize("fault", ["crlf_split", "byte_packets", "utf8_split", "many_events", "comments"])
    def test_does_not_depend_on_the_packets_of_upstream(self, house, client, fault):
        house.upstream.faults.add(fault)
        text = "Grüezi mitenand, 世界"
        chunks = list(client.chat.completions.create(model="gpt-4o", messages=user(text), stream=True))
        assert joined(chunks) == text

    @pytest.mark.parametrize("fault", ["no_finish", "reset", "truncated"])
    def test_that_upstream_cuts_is_an_error(self, house, client, fault):
        house.upstream.faults.add(fault)
        with pytest.raises(openai.APIError) as caught:
            list(client.chat.completions.create(model="gpt-4o", messages=user("one two three four"), stream=True))
        assert caught.value.code in {"service_unavailable", "bad_upstream_answer"}

    def test_that_its_client_leaves_is_counted_as_left(self, house, client):
        def left():
            return any(one["status"] == 499 for one in house.service.gateway.activity.snapshot()["answers"])

        async def counted(seconds=20):
            async with asyncio.timeout(seconds):
                while not left():  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.01)

        house.upstream.faults.add("slow_stream")
        stream = client.chat.completions.create(model="gpt-4o", messages=user("one two three " * 50), stream=True)
        next(iter(stream))
        stream.close()
        house.run(counted())


class TestCompletions:
    def test_come_in_pieces(self, client):
        chunks = list(client.completions.create(model="mock-large", prompt="Hello there", stream=True))
        assert "".join(chunk.choices[0].text for chunk in chunks) == "Hello there"
        assert chunks[-1].choices[0].finish_reason == "stop"

    def test_of_several_prompts_are_numbered_through(self, client):
        chunks = list(
            client.completions.create(
                model="mock-large", prompt=["one", "two"], n=2, stream=True, stream_options={"include_usage": True}
            )
        )
        said = dict.fromkeys(range(4), "")
        for chunk in chunks:
            for choice in chunk.choices:
                said[choice.index] += choice.text
        assert [text[:3] for text in said.values()] == ["one", "one", "two", "two"]
        assert chunks[-1].usage.total_tokens > 0

    def test_of_several_prompts_echo_each(self, client):
        chunks = client.completions.create(model="mock-large", prompt=["one", "two"], echo=True, stream=True)
        said = {0: "", 1: ""}
        for chunk in chunks:
            for choice in chunk.choices:
                said[choice.index] += choice.text
        assert said == {0: "oneone", 1: "twotwo"}
