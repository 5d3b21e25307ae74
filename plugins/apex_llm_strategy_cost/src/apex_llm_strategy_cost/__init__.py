"""The `cost` strategy: by the expected cost of this request."""

from __future__ import annotations

from apex_llm_strategy_cost.settings import CostSettings
from apex_llm_strategy_cost.strategy import CostStrategy

__all__ = ["CostSettings", "CostStrategy"]
