"""The entry point of the `weighted` strategy."""

from __future__ import annotations

from typing import Any

from apex_llm_core.hookspecs import Registrar, Runtime
from apex_llm_core.markers import hookimpl
from apex_llm_strategy_weighted.strategy import WeightedStrategy


def create(config: Any, settings: None, runtime: Runtime) -> WeightedStrategy:  # noqa: ARG001 - the form of factories
    """Make the strategy of one configuration; it has no settings."""
    return WeightedStrategy()


@hookimpl
def apex_register(registrar: Registrar) -> None:
    """Offer the strategy."""
    registrar.strategy("weighted", create)


__all__ = ["apex_register", "create"]
