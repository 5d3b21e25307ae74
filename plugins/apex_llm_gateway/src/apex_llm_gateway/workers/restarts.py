"""When a worker that ended is started again. Pure: the clock is injected."""

from __future__ import annotations

from collections.abc import Callable

#: A worker that lived shorter, in seconds, ended at once.
_SOON = 5.0
#: So many ends at once of one worker are too many, unless others serve.
_MOST = 5
#: Seconds before the second, third, … start of a worker that ends at once.
_FIRST, _LONGEST = 0.2, 30.0


class Restarts:
    """Remembers how the workers fared.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began: dict[int, float] = {}
        self._ready: set[int] = set()
        self._early: dict[int, int] = {}

    def began(self, index: int) -> None:
        """Note that a worker was started."""
        self._began[index] = self._clock()

    def ready(self, index: int) -> None:
        """Note that it serves."""
        self._ready.add(index)

    def ended(self, index: int) -> float | None:
        """Note that it ended; return the seconds until it should be started again, None when that is of no use."""
        lived = self._age(index)
        self._ready.discard(index)
        self._began.pop(index, None)
        early = self._early[index] = self._early.get(index, 0) + 1 if lived < _SOON else 0
        if not early:
            return 0.0
        if early >= _MOST and not any(self._age(other) >= _SOON for other in self._ready):
            return None
        delay: float = min(_LONGEST, _FIRST * 2.0 ** min(early - 1, 30))
        return delay

    def _age(self, index: int) -> float:
        return self._clock() - self._began.get(index, self._clock())


__all__ = ["Restarts"]
