"""The rate limits of one deployment or model: requests and tokens per minute, in windows that begin with the first call."""

from __future__ import annotations

from collections.abc import Callable

WINDOW = 60.0


class RateLimit:
    """Counts what has been used of a minute.

    Args:
        requests: requests per minute.
        tokens: tokens per minute.
        clock: seconds.
    """

    def __init__(self, *, requests: int, tokens: int, clock: Callable[[], float]) -> None:
        self.requests = requests
        self.tokens = tokens
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
        if self._used_requests > self.requests:
            return "call rate"
        return "token rate" if self._used_tokens >= self.tokens else None

    def spend(self, tokens: int) -> None:
        """Count the tokens of an answered request."""
        self._used_tokens += tokens

    @property
    def requests_left(self) -> int:
        """Requests that the window still allows."""
        return max(0, self.requests - self._used_requests)

    @property
    def tokens_left(self) -> int:
        """Tokens that the window still allows."""
        return max(0, self.tokens - self._used_tokens)

    @property
    def reset(self) -> float:
        """Seconds until the window ends."""
        return max(0.0, self._began + WINDOW - self._clock())


__all__ = ["WINDOW", "RateLimit"]
