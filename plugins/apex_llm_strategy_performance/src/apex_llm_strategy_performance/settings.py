"""Settings of the `performance` strategy."""

from __future__ import annotations

from typing import Any

import attrs
from attrs import validators


def _between(default: float, low: float, high: float, doc: str) -> Any:
    return attrs.field(
        default=default,
        validator=[validators.ge(low), validators.le(high)],
        metadata={"doc": doc, "minimum": low, "maximum": high},
    )


@attrs.frozen(kw_only=True)
class PerformanceSettings:
    """What `[manager.strategy_options]` takes when the strategy is `performance`."""

    tolerance: float = _between(
        0.1,
        0.0,
        10.0,
        "Candidates at most this much slower than the fastest (0.1: ten per cent) count as equally fast.",
    )
    load_factor: float = _between(
        0.1, 0.0, 100.0, "Slow-down to expect from each request in flight, as a share of the observed latency."
    )
    explore_share: float = _between(
        0.1, 0.0, 1.0, "Share of requests that try candidates without a measurement first, while there are any."
    )
    recheck_share: float = _between(
        0.02,
        0.0,
        1.0,
        "Share of requests that go to a measured candidate other than by rank, to renew its measurement.",
    )


__all__ = ["PerformanceSettings"]
