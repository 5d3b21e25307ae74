"""The rate limits of one deployment, as Azure's answers tell them."""

from __future__ import annotations

from math import ceil

from apex_llm_mock.emulation import limits
from apex_llm_mock.emulation.limits import WINDOW


class RateLimit(limits.RateLimit):
    """Counts what a deployment has used of its minute."""

    def headers(self) -> dict[str, str]:
        """Return what every answer says about the limits; times are whole seconds."""
        reset = str(ceil(self.reset))
        return {
            "x-ratelimit-limit-requests": str(self.requests),
            "x-ratelimit-remaining-requests": str(self.requests_left),
            "x-ratelimit-reset-requests": reset,
            "x-ratelimit-limit-tokens": str(self.tokens),
            "x-ratelimit-remaining-tokens": str(self.tokens_left),
            "x-ratelimit-reset-tokens": reset,
        }


__all__ = ["WINDOW", "RateLimit"]
