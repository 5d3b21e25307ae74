"""Rank by observed latency and load, and keep the observations fresh."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import log, log1p
from operator import attrgetter

from apex_llm_core.markers import hookimpl
from apex_llm_core.models import Candidate, GenerateRequest, HealthState, Request, Turn
from apex_llm_strategy_performance.settings import PerformanceSettings

_latency = attrgetter("live.latency")
_time_to_first_chunk = attrgetter("live.time_to_first_chunk")
#: Seconds added to every time: keeps the logarithm finite, and makes all instant answers equally fast.
_INSTANT = 1e-6


class PerformanceStrategy:
    """Fastest first: time to the first chunk for streamed requests, time to the whole answer for all others.

    * The expected time is the observed one, longer by `load_factor` for each request in flight, so that a burst spreads
      before the first slow answers are in.
    * Candidates within `tolerance` of the fastest share the requests by priority and weight; nobody herds to the fastest.
    * Candidates without a measurement come last, but a share of the requests, `explore_share`, tries one of them first:
      the one tried least so far. The share is the same for one and for a crowd of them.
    * Another small share, `recheck_share`, goes to any measured candidate by weight: one that was slow would otherwise
      never be measured again.

    While nobody is measured, priority and weight rank. Candidates whose health check failed, whose weight is 0 or whose breaker
    was opened by hand are neither explored nor rechecked. Those with a breaker that opened by itself are: the core passes over
    them at no cost until a probe is due.
    """

    def __init__(self, settings: PerformanceSettings | None = None) -> None:
        self._settings = settings if settings is not None else PerformanceSettings()
        self._tolerance = log1p(self._settings.tolerance)

    @hookimpl
    def apex_select(self, request: Request, candidates: Sequence[Candidate], turn: Turn) -> Iterable[Candidate]:
        """Rank by expected time."""
        streamed = isinstance(request, GenerateRequest) and request.stream
        times = list(map(_time_to_first_chunk if streamed else _latency, candidates))
        if turn.notes is not None:
            for candidate, time in zip(candidates, times, strict=True):
                turn.note(
                    candidate,
                    observed_seconds=time,
                    expected_seconds=None if time is None else self._loaded(candidate, time),
                )
        if None not in times:
            return self._ranked(candidates, [], streamed=streamed, turn=turn)
        measured = [candidate for candidate, time in zip(candidates, times, strict=True) if time is not None]
        unmeasured = [candidate for candidate, time in zip(candidates, times, strict=True) if time is None]
        if not measured:
            return turn.by_priority(unmeasured)
        return self._ranked(measured, unmeasured, streamed=streamed, turn=turn)

    def _ranked(
        self, measured: Sequence[Candidate], unmeasured: Sequence[Candidate], *, streamed: bool, turn: Turn
    ) -> Iterator[Candidate]:
        loaded = self._loaded

        def expected(candidate: Candidate) -> float:
            live = candidate.live
            time: float = live.time_to_first_chunk if streamed else live.latency  # type: ignore[assignment]
            # Logarithms make the relative tolerance a constant difference.
            return log(loaded(candidate, time) + _INSTANT)

        probe = self._probe(measured, unmeasured, turn)
        if probe is not None:
            if turn.notes is not None:
                turn.note(probe, first_because="to renew its measurement" if probe in measured else "to measure it")
            yield probe
        for candidate in turn.rank(measured, expected, tolerance=self._tolerance):
            if candidate is not probe:
                yield candidate
        for candidate in turn.by_priority(unmeasured):
            if candidate is not probe:
                yield candidate

    def _loaded(self, candidate: Candidate, time: float) -> float:
        """Return *time* with what is in flight."""
        return time * (1.0 + self._settings.load_factor * candidate.live.in_flight)

    def _probe(self, measured: Sequence[Candidate], unmeasured: Sequence[Candidate], turn: Turn) -> Candidate | None:
        """Return the candidate that this request should measure, None for most requests."""
        lot = turn.random.random()
        if unmeasured and lot < self._settings.explore_share:
            return next(turn.rank([c for c in unmeasured if _is_reachable(c)], _tries), None)
        if lot >= 1.0 - self._settings.recheck_share:
            return next(turn.shuffle([c for c in measured if _is_reachable(c)]), None)
        return None


def _is_reachable(candidate: Candidate) -> bool:
    live = candidate.live
    return candidate.weight > 0 and live.health is not HealthState.UNAVAILABLE and live.breaker != "forced_open"


def _tries(candidate: Candidate) -> float:
    """Count what was tried already; requests in flight keep a burst from exploring one slow candidate many times."""
    return candidate.live.attempts + candidate.live.in_flight


__all__ = ["PerformanceStrategy"]
