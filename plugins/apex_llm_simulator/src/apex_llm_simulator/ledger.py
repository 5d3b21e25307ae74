"""What one simulated provider saw and would bill: the truth that the manager's own account is held against."""

from __future__ import annotations

from array import array
from collections import Counter

from apex_llm_core.config import ModelConfig


class Ledger:
    """The calls of one provider."""

    __slots__ = ("answered", "begun", "completion_tokens", "cost", "failures", "in_flight", "peak", "prompt_tokens")

    def __init__(self) -> None:
        #: When each call began, in seconds since the start.
        self.begun = array("d")
        self.answered = 0
        #: Failed calls by what they met.
        self.failures: Counter[str] = Counter()
        self.prompt_tokens = 0
        self.completion_tokens = 0
        #: None once something was charged whose price is unknown.
        self.cost: float | None = 0.0
        self.in_flight = 0
        #: The most calls in flight at the same time.
        self.peak = 0

    @property
    def calls(self) -> int:
        """All calls."""
        return len(self.begun)

    def begin(self, at: float) -> None:
        """Note a call."""
        self.begun.append(at)
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)

    def charge(self, model: ModelConfig, prompt_tokens: int, completion_tokens: int) -> None:
        """Bill tokens at the prices of *model*."""
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens
        for tokens, price in (
            (prompt_tokens, model.cost_per_input_token),
            (completion_tokens, model.cost_per_output_token),
        ):
            if tokens and self.cost is not None:
                self.cost = None if price is None else self.cost + tokens * price


__all__ = ["Ledger"]
