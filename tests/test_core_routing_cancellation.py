"""Every request is cancelled at each of its steps in turn; whatever the moment, nothing of it is left."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from apex_llm_core.errors import ServiceUnavailableError
from apex_llm_core.markers import hookimpl
from apex_llm_core.models import RequestFinished
from apex_llm_core.testing import run_virtual
from apex_llm_core.testing.interruption import interrupt, watching

#: A pause as short as the stage's steps: each of these is a place to be cancelled at.
PAUSE = 0.001
#: More steps than any of the requests has; reaching it would be an endless request.
MANY = 400


class AwaitingMiddleware:
    """Suspends on the way in, and re-yields streams."""

    @hookimpl
    async def apex_around_generate(self, request, context, call_next):
        await asyncio.sleep(0)
        return await call_next(request, context)

    @hookimpl
    async def apex_around_stream(self, request, context, call_next):
        await asyncio.sleep(0)
        async with aclosing(call_next(request, context)) as batches:
            async for batch in batches:
                await asyncio.sleep(0)
                yield batch

    @hookimpl
    async def apex_around_embed(self, request, context, call_next):
        await asyncio.sleep(0)
        return await call_next(request, context)


async def generate(manager):
    return (await manager.generate_chat("hi", model="m")).message.text


async def stream(manager):
    return "".join([chunk.text async for chunk in manager.generate_chat_stream("hi", model="m")])


async def closed_stream(manager):
    async with manager.generate_text_stream("hi", model="m") as chunks:
        async for _ in chunks:
            await asyncio.sleep(0)
    return "ok"


async def embed(manager):
    return "ok" if (await manager.generate_embedding("hi", model="m")).embedding else ""


def scene_of(stage, scripted, *, cache):
    def down():
        return [PAUSE, ServiceUnavailableError("down")]

    return stage(
        {"a": [down(), down()], "b": [[PAUSE, "o", PAUSE, "k", PAUSE]]},
        providers={"a": {"retry_count": 1}},
        plugins=[
            scripted.Plugin(lambda registrar: registrar.middleware("awaiting", lambda *_: AwaitingMiddleware())),
        ],
        manager={"circuit_breaker_threshold": 2, "circuit_breaker_reset_timeout": 1000, "cache_enabled": cache},
        retry={"base": PAUSE, "max_delay": PAUSE},
        limits=[
            {"name": "all", "concurrent": 1},
            {"name": "each", "scope": "provider", "concurrent": 1},
        ],
        middleware=[{"type": "awaiting"}],
    )


async def by_await(body, at, _clock):
    """Cancel at the suspension number *at*; return whether it came so far."""
    async with watching() as leaks:
        reached = await interrupt(body, at)
    assert leaks.left() == []
    return reached


async def by_step(body, at, clock):
    """Cancel after *at* rounds of the event loop, wherever the request is then; a future may just have been resolved."""
    task = asyncio.ensure_future(body)
    for _ in range(at):
        await asyncio.sleep(0)
        clock.advance(PAUSE / 2)
    if task.done():
        task.result()
        return False
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    return True


@pytest.mark.parametrize("cancel", [by_await, by_step])
@pytest.mark.parametrize("body", [generate, stream, closed_stream, embed])
def test_at_every_step_nothing_is_left(stage, scripted, body, cancel):
    cancelled = 0
    for at in range(MANY):
        scene = scene_of(stage, scripted, cache=body is generate)

        async def once(scene=scene, at=at):
            async with scene.make() as manager:
                manager.subscribe("stage", scene.events.append)
                reached = await cancel(body(manager), at, scene.clock)
                scene.assert_settled(manager)
                # Whatever the breakers and limits have counted, a later request is served.
                for provider in scene.providers.values():
                    provider.script.clear()
                assert await body(manager) == "ok"
                scene.assert_settled(manager)
                return reached

        reached = run_virtual(once(), clock=scene.clock)
        outcomes = [event.outcome for event in scene.events_of(RequestFinished)]
        if not reached:
            assert outcomes == ["ok", "ok"]
            break
        # Before its first step a request has not begun; cancelled after the finish reason, a stream is complete.
        assert outcomes in (["ok"], ["cancelled", "ok"], ["ok", "ok"])
        cancelled += 1
    else:
        pytest.fail("the request never ended by itself")
    assert cancelled > 5


@pytest.mark.parametrize("body", [generate, stream, embed])
def test_a_half_open_breaker_gets_its_permit_back(stage, body):
    for at in range(MANY):
        scene = stage(
            {"a": [ServiceUnavailableError("down"), [PAUSE, "o", PAUSE, "k"]]},
            manager={"circuit_breaker_threshold": 1, "circuit_breaker_reset_timeout": 5},
        )

        async def once(scene=scene, at=at):
            async with scene.make() as manager:
                with pytest.raises(ServiceUnavailableError):
                    await body(manager)
                live = manager.providers[0].candidates["m"].live
                assert live.breaker == "open"
                scene.clock.advance(6)
                reached = await by_await(body(manager), at, scene.clock)
                if reached and live.breaker != "closed":
                    # The probe's permit came back, so that the next request is the probe, not a last resort.
                    breaker = manager._generation.balancer.standing(manager.providers[0].candidates["m"]).breaker
                    permit = breaker.acquire()
                    assert permit is not None
                    breaker.release(permit)
                assert await body(manager) == "ok"
                assert live.breaker == "closed"
                return reached

        if not run_virtual(once(), clock=scene.clock):
            return
    pytest.fail("the request never ended by itself")


def test_waiting_for_a_retry_can_be_cancelled(stage):
    scene = stage({"a": [ServiceUnavailableError("down", retry_after=50)] * 2}, providers={"a": {"retry_count": 1}})

    async def body(manager):
        task = asyncio.ensure_future(generate(manager))
        await asyncio.sleep(20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        scene.assert_settled(manager)

    scene.run(body)
    assert scene.called == "a"
    assert scene.clock() == 1020


def test_a_timeout_around_the_call_is_the_callers(stage):
    scene = stage({"a": [...], "b": []})

    async def body(manager):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await generate(manager)
        scene.assert_settled(manager)

    scene.run(body)
    assert scene.called == "a"
