"""The entry point of the `feature` strategy."""

from __future__ import annotations

from typing import Any

from apex_llm_core.hookspecs import Registrar, Runtime
from apex_llm_core.markers import hookimpl
from apex_llm_strategy_feature.settings import FeatureSettings
from apex_llm_strategy_feature.strategy import FeatureStrategy


def create(config: Any, settings: FeatureSettings, runtime: Runtime) -> FeatureStrategy:  # noqa: ARG001 - the form of factories
    """Make the strategy of one configuration."""
    return FeatureStrategy(settings)


@hookimpl
def apex_register(registrar: Registrar) -> None:
    """Offer the strategy."""
    registrar.strategy("feature", create, FeatureSettings)


__all__ = ["apex_register", "create"]
