"""The entry point of the `cost` strategy."""

from __future__ import annotations

from typing import Any

from apex_llm_core.hookspecs import Registrar, Runtime
from apex_llm_core.markers import hookimpl
from apex_llm_strategy_cost.settings import CostSettings
from apex_llm_strategy_cost.strategy import CostStrategy


def create(config: Any, settings: CostSettings, runtime: Runtime) -> CostStrategy:  # noqa: ARG001 - the form of factories
    """Make the strategy of one configuration."""
    return CostStrategy(settings)


@hookimpl
def apex_register(registrar: Registrar) -> None:
    """Offer the strategy."""
    registrar.strategy("cost", create, CostSettings)


__all__ = ["apex_register", "create"]
