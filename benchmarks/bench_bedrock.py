"""What the Bedrock provider costs through the manager with its defaults, against bare aiohttp and botocore in the same run.

The floor is ``session.post`` with a signature of botocore's `SigV4Auth` and ``json.loads``, for streams botocore's
`EventStreamBuffer` and ``json.loads``, on asyncio's own loop. One process measures the floor, one ours, one ours with the
extra ``fast`` (uvloop and orjson) where that is installed, one aiobotocore in an environment of its own: set
AIOBOTOCORE_PYTHON to its interpreter (``make bench`` does). They take turns against one upstream, and medians of ratios of
neighbouring turns are compared, so that a busy machine moves all alike. Decoding, a huge frame and a huge picture are
measured in this process. ``--json`` prints one document; the exit code is 1 when a bar is missed.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
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
#: Measured, with the bars for ours and for ours with the extra `fast`, as ratios to the floor.
BARS = {"converse": (0.85, None), "many": (0.6, None), "paced": (1.2, None)}
NAMES = {
    "converse": f"Converse, c={CONCURRENT}",
    "many": "chunk, many a read",
    "paced": "chunk, one a read",
}
AIOBOTOCORE_BAR = 0.25
DECODE_BAR = 0.25
MODEL = "us.anthropic.claude-sonnet-4-20250514-v1:0"
KEYS = {"BENCH_ID": "AKIDEXAMPLEEXAMPLE00", "BENCH_SECRET": "k" * 40}
BODY = {"messages": [{"role": "user", "content": [{"text": "Hello"}]}]}


async def spread(call: Callable[[], Awaitable[object]], calls: int, concurrent: int) -> None:
    left = iter(range(calls))

    async def worker() -> None:
        for _ in left:
            await call()

    await asyncio.gather(*(worker() for _ in range(concurrent)))


class Floor:
    """What somebody writes who has aiohttp, botocore and an afternoon."""

    def __init__(self, session: Any, url: str) -> None:
        from botocore.auth import SigV4Auth
        from botocore.credentials import Credentials

        self._session = session
        self._url = url
        self._auth = SigV4Auth(Credentials(KEYS["BENCH_ID"], KEYS["BENCH_SECRET"]), "bedrock", "us-east-1")

    def _signed(self, model: str, operation: str) -> tuple[Any, bytes, dict[str, str]]:
        from urllib.parse import quote

        from botocore.awsrequest import AWSRequest
        from yarl import URL

        url = f"{self._url}/model/{quote(model, safe='')}/{operation}"
        body = json.dumps(BODY).encode()
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        request = AWSRequest("POST", url, headers=headers, data=body)
        self._auth.add_auth(request)
        return URL(url, encoded=True), body, dict(request.headers)

    async def converse(self) -> None:
        url, body, headers = self._signed(MODEL, "converse")
        async with self._session.post(url, data=body, headers=headers) as response:
            json.loads(await response.read())

    async def stream(self, model: str) -> int:
        from botocore.eventstream import EventStreamBuffer

        count = 0
        url, body, headers = self._signed(model, "converse-stream")
        async with self._session.post(url, data=body, headers=headers) as response:
            buffer = EventStreamBuffer()
            async for data in response.content.iter_any():
                buffer.add_data(data)
                for event in buffer:
                    json.loads(event.payload)
                    count += event.headers[":event-type"] == "contentBlockDelta"
        return count


class Aiobotocore:
    """The client that others build upon."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def converse(self) -> None:
        await self._client.converse(modelId=MODEL, messages=BODY["messages"])

    async def stream(self, model: str) -> int:
        count = 0
        response = await self._client.converse_stream(modelId=model, messages=BODY["messages"])
        async for event in response["stream"]:
            count += "contentBlockDelta" in event
        return count


class Ours:
    """The manager."""

    def __init__(self, manager: Any) -> None:
        self._manager = manager

    async def converse(self) -> None:
        await self._manager.generate_chat("Hello", model="claude")

    async def stream(self, model: str) -> int:
        count = 0
        async with self._manager.generate_chat_stream("Hello", model=model) as stream:
            async for chunks in stream.batches():
                count += sum(bool(chunk.text) for chunk in chunks)
        return count


def config_for(url: str) -> dict[str, Any]:
    models = [{"id": "claude", "provider_model_id": MODEL}]
    models += [{"id": f"s{CHUNKS}x{per_write}", "base_model": MODEL} for per_write in (40, 1)]
    credentials = {"access_key_id": "env:BENCH_ID", "secret_access_key": "env:BENCH_SECRET"}
    provider = {
        "name": "bedrock",
        "type": "bedrock",
        "auth": {"type": "iam", "credentials": credentials},
        "options": {"endpoint": url, "region": "us-east-1"},
        "models": models,
    }
    return {"providers": [provider]}


async def work(url: str, kind: str) -> None:
    """Measure what the lines of standard input ask for; one JSON number or object for each."""
    if kind == "floor":
        import aiohttp

        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            await answer(Floor(session, url))
    elif kind == "aiobotocore":
        # In its own environment, where mypy does not look.
        config = importlib.import_module("aiobotocore.config").AioConfig(max_pool_connections=CONCURRENT)
        made = (
            importlib.import_module("aiobotocore.session")
            .get_session()
            .create_client(
                "bedrock-runtime",
                region_name="us-east-1",
                endpoint_url=url,
                aws_access_key_id=KEYS["BENCH_ID"],
                aws_secret_access_key=KEYS["BENCH_SECRET"],
                config=config,
            )
        )
        async with made as client:
            await answer(Aiobotocore(client))
    else:
        from apex_llm_core import LLMProviderManager

        async with LLMProviderManager(config_for(url), environ=KEYS) as manager:
            await answer(Ours(manager))


async def answer(caller: Floor | Aiobotocore | Ours) -> None:
    async def cpu(job: Coroutine[Any, Any, None], items: int) -> float:
        started = time.process_time()
        await job
        return (time.process_time() - started) / items * 1e6

    async def stream(model: str) -> None:
        count = await caller.stream(model)
        if count != CHUNKS:
            raise RuntimeError(f"{count} chunks of {CHUNKS}")

    def streams(model: str, count: int) -> Coroutine[Any, Any, None]:
        return spread(lambda: stream(model), count, 8)

    loop = asyncio.get_running_loop()
    while command := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
        found = 0.0
        match command:
            case "converse":
                found = await cpu(spread(caller.converse, CALLS, CONCURRENT), CALLS)
            case "many":
                found = await cpu(streams(f"s{CHUNKS}x40", STREAMS), STREAMS * CHUNKS)
            case "paced":
                found = await cpu(streams(f"s{CHUNKS}x1", PACED_STREAMS), PACED_STREAMS * CHUNKS)
        print(json.dumps(found), flush=True)


class Worker:
    """One process that measures."""

    def __init__(self, kind: str, url: str, python: str = sys.executable) -> None:
        self.kind = kind
        self._process = subprocess.Popen(
            [python, __file__, "--worker", kind, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, what: str) -> float:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        return float(json.loads(self._process.stdout.readline()))

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


def quickest(job: Callable[[], object], turns: int) -> float:
    """Return the seconds that *job* takes when nothing disturbs it."""
    found = []
    for _ in range(turns):
        started = time.perf_counter()
        job()
        found.append(time.perf_counter() - started)
    return min(found)


def decoding() -> tuple[float, float, float]:
    """Return our time for 1,000 messages as a share of botocore's, and of a 5 MB frame in pieces to one of 10 MB, halved."""
    from apex_llm_bedrock.event_stream import EventStreamDecoder
    from botocore.eventstream import EventStreamBuffer
    from botocore.loaders import Loader
    from botocore.model import ServiceModel
    from botocore.parsers import EventStreamJSONParser

    upstream = importlib.import_module("bedrock_upstream")
    data = b"".join(upstream.events(1_000))
    reads = [data[start : start + 8192] for start in range(0, len(data), 8192)]
    shape = ServiceModel(Loader().load_service_model("bedrock-runtime", "service-2")).shape_for("ConverseStreamOutput")
    parser = EventStreamJSONParser()

    def ours() -> None:
        decoder = EventStreamDecoder()
        for read in reads:
            messages = decoder.feed(read)
            json.loads(b"[%b]" % b",".join([message.payload for message in messages]))

    def theirs() -> None:
        buffer = EventStreamBuffer()
        for read in reads:
            buffer.add_data(read)
            for event in buffer:
                parser.parse(event.to_response_dict(), shape)

    def huge(size: int) -> float:
        frame = upstream.event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "x" * size}})

        def read() -> None:
            decoder = EventStreamDecoder()
            for start in range(0, len(frame), 8192):
                decoder.feed(frame[start : start + 8192])

        return quickest(read, 7)

    ratios = [quickest(ours, 5) / quickest(theirs, 5) for _ in range(9)]
    return statistics.median(ratios), huge(5_000_000), huge(10_000_000) / 2


async def longest_block(url: str) -> float:
    """Return the longest time in seconds that the event loop is held up while a picture of 3.75 MB is sent."""
    from base64 import b64encode

    from apex_llm_core import ChatMessage, LLMProviderManager
    from apex_llm_core.models import ImagePart, TextPart

    picture = b64encode(b"\x89PNG\r\n\x1a\n" + os.urandom(3_750_000 - 8)).decode()
    parts = [TextPart(text="What is this?"), ImagePart(data=picture, media_type="image/png")]
    message = ChatMessage(role="user", content=parts)
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - before - 0.001)

    found = []
    async with LLMProviderManager(config_for(url), environ=KEYS) as manager:
        await manager.generate_chat("Hello", model="claude")
        for _ in range(5):
            longest = 0.0
            watcher = asyncio.create_task(watch())
            await asyncio.sleep(0)
            await manager.generate_chat([message], model="claude")
            watcher.cancel()
            found.append(longest)
    return statistics.median(found)


def main() -> int:
    upstream = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("bedrock_upstream.py")], stdout=subprocess.PIPE, text=True
    )
    assert upstream.stdout is not None
    url = f"http://127.0.0.1:{int(upstream.stdout.readline())}"
    fast = all(importlib.util.find_spec(name) for name in ("uvloop", "orjson"))
    other = os.environ.get("AIOBOTOCORE_PYTHON", "")
    workers = [Worker(kind, url) for kind in ("floor", "ours", *(["fast"] if fast else []))]
    if other:
        workers.append(Worker("aiobotocore", url, other))
    rounds: dict[str, list[dict[str, float]]] = {what: [] for what in BARS}
    try:
        for worker in workers:
            for what in BARS:
                worker.ask(what)
        for _ in range(ROUNDS):
            for what, found in rounds.items():
                found.append({worker.kind: worker.ask(what) for worker in workers})
        block = asyncio.run(longest_block(url))
    finally:
        for worker in workers:
            worker.end()
        upstream.kill()
        upstream.wait()

    def ratio(what: str, kind: str, to: str) -> float:
        return statistics.median(found[kind] / found[to] for found in rounds[what])

    results: list[tuple[str, float, float | None]] = []
    for what, bars in BARS.items():
        results.append((f"{NAMES[what]} / floor", ratio(what, "ours", "floor"), bars[0]))
        if fast:
            results.append((f"{NAMES[what]} / floor, with the extra fast", ratio(what, "fast", "floor"), bars[1]))
        if other:
            bar = AIOBOTOCORE_BAR if what == "converse" else None
            results.append((f"{NAMES[what]} / aiobotocore", ratio(what, "ours", "aiobotocore"), bar))
    share, five, ten = decoding()
    results.append(("decoding 1,000 messages / botocore", share, DECODE_BAR))
    results.append(("10 MB frame in 8 KB pieces, each half / 5 MB frame", ten / five, 1.5))
    results.append(("longest hold-up by a picture of 3.75 MB, ms", block * 1e3, 20.0))
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
    print(f"  a frame of 5 MB in pieces of 8 KB: {five * 1e3:.1f} ms")
    print("Ratios and bars:")
    for name, value, bar in results:
        verdict = "" if bar is None else f"   bar {bar:g}   {'ok' if value <= bar else 'MISSED'}"
        print(f"  {name:52}{value:8.2f}{verdict}")
    if not fast:
        print("uvloop and orjson are not installed: the extra fast was not measured")
    if not other:
        print("AIOBOTOCORE_PYTHON is not set: aiobotocore was not measured")
    return 1 if missed else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker_main(sys.argv[2], sys.argv[3])
        sys.exit(0)
    sys.exit(main())
