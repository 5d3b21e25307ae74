"""Calls in flight at each provider, and the queue of requests for which there is no room anywhere."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable, Iterable, Iterator
from typing import Any

from apex_llm_core.config.schema import ConcurrencyConfig
from apex_llm_core.policies.concurrency import ConcurrencyLimit


class Bulkhead:
    """The places at one provider. Who waits comes before who arrives, first come first served."""

    __slots__ = ("_waiting", "bounded", "limit")

    def __init__(self, config: ConcurrencyConfig) -> None:
        self.limit = ConcurrencyLimit(config)
        #: Without a bound nobody needs to ask.
        self.bounded = bool(config.max or config.adaptive)
        self._waiting: deque[asyncio.Future[Bulkhead]] = deque()

    def try_acquire(self) -> bool:
        """Take a place if there is one that nobody waits for."""
        while self._waiting and self._waiting[0].done():
            del self._waiting[0]
        return not self._waiting and self.limit.try_acquire()

    def release(self, sample: float | None = None, *, kind: Hashable = None, dropped: bool = False) -> None:
        """Give a place back, to the first who waits.

        Args:
            sample: seconds to the first chunk, or for each token of the answer; None tells nothing.
            kind: what *sample* can be compared with.
            dropped: the provider had too much to do.
        """
        self.limit.release(sample, kind=kind, dropped=dropped)
        while self._waiting:
            waiter = self._waiting[0]
            if waiter.done():
                del self._waiting[0]
            elif self.limit.try_acquire():
                self._waiting.popleft().set_result(self)
            else:
                return

    def queue(self, waiter: asyncio.Future[Bulkhead]) -> None:
        """Let *waiter* have a place when there is one; its result is this bulkhead."""
        self._waiting.append(waiter)

    @property
    def full(self) -> bool:
        """Whether a call would have to wait now."""
        return self.bounded and (self.waiting > 0 or self.limit.in_flight >= self.limit.limit)

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(not waiter.done() for waiter in self._waiting)


class Bulkheads:
    """One bulkhead for each provider."""

    def __init__(self, config: ConcurrencyConfig) -> None:
        self._config = config
        self._bulkheads: dict[str, Bulkhead] = {}

    def get(self, provider: str) -> Bulkhead:
        """Return the bulkhead of *provider*, a new one at its first mention."""
        found = self._bulkheads.get(provider)
        if found is None:
            found = self._bulkheads[provider] = Bulkhead(self._config)
        return found

    def take_over(self, earlier: Bulkheads) -> None:
        """Go on with the bulkheads of *earlier* where the rules are the same: calls under way hold places in them."""
        if earlier._config == self._config:
            for provider in self._bulkheads.keys() & earlier._bulkheads.keys():
                self._bulkheads[provider] = earlier._bulkheads[provider]

    def forget(self, provider: str) -> None:
        """Drop the bulkhead of *provider*."""
        self._bulkheads.pop(provider, None)

    def snapshot(self) -> Iterator[dict[str, Any]]:
        """Yield the state of every bounded bulkhead."""
        for provider, bulkhead in self._bulkheads.items():
            if bulkhead.bounded:
                yield {
                    "provider": provider,
                    "limit": bulkhead.limit.limit,
                    "in_flight": bulkhead.limit.in_flight,
                    "waiting": bulkhead.waiting,
                }


async def wait_for_place(bulkheads: Iterable[Bulkhead], seconds: float) -> Bulkhead | None:
    """Return the first of *bulkheads* with a place, which is taken then; None when there was none for *seconds*."""
    waiter: asyncio.Future[Bulkhead] = asyncio.get_running_loop().create_future()
    for bulkhead in bulkheads:
        bulkhead.queue(waiter)
    try:
        async with asyncio.timeout(seconds):
            return await waiter
    except TimeoutError:
        return _given_back(waiter)
    except asyncio.CancelledError:
        bulkhead_got = _given_back(waiter)
        if bulkhead_got is not None:
            bulkhead_got.release()
        raise


def _given_back(waiter: asyncio.Future[Bulkhead]) -> Bulkhead | None:
    """Return what *waiter* got in the very moment in which it was given up."""
    if waiter.done() and not waiter.cancelled():
        return waiter.result()
    waiter.cancel()
    return None


__all__ = ["Bulkhead", "Bulkheads", "wait_for_place"]
