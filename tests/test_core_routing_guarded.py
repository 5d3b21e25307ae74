from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from apex_llm_core import LLMProviderManager, LLMTimeoutError, hookimpl
from apex_llm_core.testing import FakeClock, run_virtual


class Hanging:
    """A middleware that never goes on, in the way told."""

    def __init__(self, way):
        self.way = way

    @hookimpl
    async def apex_around_generate(self, request, context, call_next):
        if self.way == "before":
            await asyncio.Event().wait()
        result = await call_next(request, context)
        if self.way == "after":
            await asyncio.Event().wait()
        return result

    @hookimpl
    async def apex_around_stream(self, request, context, call_next):
        async with aclosing(call_next(request, context)) as batches:
            async for batch in batches:
                if self.way == "before":
                    await asyncio.Event().wait()
                yield batch
            await asyncio.Event().wait()


class Offer:
    def __init__(self, way):
        self.way = way

    @hookimpl
    def apex_register(self, registrar):
        registrar.middleware("hanging", lambda config, settings, runtime: Hanging(self.way))


async def read_slowly(stream):
    async for _ in stream:
        await asyncio.sleep(1.0)


def manager(clock, way):
    config = {
        "manager": {"deadline": 5.0},
        "middleware": [{"type": "hanging"}],
        "providers": [{"name": "mock", "type": "mock"}],
    }
    return LLMProviderManager(config, plugins=[Offer(way)], clock=clock)


@pytest.mark.parametrize("way", ["before", "after"])
def test_the_deadline_holds_over_a_hanging_middleware(way):
    clock = FakeClock(0.0)

    async def main():
        async with manager(clock, way) as running:
            with pytest.raises(LLMTimeoutError, match="deadline"):
                await running.generate_chat("hello")

    run_virtual(main(), clock=clock)
    assert clock() == pytest.approx(5.1, abs=0.02)


@pytest.mark.parametrize("way", ["before", "after"])
def test_the_deadline_holds_over_a_middleware_that_hangs_in_a_stream(way):
    clock = FakeClock(0.0)

    async def main():
        async with manager(clock, way) as running:
            with pytest.raises(LLMTimeoutError, match="deadline"):
                await read_slowly(running.generate_chat_stream("hello"))

    run_virtual(main(), clock=clock)
    assert clock() == pytest.approx(5.1, abs=0.02)


def test_a_reader_may_take_longer_than_the_deadline_between_the_last_chunks():
    clock = FakeClock(0.0)

    async def main():
        async with LLMProviderManager({"providers": [{"name": "mock", "type": "mock"}]}, clock=clock) as running:
            texts = []
            async for chunk in running.generate_chat_stream("a", deadline=5.0):
                texts.append(chunk.text)
                if chunk.finish_reason:
                    await asyncio.sleep(60.0)
            return "".join(texts)

    assert run_virtual(main(), clock=clock) == "a"
