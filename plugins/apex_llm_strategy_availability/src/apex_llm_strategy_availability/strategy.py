"""Rank by how likely a candidate answers at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from apex_llm_core.markers import hookimpl
from apex_llm_core.models import Candidate, HealthState, Request, Turn
from apex_llm_strategy_availability.settings import AvailabilitySettings

#: Added per tier; success rates differ by 1 at most and their tolerance is at most 1, so tiers never mix.
_TIER = 10.0
# Looking up a member of an enumeration costs more than all the arithmetic here.
_UNAVAILABLE = HealthState.UNAVAILABLE
_DEGRADED = HealthState.DEGRADED
#: States that a success ends; "forced_open" is ended by hand only.
_PROBED = ("half_open", "open")
_TIERS = ("well", "degraded", "half-open", "open", "unavailable", "opened by hand")


class AvailabilityStrategy:
    """Most available first, in tiers: closed breaker, closed but degraded, half-open, open, unavailable by health check, and
    last those whose breaker was opened by hand. A breaker that is disabled or only watches lets everybody through: it counts as
    closed.

    Within a tier the success rate decides; candidates within `tolerance` of the best share the requests by priority and
    weight. The observed rate is weighed against `prior` as if `prior_attempts` attempts had gone that way, so that a
    candidate nobody has tried is given a chance and one failed attempt out of one does not condemn.

    A breaker closes only when a request succeeds, and behind candidates that work it would see none: a small share of the
    requests, `probe_share`, begins with a candidate whose breaker is open or half-open. The core passes over it at no cost
    until a probe is due.
    """

    def __init__(self, settings: AvailabilitySettings | None = None) -> None:
        self._settings = settings if settings is not None else AvailabilitySettings()

    @hookimpl
    def apex_select(self, request: Request, candidates: Sequence[Candidate], turn: Turn) -> Iterable[Candidate]:  # noqa: ARG002 - the hook's form
        """Rank by availability."""
        settings = self._settings
        probe = self._probe(candidates, turn)
        failures = _expected_failures(settings.prior, settings.prior_attempts)
        if turn.notes is not None:
            for candidate in candidates:
                expected = failures(candidate)
                # Rounding may leave a share a little below zero.
                tier = int((expected + 1.0) // _TIER)
                turn.note(candidate, expected_failures=max(0.0, expected - tier * _TIER), tier=_TIERS[tier])
            if probe is not None:
                turn.note(probe, first_because="to probe its breaker")
        ranking = turn.rank(candidates, failures, tolerance=settings.tolerance)
        return ranking if probe is None else _led_by(probe, ranking)

    def _probe(self, candidates: Sequence[Candidate], turn: Turn) -> Candidate | None:
        """Return the candidate with a breaker to probe that this request should begin with, None for most requests."""
        if turn.random.random() >= self._settings.probe_share:
            return None
        return next(
            turn.shuffle(
                [
                    candidate
                    for candidate in candidates
                    if candidate.live.breaker in _PROBED
                    and candidate.live.health is not _UNAVAILABLE
                    and candidate.weight > 0
                ]
            ),
            None,
        )


def _expected_failures(prior: float, prior_attempts: float) -> Callable[[Candidate], float]:
    """Return the function that tells a candidate's expected share of failures, plus its tier."""

    def expected_failures(candidate: Candidate) -> float:
        live = candidate.live
        rate = live.success_rate
        if rate is None:
            failures = 1.0 - prior
        else:
            attempts = live.attempts or 1
            failures = 1.0 - prior + (prior - rate) * attempts / (attempts + prior_attempts)
        breaker = live.breaker
        if breaker == "forced_open":
            return failures + 5 * _TIER
        if live.health is _UNAVAILABLE:
            return failures + 4 * _TIER
        if breaker in _PROBED:
            return failures + (2 * _TIER if breaker == "half_open" else 3 * _TIER)
        return failures + _TIER if live.health is _DEGRADED else failures

    return expected_failures


def _led_by(first: Candidate, ranking: Iterator[Candidate]) -> Iterator[Candidate]:
    yield first
    for candidate in ranking:
        if candidate is not first:
            yield candidate


__all__ = ["AvailabilityStrategy"]
