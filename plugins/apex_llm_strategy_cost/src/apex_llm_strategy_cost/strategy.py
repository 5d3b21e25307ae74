"""Rank by what this very request is expected to cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf

from apex_llm_core.markers import hookimpl
from apex_llm_core.models import Candidate, GenerateRequest, Request, Turn
from apex_llm_strategy_cost.settings import CostSettings


class CostStrategy:
    """Cheapest first: prompt tokens at the input price and expected answer tokens at the output price.

    Which candidate is cheapest depends on the request: a long prompt favours a low input price, a long answer a low
    output price. A candidate whose price for a part of the request is unknown comes after all whose cost is known: unknown
    is never free. Equal costs go by priority, then by weight.
    """

    def __init__(self, settings: CostSettings | None = None) -> None:
        self._settings = settings if settings is not None else CostSettings()

    @hookimpl
    def apex_select(self, request: Request, candidates: Sequence[Candidate], turn: Turn) -> Iterable[Candidate]:
        """Rank by expected cost."""
        prompt = request.estimated_prompt_tokens
        answers, length = self._expected_output(request)

        def cost(candidate: Candidate) -> float:
            input_price = candidate.cost_per_input_token
            if input_price is None:
                return inf
            if not length:
                return prompt * input_price
            output_price = candidate.cost_per_output_token
            if output_price is None:
                return inf
            limit = candidate.max_output_tokens
            return (
                prompt * input_price + answers * (length if limit is None or length < limit else limit) * output_price
            )

        if turn.notes is not None:
            for candidate in candidates:
                expected, price = cost(candidate), candidate.cost_per_input_token
                turn.note(
                    candidate,
                    cost=None if expected == inf else expected,
                    input_cost=None if price is None else prompt * price,
                    output_cost=None if expected == inf or price is None else expected - prompt * price,
                )
        return turn.rank(candidates, cost)

    def _expected_output(self, request: Request) -> tuple[int, int]:
        """Return how many answers *request* asks for and the expected tokens of each; vectors and images have none."""
        if not isinstance(request, GenerateRequest):
            return 0, 0
        options = request.options
        length = options.max_tokens if options.max_tokens is not None else self._settings.expected_output_tokens
        return options.n or 1, length


__all__ = ["CostStrategy"]
