"""The last latencies of one candidate, for their quantiles: how long is unusually long."""

from __future__ import annotations

from math import ceil

#: The sorted copy serves this many additions: a quantile of the last 128 hardly moves by 16.
_SHELF_LIFE = 16


class LatencyWindow:
    """The last *size* latencies.

    `add` takes constant time. `quantile` sorts at most once in 16 additions, and may lag behind by as many.
    """

    __slots__ = ("_fresh", "_next", "_ring", "_size", "_sorted")

    def __init__(self, size: int = 128) -> None:
        self._size = size
        self._ring: list[float] = []
        #: Where the next latency goes once the ring is full: the place of the oldest.
        self._next = 0
        self._sorted: list[float] = []
        #: Additions that the sorted copy may still miss.
        self._fresh = 0

    def __len__(self) -> int:
        return len(self._ring)

    def add(self, seconds: float) -> None:
        """Note a latency; the oldest is forgotten when there are more than *size*."""
        self._fresh -= 1
        if len(self._ring) < self._size:
            self._ring.append(seconds)
            return
        position = self._next
        self._ring[position] = seconds
        position += 1
        self._next = position if position < self._size else 0

    def quantile(self, q: float, minimum: int) -> float | None:
        """Return the least latency that at least the share *q* (above 0, at most 1) does not exceed.

        None while fewer than *minimum* latencies, or none at all, were noted.
        """
        count = len(self._ring)
        if count < minimum or not count:
            return None
        if self._fresh <= 0 or len(self._sorted) < minimum:
            self._sorted = sorted(self._ring)
            self._fresh = _SHELF_LIFE
        # 0.07 * 100 is a little above 7 in binary fractions, and means the seventh all the same.
        return self._sorted[max(0, ceil(q * len(self._sorted) - 1e-9) - 1)]


__all__ = ["LatencyWindow"]
