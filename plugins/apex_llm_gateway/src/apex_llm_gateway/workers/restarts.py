"""When a worker that ended is started again. Pure: the clock is injected."""

from __future__ import annotations

from collections.abc import Callable

#: A worker that served shorter, in seconds, ended at once; how long its start took does not count.
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
        #: Those that serve, and since when.
        self._ready: dict[int, float] = {}
        self._early: dict[int, int] = {}

    def ready(self, index: int) -> None:
        """Note that a worker serves."""
        self._ready[index] = self._clock()

    def ended(self, index: int) -> float | None:
        """Note that it ended; return the seconds until it should be started again, None when that is of no use."""
        now = self._clock()
        served = now - self._ready.pop(index, now)
        early = self._early[index] = self._early.get(index, 0) + 1 if served < _SOON else 0
        if not early:
            return 0.0
        if early >= _MOST and not any(now - since >= _SOON for since in self._ready.values()):
            return None
        delay: float = min(_LONGEST, _FIRST * 2.0 ** min(early - 1, 30))
        return delay


__all__ = ["Restarts"]
