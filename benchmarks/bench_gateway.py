"""What the gateway costs in front of an upstream, against a bare aiohttp forwarder in the same run.

The floor is an aiohttp server that passes a body on with aiohttp's client session, for streams byte by byte. The gateway
speaks Azure's wire to the same upstream, with its defaults and a key; once on asyncio's own loop, and once with the extra
``fast`` (uvloop and orjson) where that is installed. Each serves in a process of its own and tells its own CPU; they take
turns, and medians of ratios of neighbouring turns are compared. With LITELLM_PYTHON set (`gateway_peer`), LiteLLM's proxy
follows in the same run. ``--json`` prints one document; the exit code is 1 when a bar is missed.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from operator import truediv
from pathlib import Path
from typing import Any

import gateway_load as load
import gateway_peer

ROUNDS = 9
CALLS = 2_000
CONCURRENT = 64
STREAMS = 60
CHUNKS = 200
ALONE = 400
FIRST = 150
WIDE = 1_000
LONG_RUN = 100_000
KEY = "bench-" + "k7Qz93mTfW" * 3
#: The bar is 0.6 ms on a machine where the forwarder adds 0.26.
FIRST_BAR = 2.3
#: Measured as ratios of CPU: label, bar of ours, bar with the extra `fast`.
RATIOS = {
    "chat": (f"chat, c={CONCURRENT}", 1.3, 0.95),
    "chunk": ("chunk of a stream", 3.0, 3.0),
}


def config_for(url: str) -> dict[str, Any]:
    names = ("gpt-4o", f"s{CHUNKS}x40", f"s{CHUNKS}x1", "s20x1")
    return {
        "providers": [
            {
                "name": "azure",
                "type": "azure",
                "options": {"endpoint": url, "api_version": "2024-10-21"},
                "auth": {"type": "api_key", "credentials": {"api_key": "env:BENCH_UPSTREAM_KEY"}},
                "models": [{"id": name, "base_model": "gpt-4o"} for name in names],
            }
        ],
        "gateway": {"port": 0, "health_interval": 0, "api_keys": [{"key": "env:BENCH_KEY", "user": "bench"}]},
    }


async def forward(url: str) -> None:
    """Serve the floor."""
    import aiohttp
    from aiohttp import web

    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def chat(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        deployment = re.search(rb'"model": ?"([^"]+)"', body)[1].decode()  # type: ignore[index]
        async with session.post(
            f"{url}/openai/deployments/{deployment}/chat/completions", data=body, headers={"api-key": "k" * 32}
        ) as answer:
            if not deployment.startswith("s"):
                return web.Response(body=await answer.read(), content_type="application/json")
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)
            async for data in answer.content.iter_any():
                await response.write(data)
            await response.write_eof()
            return response

    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    await tell_and_wait(runner.addresses[0][1])
    await runner.cleanup()
    await session.close()


async def serve(url: str) -> None:
    """Serve the gateway."""
    from apex_llm_gateway import collecting
    from apex_llm_gateway.gateway import Gateway
    from apex_llm_gateway.http_server import HttpServer
    from apex_llm_gateway.keys import load_keys
    from apex_llm_gateway.settings import GatewaySettings

    from apex_llm_core import LLMProviderManager
    from apex_llm_core.config.settings import settings_from

    os.environ["BENCH_KEY"] = KEY
    os.environ["BENCH_UPSTREAM_KEY"] = "k" * 32
    config = config_for(url)
    async with LLMProviderManager(config) as manager:
        settings = settings_from(config["gateway"], GatewaySettings, key="gateway")
        gateway = Gateway(manager, settings, await load_keys(settings, manager.resolve_secret))
        await gateway.start()
        server = HttpServer(gateway.handle, settings)
        collecting.begin()
        await tell_and_wait(await server.listen("127.0.0.1", 0))


async def tell_and_wait(port: int) -> None:
    """Tell the port, then answer each line of standard input with the CPU seconds and the memory in bytes so far."""
    loop = asyncio.get_running_loop()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    while (await loop.run_in_executor(None, sys.stdin.readline)).strip():
        pages = int(Path("/proc/self/statm").read_text().split()[1])  # noqa: ASYNC240 - no file of a disk
        told = {"cpu": time.process_time(), "memory": pages * os.sysconf("SC_PAGE_SIZE")}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


class Served:
    """A server in a process of its own."""

    def __init__(self, kind: str, upstream: str) -> None:
        self.kind = kind
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--serve", kind, upstream],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def facts(self) -> dict[str, float]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("now\n")
        self._process.stdin.flush()
        facts: dict[str, float] = json.loads(self._process.stdout.readline())
        return facts

    async def cpu(self, work: Callable[[], Awaitable[object]], items: int) -> float:
        """Return the microseconds that *work* costs the server, for each of *items*."""
        before = self.facts()["cpu"]
        await work()
        return (self.facts()["cpu"] - before) / items * 1e6

    def end(self) -> None:
        self._process.communicate("\n", timeout=10)


def serve_main(kind: str, upstream: str) -> None:
    if kind == "fast":
        import uvloop

        uvloop.run(serve(upstream))
        return
    # Absent for this process, whatever is installed.
    sys.modules["orjson"] = None  # type: ignore[assignment]
    asyncio.run(forward(upstream) if kind == "floor" else serve(upstream))


async def measure(servers: list[Served], upstream_port: int) -> dict[str, Any]:
    chats: list[dict[str, float]] = []
    chunks: list[dict[str, float]] = []
    many = load.request("gpt-4o", KEY), load.request(f"s{CHUNKS}x40", KEY, stream=True)
    for turn in range(ROUNDS + 1):
        found = [
            {s.kind: await s.cpu(lambda s=s: load.run(s.port, many[0], CALLS, CONCURRENT), CALLS) for s in servers},
            {s.kind: await s.cpu(lambda s=s: load.run(s.port, many[1], STREAMS, 8), STREAMS * CHUNKS) for s in servers},
        ]
        if turn:
            chats.append(found[0])
            chunks.append(found[1])
    direct = load.upstream_request("gpt-4o")
    alone: dict[str, list[float]] = {}
    first: dict[str, list[float]] = {}
    slow = load.request("s20x1", KEY, stream=True)
    for _ in range(5):
        bare = statistics.median(await load.times(upstream_port, direct, ALONE))
        bare_first = statistics.median(
            await load.times(upstream_port, load.upstream_request("s20x1"), FIRST, first=True)
        )
        for served in servers:
            found_alone = statistics.median(await load.times(served.port, many[0], ALONE))
            alone.setdefault(served.kind, []).append(found_alone - bare)
            found_first = statistics.median(await load.times(served.port, slow, FIRST, first=True))
            first.setdefault(served.kind, []).append(found_first - bare_first)
    ours = servers[1]
    await load.run(ours.port, many[0], LONG_RUN, CONCURRENT)
    memory = ours.facts()["memory"] / 1e6
    whole = await load.streams_at_once(ours.port, load.request(f"s{CHUNKS}x1", KEY, stream=True), WIDE)
    return {
        "chat": chats,
        "chunk": chunks,
        "alone": {kind: statistics.median(values) * 1e3 for kind, values in alone.items()},
        "first": {kind: statistics.median(values) * 1e3 for kind, values in first.items()},
        "firsts": first,
        "lost": WIDE - whole,
        "memory": memory,
    }


def start_seconds() -> float:
    """Return the median of the seconds from the command line to the first answer of a fresh gateway, on the mock."""
    # Compiled modules are kept, as they are wherever something is installed.
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environ["APEX_LLM_CONFIG"] = str(Path(__file__).with_name("gateway_mock.toml"))
    found = []
    for _ in range(6):
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "apex_llm_cli", "serve", "--port", "0", "--json"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environ,
        )
        try:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["url"]
            asyncio.run(load.times(int(url.rpartition(":")[2]), load.get("/health/live"), 1))
            found.append(time.perf_counter() - began)
        finally:
            process.terminate()
            process.wait(timeout=20)
    return statistics.median(found[1:])


def main() -> int:
    upstream = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("azure_upstream.py")], stdout=subprocess.PIPE, text=True
    )
    assert upstream.stdout is not None
    port = int(upstream.stdout.readline())
    fast = all(importlib.util.find_spec(name) for name in ("uvloop", "orjson"))
    servers = [Served(kind, f"http://127.0.0.1:{port}") for kind in ("floor", "ours", *(["fast"] if fast else []))]
    peer: dict[str, Any] | None = None
    try:
        found = asyncio.run(measure(servers, port))
        if os.environ.get("LITELLM_PYTHON"):
            peer = gateway_peer.measured(os.environ["LITELLM_PYTHON"], port)
    finally:
        for served in servers:
            served.end()
        upstream.kill()
        upstream.wait()
    results: list[tuple[str, float, float]] = []
    for what, (label, *bars) in RATIOS.items():
        for kind, bar in zip(("ours", "fast"), bars, strict=True):
            if kind == "ours" or fast:
                ratio = statistics.median(each[kind] / each["floor"] for each in found[what])
                name = f"{label}, of the forwarder's CPU" + (", with fast" if kind == "fast" else "")
                results.append((name, ratio, bar))
    results += [
        ("added to a chat alone, median, ms", found["alone"]["ours"], 0.8),
        (
            "added to the first chunk, of what the forwarder adds",
            statistics.median(map(truediv, found["firsts"]["ours"], found["firsts"]["floor"])),
            FIRST_BAR,
        ),
        (f"lost of {WIDE} streams at once", float(found["lost"]), 0.0),
        (f"memory after {LONG_RUN} more chats, MB", found["memory"], 90.0),
        ("start to the first answer, s", start_seconds(), 0.6),
    ]
    missed = [name for name, value, bar in results if value > bar]
    raw = {
        what: {served.kind: statistics.median(each[served.kind] for each in found[what]) for served in servers}
        for what in RATIOS
    } | {"alone": found["alone"], "first": found["first"]}
    if "--json" in sys.argv:
        document = {"results": [{"name": n, "value": v, "bar": b} for n, v, b in results], "raw": raw, "litellm": peer}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        return 1 if missed else 0
    print("CPU of this machine in microseconds, added milliseconds, medians:")
    for what, values in raw.items():
        print(f"  {what:8}" + "   ".join(f"{kind} {value:.2f}" for kind, value in values.items()))
    for name, value, bar in results:
        print(f"  {name:52}{value:8.2f}   bar {bar:g}   {'ok' if value <= bar else 'MISSED'}")
    if peer is not None:
        floor = raw["chat"]["floor"]
        print(
            f"LiteLLM's proxy {peer['version']}: a chat {peer['chat'] / floor:.0f} times the forwarder's CPU "
            f"({peer['chat']:.0f} us), {peer['rate']:.0f} chats a second, {peer['memory'] / 1e6:.0f} MB, start {peer['start']:.1f} s"
        )
    if not fast:
        print("uvloop and orjson are not installed: the extra fast was not measured")
    return 1 if missed else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve_main(sys.argv[2], sys.argv[3])
        sys.exit(0)
    sys.exit(main())
