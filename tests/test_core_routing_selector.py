from __future__ import annotations

from random import Random

import pytest

from apex_llm_core.config.schema import LoadBalancerConfig
from apex_llm_core.context import CallContext
from apex_llm_core.errors import PluginError, ServiceUnavailableError
from apex_llm_core.markers import hookimpl
from apex_llm_core.models import Candidate, RequestFinished
from apex_llm_core.routing.decisions import Draft
from apex_llm_core.routing.router import Route
from apex_llm_core.routing.selector import PriorityStrategy, Selector

CANDIDATES = tuple(Candidate(provider=name, model="m") for name in "abcd")


def route_of(candidates=CANDIDATES, model="m", strategy=None):
    return Route(model=model, candidates=candidates, identities=frozenset(map(id, candidates)), strategy=strategy)


def selector_of(select, seed=1):
    selector = Selector({"mine": select}, "mine", LoadBalancerConfig())
    draft = Draft(Random(seed))
    return lambda route: selector.rank(None, route, CallContext(), draft)


def names(ranking):
    return "".join(candidate.provider for candidate in ranking)


def test_a_lazy_strategy_is_asked_only_for_what_is_taken():
    asked = []

    def lazy(request, candidates, turn):
        for candidate in candidates:
            asked.append(candidate.provider)
            yield candidate

    ranking = selector_of(lazy)(route_of())
    assert asked == []
    next(ranking)
    assert asked == ["a"]
    next(ranking)
    assert asked == ["a", "b"]


def test_leaving_one_out_excludes_it():
    ranking = selector_of(lambda request, candidates, turn: candidates[1:3])(route_of())
    assert names(ranking) == "bc"


@pytest.mark.parametrize(
    ("select", "problem"),
    [
        (lambda *_: [CANDIDATES[0], CANDIDATES[0]], "twice"),
        (lambda *_: [Candidate(provider="a", model="m")], "was not among the candidates"),
        (lambda *_: [None], "was not among the candidates"),
        (lambda *_: None, "TypeError"),
        (lambda *_: 1 / 0, "ZeroDivisionError: division by zero"),
    ],
    ids=["twice", "invented", "none", "no ranking", "exception"],
)
def test_a_broken_ranking_names_the_strategy(select, problem):
    with pytest.raises(PluginError, match=problem) as caught:
        list(selector_of(select)(route_of()))
    assert caught.value.plugin == "mine"


def test_an_exception_keeps_its_cause_also_in_the_middle():
    cause = RuntimeError("tired")

    def tiring(request, candidates, turn):
        yield candidates[0]
        raise cause

    ranking = selector_of(tiring)(route_of())
    assert next(ranking) is CANDIDATES[0]
    with pytest.raises(PluginError, match="tired") as caught:
        next(ranking)
    assert caught.value.__cause__ is cause


def test_the_sequence_counts_the_requests_of_each_model():
    seen = []

    def note(request, candidates, turn):
        seen.append(turn.sequence)
        return candidates

    selector = selector_of(note)
    for model in ("m", "m", "n", "m", "n"):
        list(selector(route_of(model=model)))
    assert seen == [0, 1, 0, 2, 1]


def test_priority_first_then_weight():
    candidates = (
        Candidate(provider="a", model="m", priority=2),
        Candidate(provider="b", model="m", priority=1, weight=0),
        Candidate(provider="c", model="m", priority=1),
    )
    assert names(selector_of(PriorityStrategy().apex_select)(route_of(candidates))) == "cba"


class TestThroughTheManager:
    def scene(self, stage, scripted, select, scripts=None, **tables):
        class Strategy:
            @hookimpl
            def apex_select(self, request, candidates, turn):
                return select(request, candidates, turn)

        return stage(
            scripts or {"a": [], "b": [], "c": []},
            plugins=[scripted.Plugin(lambda registrar: registrar.strategy("mine", lambda *_: Strategy()))],
            manager={"selection_strategy": "mine"},
            **tables,
        )

    def test_the_ranking_is_the_order_of_fallback(self, stage, scripted):
        down = ServiceUnavailableError("down")
        scene = self.scene(
            stage, scripted, lambda request, candidates, turn: reversed(candidates), {"a": [], "b": [down], "c": [down]}
        )
        scene.chat()
        assert scene.called == "cba"

    def test_a_broken_strategy_fails_the_request_before_any_call(self, stage, scripted):
        scene = self.scene(stage, scripted, lambda request, candidates, turn: [*candidates[:0], 5])
        error = scene.failed_chat(PluginError)
        assert "'mine'" in str(error)
        assert scene.called == ""
        [finished] = scene.events_of(RequestFinished)
        assert finished.outcome == "plugin_error"

    def test_only_the_first_is_taken_when_it_answers(self, stage, scripted):
        taken = []

        def lazy(request, candidates, turn):
            for candidate in candidates:
                taken.append(candidate.provider)
                yield candidate

        self.scene(stage, scripted, lazy).chat()
        assert taken == ["a"]
