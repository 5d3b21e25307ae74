"""One piece of work for all who ask for the same at the same time.

The first to ask does the work, in its own task; the others wait. How a wait ends:

| what becomes of the work | what becomes of those who wait                                              |
|--------------------------|-----------------------------------------------------------------------------|
| it succeeds              | they get its result                                                         |
| it fails                 | each does the work by itself: an error tells of one request, and is not shared |
| it is cancelled          | one of them does the work, the others go on waiting                         |

Who is cancelled while waiting touches nobody else. There are no tasks of its own, and nothing is left when nobody asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

T = TypeVar("T")

#: What those who wait are told instead of a result.
_FAILED: Final = object()
_CANCELLED: Final = object()


class SingleFlight:
    """Work under way by its key; all of one event loop.

    A key must tell apart everything the result depends on, for whom it is meant included.
    """

    def __init__(self) -> None:
        self._under_way: dict[str, asyncio.Future[Any]] = {}
        #: How often somebody was given the result of somebody else's work.
        self.coalesced = 0

    def __len__(self) -> int:
        """How much work is under way."""
        return len(self._under_way)

    async def run(self, key: str, work: Callable[[], Awaitable[T]]) -> tuple[T, bool]:
        """Return what *work* returns, and whether it is this caller's own *work* that returned it.

        Args:
            key: what makes work the same.
            work: does it; must not ask for the same key itself.

        Raises:
            Exception: what this caller's own *work* raised; never what somebody else's did.
        """
        while True:
            under_way = self._under_way.get(key)
            if under_way is None:
                return await self._lead(key, work), True
            # Cancelling a wait must not cancel what the others wait for.
            outcome = await asyncio.shield(under_way)
            if outcome is _FAILED:
                return await work(), True
            if outcome is not _CANCELLED:
                self.coalesced += 1
                return outcome[0], False

    async def _lead(self, key: str, work: Callable[[], Awaitable[T]]) -> T:
        ended: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._under_way[key] = ended
        outcome: object = _CANCELLED
        try:
            result = await work()
            outcome = (result,)
            return result
        except Exception:
            outcome = _FAILED
            raise
        finally:
            del self._under_way[key]
            ended.set_result(outcome)


__all__ = ["SingleFlight"]
