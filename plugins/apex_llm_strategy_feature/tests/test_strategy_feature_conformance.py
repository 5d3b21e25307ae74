from __future__ import annotations

from apex_llm_strategy_feature import plugin
from apex_llm_strategy_feature.strategy import FeatureStrategy

from apex_llm_core.testing.strategy import StrategyConformance


class TestFeatureStrategy(StrategyConformance):
    plugin = plugin
    name = "feature"
    scores_candidates = True
    may_exclude = True
    tells_scores = True

    def make_strategy(self):
        return FeatureStrategy()
