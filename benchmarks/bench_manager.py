"""What the manager costs, against bare aiohttp in the same run.

Rounds of both are interleaved and the medians of CPU time are compared, so that a busy or slow machine moves both alike.
Milliseconds of one machine say little about another; the ratio carries over. ``--json`` prints one document; the exit code
is 1 when a bar is missed.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from apex_llm_core import LLMProviderManager
from apex_llm_core.context import CallContext
from apex_llm_core.models import Candidate, ChatGenerationOptions, ChatMessage, GenerateRequest

ROUNDS = 15
CALLS = 400
STREAMS = 4
CHUNKS = 2_000

#: One chat through router, strategy, breaker, retry and events, as a share of one aiohttp POST on loopback.
CHAT_SHARE_OF_POST = 0.25
#: The same in microseconds, where a POST costs the 91 microseconds of the reference machine.
CHAT_MICROSECONDS = 25.0
REFERENCE_POST = 91.0
#: One streamed chunk, in microseconds of the same machine.
CHUNK_MICROSECONDS = 1.0

CONFIG: dict[str, Any] = {
    "providers": [
        {"name": name, "type": "mock", "options": {"reply": "Hello! " * 12}, "models": [{"id": "mock-large"}]}
        for name in ("first", "second", "third")
    ]
}


def cpu_per(count: int, started: float) -> float:
    """Return microseconds of CPU time per item since *started*."""
    return (time.process_time() - started) / count * 1e6


async def repeat(call: Callable[[], Awaitable[object]]) -> float:
    started = time.process_time()
    for _ in range(CALLS):
        await call()
    return cpu_per(CALLS, started)


@asynccontextmanager
async def upstream() -> AsyncIterator[str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, Path(__file__).with_name("upstream.py"), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(await process.stdout.readline())}/v1/chat/completions"
    finally:
        process.kill()
        await process.wait()


async def chat_round() -> dict[str, float]:
    """Return medians: the POST, the chat, and the mock's own part of the chat."""
    posts, chats, direct = [], [], []
    body = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}).encode()
    async with upstream() as url, aiohttp.ClientSession() as session, LLMProviderManager(CONFIG) as manager:

        async def post() -> object:
            async with session.post(url, data=body, headers={"Content-Type": "application/json"}) as response:
                return json.loads(await response.read())

        async def chat() -> object:
            return await manager.generate_chat("Hello", model="mock-large")

        handle = manager.providers[0]
        candidate: Candidate = handle.candidates["mock-large"]
        request = GenerateRequest(
            kind="chat",
            messages=(ChatMessage(role="user", content="Hello"),),
            model="mock-large",
            options=ChatGenerationOptions(model="mock-large"),
        )
        context = CallContext(candidate=candidate, attempt=1)

        async def provider() -> object:
            return await handle.hooks["apex_generate"](request, context)

        for _ in range(ROUNDS):
            posts.append(await repeat(post))
            chats.append(await repeat(chat))
            direct.append(await repeat(provider))
    return {
        "post": statistics.median(posts),
        "chat": statistics.median(chats),
        "provider": statistics.median(direct),
        "share": statistics.median(chat / post for chat, post in zip(chats, posts, strict=True)),
    }


async def stream_round(chunks_per_read: int) -> dict[str, float]:
    """Return medians per chunk: through the manager, and from the provider directly."""
    config = {
        "providers": [
            {
                "name": "only",
                "type": "mock",
                "options": {"reply": "x" * CHUNKS, "chunk_size": 1, "chunks_per_read": chunks_per_read},
                "models": [{"id": "mock-large"}],
            }
        ]
    }
    managed, direct = [], []
    async with LLMProviderManager(config) as manager:
        handle = manager.providers[0]
        candidate = handle.candidates["mock-large"]
        request = GenerateRequest(
            kind="chat",
            messages=(ChatMessage(role="user", content="Hello"),),
            model="mock-large",
            options=ChatGenerationOptions(model="mock-large"),
            stream=True,
        )
        for _ in range(ROUNDS):
            started = time.process_time()
            for _ in range(STREAMS):
                async for _ in manager.generate_chat_stream("Hello", model="mock-large"):
                    pass
            managed.append(cpu_per(STREAMS * CHUNKS, started))
            started = time.process_time()
            for _ in range(STREAMS):
                async for batch in handle.hooks["apex_stream"](request, CallContext(candidate=candidate, attempt=1)):
                    for _ in batch:
                        pass
            direct.append(cpu_per(STREAMS * CHUNKS, started))
    return {"managed": statistics.median(managed), "provider": statistics.median(direct)}


def main() -> int:
    chat = asyncio.run(chat_round())
    many = asyncio.run(stream_round(20))
    single = asyncio.run(stream_round(1))
    scale = chat["post"] / REFERENCE_POST
    results = [
        ("chat, share of a POST", chat["share"], CHAT_SHARE_OF_POST),
        ("chat, microseconds at the reference's POST", chat["chat"] / scale, CHAT_MICROSECONDS),
        (
            "chunk, microseconds at the reference's POST, 20 a read",
            (many["managed"] - many["provider"]) / scale,
            CHUNK_MICROSECONDS,
        ),
        (
            "chunk, microseconds at the reference's POST, 1 a read",
            (single["managed"] - single["provider"]) / scale,
            None,
        ),
    ]
    missed = [name for name, value, bar in results if bar is not None and value > bar]
    if "--json" in sys.argv:
        document = {
            "results": [{"name": n, "value": v, "bar": b} for n, v, b in results],
            "raw": {"chat": chat, "many": many, "single": single},
        }
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        return 1 if missed else 0
    print("CPU of this machine, microseconds, medians:")
    print(f"  aiohttp POST {chat['post']:.1f}   chat {chat['chat']:.1f}, of it the mock {chat['provider']:.1f}")
    for label, found in (("20 a read", many), ("1 a read", single)):
        print(f"  chunk, {label}: {found['managed']:.2f}, of it the mock {found['provider']:.2f}")
    for name, value, bar in results:
        verdict = "" if bar is None else f"   bar {bar:g}   {'ok' if value <= bar else 'MISSED'}"
        print(f"{name:58}{value:8.2f}{verdict}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
