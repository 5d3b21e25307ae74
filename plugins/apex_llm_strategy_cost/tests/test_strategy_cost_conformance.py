from __future__ import annotations

from apex_llm_strategy_cost import plugin
from apex_llm_strategy_cost.strategy import CostStrategy

from apex_llm_core.testing.strategy import StrategyConformance


class TestCostStrategy(StrategyConformance):
    plugin = plugin
    name = "cost"
    scores_candidates = True
    considers_price = True
    tells_scores = True

    def make_strategy(self):
        return CostStrategy()
