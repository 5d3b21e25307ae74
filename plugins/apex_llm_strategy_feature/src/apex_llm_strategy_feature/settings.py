"""Settings of the `feature` strategy."""

from __future__ import annotations

import attrs
from attrs import validators


@attrs.frozen(kw_only=True)
class FeatureSettings:
    """What `[manager.strategy_options]` takes when the strategy is `feature`."""

    estimate_tolerance: float = attrs.field(
        default=0.25,
        validator=[validators.ge(0.0), validators.lt(1.0)],
        metadata={
            "doc": "How far the estimate of the prompt's tokens may be off, as a share of it, either way.",
            "minimum": 0.0,
            "exclusive_maximum": 1.0,
        },
    )
    best_fit: bool = attrs.field(
        default=True,
        metadata={"doc": "Prefer the least oversized of the fitting; false: they are equals for priority and weight."},
    )


__all__ = ["FeatureSettings"]
