"""The entry point of the `performance` strategy."""

from __future__ import annotations

from typing import Any

from apex_llm_core.hookspecs import Registrar, Runtime
from apex_llm_core.markers import hookimpl
from apex_llm_strategy_performance.settings import PerformanceSettings
from apex_llm_strategy_performance.strategy import PerformanceStrategy


def create(config: Any, settings: PerformanceSettings, runtime: Runtime) -> PerformanceStrategy:  # noqa: ARG001 - the form of factories
    """Make the strategy of one configuration."""
    return PerformanceStrategy(settings)


@hookimpl
def apex_register(registrar: Registrar) -> None:
    """Offer the strategy."""
    registrar.strategy("performance", create, PerformanceSettings)


__all__ = ["apex_register", "create"]
