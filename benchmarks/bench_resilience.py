"""What resilience costs and brings, in one run.

- all policies on against all off, on the mock, as CPU per request (metrics and decision records as by default in both): 25 microseconds more at most, where a POST of bare aiohttp costs
  the 91 microseconds of the reference machine (measured in the same run);
- one decision of a circuit breaker: under 2 microseconds;
- three deployments on loopback, 20 ms each, one dead, one that turns away a fifth of its calls, one sound, eight requests at a
  time: median at most 25 ms, at most 1.08 upstream calls per request, nothing lost, and the second still serves a quarter;
- 10,000 streams of the mock in flight in one process: at most 25 KB each.

``--json`` prints one document; the exit code is 1 when a bar is missed.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import statistics
import sys
import time
import timeit
from collections import Counter
from typing import Any

import aiohttp
from aiohttp import web
from bench_manager import REFERENCE_POST, repeat, upstream

from apex_llm_core import Caller, LLMError, LLMProviderManager
from apex_llm_core.errors import RateLimitError, ServiceUnavailableError
from apex_llm_core.markers import hookimpl
from apex_llm_core.models import ChatGenerationResult, ChatMessage, Usage
from apex_llm_core.policies.breaker import BreakerRules, CircuitBreaker

ROUNDS = 15
CALLS = 400
REQUESTS = 2_000
AT_ONCE = 8
STREAMS = 10_000

MORE_MICROSECONDS = 25.0
BREAKER_MICROSECONDS = 2.0
MEDIAN_MILLISECONDS = 25.0
CALLS_PER_REQUEST = 1.08
LEAST_SHARE = 0.25
STREAM_KILOBYTES = 25.0

PROVIDERS = [
    {
        "name": name,
        "type": "mock",
        "options": {"reply": "Hello! " * 12},
        "models": [{"id": "mock-large", "cost_per_input_token": 1e-6, "cost_per_output_token": 1e-6}],
    }
    for name in ("first", "second", "third")
]
OFF: dict[str, Any] = {
    "manager": {"circuit_breaker_enabled": False, "fallback_enabled": False},
    "load_balancer": {"adaptive": False, "affinity_ttl": 0},
    "retry": {"quota": 0},
    "providers": PROVIDERS,
}
ON: dict[str, Any] = {
    "manager": {"deadline": 60},
    "circuit_breaker": {"window": "time", "window_size": 60},
    "load_balancer": {"algorithm": "p2c"},
    "concurrency": {"adaptive": True, "initial": 50},
    "hedging": {"enabled": True, "delay": 30.0, "operations": ["embed"]},
    "limits": [
        {"name": "house", "requests": 10_000_000, "per": 60},
        {"name": "tokens", "scope": "user", "tokens": 1_000_000_000},
        {"name": "money", "scope": "user", "cost": 1e9, "per": 86_400},
        {"name": "calls", "scope": "provider", "requests": 10_000_000, "concurrent": 1000},
    ],
    "degradation": [{"step": "refuse", "message": "later"}],
    "providers": PROVIDERS,
}


async def policies() -> dict[str, float]:
    """Return medians of CPU: the POST, the chat without and with all policies, and the difference on the reference machine."""
    posts, off, on = [], [], []
    body = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}).encode()
    caller = Caller(user="somebody", session="one")
    async with (
        upstream() as url,
        aiohttp.ClientSession() as session,
        LLMProviderManager(OFF) as plain,
        LLMProviderManager(ON) as guarded,
    ):

        async def post() -> object:
            async with session.post(url, data=body, headers={"Content-Type": "application/json"}) as response:
                return json.loads(await response.read())

        for _ in range(ROUNDS):
            posts.append(await repeat(post))
            off.append(await repeat(lambda: plain.generate_chat("Hello", model="mock-large", caller=caller)))
            on.append(await repeat(lambda: guarded.generate_chat("Hello", model="mock-large", caller=caller)))
    more = [(b - a) / post for a, b, post in zip(off, on, posts, strict=True)]
    return {
        "post": statistics.median(posts),
        "off": statistics.median(off),
        "on": statistics.median(on),
        "more_on_the_reference": statistics.median(more) * REFERENCE_POST,
    }


def breaker() -> float:
    """Return microseconds of one permit and its success."""
    guarded = CircuitBreaker(BreakerRules(), clock=time.monotonic, on_change=lambda *_: None)

    def decide() -> None:
        permit = guarded.acquire()
        assert permit is not None
        guarded.success(permit, 0.1)

    return min(timeit.repeat(decide, number=20_000, repeat=5)) / 20_000 * 1e6


class Remote:
    """A provider over HTTP on loopback."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    @hookimpl
    async def apex_generate(self, request, context):
        try:
            async with self._session.post(self._url, json={"model": request.model}) as response:
                if response.status == 429:
                    raise RateLimitError("429", status_code=429)
                document = await response.json()
        except aiohttp.ClientConnectionError as error:
            raise ServiceUnavailableError(str(error)) from error
        return ChatGenerationResult(
            message=ChatMessage(role="assistant", content=document["text"]),
            provider=context.candidate.provider,
            model=request.model,
            usage=Usage(prompt_tokens=5, completion_tokens=5),
        )


async def three_deployments() -> dict[str, Any]:
    """Return what eight requests at a time see of a dead, a throttled and a sound deployment."""
    calls: Counter[str] = Counter()
    served: Counter[str] = Counter()
    lot = random.Random()

    async def answer(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        calls[name] += 1
        await asyncio.sleep(0.02)
        if name == "throttled" and lot.random() < 0.2:
            return web.json_response({"error": "slow down"}, status=429)
        return web.json_response({"text": "ok"})

    application = web.Application()
    application.router.add_post("/{name}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    urls = {
        "dead": "http://127.0.0.1:9/",
        "throttled": f"http://127.0.0.1:{port}/throttled",
        "sound": f"http://127.0.0.1:{port}/sound",
    }
    times: list[float] = []
    lost = 0
    async with aiohttp.ClientSession() as session, LLMProviderManager({"providers": PROVIDERS[:1]}) as manager:
        for name, url in urls.items():
            await manager.register_provider(Remote(session, url), name=name, models=["m"])
        gate = asyncio.Semaphore(AT_ONCE)

        async def one() -> None:
            nonlocal lost
            async with gate:
                started = time.perf_counter()
                try:
                    served[(await manager.generate_chat("Hello", model="m")).provider] += 1
                except LLMError:
                    lost += 1
                times.append(time.perf_counter() - started)

        await asyncio.gather(*(one() for _ in range(REQUESTS)))
        amplification = manager.stats()["governor"]["amplification"]
    await runner.cleanup()
    return {
        "median": statistics.median(times) * 1e3,
        "calls_per_request": amplification,
        "lost": lost,
        "share": served["throttled"] / REQUESTS,
    }


async def streams() -> float:
    """Return kilobytes for each of many streams that wait for their next chunk."""
    config = {
        "providers": [
            {
                "name": "only",
                "type": "mock",
                "options": {"reply": "x " * 20, "between_chunks": {"seconds": 3600.0}},
                "models": [{"id": "mock-large"}],
            }
        ],
    }
    async with LLMProviderManager(config) as manager:

        async def begin() -> object:
            stream = manager.generate_chat_stream("Hello", model="mock-large", timeout=0, deadline=0)
            task = asyncio.ensure_future(_read(stream))
            await asyncio.sleep(0)
            return task

        warm = [await begin() for _ in range(100)]
        await asyncio.sleep(0.1)
        gc.collect()
        before = _resident()
        tasks = [await begin() for _ in range(STREAMS)]
        await asyncio.sleep(0.5)
        in_flight = manager.stats()["candidates"][0]["in_flight"]
        assert in_flight == STREAMS + len(warm), in_flight
        used = _resident() - before
        for task in (*warm, *tasks):
            task.cancel()
        await asyncio.wait([*warm, *tasks])
    return used / STREAMS / 1024


async def _read(stream: Any) -> None:
    async with stream:
        async for _ in stream:
            pass


def _resident() -> int:
    with open("/proc/self/statm") as file:  # noqa: PTH123 - a pseudo file
        return int(file.read().split()[1]) * 4096


def main() -> int:
    found: dict[str, Any] = {"streams_kilobytes": asyncio.run(streams())}
    found["breaker_microseconds"] = breaker()
    found["policies"] = asyncio.run(policies())
    found["three_deployments"] = asyncio.run(three_deployments())
    more, scene = found["policies"]["more_on_the_reference"], found["three_deployments"]
    bars = {
        "policies": more <= MORE_MICROSECONDS,
        "breaker": found["breaker_microseconds"] < BREAKER_MICROSECONDS,
        "median": scene["median"] <= MEDIAN_MILLISECONDS,
        "calls": scene["calls_per_request"] <= CALLS_PER_REQUEST,
        "lost": scene["lost"] == 0,
        "share": scene["share"] >= LEAST_SHARE,
        "streams": found["streams_kilobytes"] <= STREAM_KILOBYTES,
    }
    if "--json" in sys.argv:
        print(json.dumps({**found, "bars": bars}))
    else:
        measured = found["policies"]
        print(
            f"policies       {measured['off']:.0f} us off, {measured['on']:.0f} us on, POST {measured['post']:.0f} us;"
            f" {more:.1f} us more where a POST costs {REFERENCE_POST:.0f} (bar {MORE_MICROSECONDS:.0f})"
        )
        print(f"breaker        {found['breaker_microseconds']:.2f} us a decision (bar {BREAKER_MICROSECONDS:.0f})")
        print(
            f"three          median {scene['median']:.1f} ms (bar {MEDIAN_MILLISECONDS:.0f}),"
            f" {scene['calls_per_request']:.3f} calls a request (bar {CALLS_PER_REQUEST}), {scene['lost']} lost,"
            f" the throttled one serves {scene['share']:.0%} (bar {LEAST_SHARE:.0%})"
        )
        print(f"streams        {found['streams_kilobytes']:.1f} KB each of {STREAMS:,} (bar {STREAM_KILOBYTES:.0f})")
        for name, met in bars.items():
            if not met:
                print(f"missed: {name}")
    return 0 if all(bars.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
