from __future__ import annotations

from apex_llm_strategy_performance import PerformanceSettings, plugin
from apex_llm_strategy_performance.strategy import PerformanceStrategy

from apex_llm_core.testing.strategy import StrategyConformance


class TestPerformanceStrategy(StrategyConformance):
    plugin = plugin
    name = "performance"
    tells_scores = True

    def make_strategy(self):
        return PerformanceStrategy()


class TestPerformanceStrategyWithoutExploration(StrategyConformance):
    scores_candidates = True
    tells_scores = True

    def make_strategy(self):
        return PerformanceStrategy(PerformanceSettings(explore_share=0.0, recheck_share=0.0))
