"""The official client, asynchronous: every route, a hundred streams at once, and clients that leave."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from apex_llm_core.models.events import RequestFinished

openai = pytest.importorskip("openai")
pydantic = pytest.importorskip("pydantic")

#: Seconds after which an upstream call that nobody wants counts as not cancelled. It takes a few milliseconds; machines
#: that run tests are slow at times. Nothing else would end it: faults last until the client goes.
SOON = 10.0


def user(text="Hello there"):
    return [{"role": "user", "content": text}]


@pytest.fixture
def concurrently(house, served):
    """Run a coroutine function with an asynchronous client."""

    def run(work):
        async def main():
            async with openai.AsyncOpenAI(
                base_url=f"{house.url}/v1", api_key=served.KEYS["user"], max_retries=0, timeout=20
            ) as client:
                return await work(client)

        return asyncio.run(main())

    return run


class TestRoutes:
    def test_chat_goes_round_with_tools(self, concurrently):
        tool = {
            "type": "function",
            "function": {
                "name": "get_weather",
                "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
            },
        }

        async def work(client):
            messages = user("What does get_weather say?")
            first = await client.chat.completions.create(model="mock-large", messages=messages, tools=[tool])
            message = first.choices[0].message
            (call,) = message.tool_calls
            assert json.loads(call.function.arguments)["city"]
            messages += [message, {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
            return await client.chat.completions.create(model="mock-large", messages=messages, tools=[tool])

        assert "sunny" in concurrently(work).choices[0].message.content

    def test_structure_is_parsed_while_it_streams(self, concurrently):
        class Answer(pydantic.BaseModel):
            word: str
            count: int

        async def work(client):
            async with client.chat.completions.stream(
                model="gpt-4o", messages=user(), response_format=Answer
            ) as stream:
                kinds = [event.type async for event in stream]
                return kinds, (await stream.get_final_completion()).choices[0].message.parsed

        kinds, parsed = concurrently(work)
        assert isinstance(parsed, Answer)
        assert kinds[-1] == "content.done"

    def test_embeddings_come_as_numbers_by_default(self, concurrently):
        async def work(client):
            return await client.embeddings.create(model="mock-embed", input=["one", "two"], dimensions=16)

        answer = concurrently(work)
        assert [len(item.embedding) for item in answer.data] == [16, 16]

    def test_models_are_listed(self, concurrently):
        async def work(client):
            return [model.id async for model in client.models.list()]

        assert {"mock-large", "gpt-4o"} <= set(concurrently(work))

    def test_legacy_completions_stream(self, concurrently):
        async def work(client):
            stream = await client.completions.create(model="mock-small", prompt="Hello there", stream=True)
            return "".join([chunk.choices[0].text async for chunk in stream])

        assert concurrently(work) == "Hello there"

    def test_errors_have_their_classes(self, concurrently):
        async def work(client):
            with pytest.raises(openai.RateLimitError) as caught:
                await client.chat.completions.create(model="fail-waits", messages=user())
            return caught.value

        assert concurrently(work).response.headers["retry-after"] == "3"

    def test_answers_tell_their_origin(self, concurrently):
        async def work(client):
            return await client.images.with_raw_response.generate(model="mock-image", prompt="a cat", size="64x64")

        raw = concurrently(work)
        assert raw.headers["x-apex-provider"] == "mock"
        assert float(raw.headers["x-apex-cost"]) > 0


class TestConcurrency:
    def test_a_hundred_streams_are_complete_and_distinct(self, concurrently):
        async def one(client, number):
            text = f"stream {number} " * 20
            stream = await client.chat.completions.create(model="mock-large", messages=user(text), stream=True)
            return text == "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

        async def work(client):
            return await asyncio.gather(*(one(client, number) for number in range(100)))

        assert concurrently(work) == [True] * 100

    def test_a_hundred_streams_of_a_real_upstream_are_complete_and_distinct(self, house, concurrently):
        async def one(client, number):
            text = f"stream {number} " * 5
            stream = await client.chat.completions.create(model="gpt-4o", messages=user(text), stream=True)
            return text == "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])

        async def work(client):
            return await asyncio.gather(*(one(client, number) for number in range(100)))

        assert concurrently(work) == [True] * 100
        assert house.counts.open_requests == 0

    def test_all_operations_go_on_beside_each_other(self, concurrently):
        async def work(client):
            return await asyncio.gather(
                client.chat.completions.create(model="mock-small", messages=user()),
                client.completions.create(model="mock-small", prompt="one"),
                client.embeddings.create(model="mock-embed", input="one"),
                client.images.generate(model="mock-image", prompt="a cat", size="64x64"),
                client.models.list(),
                client.models.retrieve("gpt-4o"),
            )

        chat, text, vectors, images, models, model = concurrently(work)
        assert chat.choices[0].message.content == "Hello there"
        assert text.choices[0].text == "one"
        assert len(vectors.data[0].embedding) == 256
        assert images.data[0].b64_json
        assert len(models.data) > 3
        assert model.id == "gpt-4o"


class TestCancellation:
    """A client that goes away ends the call upstream, which sees it."""

    def gone(self, house, before):
        began = time.monotonic()
        house.upstream_until(lambda counts: counts.disconnects > before and not counts.open_requests)
        return time.monotonic() - began

    def test_closing_a_stream_ends_it_upstream(self, house, concurrently):
        house.upstream.faults.add("stall", after_chunks=2)
        before = house.counts.disconnects

        async def work(client):
            stream = await client.chat.completions.create(
                model="gpt-4o", messages=user("a long story"), stream=True, extra_headers={"x-request-id": "closed-1"}
            )
            async for chunk in stream:
                if chunk.choices and chunk.choices[0].delta.content:
                    break
            await stream.close()
            return await asyncio.to_thread(self.gone, house, before)

        assert concurrently(work) < SOON
        assert house.event(_finished("closed-1")).outcome == "cancelled"

    def test_leaving_before_the_first_chunk_ends_it_upstream(self, house, concurrently):
        house.upstream.faults.add("hang")
        before = house.counts.disconnects

        async def work(client):
            opening = asyncio.ensure_future(
                client.chat.completions.create(
                    model="gpt-4o", messages=user(), stream=True, extra_headers={"x-request-id": "left-1"}
                )
            )
            await asyncio.to_thread(house.upstream_until, lambda counts: counts.open_requests == 1)
            opening.cancel()
            await asyncio.wait((opening,))
            return await asyncio.to_thread(self.gone, house, before)

        assert concurrently(work) < SOON
        assert house.event(_finished("left-1")).outcome == "cancelled"

    def test_leaving_a_whole_answer_ends_it_upstream(self, house, concurrently):
        house.upstream.faults.add("hang")
        before = house.counts.disconnects

        async def work(client):
            asking = asyncio.ensure_future(
                client.chat.completions.create(
                    model="gpt-4o", messages=user(), extra_headers={"x-request-id": "left-2"}
                )
            )
            await asyncio.to_thread(house.upstream_until, lambda counts: counts.open_requests == 1)
            asking.cancel()
            await asyncio.wait((asking,))
            return await asyncio.to_thread(self.gone, house, before)

        assert concurrently(work) < SOON
        assert house.event(_finished("left-2")).outcome == "cancelled"

    def test_leaving_several_completions_ends_all_of_them(self, house, concurrently):
        house.upstream.faults.add("hang", times=3)
        before = house.counts.disconnects

        async def work(client):
            asking = asyncio.ensure_future(client.completions.create(model="gpt-4o", prompt=["one", "two", "three"]))
            await asyncio.to_thread(house.upstream_until, lambda counts: counts.open_requests == 3)
            asking.cancel()
            await asyncio.wait((asking,))

        concurrently(work)
        house.upstream_until(lambda counts: counts.disconnects == before + 3 and not counts.open_requests)

    def test_synchronous_clients_can_leave_as_well(self, house, served):
        house.upstream.faults.add("stall", after_chunks=2)
        before = house.counts.disconnects
        with (
            openai.OpenAI(base_url=f"{house.url}/v1", api_key=served.KEYS["user"], max_retries=0) as client,
            client.chat.completions.create(model="gpt-4o", messages=user("a long story"), stream=True) as stream,
        ):
            for chunk in stream:
                if chunk.choices and chunk.choices[0].delta.content:
                    break
        assert self.gone(house, before) < SOON

    def test_a_client_that_waits_no_longer_ends_the_call_upstream(self, house, served):
        house.upstream.faults.add("hang")
        before = house.counts.disconnects
        with openai.OpenAI(base_url=f"{house.url}/v1", api_key=served.KEYS["user"], max_retries=0) as client:
            with pytest.raises(openai.APITimeoutError):
                # Time enough to get upstream, where the fault waits for it.
                client.chat.completions.create(model="gpt-4o", messages=user(), timeout=2)
            assert self.gone(house, before) < SOON


def _finished(request_id):
    return lambda event: type(event) is RequestFinished and event.request_id == request_id
