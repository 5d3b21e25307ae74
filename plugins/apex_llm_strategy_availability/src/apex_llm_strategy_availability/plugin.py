"""The entry point of the `availability` strategy."""

from __future__ import annotations

from typing import Any

from apex_llm_core.hookspecs import Registrar, Runtime
from apex_llm_core.markers import hookimpl
from apex_llm_strategy_availability.settings import AvailabilitySettings
from apex_llm_strategy_availability.strategy import AvailabilityStrategy


def create(config: Any, settings: AvailabilitySettings, runtime: Runtime) -> AvailabilityStrategy:  # noqa: ARG001 - the form of factories
    """Make the strategy of one configuration."""
    return AvailabilityStrategy(settings)


@hookimpl
def apex_register(registrar: Registrar) -> None:
    """Offer the strategy."""
    registrar.strategy("availability", create, AvailabilitySettings)


__all__ = ["apex_register", "create"]
