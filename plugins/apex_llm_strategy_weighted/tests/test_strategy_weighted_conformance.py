from __future__ import annotations

from apex_llm_strategy_weighted import plugin
from apex_llm_strategy_weighted.strategy import WeightedStrategy

from apex_llm_core.testing.strategy import StrategyConformance


class TestWeightedStrategy(StrategyConformance):
    plugin = plugin
    name = "weighted"
    tells_scores = True

    def make_strategy(self):
        return WeightedStrategy()
