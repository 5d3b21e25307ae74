"""What the Azure provider costs through the manager with its defaults, against bare aiohttp in the same run.

The floor is ``session.post`` and ``json.loads``, for streams splitting lines and ``json.loads``, on asyncio's own loop. One
process measures the floor, one ours, one ours with the extra ``fast`` (uvloop and orjson) where that is installed. They
take turns against one upstream, and medians of ratios of neighbouring turns are compared, so that a busy machine moves all
alike. ``--json`` prints one document; the exit code is 1 when a bar is missed.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

ROUNDS = 9
CALLS = 1_500
CONCURRENT = 64
STREAMS = 40
CHUNKS = 200
PACED_STREAMS = 16
#: Measured, with the bars for ours and for ours with the extra `fast`.
BARS = {"chat": (1.3, 0.85), "many": (1.0, 0.6), "paced": (1.2, None)}
NAMES = {
    "chat": f"chat, c={CONCURRENT}",
    "many": "chunk, many a read",
    "paced": "chunk, one a read",
}
LONG = 5_000
WIDE = 256

BODY = {"messages": [{"role": "user", "content": "Hello"}], "model": "gpt-4o"}


async def spread(call: Callable[[], Awaitable[object]], calls: int, concurrent: int) -> None:
    left = iter(range(calls))

    async def worker() -> None:
        for _ in left:
            await call()

    await asyncio.gather(*(worker() for _ in range(concurrent)))


async def floor_chat(session: Any, url: str) -> None:
    async with session.post(
        f"{url}/openai/v1/chat/completions", data=json.dumps(BODY).encode(), headers={"api-key": "k" * 32}
    ) as response:
        json.loads(await response.read())


async def floor_stream(session: Any, url: str, deployment: str) -> int:
    count = 0
    async with session.post(
        f"{url}/openai/deployments/{deployment}/chat/completions?api-version=2024-10-21",
        data=json.dumps({**BODY, "stream": True}).encode(),
        headers={"api-key": "k" * 32},
    ) as response:
        async for line in response.content:
            if line.startswith(b"data: ") and not line.startswith(b"data: [DONE]"):
                json.loads(line[6:])
                count += 1
    return count


async def ours_stream(manager: Any, model: str) -> int:
    count = 0
    async with manager.generate_chat_stream("Hello", model=model) as stream:
        async for chunks in stream.batches():
            count += len(chunks)
    return count


def config_for(url: str) -> dict[str, Any]:
    models = [{"id": "gpt-4o"}]
    models += [
        {"id": name, "base_model": "gpt-4o"} for name in (f"s{CHUNKS}x40", f"s{CHUNKS}x1", f"s{LONG}x40", f"s{LONG}x1")
    ]
    options = {"endpoint": url, "api_version": "2024-10-21"}
    auth = {"type": "api_key", "credentials": {"api_key": "env:BENCH_KEY"}}
    return {"providers": [{"name": "azure", "type": "azure", "options": options, "auth": auth, "models": models}]}


async def work(url: str, kind: str) -> None:
    """Measure what the lines of standard input ask for; one JSON number or object for each."""
    if kind == "floor":
        import aiohttp

        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            await answer(
                lambda: floor_chat(session, url),
                lambda deployment: floor_stream(session, url, deployment),
            )
        return
    from apex_llm_core import LLMProviderManager

    async with LLMProviderManager(config_for(url), environ={"BENCH_KEY": "k" * 32}) as manager:
        await answer(
            lambda: manager.generate_chat("Hello", model="gpt-4o"), lambda deployment: ours_stream(manager, deployment)
        )


async def answer(chat: Callable[[], Awaitable[Any]], stream: Callable[[str], Awaitable[int]]) -> None:
    async def cpu(job: Coroutine[Any, Any, None], items: int) -> float:
        started = time.process_time()
        await job
        return (time.process_time() - started) / items * 1e6

    def streams(deployment: str, count: int) -> Coroutine[Any, Any, None]:
        return spread(lambda: stream(deployment), count, 8)

    loop = asyncio.get_running_loop()
    while command := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
        found: Any = None
        match command:
            case "chat":
                found = await cpu(spread(chat, CALLS, CONCURRENT), CALLS)
            case "many":
                found = await cpu(streams(f"s{CHUNKS}x40", STREAMS), STREAMS * CHUNKS)
            case "paced":
                found = await cpu(streams(f"s{CHUNKS}x1", PACED_STREAMS), PACED_STREAMS * CHUNKS)
            case "long":
                await stream(f"s{CHUNKS}x1")
                before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                count = await stream(f"s{LONG}x1")
                found = {"chunks": count, "grown_kb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before}
            case "wide":
                counts = await asyncio.gather(*(stream(f"s{CHUNKS}x40") for _ in range(WIDE)))
                found = {"streams": len(counts), "whole": sum(count > CHUNKS for count in counts)}
        print(json.dumps(found), flush=True)


class Worker:
    """One process that measures."""

    def __init__(self, kind: str, url: str) -> None:
        self.kind = kind
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--worker", kind, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, what: str) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def end(self) -> None:
        self._process.communicate("\n", timeout=10)


def worker_main(kind: str, url: str) -> None:
    if kind == "fast":
        import uvloop

        uvloop.run(work(url, kind))
        return
    # Absent for this process, whatever is installed.
    sys.modules["orjson"] = None  # type: ignore[assignment]
    asyncio.run(work(url, kind))


def main() -> int:
    upstream = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("azure_upstream.py")], stdout=subprocess.PIPE, text=True
    )
    assert upstream.stdout is not None
    url = f"http://127.0.0.1:{int(upstream.stdout.readline())}"
    fast = all(importlib.util.find_spec(name) for name in ("uvloop", "orjson"))
    workers = [Worker(kind, url) for kind in ("floor", "ours", *(["fast"] if fast else []))]
    rounds: dict[str, list[dict[str, float]]] = {what: [] for what in BARS}
    try:
        for worker in workers:
            for what in BARS:
                worker.ask(what)
        for _ in range(ROUNDS):
            for what, found in rounds.items():
                found.append({worker.kind: worker.ask(what) for worker in workers})
        long, wide = workers[1].ask("long"), workers[1].ask("wide")
    finally:
        for worker in workers:
            worker.end()
        upstream.kill()
        upstream.wait()
    results = []
    for what, bars in BARS.items():
        for kind, bar in zip(("ours", "fast"), bars, strict=True):
            if kind == "ours" or fast:
                ratio = statistics.median(found[kind] / found["floor"] for found in rounds[what])
                label = NAMES[what] + (", with the extra fast" if kind == "fast" else "")
                results.append((label, ratio, bar))
    results.append((f"memory grown by a stream of {LONG} chunks, MB", long["grown_kb"] / 1024, 2.0))
    results.append((f"of {WIDE} streams at once, lost", float(wide["streams"] - wide["whole"]), 0.0))
    missed = [name for name, value, bar in results if bar is not None and value > bar]
    raw = {
        what: {worker.kind: statistics.median(each[worker.kind] for each in found) for worker in workers}
        for what, found in rounds.items()
    }
    if "--json" in sys.argv:
        document = {"results": [{"name": n, "value": v, "bar": b} for n, v, b in results], "raw": raw}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        return 1 if missed else 0
    print("CPU of this machine, microseconds, medians:")
    for what, values in raw.items():
        print(f"  {NAMES[what]:22}" + "   ".join(f"{kind} {value:.1f}" for kind, value in values.items()))
    print("Ratios to the floor (bare aiohttp and json, asyncio's loop):")
    for name, value, bar in results:
        verdict = "" if bar is None else f"   bar {bar:g}   {'ok' if value <= bar else 'MISSED'}"
        print(f"  {name:48}{value:8.2f}{verdict}")
    if not fast:
        print("uvloop and orjson are not installed: the extra fast was not measured")
    return 1 if missed else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker_main(sys.argv[2], sys.argv[3])
        sys.exit(0)
    sys.exit(main())
