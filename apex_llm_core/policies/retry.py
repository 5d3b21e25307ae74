"""How long to wait before the same provider is tried again, and whether to.

backoff's generators give the growing waits. Its jitter draws from the global `random`, so the jitter here is ours: full
jitter (a uniform share of the computed wait) from the injected randomness.
"""

from __future__ import annotations

from random import Random

import attrs
import backoff

from apex_llm_core.config.schema import RetryConfig
from apex_llm_core.errors import LLMError


@attrs.frozen(kw_only=True, eq=False)
class RetryPolicy:
    """Waits in seconds; `waits` holds the unjittered ones, the last repeats."""

    waits: tuple[float, ...]
    #: With another candidate left, a longer wait than this is not worth it.
    patience: float
    random: Random

    @classmethod
    def of(cls, config: RetryConfig, random: Random) -> RetryPolicy:
        """Make the policy that *config* describes."""
        generator = backoff.expo(base=config.factor, factor=config.base, max_value=config.max_delay)
        # A wait generator expects one `send(None)` before it yields.
        next(generator)
        waits: list[float] = []
        while len(waits) < 32 and (not waits or waits[-1] < config.max_delay):
            wait = float(next(generator))
            if waits and wait == waits[-1]:
                break
            waits.append(wait)
        return cls(waits=tuple(waits), patience=config.patience, random=random)

    def delay(self, retry: int, error: LLMError) -> float:
        """Return the seconds to wait before the *retry*-th further attempt (from 1).

        The provider's own advice is a floor: never sooner, plus a tenth of jitter so that waiting clients do not return
        all at once.
        """
        computed = self.waits[min(retry, len(self.waits)) - 1] * self.random.random()
        if error.retry_after is not None:
            return max(computed, error.retry_after * (1.0 + 0.1 * self.random.random()))
        return computed


__all__ = ["RetryPolicy"]
