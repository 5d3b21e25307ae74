"""Windows of outcomes: how many calls of late failed, and how many were slow. Pure; every operation takes constant time."""

from __future__ import annotations


class CountWindow:
    """The last calls, *size* at most."""

    __slots__ = ("_next", "_ring", "_size", "calls", "failures", "slow")

    def __init__(self, size: int) -> None:
        self._size = size
        #: Two bits for each call: failed, slow.
        self._ring: list[int] = []
        self._next = 0
        self.calls = 0
        self.failures = 0
        self.slow = 0

    def add(self, now: float, *, failed: bool, slow: bool) -> None:  # noqa: ARG002 - the form of windows
        """Take in the outcome of one call."""
        outcome = (1 if failed else 0) | (2 if slow else 0)
        ring = self._ring
        if self.calls < self._size:
            ring.append(outcome)
            self.calls += 1
        else:
            position = self._next
            gone = ring[position]
            ring[position] = outcome
            self._next = position + 1 if position + 1 < self._size else 0
            if gone:
                self.failures -= gone & 1
                self.slow -= gone >> 1
        if outcome:
            self.failures += outcome & 1
            self.slow += outcome >> 1

    def evict(self, now: float) -> None:
        """Do nothing: calls leave this window only when others come."""

    def clear(self) -> None:
        """Forget everything."""
        self._ring.clear()
        self._next = self.calls = self.failures = self.slow = 0


class TimeWindow:
    """The calls of the last *seconds*, counted in buckets of one second."""

    __slots__ = ("_buckets", "_second", "_seconds", "calls", "failures", "slow")

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds
        #: Calls, failures and slow calls by second, in a ring.
        self._buckets: list[list[int]] = [[0, 0, 0] for _ in range(seconds)]
        #: The second that calls are counted in; None before the first.
        self._second: int | None = None
        self.calls = 0
        self.failures = 0
        self.slow = 0

    def add(self, now: float, *, failed: bool, slow: bool) -> None:
        """Take in the outcome of one call that ended *now*."""
        self.evict(now)
        bucket = self._buckets[int(now) % self._seconds]
        bucket[0] += 1
        self.calls += 1
        if failed:
            bucket[1] += 1
            self.failures += 1
        if slow:
            bucket[2] += 1
            self.slow += 1

    def evict(self, now: float) -> None:
        """Let go of what is too old."""
        second = int(now)
        if second == self._second:
            return
        if self._second is None or not self.calls:
            self._second = second
            return
        # Whatever lies further back than a whole turn of the ring is gone altogether.
        for passed in range(self._second + 1, min(second, self._second + self._seconds) + 1):
            bucket = self._buckets[passed % self._seconds]
            self.calls -= bucket[0]
            self.failures -= bucket[1]
            self.slow -= bucket[2]
            bucket[:] = (0, 0, 0)
        self._second = second

    def clear(self) -> None:
        """Forget everything."""
        for bucket in self._buckets:
            bucket[:] = (0, 0, 0)
        self._second = None
        self.calls = self.failures = self.slow = 0


__all__ = ["CountWindow", "TimeWindow"]
