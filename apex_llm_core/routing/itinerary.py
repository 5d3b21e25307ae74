"""The candidates of a request in the order in which they may be asked: the ranking, then fallback models, then who lacks something."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import attrs

from apex_llm_core.config.schema import FallbackConfig
from apex_llm_core.context import CallContext
from apex_llm_core.errors import ModelNotFoundError
from apex_llm_core.models.requests import EmbedRequest, GenerateRequest, ImageRequest
from apex_llm_core.routing.adaptation import adapt
from apex_llm_core.routing.affinity import Affinity
from apex_llm_core.routing.decisions import Draft
from apex_llm_core.routing.places import Option
from apex_llm_core.routing.router import Route, Router
from apex_llm_core.routing.selector import Selector

R = TypeVar("R", GenerateRequest, EmbedRequest, ImageRequest)


class Itinerary:
    """Makes the lazy list of options of a request; usually only its first is read."""

    def __init__(self, *, rules: FallbackConfig, router: Router, selector: Selector, affinity: Affinity) -> None:
        self._rules = rules
        self._router = router
        self._selector = selector
        self._affinity = affinity

    def of(self, request: R, context: CallContext, draft: Draft, *, dry: bool = False) -> Iterator[Option[R]]:
        """Yield the ranking of the model asked for, those of its fallback models, then candidates that lack something."""
        missing: ModelNotFoundError | None = None
        model = request.model
        try:
            route = self._router.route(request, context)
        except ModelNotFoundError as error:
            if self._rules.missing_features == "error":
                raise
            missing = error
        else:
            model = route.model
            yield from self._ranked(request, route, context, draft, dry=dry)
        chain: tuple[str, ...] = self._rules.models.get(model, ())
        found = False
        for option in self.of_models(chain, request, context, draft, dry=dry):
            found = True
            yield option
        if self._rules.missing_features != "error" and isinstance(request, GenerateRequest):
            for model in (request.model, *chain):
                for option in self._lacking(request, model, context):
                    found = True
                    yield option
        if missing is not None and not found:
            raise missing

    def of_models(
        self, models: Iterable[str], request: R, context: CallContext, draft: Draft, *, dry: bool = False
    ) -> Iterator[Option[R]]:
        """Yield the rankings of *models*, as far as they can do what *request* needs and the rules allow them."""
        provider = request.options.provider
        for model in models:
            if provider is None or self._router.lists(model, provider):
                asked = attrs.evolve(request, model=model)
                try:
                    route = self._router.route(asked, context)
                except ModelNotFoundError:
                    continue
                yield from self._ranked(asked, route, context, draft, dry=dry)

    def _ranked(
        self, request: R, route: Route, context: CallContext, draft: Draft, *, dry: bool
    ) -> Iterator[Option[R]]:
        asked = request if route.model == request.model else attrs.evolve(request, model=route.model)
        first, why = None, ""
        if context.preferred is not None:
            first = next((c for c in route.candidates if c.provider == context.preferred), None)
            why = "the default provider comes first for requests that name no model"
        elif context.caller.session is not None:
            first = self._affinity.recall(context.caller, request.model, route.candidates)
            why = "it answered this session before"
        ranking = self._selector.rank(asked, route, context, draft, dry=dry)
        if first is not None:
            draft.pinned(first, why)
            yield Option(request=asked, candidate=first)
        for candidate in ranking:
            if candidate is not first:
                draft.ranked(candidate)
                yield Option(request=asked, candidate=candidate)

    def _lacking(self, request: Any, model: str, context: CallContext) -> Iterator[Option[Any]]:
        asked = request if model == request.model else attrs.evolve(request, model=model)
        for candidate, lacking in self._router.unable(asked, context):
            adapted = adapt(asked, lacking, candidate, self._rules.missing_features)
            if adapted is not None:
                yield Option(request=adapted.request, candidate=candidate, adapted=adapted.changes)


__all__ = ["Itinerary"]
