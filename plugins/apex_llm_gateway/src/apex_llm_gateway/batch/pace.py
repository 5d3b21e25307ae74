"""How many lines are asked at the same time. Pure, no I/O; times are seconds of any monotonic clock.

========================  ==================================================================================
what happens              what becomes of the pace
========================  ==================================================================================
an answer                 one more at a time, up to the most; after the first refusal, only one more after as
                          many answers as are asked at a time
a refusal for its pace    half as many, once for all that were under way together; nobody asks until the
                          service said, or for a second
========================  ==================================================================================
"""

from __future__ import annotations

_BACKOFF = 0.5
#: Seconds without a word from the service, and the longest that is believed.
_PAUSE = 1.0
_LONGEST = 600.0


class Pace:
    """See the table above.

    Args:
        most: lines at the same time at most.
        first: lines at the same time at first; all that may be by default.
    """

    def __init__(self, most: int, first: int | None = None) -> None:
        self._most = most
        self._limit = float(most if first is None else min(first, most))
        self._slowed_at = float("-inf")
        #: Nobody asks before.
        self.paused_until = float("-inf")
        self.in_flight = 0

    @property
    def limit(self) -> int:
        """How many may be under way."""
        return max(1, int(self._limit))

    def wait(self, now: float) -> float | None:
        """Return the seconds after which the next line may be asked: 0 at once, None when another has to end first."""
        if self.in_flight >= self.limit:
            return None
        return max(0.0, self.paused_until - now)

    def began(self) -> None:
        """Count a line that is asked."""
        self.in_flight += 1

    def ended(self) -> None:
        """Count one that is answered, or given up, without a word on the pace."""
        self.in_flight -= 1

    def went_well(self) -> None:
        """Take an answer into account, besides `ended`."""
        unlimited_yet = self._slowed_at == float("-inf")
        self._limit = min(self._most, self._limit + (1.0 if unlimited_yet else 1.0 / self._limit))

    def slow_down(self, began: float, now: float, retry_after: float | None) -> None:
        """Take a refusal for the pace into account, besides `ended`; *began* is when the line was asked."""
        pause = _PAUSE if retry_after is None else min(max(retry_after, 0.0), _LONGEST)
        self.paused_until = max(self.paused_until, now + pause)
        if began >= self._slowed_at:
            self._limit = max(1.0, self._limit * _BACKOFF)
            self._slowed_at = now


__all__ = ["Pace"]
