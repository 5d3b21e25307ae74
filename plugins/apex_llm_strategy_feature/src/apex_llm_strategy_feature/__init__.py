"""The `feature` strategy: by how surely and closely they fit."""

from __future__ import annotations

from apex_llm_strategy_feature.settings import FeatureSettings
from apex_llm_strategy_feature.strategy import FeatureStrategy

__all__ = ["FeatureSettings", "FeatureStrategy"]
