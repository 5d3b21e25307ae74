"""A gateway that only pretends: states made up by tests, sent when tests say so. The page it serves is the real one."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

from aiohttp import web
from apex_llm_gateway.handlers import dashboard

#: 2026-01-05 12:00:00 UTC.
NOW = 1_767_614_400.0
STEP = 5


def breaker(state="closed", **more):
    return {
        "state": state,
        "reason": "",
        "retry_after": 0.0,
        "calls": 0,
        "failure_rate": None,
        "times_opened": 0,
        **more,
    }


def model(name, **more):
    known = {"in_flight": 0, "latency": None, "time_to_first_chunk": None, "success_rate": None, "weight_factor": 1.0}
    return {"model": name, "provider_model_id": name, "breaker": breaker(), "attempts": 0, **known, **more}


def provider(name, *models, **more):
    health = {"health": "healthy", "health_message": "", "health_latency": 0.08, "health_checked": NOW - 12}
    settings = {"type": "mock", "enabled": True, "priority": 1, "weight": 1.0, "region": None, "in_flight": 0}
    return {"name": name, **settings, **health, "models": list(models), **more}


def bucket(position, requests=0, **more):
    times = {"p50": None, "p95": None, "first_chunk_p50": None, "first_chunk_p95": None}
    amounts = {"prompt_tokens": requests * 100, "completion_tokens": requests * 40, "cost": requests * 0.002}
    return {"at": NOW - (119 - position) * STEP, "requests": requests, "errors": {}, **times, **amounts, **more}


def used(requests, cost, cost_unknown=0, **who):
    tokens = {"prompt_tokens": requests * 100, "completion_tokens": requests * 40}
    return {**who, "requests": requests, "errors": 0, **tokens, "cost": cost, "cost_unknown": cost_unknown}


def candidate(provider, model, verdict, **more):
    facts = {
        "priority": 1,
        "weight": 1.0,
        "weight_factor": 1.0,
        "in_flight": 0,
        "breaker": "closed",
        "health": "healthy",
    }
    return {
        "provider": provider,
        "model": model,
        "route": 0,
        "position": 0,
        "rank": None,
        "verdict": verdict,
        "reason": "",
        "score": {},
        "facts": facts,
        **more,
    }


def decision(request_id, *candidates, outcome="ok", **more):
    route = {"model": "large", "strategy": "cost", "options": {}, "rule": "eu-only", "omitted": 0, "pinned": None}
    request = {"operation": "chat", "model": "large", "stream": True, "needs": ["chat", "stream"]}
    sizes = {"estimated_prompt_tokens": 312, "max_tokens": None, "answers": None}
    return {
        "request_id": request_id,
        "at": NOW - 3,
        **request,
        **sizes,
        "dry_run": False,
        "outcome": outcome,
        "routes": [route],
        "candidates": list(candidates),
        "worker": 0,
        **more,
    }


def empty():
    """Return the state of a gateway nobody has used."""
    worker = {
        "index": 0,
        "pid": 41,
        "started": NOW - 20,
        "uptime": 20.0,
        "live": 0,
        "requests": 0,
        "memory_bytes": 61_000_000,
    }
    counts = dict.fromkeys(
        ("requests", "errors", "cancelled", "prompt_tokens", "completion_tokens", "cost", "cost_unknown"), 0
    )
    events = dict.fromkeys(("cached", "retries", "fallbacks", "hedges", "limit_rejections"), 0)
    return {
        "gateway": {
            "version": "0.1.0", "started": NOW - 20, "uptime": 20.0, "open_mode": True, "ready": True, "draining": False,
            "config_files": [], "warnings": [], "workers": [worker],
        },
        "providers": [provider("mock", model("mock-small"))],
        "live": [],
        "live_count": 0,
        "series": {"step": STEP, "buckets": [bucket(position) for position in range(120)]},
        "totals": {**counts, **events, "amplification": None},
        "usage": {"by_model": [], "by_user": []},
        "decisions": [],
        "events": [],
        "limits": [],
    }  # fmt: skip


def busy():
    """Return the state of a gateway at work: a broken provider, unknown prices, a spent limit."""
    state = empty()
    state["gateway"].update(
        open_mode=False, config_files=["/etc/apex-llm/config.toml"], warnings=["providers[0]: a literal secret"]
    )
    shut = breaker("open", reason="failures in a row", retry_after=18.0, calls=20, failure_rate=0.4, times_opened=2)
    state["providers"] = [
        provider(
            "east",
            model("large", breaker=shut, success_rate=0.61, attempts=80),
            model("small", in_flight=2, latency=0.4),
        ),
        provider(
            "west",
            model("large", latency=1.25, time_to_first_chunk=0.21, success_rate=1.0, attempts=90),
            health="degraded",
        ),
        provider("spare", model("large"), enabled=False, health="unknown"),
    ]
    state["live"] = [
        {"request_id": "live-1", "operation": "chat", "model": "large", "provider": "west", "user": "alice", "key": "alice-laptop", "stream": True, "seconds": 1.5, "worker": 0},
        {"request_id": "live-2", "operation": "embed", "model": "small", "provider": None, "user": None, "key": "key-2", "stream": False, "seconds": 0.02, "worker": 0},
    ]  # fmt: skip
    state["live_count"] = 2
    state["series"]["buckets"] = [
        bucket(position, 4 + position % 3, p50=0.4, p95=1.1, first_chunk_p50=0.2, first_chunk_p95=0.4)
        for position in range(120)
    ]
    state["series"]["buckets"][118].update(requests=9, errors={"rate_limit_error": 2, "timeout_error": 1})
    state["totals"].update(
        requests=620, errors=3, prompt_tokens=62_000, completion_tokens=24_800, cost=1.24, cost_unknown=40
    )
    state["totals"].update(retries=7, fallbacks=5, amplification=1.02)
    state["usage"] = {
        "by_model": [
            used(500, 1.24, provider="west", model="large"),
            used(40, 0, 40, provider="east", model="unpriced"),
        ],
        "by_user": [used(400, 1.0, user="alice"), used(40, 0.24, 40, user=None)],
    }
    failed = candidate("east", "large", "failed", rank=1, reason="service_unavailable_error", score={"cost": 0.0041})
    taken = candidate("west", "large", "taken", rank=2, score={"cost": 0.0052, "input_cost": None})
    state["decisions"] = [
        decision("decided-1", failed, taken),
        decision("decided-2", candidate("west", "large", "failed", rank=1), outcome="rate_limit_error"),
    ]
    state["events"] = [
        {"at": NOW - 9, "type": "breaker_changed", "text": "east, large: closed to open", "provider": "east", "model": "large", "severity": "error"}
    ]  # fmt: skip
    state["limits"] = [
        {"limit": "tokens", "scope": "user", "subject": "alice", "per": 60.0, "shadow": False, "requests": None, "tokens": {"limit": 1000, "used": 1000, "remaining": 0}, "cost": None, "concurrent": None, "resets_in": 12.0}
    ]  # fmt: skip
    return state


class Pretended:
    """Serves the page, and what the page asks for.

    Args:
        state: the document of ``/admin/state``; changes reach the page by `publish`.
        key: what callers must have; None: nothing.
    """

    def __init__(self, state, *, key=None):
        self.state = state
        self.key = key
        #: What was asked for: method, path, body.
        self.asked = []
        #: Statuses with which the next requests at a path are refused.
        self.refusals = {}
        #: Pieces of the answers of chats; None in between waits for `go_on`.
        self.frames = []
        self.go_on = asyncio.Event()
        self._readers = set()

    async def __aenter__(self):
        application = web.Application(middlewares=[self._admit])
        application.router.add_get("/", self._page)
        application.router.add_get("/admin/state", self._state)
        application.router.add_get("/admin/events", self._events)
        application.router.add_post("/admin/breakers", self._breakers)
        application.router.add_get("/v1/models", self._models)
        application.router.add_post("/v1/chat/completions", self._chat)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/"
        return self

    async def __aexit__(self, *_):
        self.hang_up()
        await self._runner.cleanup()

    def publish(self):
        """Send the state to everybody who follows it."""
        for reader in self._readers:
            reader.put_nowait(f"event: state\ndata: {json.dumps(self.state)}\n\n")

    def happen(self, event):
        for reader in self._readers:
            reader.put_nowait(f"event: happened\ndata: {json.dumps(event)}\n\n")

    def hang_up(self):
        """End what everybody follows."""
        for reader in self._readers:
            reader.put_nowait(None)

    @web.middleware
    async def _admit(self, request, handler):
        body = await request.json() if request.can_read_body else None
        self.asked.append((request.method, request.path, body))
        status = self.refusals.get(request.path)
        if status is not None:
            return web.json_response({"error": {"message": f"refused with {status}", "code": "made_up"}}, status=status)
        given = request.headers.get("Authorization")
        if self.key is not None and request.path != "/" and given != f"Bearer {self.key}":
            error = {"message": "this key is not known here", "code": "invalid_api_key"}
            return web.json_response({"error": error}, status=401)
        return await handler(request)

    async def _page(self, request):
        reply = await dashboard.page(None, SimpleNamespace(request=request))
        headers = {**reply.headers, "Content-Type": reply.content_type}
        return web.Response(body=reply.body, status=reply.status, headers=headers)

    async def _state(self, _request):
        return web.json_response(self.state)

    async def _events(self, request):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        reader = asyncio.Queue()
        self._readers.add(reader)
        try:
            await response.write(b": hello\n\n")
            while (piece := await reader.get()) is not None:
                await response.write(piece.encode())
        finally:
            self._readers.discard(reader)
        return response

    async def _breakers(self, request):
        body = await request.json()
        state = {"open": "open", "isolate": "forced_open", "close": "closed"}[body["action"]]
        chosen = [
            one
            for each in self.state["providers"]
            for one in each["models"]
            if each["name"] == body["provider"] and body.get("model") in (None, one["model"])
        ]
        for one in chosen:
            one["breaker"] = breaker(state, reason="by hand")
        return web.json_response({"moved": len(chosen)})

    async def _models(self, _request):
        names = sorted({one["model"] for each in self.state["providers"] for one in each["models"]})
        return web.json_response({"object": "list", "data": [{"id": name} for name in names]})

    async def _chat(self, request):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "x-request-id": "decided-1"})
        await response.prepare(request)
        for frame in self.frames:
            if frame is None:
                await self.go_on.wait()
            else:
                await response.write(f"data: {json.dumps(frame)}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response
