"""Figures of a recording, over all of it or over the requests that began within a span of time."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from math import ceil, isnan

import attrs

from apex_llm_simulator.durations import Span
from apex_llm_simulator.recording import OK, Recording, Requests


@attrs.frozen(kw_only=True)
class Percentiles:
    """Durations in seconds, by nearest rank: the smallest that so many of 100 do not exceed."""

    p50: float
    p90: float
    p95: float
    p99: float
    max: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Percentiles | None:
        """Return the percentiles of *values*, None when there is none."""
        ordered = sorted(values)
        if not ordered:
            return None
        found = {f"p{share:.0f}": quantile(ordered, share / 100) for share in (50, 90, 95, 99)}
        # Microseconds are exact enough; sums of waits end in noise.
        return cls(**{name: round(value, 6) for name, value in {**found, "max": ordered[-1]}.items()})


def quantile(ordered: list[float], share: float) -> float:
    """Return the smallest of *ordered* values (at least one) that a *share* of them does not exceed."""
    # What a product of decimals adds in the last digits must not make the next rank of it.
    return ordered[max(0, ceil(round(share * len(ordered), 9)) - 1)]


@attrs.frozen(kw_only=True)
class Figures:
    """What became of the requests, and what it took."""

    requests: int
    succeeded: int
    failed: int
    cached: int
    #: None without requests.
    success_rate: float | None
    #: Requests by their end: "ok" or the type of the error.
    outcomes: Mapping[str, int]
    #: Of answered requests.
    latency: Percentiles | None
    #: Of answered streams.
    first_chunk: Percentiles | None
    #: Of failed requests.
    until_failed: Percentiles | None
    upstream_calls: int
    #: Upstream calls per request that no cache answered; None without such.
    amplification: float | None
    #: Answers of each provider, of all that a provider gave.
    shares: Mapping[str, float]
    #: How often circuit breakers of each provider opened.
    openings: Mapping[str, int]


def figures(recording: Recording, window: Span | None = None) -> Figures:
    """Return the figures of all requests, or of those that began within *window* (seconds since the start)."""
    rows = recording.requests
    chosen = range(len(rows)) if window is None else _rows_within(rows, window)
    good = [row for row in chosen if rows.outcome[row] == OK]
    cached = sum(rows.cached[row] for row in good)
    served = Counter(provider for row in good if not rows.cached[row] and (provider := rows.provider[row]))
    names = list(recording.ledgers)
    calls = sum(_within(list(ledger.begun), window) for ledger in recording.ledgers.values())
    asked = len(chosen) - cached
    return Figures(
        requests=len(chosen),
        succeeded=len(good),
        failed=len(chosen) - len(good),
        cached=cached,
        success_rate=_ratio(len(good), len(chosen)),
        outcomes=dict(sorted(Counter(rows.outcome[row] for row in chosen).items())),
        latency=Percentiles.of(rows.duration[row] for row in good),
        first_chunk=Percentiles.of(first for row in good if not isnan(first := rows.first_chunk[row])),
        until_failed=Percentiles.of(rows.duration[row] for row in chosen if rows.outcome[row] != OK),
        upstream_calls=calls,
        amplification=_ratio(calls, asked),
        shares={name: _ratio(served[name], served.total()) or 0.0 for name in names},
        openings={name: _within(list(recording.openings(name)), window) for name in names},
    )


def _ratio(part: int, whole: int) -> float | None:
    return round(part / whole, 9) if whole else None


def _rows_within(rows: Requests, window: Span) -> list[int]:
    begin, end = window
    return [row for row, began in enumerate(rows.began) if begin <= began < end]


def _within(ordered: list[float], window: Span | None) -> int:
    """Count the moments of *window* among *ordered* ones."""
    if window is None:
        return len(ordered)
    return bisect_left(ordered, window[1]) - bisect_left(ordered, window[0])


__all__ = ["Figures", "Percentiles", "figures", "quantile"]
