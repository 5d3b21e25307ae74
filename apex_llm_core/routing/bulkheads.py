"""Calls in flight at each provider, and the queue of requests for which there is no room anywhere."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable, Iterable, Iterator
from math import inf
from typing import Any

from apex_llm_core.config.schema import ConcurrencyConfig
from apex_llm_core.policies.concurrency import ConcurrencyLimit
from apex_llm_core.policies.slow_start import SlowStart


class Bulkhead:
    """The places at one provider. Who waits comes before who arrives, first come first served.

    A provider that comes back from an outage starts slowly, whatever the configured bound.
    """

    __slots__ = ("_always", "_slow_start", "_waiting", "bounded", "limit")

    def __init__(self, config: ConcurrencyConfig) -> None:
        self.limit = ConcurrencyLimit(config)
        self._always = bool(config.max or config.adaptive)
        #: Without a bound nobody needs to ask.
        self.bounded = self._always
        self._slow_start: SlowStart | None = None
        self._waiting: deque[asyncio.Future[Bulkhead]] = deque()

    def start_slowly(self) -> None:
        """Begin with few places: the provider has just come back."""
        self._slow_start = SlowStart()
        self.bounded = True

    def try_acquire(self) -> bool:
        """Take a place if there is one that nobody waits for."""
        while self._waiting and self._waiting[0].done():
            del self._waiting[0]
        return not self._waiting and self._take()

    def _take(self) -> bool:
        start = self._slow_start
        if start is not None and start.full:
            return False
        if not self.limit.try_acquire():
            return False
        return start is None or start.take()

    def release(
        self,
        sample: float | None = None,
        *,
        kind: Hashable = None,
        dropped: bool = False,
        succeeded: bool | None = None,
    ) -> None:
        """Give a place back, to the first who waits.

        Args:
            sample: seconds to the first chunk, or for each token of the answer; None tells nothing.
            kind: what *sample* can be compared with.
            dropped: the provider had too much to do.
            succeeded: how the call ended; None says nothing about the provider.
        """
        start = self._slow_start
        if start is not None:
            start.give_back(succeeded=succeeded)
            if start.over:
                self._slow_start, self.bounded = None, self._always
        self.limit.release(sample, kind=kind, dropped=dropped)
        while self._waiting:
            waiter = self._waiting[0]
            if waiter.done():
                del self._waiting[0]
            elif self._take():
                self._waiting.popleft().set_result(self)
            else:
                return

    def queue(self, waiter: asyncio.Future[Bulkhead]) -> None:
        """Let *waiter* have a place when there is one; its result is this bulkhead."""
        self._waiting.append(waiter)

    @property
    def places(self) -> int | None:
        """How many calls there may be now, None without a bound."""
        start = self._slow_start
        bounds = [self.limit.limit] if start is None else [self.limit.limit, start.places]
        return min((int(bound) for bound in bounds if bound != inf), default=None)

    @property
    def full(self) -> bool:
        """Whether a call would have to wait now."""
        if not self.bounded:
            return False
        starting = self._slow_start is not None and self._slow_start.full
        return starting or self.waiting > 0 or self.limit.in_flight >= self.limit.limit

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(not waiter.done() for waiter in self._waiting)


class Bulkheads:
    """One bulkhead for each provider; where no bound is configured one for each of its models, which start slowly by themselves."""

    def __init__(self, config: ConcurrencyConfig) -> None:
        self._config = config
        self._bounded = bool(config.max or config.adaptive)
        self._bulkheads: dict[tuple[str, str], Bulkhead] = {}

    def get(self, provider: str, model: str) -> Bulkhead:
        """Return the bulkhead of a candidate, a new one at its first mention."""
        key = (provider, "" if self._bounded else model)
        found = self._bulkheads.get(key)
        if found is None:
            found = self._bulkheads[key] = Bulkhead(self._config)
        return found

    @staticmethod
    def unbounded() -> Bulkhead:
        """Return a bulkhead of nobody, in which there is always room."""
        return Bulkhead(ConcurrencyConfig())

    def take_over(self, earlier: Bulkheads) -> None:
        """Go on with the bulkheads of *earlier* where the rules are the same: calls under way hold places in them."""
        if earlier._config == self._config:
            for key in self._bulkheads.keys() & earlier._bulkheads.keys():
                self._bulkheads[key] = earlier._bulkheads[key]

    def forget(self, provider: str, model: str | None = None) -> None:
        """Drop the bulkheads of *provider*, or that of one of its models."""
        for key in [key for key in self._bulkheads if key[0] == provider and model in (None, key[1])]:
            del self._bulkheads[key]

    def snapshot(self) -> Iterator[dict[str, Any]]:
        """Yield the state of every bounded bulkhead."""
        for (provider, model), bulkhead in self._bulkheads.items():
            if bulkhead.bounded:
                yield {
                    "provider": provider,
                    "model": model or None,
                    "limit": bulkhead.places,
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
