"""Settings of the `availability` strategy."""

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
class AvailabilitySettings:
    """What `[manager.strategy_options]` takes when the strategy is `availability`."""

    tolerance: float = _between(
        0.01, 0.0, 1.0, "Candidates whose success rate is at most this far below the best one's count as equal."
    )
    prior: float = _between(1.0, 0.0, 1.0, "The success rate expected of a candidate nobody has tried.")
    prior_attempts: float = _between(
        5.0, 0.0, 1_000_000.0, "How many attempts that expectation is worth beside observed ones."
    )
    probe_share: float = _between(
        0.05, 0.0, 1.0, "Share of requests that begin with a candidate whose breaker is not closed, while there is one."
    )


__all__ = ["AvailabilitySettings"]
