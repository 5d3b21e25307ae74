"""A provider's credit for retries: while most calls fail, retries would only add to its load.

=====================  ==========================================
event                  credit
=====================  ==========================================
start                  full: `capacity`
retry                  less 14, less 5 after a rate limit; refused when there is not that much
success after retries  what the last retry cost comes back
success at once        plus 1
=====================  ==========================================

The costs are those of the AWS SDKs' standard mode.
"""

from __future__ import annotations

from apex_llm_core.errors import LLMError, LLMErrorType

COST = 14
#: A provider that turns requests away has spent nothing on them.
COST_OF_RATE_LIMIT = 5
_GAIN = 1


class RetryQuota:
    """The credit of one provider, shared by all requests."""

    __slots__ = ("_capacity", "_left")

    def __init__(self, capacity: int) -> None:
        self._capacity = self._left = capacity

    @property
    def left(self) -> int:
        """The credit that is left."""
        return self._left

    def covers(self, error: LLMError) -> bool:
        """Return whether a retry after *error* can be paid."""
        return _cost(error) <= self._left

    def take(self, error: LLMError) -> int | None:
        """Pay for a retry after *error*; return its cost, None when the credit does not cover it."""
        cost = _cost(error)
        if cost > self._left:
            return None
        self._left -= cost
        return cost

    def refund(self, cost: int) -> None:
        """Give *cost* back: the retry it was for was not made."""
        self._left = min(self._capacity, self._left + cost)

    def succeed(self, cost: int) -> None:
        """Note a success; *cost* is that of its last retry, 0 without one."""
        self.refund(cost or _GAIN)


def _cost(error: LLMError) -> int:
    return COST_OF_RATE_LIMIT if error.type is LLMErrorType.RATE_LIMIT_ERROR else COST


__all__ = ["COST", "COST_OF_RATE_LIMIT", "RetryQuota"]
