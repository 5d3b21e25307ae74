from __future__ import annotations

from apex_llm_strategy_availability import plugin
from apex_llm_strategy_availability.strategy import AvailabilityStrategy

from apex_llm_core.testing.strategy import StrategyConformance


class TestAvailabilityStrategy(StrategyConformance):
    plugin = plugin
    name = "availability"
    scores_candidates = True
    considers_health = True
    tells_scores = True

    def make_strategy(self):
        return AvailabilityStrategy()
