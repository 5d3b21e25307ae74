"""The `round_robin` strategy: give every candidate its turn."""

from __future__ import annotations

from apex_llm_strategy_round_robin.strategy import RoundRobinStrategy

__all__ = ["RoundRobinStrategy"]
