"""Dry runs: where a request would go now, and why; nobody is asked and nothing changes."""

from __future__ import annotations

from apex_llm_core.context import CallContext
from apex_llm_core.errors import ModelNotFoundError
from apex_llm_core.models.decisions import Decision
from apex_llm_core.models.requests import GenerateRequest
from apex_llm_core.routing.admission import Admission
from apex_llm_core.routing.balancer import LoadBalancer
from apex_llm_core.routing.decisions import DecisionLog, Draft
from apex_llm_core.routing.itinerary import Itinerary
from apex_llm_core.routing.journey import hope
from apex_llm_core.routing.places import Option
from apex_llm_core.routing.router import Router


class Explainer:
    """Goes along a request's candidates without asking any of them."""

    def __init__(
        self,
        *,
        itinerary: Itinerary,
        router: Router,
        balancer: LoadBalancer,
        admission: Admission,
        decisions: DecisionLog,
    ) -> None:
        self._itinerary = itinerary
        self._router = router
        self._balancer = balancer
        self._admission = admission
        self._decisions = decisions

    def explain(self, request: GenerateRequest, context: CallContext) -> Decision:
        """Return what would be decided about *request*.

        Raises:
            ModelNotFoundError: nobody could serve it.
        """
        draft = self._decisions.dry_run(request, context)
        outcome = ""
        closed = []
        for option in self._itinerary.of(request, context, draft, dry=True):
            candidate = option.candidate
            reason = self._refusal(request, option)
            if reason is None and not outcome:
                outcome = "ok"
                draft.taken(candidate, "; ".join(option.adapted))
            elif reason is not None:
                if not self._balancer.standing(candidate).breaker.admits():
                    closed.append(option)
                draft.passed_over(candidate, reason)
        if not outcome and closed:
            outcome = self._last_resort(request, closed, draft)
        try:
            lacking = self._router.unable(request, context)
        except ModelNotFoundError:
            lacking = []
        for candidate, words in lacking:
            draft.unable(candidate, f"lacks {', '.join(sorted(words))}")
        draft.close(outcome or "refused")
        return self._decisions.decision(draft)

    def _refusal(self, request: GenerateRequest, option: Option[GenerateRequest]) -> str | None:
        """Return why the candidate would be passed over now, None when it would be asked."""
        standing = self._balancer.standing(option.candidate)
        if not standing.breaker.admits():
            return f"its circuit breaker is {standing.breaker.state}"
        if standing.bulkhead.full:
            return "its provider has no room for another call"
        return self._admission.peek(request, option.candidate)

    def _last_resort(self, request: GenerateRequest, closed: list[Option[GenerateRequest]], draft: Draft) -> str:
        """Note who would be asked although every breaker is open."""
        standings = [(self._balancer.standing(option.candidate), option) for option in closed]
        for standing, option in sorted(standings, key=lambda pair: hope(pair[0].breaker)):
            if standing.breaker.state == "forced_open" or standing.bulkhead.full:
                continue
            if self._admission.peek(request, option.candidate) is not None:
                break
            draft.taken(option.candidate, "every circuit breaker is open; this is the last resort")
            return "ok"
        return ""


__all__ = ["Explainer"]
