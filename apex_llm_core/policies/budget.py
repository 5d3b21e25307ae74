"""The budget for attempts beyond the first of each request, over all providers: what bounds the amplification of load.

=========  =========================================================================================
event      credit, in attempts
=========  =========================================================================================
start      `reserve`
deposit    plus `ratio`, up to `reserve` (up to what one request brings, where the reserve is smaller)
retry      less 1; refused when there is not that much
hedge      less 1; refused also while no more than half of `reserve` is left
refund     plus 1: the attempt was not made after all
=========  =========================================================================================

So after any number of requests there were at most ``reserve + ratio * requests`` further attempts. Hedges keep away from
the lower half, as in gRPC: when the budget runs down something is failing, and retries of what failed are worth more than
second attempts at what is only slow.
"""

from __future__ import annotations

#: Credit is counted in whole millionths: ten deposits of 0.1 are one attempt, which they are not in binary fractions.
_ATTEMPT = 1_000_000


class AttemptBudget:
    """The credit for retries and hedges, shared by all requests.

    Args:
        ratio: further attempts that each request brings.
        reserve: further attempts that may run ahead of that.
    """

    __slots__ = ("_capacity", "_gain", "_hedge_floor", "_left")

    def __init__(self, ratio: float, reserve: int) -> None:
        self._gain = round(ratio * _ATTEMPT)
        self._left = reserve * _ATTEMPT
        # Without a reserve a retry still has to fit in, or a ratio alone would never allow one.
        self._capacity = max(self._left, self._gain, _ATTEMPT) if self._gain else self._left
        self._hedge_floor = max(_ATTEMPT, self._left // 2 + 1)

    @property
    def left(self) -> float:
        """The credit that is left, in attempts."""
        return self._left / _ATTEMPT

    def deposit(self) -> None:
        """Note a request."""
        if self._left < self._capacity:
            self._left = min(self._capacity, self._left + self._gain)

    def take(self, *, hedge: bool = False) -> bool:
        """Pay for one further attempt; return False, and take nothing, when the credit does not cover it."""
        if self._left < (self._hedge_floor if hedge else _ATTEMPT):
            return False
        self._left -= _ATTEMPT
        return True

    def refund(self) -> None:
        """Give back what `take` took: the attempt was not made."""
        self._left = min(self._capacity, self._left + _ATTEMPT)


__all__ = ["AttemptBudget"]
