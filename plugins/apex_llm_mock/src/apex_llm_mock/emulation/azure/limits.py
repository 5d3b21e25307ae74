"""The rate limits of one deployment: requests and tokens per minute, in windows that begin with the first call."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

WINDOW = 60.0


class RateLimit:
    """Counts what a deployment has used of its minute.

    Args:
        requests: requests per minute.
        tokens: tokens per minute.
        clock: seconds.
    """

    def __init__(self, *, requests: int, tokens: int, clock: Callable[[], float]) -> None:
        self._requests = requests
        self._tokens = tokens
        self._clock = clock
        self._began = clock()
        self._used_requests = 0
        self._used_tokens = 0

    def exceeded(self) -> str | None:
        """Count one request; return "call rate" or "token rate" when that limit was used up before it."""
        if self._clock() - self._began >= WINDOW:
            self._began = self._clock()
            self._used_requests = self._used_tokens = 0
        # Failed calls count, too.
        self._used_requests += 1
        if self._used_requests > self._requests:
            return "call rate"
        return "token rate" if self._used_tokens >= self._tokens else None

    def spend(self, tokens: int) -> None:
        """Count the tokens of an answered request."""
        self._used_tokens += tokens

    @property
    def reset(self) -> float:
        """Seconds until the window ends."""
        return max(0.0, self._began + WINDOW - self._clock())

    def headers(self) -> dict[str, str]:
        """Return what every answer says about the limits; times are whole seconds."""
        reset = str(ceil(self.reset))
        return {
            "x-ratelimit-limit-requests": str(self._requests),
            "x-ratelimit-remaining-requests": str(max(0, self._requests - self._used_requests)),
            "x-ratelimit-reset-requests": reset,
            "x-ratelimit-limit-tokens": str(self._tokens),
            "x-ratelimit-remaining-tokens": str(max(0, self._tokens - self._used_tokens)),
            "x-ratelimit-reset-tokens": reset,
        }


__all__ = ["WINDOW", "RateLimit"]
