"""The `weighted` strategy: give every candidate its exact share."""

from __future__ import annotations

from apex_llm_strategy_weighted.strategy import WeightedStrategy

__all__ = ["WeightedStrategy"]
