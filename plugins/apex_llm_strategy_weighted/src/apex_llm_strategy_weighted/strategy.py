"""To each candidate its share of the requests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from apex_llm_core.markers import hookimpl
from apex_llm_core.models import Candidate, Request, Turn
from apex_llm_strategy_weighted.shares import share_of


class WeightedStrategy:
    """The first place goes by turns, each candidate as often as its weight says; the others as load is spread.

    Weights 3, 2 and 1 give exactly three, two and one of any six requests in a row, mixed evenly. Priority plays no part;
    candidates of weight 0 are the last resort.

    The turns go by the configured weights, whatever is observed: a share is a promise, and to pass over who fails is the circuit
    breaker's part. The other places follow what is observed, too (`Turn.shuffle`).
    """

    @hookimpl
    def apex_select(self, request: Request, candidates: Sequence[Candidate], turn: Turn) -> Iterable[Candidate]:  # noqa: ARG002 - the hook's form
        """Rank by weight."""
        weights = [candidate.weight for candidate in candidates]
        if not weights or max(weights) <= 0:
            if turn.notes is not None:
                for candidate in candidates:
                    turn.note(candidate, share=1 / len(candidates))
            return turn.shuffle(candidates)
        first = candidates[share_of(turn.sequence, weights)]
        if turn.notes is not None:
            total = sum(max(weight, 0.0) for weight in weights)
            for candidate, weight in zip(candidates, weights, strict=True):
                turn.note(candidate, share=max(weight, 0.0) / total)
            turn.note(first, first_because="it is its turn")
        return _led_by(first, candidates, turn)


def _led_by(first: Candidate, candidates: Sequence[Candidate], turn: Turn) -> Iterator[Candidate]:
    yield first
    # Passing over the first leaves the law of the other places as it is.
    for candidate in turn.shuffle(candidates):
        if candidate is not first:
            yield candidate


__all__ = ["WeightedStrategy"]
