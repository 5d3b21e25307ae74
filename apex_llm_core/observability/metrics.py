"""The metrics collector: counts what happened, for `stats()` and for exporters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from apex_llm_core.models.events import (
    AttemptFinished,
    BreakerChanged,
    Degraded,
    Event,
    FellBack,
    Hedged,
    HedgeFinished,
    LimitRejected,
    RequestAdapted,
    RequestFinished,
    ShadowFinished,
)
from apex_llm_core.models.results import Usage

#: What callers name is theirs to choose, so the number of series is not: those of further models are counted together.
_MOST_SERIES = 1000
_FURTHER_MODELS = "*"


@attrs.define(kw_only=True, eq=False)
class _Requests:
    """Counts of one (operation, provider, model)."""

    outcomes: dict[str, int] = attrs.field(factory=dict)
    seconds: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    estimated: int = 0
    #: Sum over the requests whose cost is known.
    cost: float = 0.0
    #: Successful requests whose cost is not known.
    cost_unknown: int = 0
    from_cache: int = 0

    def add(self, event: RequestFinished) -> None:
        self.outcomes[event.outcome] = self.outcomes.get(event.outcome, 0) + 1
        self.seconds += event.duration
        if event.cached:
            self.from_cache += 1
            return
        if event.usage is not None:
            self._add_usage(event.usage)
        if event.cost is not None:
            self.cost += event.cost
        elif event.outcome == "ok":
            self.cost_unknown += 1

    def _add_usage(self, usage: Usage) -> None:
        self.prompt_tokens += usage.prompt_tokens
        self.completion_tokens += usage.completion_tokens
        self.cached_tokens += usage.cached_tokens
        self.estimated += usage.estimated


class MetricsCollector:
    """An observer that adds up; reading is `snapshot`. After a thousand series, the model of a new one is ``*``."""

    def __init__(self) -> None:
        self._requests: dict[tuple[str, str, str], _Requests] = {}
        self._attempts: dict[tuple[str, str], dict[str, int]] = {}
        self._fallbacks: dict[tuple[str, str], dict[str, int]] = {}
        self._saved: dict[str, int] = {}
        self._adapted: dict[str, int] = {}
        self._degraded: dict[str, int] = {}
        self._hedges = {"started": 0, "won": 0, "lost": 0}
        self._shadows: dict[str, int] = {}
        self._shadow_cost = 0.0
        self._shadow_rejections: dict[str, int] = {}
        self._breaker_changes: dict[tuple[str, str], int] = {}
        self._limit_rejections: dict[str, int] = {}
        self._by_type: dict[type[Event], Callable[[Any], None]] = {
            RequestFinished: self._request,
            AttemptFinished: self._attempt,
            FellBack: self._fallback,
            BreakerChanged: self._breaker,
            LimitRejected: self._limit,
            Hedged: self._hedged,
            HedgeFinished: self._hedge_finished,
            RequestAdapted: self._adapt,
            Degraded: self._degrade,
            ShadowFinished: self._shadow,
        }

    def observe(self, event: Event) -> None:
        """Count *event*."""
        count = self._by_type.get(type(event))
        if count is not None:
            count(event)

    def snapshot(self) -> dict[str, Any]:
        """Return all counts as a JSON-safe document. Durations in seconds; `cost` covers what is known, `cost_unknown` counts the rest."""
        return {
            "requests": [
                {
                    "operation": operation,
                    "provider": provider or None,
                    "model": model,
                    **attrs.asdict(counts),
                    "count": sum(counts.outcomes.values()),
                }
                for (operation, provider, model), counts in self._requests.items()
            ],
            "attempts": [
                {"provider": provider, "model": model, "outcomes": dict(outcomes)}
                for (provider, model), outcomes in self._attempts.items()
            ],
            "fallbacks": [
                {"from": left, "to": taken, "count": sum(reasons.values()), "reasons": dict(reasons)}
                for (left, taken), reasons in self._fallbacks.items()
            ],
            "saved_by_fallback": dict(self._saved),
            "adapted": dict(self._adapted),
            "degraded": dict(self._degraded),
            "hedges": dict(self._hedges),
            "shadows": {"outcomes": dict(self._shadows), "cost": self._shadow_cost},
            "breaker_changes": [
                {"provider": provider, "model": model, "count": count}
                for (provider, model), count in self._breaker_changes.items()
            ],
            "limit_rejections": dict(self._limit_rejections),
            "shadow_limit_rejections": dict(self._shadow_rejections),
        }

    def _request(self, event: RequestFinished) -> None:
        key = (event.operation, event.provider or "", event.model)
        counts = self._requests.get(key)
        if counts is None:
            if len(self._requests) >= _MOST_SERIES:
                key = (event.operation, event.provider or "", _FURTHER_MODELS)
            counts = self._requests.setdefault(key, _Requests())
        counts.add(event)

    def _attempt(self, event: AttemptFinished) -> None:
        key = (event.attempt.provider, event.attempt.model)
        outcomes = self._attempts.get(key)
        if outcomes is None:
            if len(self._attempts) >= _MOST_SERIES:
                key = (event.attempt.provider, _FURTHER_MODELS)
            outcomes = self._attempts.setdefault(key, {})
        outcomes[event.outcome] = outcomes.get(event.outcome, 0) + 1
        if event.attempt.reason == "fallback" and event.outcome == "ok":
            _count(self._saved, event.attempt.provider)

    def _fallback(self, event: FellBack) -> None:
        key = (event.from_provider, event.to_provider)
        _count(self._fallbacks.setdefault(key, {}), event.error_type.value)

    def _breaker(self, event: BreakerChanged) -> None:
        key = (event.provider, event.model)
        if key not in self._breaker_changes and len(self._breaker_changes) >= _MOST_SERIES:
            key = (event.provider, _FURTHER_MODELS)
        self._breaker_changes[key] = self._breaker_changes.get(key, 0) + 1

    def _limit(self, event: LimitRejected) -> None:
        _count(self._shadow_rejections if event.shadow else self._limit_rejections, event.limit)

    def _hedged(self, _event: Hedged) -> None:
        _count(self._hedges, "started")

    def _hedge_finished(self, event: HedgeFinished) -> None:
        _count(self._hedges, "won" if event.won else "lost")

    def _adapt(self, event: RequestAdapted) -> None:
        _count(self._adapted, event.provider)

    def _degrade(self, event: Degraded) -> None:
        _count(self._degraded, event.step)

    def _shadow(self, event: ShadowFinished) -> None:
        _count(self._shadows, event.outcome)
        if event.cost is not None:
            self._shadow_cost += event.cost


def _count(counts: dict[str, int], key: str) -> None:
    counts[key] = counts.get(key, 0) + 1


__all__ = ["MetricsCollector"]
