"""What a provider admits per minute: a bucket that refills evenly, as services with rate limits have it."""

from __future__ import annotations

from math import ceil


class Allowance:
    """So many units per minute, all of which may be used at once. Times are seconds of one clock."""

    __slots__ = ("_at", "_left", "_most", "_rate")

    def __init__(self, per_minute: int, now: float) -> None:
        self._most = float(per_minute)
        self._rate = per_minute / 60.0
        self._left = self._most
        self._at = now

    def wait(self, amount: float, now: float) -> float:
        """Return the seconds until *amount* may be taken, 0 when it may be now. More than there ever is counts as all."""
        return max(0.0, (min(amount, self._most) - self._level(now)) / self._rate)

    def take(self, amount: float, now: float) -> None:
        """Use up *amount*, below nothing if need be."""
        self._left = self._level(now) - amount
        self._at = now

    def remaining(self, now: float) -> int:
        """Return the whole units that are left."""
        return max(0, int(self._level(now)))

    def _level(self, now: float) -> float:
        return min(self._most, self._left + (now - self._at) * self._rate)


def advised(wait: float) -> float:
    """Return the Retry-After for a *wait*: whole seconds, as services send it."""
    return float(max(1, ceil(wait)))


__all__ = ["Allowance", "advised"]
