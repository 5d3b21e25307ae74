"""The `availability` strategy: by breaker state, health and success rate."""

from __future__ import annotations

from apex_llm_strategy_availability.settings import AvailabilitySettings
from apex_llm_strategy_availability.strategy import AvailabilityStrategy

__all__ = ["AvailabilitySettings", "AvailabilityStrategy"]
