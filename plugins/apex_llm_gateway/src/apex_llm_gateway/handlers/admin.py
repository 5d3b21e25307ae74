"""What administrators see and do."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, Protocol, get_args

from apex_llm_core.converters import encode, unstructure
from apex_llm_core.errors import ApexLLMError, nearest
from apex_llm_core.manager import BreakerAction, LLMProviderManager
from apex_llm_gateway.activity import Activity
from apex_llm_gateway.backend import Backend
from apex_llm_gateway.calls import Call
from apex_llm_gateway.http import HttpError, Reply, StreamReply
from apex_llm_gateway.keys import Key, KeyRing
from apex_llm_gateway.merging import breakers as merged_breakers
from apex_llm_gateway.merging import decisions as merged_decisions
from apex_llm_gateway.merging import limits as merged_limits
from apex_llm_gateway.merging import merged
from apex_llm_gateway.notable import Notable
from apex_llm_gateway.openai.chat_request import read_chat
from apex_llm_gateway.openai.rules import Rules
from apex_llm_gateway.replies import json_reply
from apex_llm_gateway.snapshots import DECISIONS, last_decisions

_ACTIONS: tuple[BreakerAction, ...] = get_args(BreakerAction)
_MANY_DIGITS = 10
#: Seconds between two states that watchers may ask for, and what they get unasked.
_SHORTEST, _USUAL, _LONGEST = 0.5, 2.0, 60.0
#: Seconds in which the end of the gateway is noticed: it waits for its watchers.
_ATTENTIVE = 0.5
#: Events that a slow watcher may be behind; beyond that, states tell of them.
_MOST_BEHIND = 100


class GatewayView(Protocol):
    """What is used of the gateway."""

    @property
    def manager(self) -> LLMProviderManager:
        """Routes requests."""

    @property
    def activity(self) -> Activity:
        """Notes what happens in this process."""

    @property
    def backend(self) -> Backend:
        """Reaches all processes."""

    @property
    def rules(self) -> Rules:
        """How bodies are read."""

    @property
    def ring(self) -> KeyRing:
        """Who may call now."""

    @property
    def draining(self) -> bool:
        """Whether it is stopping."""

    @property
    def clock(self) -> Callable[[], float]:
        """Monotonic seconds, as the manager's."""


async def state(gateway: GatewayView, _call: Call) -> Reply:
    """Return everything that the dashboard shows."""
    _, encoded = await _state(gateway)
    return Reply(body=encoded, headers=_uncached())


async def stats(gateway: GatewayView, _call: Call) -> Reply:
    """Return the manager's statistics of each process."""
    workers = [{"worker": told["worker"]["index"], **told["stats"]} for told in await gateway.backend.snapshots()]
    return _private({"workers": sorted(workers, key=lambda worker: int(worker["worker"]))})


async def breakers(gateway: GatewayView, _call: Call) -> Reply:
    """Return the circuit breakers, each in its worst state over all processes."""
    return _private({"breakers": merged_breakers(await gateway.backend.snapshots())})


async def move_breaker(gateway: GatewayView, call: Call) -> Reply:
    """Move breakers by hand, in all processes."""
    order = await call.document()
    if not isinstance(order, dict):
        raise HttpError(400, 'send an object: {"provider": …, "model": …, "action": …}', code="invalid_value")
    for name in order:
        if name not in {"provider", "model", "action"}:
            told = nearest(name, ("provider", "model", "action"))
            raise HttpError(400, f"there is nothing called {name!r} here{told}", code="unknown_parameter")
    provider = _word(order, "provider")
    model = None if order.get("model") is None else _word(order, "model")
    action = _action(_word(order, "action"))
    return json_reply({"moved": await gateway.backend.move_breaker(provider, model, action)})


async def decisions(gateway: GatewayView, call: Call) -> Reply:
    """Return where the last requests went, and why, the newest first: those this process keeps, and the last of others."""
    text = call.request.query.get("count", str(DECISIONS))
    if not (text.isascii() and text.isdigit() and text.strip("0")):
        raise HttpError(400, "'count' is a number above 0", code="invalid_value")
    # Nobody keeps so many; longer numbers cost time to read.
    count = int(text) if len(text) < _MANY_DIGITS else sys.maxsize
    own, *others = await gateway.backend.snapshots()
    if count > DECISIONS:
        kept = await last_decisions(gateway.manager, count, time.time() - gateway.clock())
        own = {**own, "decisions": kept}
    return _private({"decisions": merged_decisions([own, *others], count)})


async def limits(gateway: GatewayView, _call: Call) -> Reply:
    """Return how the limits stand."""
    return _private({"limits": merged_limits(await gateway.backend.snapshots())})


async def explain(gateway: GatewayView, call: Call) -> Reply:
    """Return where a chat would go now, and why; nobody is asked."""
    asked = read_chat(await call.document(), gateway.rules)
    found = gateway.manager.explain(asked.messages, asked.options, caller=call.caller(), stream=asked.stream)
    return _private({**unstructure(found), "at": found.at + time.time() - gateway.clock()})


async def reload(gateway: GatewayView, _call: Call) -> Reply:
    """Let all processes read the configuration again."""
    try:
        await gateway.backend.reload()
    except ApexLLMError as error:
        raise HttpError(400, error.message, code="invalid_configuration") from error
    return json_reply({"reloaded": True})


async def events(gateway: GatewayView, call: Call) -> StreamReply:
    """Stream the state again and again, and in between what happens."""
    return StreamReply(pieces=_events(gateway, _interval(call.request.query), call.key), headers=_uncached)


async def _events(gateway: GatewayView, interval: float, key: Key) -> AsyncGenerator[bytes, None]:
    """Yield the state at once and every *interval* seconds, each notable event once.

    It ends when the gateway stops, and when *key* may no longer see it: this answer would outlive its key for ever.
    """
    queue: asyncio.Queue[Notable] = asyncio.Queue(_MOST_BEHIND)

    def hear(notable: Notable) -> None:
        if not queue.full():
            queue.put_nowait(notable)

    loop = asyncio.get_running_loop()
    told: set[str] | None = None
    leave = gateway.activity.listen(hear)
    try:
        while _may_watch(gateway.ring, key):
            last = gateway.draining
            document, encoded = await _state(gateway)
            yield _event("state", encoded)
            if last:
                return
            due = loop.time() + interval
            # What happened in other processes is known from the state only; what is as old as the watcher is no news.
            happened = {event["id"]: event for event in document["events"]}
            for identity in reversed(happened):
                if told is not None and identity not in told:
                    yield _event("happened", encode(happened[identity]))
            told = set(happened)
            while not gateway.draining and (left := due - loop.time()) > 0:
                notable = await _next(queue, min(left, _ATTENTIVE))
                if not _may_watch(gateway.ring, key):
                    return
                # It may have been there when the state was made.
                if notable is not None and notable.id not in told:
                    told.add(notable.id)
                    yield _event("happened", encode(notable.document()))
    finally:
        leave()


def _may_watch(ring: KeyRing, key: Key) -> bool:
    found = ring.current(key)
    return found is not None and "admin" in found.roles


async def _next(queue: asyncio.Queue[Notable], seconds: float) -> Notable | None:
    """Return what happens next, None when nothing does for *seconds*."""
    try:
        async with asyncio.timeout(seconds):
            return await queue.get()
    except TimeoutError:
        return None


async def _state(gateway: GatewayView) -> tuple[dict[str, Any], bytes]:
    """Return the state of all processes, and its JSON."""

    def make() -> tuple[dict[str, Any], bytes]:
        document = merged(snapshots)
        return document, encode(document)

    snapshots = await gateway.backend.snapshots()
    # With many models it is long; meanwhile others want answers.
    return await asyncio.to_thread(make)


def _event(name: str, data: bytes) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)


def _interval(query: Mapping[str, str]) -> float:
    text = query.get("interval")
    if text is None:
        return _USUAL
    try:
        interval = float(text)
    except ValueError:
        interval = 0.0
    if not _SHORTEST <= interval <= _LONGEST:
        raise HttpError(400, f"'interval' is from {_SHORTEST:g} to {_LONGEST:g} seconds", code="invalid_value")
    return interval


def _word(order: Mapping[str, Any], name: str) -> str:
    value = order.get(name)
    if not isinstance(value, str) or not value:
        raise HttpError(400, f"{name!r} is missing, or no text", code="invalid_value")
    return value


def _action(word: str) -> BreakerAction:
    for action in _ACTIONS:
        if action == word:
            return action
    raise HttpError(400, f"there is no action {word!r}{nearest(word, _ACTIONS)}", code="invalid_value")


def _private(document: Any) -> Reply:
    return json_reply(document, headers=_uncached())


def _uncached() -> Mapping[str, str]:
    return {"Cache-Control": "no-store"}


__all__ = [
    "breakers",
    "decisions",
    "events",
    "explain",
    "limits",
    "move_breaker",
    "reload",
    "state",
    "stats",
]
