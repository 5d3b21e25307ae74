from __future__ import annotations

import types
from typing import ClassVar

import attrs
import pytest

from apex_llm_core.markers import hookimpl
from apex_llm_core.routing.selector import PriorityStrategy
from apex_llm_core.testing.strategy import StrategyConformance


class TestBuiltInPriority(StrategyConformance):
    scores_candidates = True

    def make_strategy(self):
        return PriorityStrategy()


class Invents:
    @hookimpl
    def apex_select(self, request, candidates, turn):
        return [attrs.evolve(candidate) for candidate in candidates]


class Repeats:
    @hookimpl
    def apex_select(self, request, candidates, turn):
        return [*candidates, candidates[0]]


class Empty:
    @hookimpl
    def apex_select(self, request, candidates, turn):
        return []


class LeavesOut:
    @hookimpl
    def apex_select(self, request, candidates, turn):
        return candidates[:1]


class Counts:
    def __init__(self):
        self.count = 0

    @hookimpl
    def apex_select(self, request, candidates, turn):
        self.count += 1
        start = self.count % len(candidates)
        return [*candidates[start:], *candidates[:start]]


class CountsElsewhere:
    """Hides its counter from a look at its attributes."""

    count: ClassVar[list[int]] = [0]

    @hookimpl
    def apex_select(self, request, candidates, turn):
        self.count[0] += 1
        start = self.count[0] % len(candidates)
        return [*candidates[start:], *candidates[:start]]


class SortsInPlace:
    @hookimpl
    def apex_select(self, request, candidates, turn):
        candidates.sort(key=lambda candidate: candidate.priority)
        return candidates


class MarksCandidates:
    @hookimpl
    def apex_select(self, request, candidates, turn):
        candidates[0].live.in_flight += 1
        return candidates


class FreeWhenUnknown:
    @hookimpl
    def apex_select(self, request, candidates, turn):
        return turn.rank(candidates, lambda candidate: candidate.cost_per_input_token or 0.0)


class KnowsAllPrices:
    @hookimpl
    def apex_select(self, request, candidates, turn):
        return turn.rank(candidates, lambda candidate: candidate.cost_per_input_token * 2)


class FirstGivenWins:
    @hookimpl
    def apex_select(self, request, candidates, turn):
        return candidates


class Asynchronous:
    @hookimpl
    async def apex_select(self, request, candidates, turn):
        return candidates


class Unmarked:
    def apex_select(self, request, candidates, turn):
        return candidates


class WithDefault:
    @hookimpl
    def apex_select(self, request, candidates, turn=None):
        return candidates


class NoHook:
    """Has nothing to rank with."""


class BetterWhenWatched:
    @hookimpl
    def apex_select(self, request, candidates, turn):
        return turn.by_priority(candidates) if turn.notes is not None else list(candidates)[::-1]


class TellsAnObject:
    @hookimpl
    def apex_select(self, request, candidates, turn):
        for candidate in candidates:
            turn.note(candidate, live=candidate.live)
        return candidates


class SaysNothing:
    @hookimpl
    def apex_select(self, request, candidates, turn):
        return candidates


class ForgetsTheHeaviest:
    @hookimpl
    def apex_select(self, request, candidates, turn):
        return list(turn.shuffle(candidates))[: 1 if turn.balance == "least_busy" else None]


class ReadsTheRoads:
    """Ranks by a word of the request, which no record holds."""

    @hookimpl
    def apex_select(self, request, candidates, turn):
        first, *others = candidates
        return [*others, first] if "roads" in repr(request) else candidates


def check(strategy, test, *arguments, **switches):
    class Subject(StrategyConformance):
        def make_strategy(self):
            return strategy()

    for name, value in switches.items():
        setattr(Subject, name, value)
    getattr(Subject(), test)(*arguments)


@pytest.mark.parametrize(
    ("broken", "test", "complaint"),
    [
        (Invents, "test_ranking_is_made_of_the_candidates", "not among the candidates"),
        (Repeats, "test_ranking_is_made_of_the_candidates", "twice"),
        (Empty, "test_ranking_is_made_of_the_candidates", "empty"),
        (LeavesOut, "test_ranking_is_made_of_the_candidates", "may_exclude"),
        (Counts, "test_ranking_depends_on_its_arguments_only", "a used strategy ranks"),
        (CountsElsewhere, "test_ranking_depends_on_its_arguments_only", "a used strategy ranks"),
        (Counts, "test_ranking_changes_nothing", "keeps something"),
        (SortsInPlace, "test_ranking_changes_nothing", "reordered"),
        (MarksCandidates, "test_ranking_changes_nothing", "facts were changed"),
        (ForgetsTheHeaviest, "test_ranking_is_whole_however_load_is_spread", "may_exclude"),
        (BetterWhenWatched, "test_telling_scores_changes_nothing", "silently"),
        (TellsAnObject, "test_telling_scores_changes_nothing", "expected a finite number"),
        (ReadsTheRoads, "test_ranking_can_be_made_again_from_its_record", "ranked again"),
        (Asynchronous, "test_hook_has_the_right_form", "plain function"),
        (Unmarked, "test_hook_has_the_right_form", "hookimpl"),
        (WithDefault, "test_hook_has_the_right_form", "default"),
        (NoHook, "test_hook_has_the_right_form", "apex_select is missing"),
    ],
)
def test_each_fault_is_found_by_its_test(broken, test, complaint):
    with pytest.raises(AssertionError, match=complaint):
        check(broken, test)


@pytest.mark.parametrize("kind", ["chat", "embed", "image"])
def test_a_crash_over_unknown_facts_is_found(kind):
    with pytest.raises(TypeError):
        check(KnowsAllPrices, "test_one_candidate_is_its_own_ranking", kind)


@pytest.mark.parametrize(
    ("broken", "test", "switch"),
    [
        (FirstGivenWins, "test_the_best_wins_wherever_it_stands", "scores_candidates"),
        (FirstGivenWins, "test_a_dead_candidate_is_never_first", "considers_health"),
        (FreeWhenUnknown, "test_an_unknown_price_is_never_cheap", "considers_price"),
    ],
)
def test_a_false_claim_is_found(broken, test, switch):
    with pytest.raises(AssertionError, match="seed"):
        check(broken, test, **{switch: True})
    with pytest.raises(pytest.skip.Exception, match=switch):
        check(broken, test)


def test_silence_is_found_where_scores_are_claimed():
    with pytest.raises(AssertionError, match="says nothing"):
        check(SaysNothing, "test_telling_scores_changes_nothing", tells_scores=True)
    check(SaysNothing, "test_telling_scores_changes_nothing")


def test_a_strategy_that_reads_the_request_need_not_be_replayable():
    with pytest.raises(pytest.skip.Exception, match="replayable"):
        check(ReadsTheRoads, "test_ranking_can_be_made_again_from_its_record", replayable=False)


def test_registering_under_another_name_is_found():
    plugin = types.ModuleType("plugin_of_this_test")

    @hookimpl
    def apex_register(registrar):
        registrar.strategy("prioritiy", lambda config, settings, runtime: PriorityStrategy())

    plugin.apex_register = apex_register
    with pytest.raises(AssertionError, match="prioritiy"):
        check(PriorityStrategy, "test_registered_factory_makes_the_strategy", plugin=plugin, name="priority")
    check(PriorityStrategy, "test_registered_factory_makes_the_strategy", plugin=plugin, name="prioritiy")


def test_a_missing_entry_point_is_found():
    plugin = types.ModuleType("plugin_of_this_test")
    with pytest.raises(AssertionError, match="no installed distribution"):
        check(PriorityStrategy, "test_entry_point_leads_to_the_plugin", plugin=plugin, name="nobody-offers-this")
