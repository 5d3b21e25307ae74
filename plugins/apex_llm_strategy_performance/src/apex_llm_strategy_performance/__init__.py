"""The `performance` strategy: by observed latency and load."""

from __future__ import annotations

from apex_llm_strategy_performance.settings import PerformanceSettings
from apex_llm_strategy_performance.strategy import PerformanceStrategy

__all__ = ["PerformanceSettings", "PerformanceStrategy"]
