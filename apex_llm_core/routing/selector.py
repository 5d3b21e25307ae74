"""The selector: asks the strategy for a ranking and holds it to the rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from apex_llm_core.config.schema import LoadBalancerConfig
from apex_llm_core.context import CallContext
from apex_llm_core.errors import PluginError
from apex_llm_core.markers import hookimpl
from apex_llm_core.models.candidates import Candidate, Turn
from apex_llm_core.models.requests import Request
from apex_llm_core.routing.decisions import Draft
from apex_llm_core.routing.router import Route

Select = Callable[[Request, Sequence[Candidate], Turn], Iterable[Candidate]]


class PriorityStrategy:
    """The built-in strategy: lower `priority` first, the load balancer's algorithm among equals."""

    @hookimpl
    def apex_select(self, request: Request, candidates: Sequence[Candidate], turn: Turn) -> Iterable[Candidate]:  # noqa: ARG002 - the hook's form
        """Rank by priority."""
        return turn.by_priority(candidates)


class Selector:
    """Ranks candidates; counts the requests of each model, which is all the memory strategies have."""

    def __init__(self, strategies: Mapping[str, Select], default: str, balancing: LoadBalancerConfig) -> None:
        self._strategies = strategies
        self._default = default
        self._balance = balancing.algorithm
        self._adaptive = balancing.adaptive
        self._sequences: dict[str, int] = {}

    def rank(
        self, request: Request, route: Route, context: CallContext, draft: Draft, *, dry: bool = False
    ) -> Iterator[Candidate]:
        """Yield the candidates of *route*, best first; usually only the first is taken. A *dry* run changes nothing.

        Raises:
            PluginError: the strategy failed, invented a candidate, or named one twice.
        """
        strategy = route.strategy or self._default
        if len(route.candidates) == 1:
            draft.route(route, strategy, None)
            return iter(route.candidates)
        sequence = self._sequences.get(route.model, 0)
        if not dry:
            self._sequences[route.model] = sequence + 1
        turn = Turn(
            sequence=sequence,
            random=draft.random,
            balance=self._balance,
            adaptive=self._adaptive,
            now=context.clock(),
            tokens=request.estimated_prompt_tokens if _tokens_matter(route) else 0,
        )
        draft.route(route, strategy, turn)
        return self._checked(strategy, request, route, turn)

    def _checked(self, name: str, request: Request, route: Route, turn: Turn) -> Iterator[Candidate]:
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


def _tokens_matter(route: Route) -> bool:
    # Counting a prompt costs more than ranking it; only providers that tell what is left make it worth it.
    for candidate in route.candidates:  # noqa: SIM110 - any() costs more than what it looks at
        if candidate.live.remaining_tokens is not None:
            return True
    return False


__all__ = ["PriorityStrategy", "Select", "Selector"]
