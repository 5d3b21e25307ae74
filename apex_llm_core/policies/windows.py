"""Windows of outcomes: how many calls of late failed, and how many were slow. Pure; what an outcome costs does not grow.

Both windows have the counters `calls`, `failures` and `slow`: read them freely, never write them. A slow failure counts as both.
"""

from __future__ import annotations


class CountWindow:
    """The last *size* calls."""

    __slots__ = ("_next", "_outcomes", "_size", "calls", "failures", "slow")

    def __init__(self, size: int) -> None:
        self._size = size
        #: A ring, once it is full. Of each call two bits: failed, slow.
        self._outcomes = bytearray()
        #: Where the oldest call of a full ring is.
        self._next = 0
        self.calls = 0
        self.failures = 0
        self.slow = 0

    def add(self, now: float, failed: bool, slow: bool) -> None:  # noqa: ARG002 - windows are interchangeable
        """Take in the outcome of one call."""
        outcome = failed | slow << 1
        if self.calls < self._size:
            self._outcomes.append(outcome)
            self.calls += 1
        else:
            place = self._next
            evicted = self._outcomes[place]
            self._outcomes[place] = outcome
            self._next = place + 1 if place + 1 < self._size else 0
            if evicted:
                self.failures -= evicted & 1
                self.slow -= evicted >> 1
        if outcome:
            self.failures += failed
            self.slow += slow

    def evict(self, now: float) -> None:
        """Do nothing: a call leaves this window only when another one comes."""

    def clear(self) -> None:
        """Forget everything."""
        self._outcomes.clear()
        self._next = self.calls = self.failures = self.slow = 0


class TimeWindow:
    """The calls that ended within the last *seconds*, the present one included, counted by the second."""

    __slots__ = ("_calls", "_failures", "_second", "_seconds", "_slow", "calls", "failures", "slow")

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds
        #: Rings with a place for each second.
        self._calls = [0] * seconds
        self._failures = [0] * seconds
        self._slow = [0] * seconds
        #: The last second that was counted in.
        self._second = 0
        self.calls = 0
        self.failures = 0
        self.slow = 0

    def add(self, now: float, failed: bool, slow: bool) -> None:
        """Take in the outcome of one call that ended *now*."""
        second = int(now)
        if second != self._second:
            self.evict(now)
        place = second % self._seconds
        self._calls[place] += 1
        self.calls += 1
        if failed:
            self._failures[place] += 1
            self.failures += 1
        if slow:
            self._slow[place] += 1
            self.slow += 1

    def evict(self, now: float) -> None:
        """Let go of what is too old; the counters hold for *now* after that."""
        second = int(now)
        # After a whole turn of the ring nothing is left.
        for passed in range(self._second + 1, min(second, self._second + self._seconds) + 1):
            if not self.calls:
                break
            place = passed % self._seconds
            if self._calls[place]:
                self.calls -= self._calls[place]
                self.failures -= self._failures[place]
                self.slow -= self._slow[place]
                self._calls[place] = self._failures[place] = self._slow[place] = 0
        self._second = second

    def clear(self) -> None:
        """Forget everything."""
        for ring in (self._calls, self._failures, self._slow):
            ring[:] = [0] * self._seconds
        self.calls = self.failures = self.slow = 0


__all__ = ["CountWindow", "TimeWindow"]
