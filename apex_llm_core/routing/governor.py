"""The attempt governor: one cap and one deadline over all attempts of a request, one budget over all requests.

Retries, fallbacks, hedges and steps of degradation all come here before they begin, so they add up and never multiply:

- no request has more than `max_attempts` attempts, whatever they are for;
- nothing begins after the deadline, and no further attempt that usually takes longer than what is left;
- retries and hedges are paid from a budget that requests fill; retries, besides, from the credit of their provider;
- a fallback to somebody who is well is never refused for want of budget: it is what saves the request.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from apex_llm_core.config.schema import RetryConfig
from apex_llm_core.context import CallContext
from apex_llm_core.errors import AttemptReason, LLMError
from apex_llm_core.policies.budget import AttemptBudget
from apex_llm_core.policies.quota import RetryQuota
from apex_llm_core.routing.balancer import Standing

#: Half of all calls take longer than this percentile: with less time left, an attempt rather fails than not.
_TYPICAL = 0.5
#: Fewer observations say nothing about what is typical.
_ENOUGH = 10


class Governor:
    """Decides whether an attempt may begin, and counts them all."""

    def __init__(self, *, max_attempts: int, rules: RetryConfig) -> None:
        self._max_attempts = max_attempts
        self._rules = rules
        self._budget = AttemptBudget(rules.budget, rules.budget_reserve)
        self._retry_quota = rules.quota
        #: By provider; none has one before its first retry.
        self._quotas: dict[str, RetryQuota] = {}
        #: Requests, and attempts by their reason; requests under way in an earlier generation go on counting here.
        self._counts: Counter[str] = Counter()

    def request(self) -> None:
        """Note that a request begins."""
        self._counts["request"] += 1
        self._budget.deposit()

    def exhausted(self, context: CallContext) -> bool:
        """Return whether the request may have no further attempt."""
        return context.started >= self._max_attempts or context.remaining() == 0.0

    def left(self, context: CallContext) -> int:
        """Return how many attempts the request may still have."""
        return max(0, self._max_attempts - context.started)

    def in_time(self, standing: Standing, context: CallContext, *, streamed: bool) -> bool:
        """Return whether a further attempt there can be expected to end before the deadline."""
        remaining = context.remaining()
        if remaining is None:
            return True
        usual = standing.typical(_TYPICAL, streamed=streamed, minimum=_ENOUGH)
        return remaining > (usual or 0.0)

    def begin(self, context: CallContext, reason: AttemptReason) -> int:
        """Count an attempt; return its number in the request, from 1."""
        self._counts[reason] += 1
        context.started += 1
        return context.started

    def covers_retry(self, provider: str, error: LLMError) -> bool:
        """Return whether a retry at *provider* after *error* can be paid now."""
        quota = self._quota(provider)
        return (quota is None or quota.covers(error)) and self._budget.left >= 1

    def pay_retry(self, provider: str, error: LLMError) -> int | None:
        """Pay for a retry; return what it cost of the provider's credit, None when it cannot be paid."""
        quota = self._quota(provider)
        if not self._budget.take():
            return None
        cost = 0 if quota is None else quota.take(error)
        if cost is None:
            self._budget.refund()
        return cost

    def refund_retry(self, provider: str, cost: int) -> None:
        """Give back what a retry cost that was not made."""
        self._budget.refund()
        quota = self._quota(provider)
        if quota is not None:
            quota.refund(cost)

    def pay_hedge(self) -> bool:
        """Pay for a hedge; return whether it can be paid."""
        return self._budget.take(hedge=True)

    def refund_hedge(self) -> None:
        """Give back what a hedge cost that was not made."""
        self._budget.refund()

    def succeeded(self, provider: str, cost: int) -> None:
        """Note a success at *provider*; *cost* is that of its last retry, 0 without one."""
        quota = self._quotas.get(provider)
        if quota is not None:
            quota.succeed(cost)

    def snapshot(self) -> dict[str, Any]:
        """Return requests, attempts by reason, and upstream calls per request (None before the first)."""
        attempts = {reason: count for reason, count in self._counts.items() if reason not in {"request", "shadow"}}
        requests = self._counts["request"]
        return {
            "requests": requests,
            "attempts": attempts,
            "shadow_attempts": self._counts["shadow"],
            "amplification": sum(attempts.values()) / requests if requests else None,
            "budget_left": self._budget.left,
        }

    def take_over(self, earlier: Governor) -> None:
        """Go on with the counts of *earlier*, and with what is left under the same rules."""
        self._counts = earlier._counts
        if earlier._retry_quota == self._retry_quota:
            self._quotas = earlier._quotas
        if earlier._rules == self._rules:
            self._budget = earlier._budget

    def _quota(self, provider: str) -> RetryQuota | None:
        """Return the credit of *provider*, None without limits."""
        if not self._retry_quota:
            return None
        quota = self._quotas.get(provider)
        if quota is None:
            quota = self._quotas[provider] = RetryQuota(self._retry_quota)
        return quota


__all__ = ["Governor"]
