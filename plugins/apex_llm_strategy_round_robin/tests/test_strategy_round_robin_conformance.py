from __future__ import annotations

from apex_llm_strategy_round_robin import plugin
from apex_llm_strategy_round_robin.strategy import RoundRobinStrategy

from apex_llm_core.testing.strategy import StrategyConformance


class TestRoundRobinStrategy(StrategyConformance):
    plugin = plugin
    name = "round_robin"
    tells_scores = True

    def make_strategy(self):
        return RoundRobinStrategy()
