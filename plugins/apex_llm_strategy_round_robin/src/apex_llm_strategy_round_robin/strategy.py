"""Every candidate in its turn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter

from apex_llm_core.markers import hookimpl
from apex_llm_core.models import Candidate, Request, Turn

_weight = attrgetter("weight")


class RoundRobinStrategy:
    """Each request begins one candidate further; the rest of its ranking goes on in the same circle.

    Priority and the size of weights play no part. Candidates of weight 0 stand behind the circle, as the last resort.
    """

    @hookimpl
    def apex_select(self, request: Request, candidates: Sequence[Candidate], turn: Turn) -> Iterable[Candidate]:  # noqa: ARG002 - the hook's form
        """Rank by turns."""
        if 0 not in map(_weight, candidates):
            ranking = _rotated(candidates, turn.sequence)
        else:
            circle = [candidate for candidate in candidates if candidate.weight > 0]
            reserve = [candidate for candidate in candidates if candidate.weight <= 0]
            ranking = [*_rotated(circle, turn.sequence), *_rotated(reserve, turn.sequence)]
        if turn.notes is not None:
            for turns, candidate in enumerate(ranking):
                turn.note(candidate, turns_to_go=turns)
        return ranking


def _rotated(candidates: Sequence[Candidate], steps: int) -> list[Candidate]:
    if not candidates:
        return []
    start = steps % len(candidates)
    return [*candidates[start:], *candidates[:start]]


__all__ = ["RoundRobinStrategy"]
