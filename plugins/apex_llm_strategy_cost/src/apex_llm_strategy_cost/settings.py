"""Settings of the `cost` strategy."""

from __future__ import annotations

import attrs
from attrs import validators


@attrs.frozen(kw_only=True)
class CostSettings:
    """What `[manager.strategy_options]` takes when the strategy is `cost`."""

    expected_output_tokens: int = attrs.field(
        default=256,
        validator=validators.ge(0),
        metadata={"doc": "Length of an answer to reckon with when the request sets no max_tokens.", "minimum": 0},
    )


__all__ = ["CostSettings"]
