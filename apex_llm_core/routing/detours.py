"""Where the type of a failure leads a request: other candidates before the rest, no others, or the same one with less."""

from __future__ import annotations

from typing import Any, TypeVar

from apex_llm_core.config.schema import FallbackConfig
from apex_llm_core.context import CallContext
from apex_llm_core.errors import LLMError, LLMErrorType, UnsupportedParameterError
from apex_llm_core.models.requests import EmbedRequest, GenerateRequest, ImageRequest
from apex_llm_core.routing.adaptation import without
from apex_llm_core.routing.decisions import Draft
from apex_llm_core.routing.itinerary import Itinerary
from apex_llm_core.routing.journey import Journey
from apex_llm_core.routing.places import Option, Place

R = TypeVar("R", GenerateRequest, EmbedRequest, ImageRequest)


class Detours:
    """Directs journeys by the rules of `[fallback]`."""

    def __init__(self, rules: FallbackConfig, itinerary: Itinerary) -> None:
        self._rules = rules
        self._itinerary = itinerary

    def follow(
        self,
        failures: list[tuple[Place[R], LLMError]],
        journey: Journey[R],
        request: R,
        context: CallContext,
        draft: Draft,
    ) -> LLMError | None:
        """Direct *journey* to where *failures*, several after a race, lead; return the one that is final, None when none is."""
        # A refused content narrows the journey down: last, so that nothing widens it again.
        for place, error in sorted(failures, key=lambda failure: failure[1].type is LLMErrorType.CONTENT_FILTER_ERROR):
            if not self._go_on(place, error, journey, request, context, draft):
                return error
        return None

    def _go_on(
        self,
        place: Place[R],
        error: LLMError,
        journey: Journey[R],
        request: R,
        context: CallContext,
        draft: Draft,
    ) -> bool:
        """Direct *journey* to where this *error* leads; return whether anywhere."""
        model = place.request.model
        if error.type is LLMErrorType.CONTEXT_LENGTH_EXCEEDED_ERROR:
            journey.too_small(place.candidate)
            larger = self._rules.context_length.get(model)
            if larger is not None:
                journey.first(self._itinerary.of_models(larger, request, context, draft))
        elif error.type is LLMErrorType.CONTENT_FILTER_ERROR:
            allowed = self._rules.content_filter.get(model)
            if allowed is None:
                return False
            journey.only(self._itinerary.of_models(allowed, request, context, draft))
        elif isinstance(error, UnsupportedParameterError):
            self._retake_without(place, error, journey)
        elif error.type is LLMErrorType.INVALID_REQUEST_ERROR:
            return False
        return True

    def _retake_without(self, place: Place[Any], error: UnsupportedParameterError, journey: Journey[Any]) -> None:
        """Let *place* have the request without what it does not take, after everybody else, if that is allowed."""
        request = place.request
        if self._rules.missing_features == "error" or not isinstance(request, GenerateRequest):
            return
        less = without(request, error.parameters)
        if less is not None:
            changes = (*place.option.adapted, *less.changes)
            journey.last(Option(request=less.request, candidate=place.candidate, adapted=changes))


__all__ = ["Detours"]
