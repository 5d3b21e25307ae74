"""The selector: asks the strategy for a ranking and holds it to the rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from random import Random

from apex_llm_core.errors import PluginError
from apex_llm_core.markers import hookimpl
from apex_llm_core.models.candidates import Candidate, Turn
from apex_llm_core.models.requests import Request
from apex_llm_core.routing.router import Route

Select = Callable[[Request, Sequence[Candidate], Turn], Iterable[Candidate]]


class PriorityStrategy:
    """The built-in strategy: lower `priority` first, `weight` as the share among equals."""

    @hookimpl
    def apex_select(self, request: Request, candidates: Sequence[Candidate], turn: Turn) -> Iterable[Candidate]:  # noqa: ARG002 - the hook's form
        """Rank by priority."""
        return turn.by_priority(candidates)


class Selector:
    """Ranks candidates; counts the requests of each model, which is all the memory strategies have."""

    def __init__(self, strategies: Mapping[str, Select], default: str, random: Random) -> None:
        self._strategies = strategies
        self._default = default
        self._random = random
        self._sequences: dict[str, int] = {}

    def rank(self, request: Request, route: Route) -> Iterator[Candidate]:
        """Yield the candidates of *route*, best first; usually only the first is taken.

        Raises:
            PluginError: the strategy failed, invented a candidate, or named one twice.
        """
        if len(route.candidates) == 1:
            return iter(route.candidates)
        sequence = self._sequences.get(route.model, 0)
        self._sequences[route.model] = sequence + 1
        return self._checked(request, route, Turn(sequence=sequence, random=self._random))

    def _checked(self, request: Request, route: Route, turn: Turn) -> Iterator[Candidate]:
        name = route.strategy or self._default
        seen: set[int] = set()
        try:
            for candidate in self._strategies[name](request, route.candidates, turn):
                identity = id(candidate)
                if identity in seen or identity not in route.identities:
                    what = "twice" if identity in seen else "which was not among the candidates"
                    raise PluginError(f"the ranking contains {candidate!r} {what}", plugin=name)
                seen.add(identity)
                yield candidate
        except PluginError:
            raise
        except Exception as error:
            raise PluginError(f"apex_select failed: {type(error).__name__}: {error}", plugin=name) from error


__all__ = ["PriorityStrategy", "Select", "Selector"]
