"""The entry point of the `round_robin` strategy."""

from __future__ import annotations

from typing import Any

from apex_llm_core.hookspecs import Registrar, Runtime
from apex_llm_core.markers import hookimpl
from apex_llm_strategy_round_robin.strategy import RoundRobinStrategy


def create(config: Any, settings: None, runtime: Runtime) -> RoundRobinStrategy:  # noqa: ARG001 - the form of factories
    """Make the strategy of one configuration; it has no settings."""
    return RoundRobinStrategy()


@hookimpl
def apex_register(registrar: Registrar) -> None:
    """Offer the strategy."""
    registrar.strategy("round_robin", create)


__all__ = ["apex_register", "create"]
