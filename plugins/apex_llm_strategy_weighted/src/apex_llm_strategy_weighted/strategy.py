"""To each candidate its share of the requests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter

from apex_llm_core.markers import hookimpl
from apex_llm_core.models import Candidate, Request, Turn
from apex_llm_strategy_weighted.shares import share_of

_weight = attrgetter("weight")


class WeightedStrategy:
    """The first place goes by turns, each candidate as often as its weight says; the others at random by weight.

    Weights 3, 2 and 1 give exactly three, two and one of any six requests in a row, mixed evenly. Priority plays no part;
    candidates of weight 0 are the last resort.
    """

    @hookimpl
    def apex_select(self, request: Request, candidates: Sequence[Candidate], turn: Turn) -> Iterable[Candidate]:  # noqa: ARG002 - the hook's form
        """Rank by weight."""
        weights = list(map(_weight, candidates))
        if not weights or max(weights) <= 0:
            return turn.shuffle(candidates)
        return _led_by(candidates[share_of(turn.sequence, weights)], candidates, turn)


def _led_by(first: Candidate, candidates: Sequence[Candidate], turn: Turn) -> Iterator[Candidate]:
    yield first
    # Passing over the first leaves the law of the other places as it is.
    for candidate in turn.shuffle(candidates):
        if candidate is not first:
            yield candidate


__all__ = ["WeightedStrategy"]
