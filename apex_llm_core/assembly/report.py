"""What a generation tells of itself: JSON-safe documents for `stats()`, the gateway and the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from apex_llm_core.assembly.generation import Generation
from apex_llm_core.converters import unstructure

_LIVE = (
    "in_flight",
    "attempts",
    "latency",
    "time_to_first_chunk",
    "seconds_per_output_token",
    "peak_latency",
    "success_rate",
    "weight_factor",
    "breaker",
)


def statistics(generation: Generation, clock: Callable[[], float]) -> dict[str, Any]:
    """Return what happened so far, and the live facts of every candidate.

    `retry_after` is the seconds until a candidate with an open breaker may be asked again.
    """
    now = clock()
    engine, balancer = generation.engine, generation.balancer
    return {
        **generation.metrics.snapshot(),
        "governor": engine.governor.snapshot(),
        "cache": engine.cache.snapshot() if engine.cache is not None else None,
        "concurrency": list(balancer.bulkheads.snapshot()),
        "candidates": [
            {
                "provider": candidate.provider,
                "model": candidate.model,
                **{name: getattr(candidate.live, name) for name in _LIVE},
                "health": candidate.live.health.value,
                "retry_after": _finite(balancer.standing(candidate).breaker.retry_after()),
                "remaining_requests": candidate.live.remaining_requests
                if now < candidate.live.remaining_until
                else None,
                "remaining_tokens": candidate.live.remaining_tokens if now < candidate.live.remaining_until else None,
            }
            for handle in generation.registry
            for candidate in handle.candidates.values()
        ],
    }


def breaker_statuses(generation: Generation) -> list[dict[str, Any]]:
    """Return the state, rates and history of every circuit breaker. Seconds and times by the manager's clock."""
    return [
        {"provider": provider, "model": model, **_plain(unstructure(status))}
        for (provider, model), status in generation.balancer.breakers.statuses()
    ]


def _plain(document: dict[str, Any]) -> dict[str, Any]:
    return {**document, "retry_after": _finite(document["retry_after"])}


def _finite(seconds: float) -> float | None:
    """Return *seconds*; None for never, which JSON has no number for."""
    return None if seconds == float("inf") else seconds


__all__ = ["breaker_statuses", "statistics"]
