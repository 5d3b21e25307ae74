from __future__ import annotations

import gc
import weakref
from random import Random

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.context import CallContext
from apex_llm_core.converters import dumps, loads, structure
from apex_llm_core.errors import InvalidRequestError
from apex_llm_core.markers import hookimpl
from apex_llm_core.models import (
    Candidate,
    ChatGenerationOptions,
    ChatMessage,
    EmbeddingOptions,
    EmbedRequest,
    GenerateRequest,
    HealthState,
    ImageGenerationOptions,
    ImageRequest,
    LiveFacts,
    Turn,
)
from apex_llm_core.models.decisions import Decision
from apex_llm_core.routing.decisions import DecisionLog
from apex_llm_core.routing.replaying import recorded, replay
from apex_llm_core.routing.router import Route
from apex_llm_core.routing.selector import PriorityStrategy
from apex_llm_core.testing.clock import FakeClock

SECRET_WORDS = "my doctor says"


def chat(content=SECRET_WORDS, **options):
    stream = options.pop("stream", False)
    return GenerateRequest(
        kind="chat",
        messages=(ChatMessage(role="user", content=content),),
        model="m",
        options=ChatGenerationOptions(**options),
        stream=stream,
    )


def candidates_of(*names, model="m", **fields):
    return tuple(Candidate(provider=name, model=model, live=LiveFacts(), **fields) for name in names)


def route_of(candidates, **fields):
    return Route(model=candidates[0].model, candidates=candidates, identities=frozenset(map(id, candidates)), **fields)


class Counting:
    """Ranks by attempts, and tells."""

    @hookimpl
    def apex_select(self, request, candidates, turn):
        for candidate in candidates:
            turn.note(candidate, attempts=candidate.live.attempts, prompt=request.estimated_prompt_tokens)
        return turn.rank(candidates, lambda candidate: candidate.live.attempts)


def log_of(keep=100, seed=0, strategy=None, **fields):
    rank = (strategy or PriorityStrategy()).apex_select
    return DecisionLog(keep, random=Random(seed), strategies={"s": rank}, **fields)


def context_of(request_id="r", operation="chat", clock=None):
    return CallContext(request_id=request_id, operation=operation, clock=clock or FakeClock())


def begin(log, route, request=None, context=None, *, sequence=0, dry_run=False, rank=None, **turn):
    """Begin a record and return it with the lazy ranking, as the core does."""
    draft = (log.dry_run if dry_run else log.draft)(request or chat(), context or context_of())
    return draft, go_on(draft, route, request or chat(), sequence=sequence, rank=rank, **turn)


def go_on(draft, route, request, *, sequence=0, rank=None, **fields):
    turn = Turn(sequence=sequence, random=draft.random, **fields)
    draft.route(route, "s", turn)
    ranking = (rank or PriorityStrategy().apex_select)(request, route.candidates, turn)

    def told():
        for candidate in ranking:
            draft.ranked(candidate)
            yield candidate

    return told()


def by_provider(decision):
    return {c.provider: c for c in decision.candidates}


def test_each_candidate_has_its_verdict_and_its_reason():
    pool = candidates_of("a", "b", "c", "d")
    pool = tuple(attrs.evolve(c, priority=n) for n, c in enumerate(pool))
    log = log_of()
    draft, ranking = begin(log, route_of(pool, rule="rule 1"))
    a, b, c = (next(ranking) for _ in range(3))
    draft.passed_over(a, "its circuit breaker is open")
    draft.taken(b)
    draft.failed(b, "timeout_error")
    draft.taken(c)
    draft.unable(Candidate(provider="z", model="m"), "lacks vision")
    draft.close("ok")
    (decision,) = log.last()
    assert [(c.provider, c.rank, c.verdict, c.reason) for c in decision.candidates] == [
        ("a", 1, "passed_over", "its circuit breaker is open"),
        ("b", 2, "failed", "timeout_error"),
        ("c", 3, "taken", ""),
        ("d", None, "not_reached", ""),
        ("z", None, "unable", "lacks vision"),
    ]
    assert (decision.strategy, decision.rule, decision.outcome) == ("s", "rule 1", "ok")
    assert by_provider(decision)["z"].route is None


def test_one_that_failed_and_then_succeeded_was_taken():
    pool = candidates_of("a", "b")
    log = log_of()
    draft, ranking = begin(log, route_of(pool))
    first = next(ranking)
    for verdict in ("taken", "failed", "taken"):
        getattr(draft, verdict)(first, *(["timeout_error"] if verdict == "failed" else []))
    draft.close("ok")
    assert log.last()[0].candidates[0].verdict == "taken"


def test_facts_are_those_of_the_moment_of_ranking():
    pool = candidates_of("a", "b", capabilities=frozenset({"json", "chat"}), cost_per_input_token=1e-6)
    pool[0].live.in_flight, pool[0].live.health = 7, HealthState.DEGRADED
    log = log_of()
    _draft, ranking = begin(log, route_of(pool))
    pool[0].live.in_flight = 99
    list(ranking)
    facts = by_provider(log.last()[0])["a"].facts
    assert facts["in_flight"] == 7
    assert facts["health"] == "degraded"
    assert facts["capabilities"] == ("chat", "json")
    assert facts["cost_per_input_token"] == 1e-6
    expected = {f.name for cls in (Candidate, LiveFacts) for f in attrs.fields(cls)} - {"live", "provider", "model"}
    assert set(facts) == expected


def test_a_record_tells_the_form_of_the_request_and_none_of_its_words():
    log = log_of()
    request = chat(max_tokens=77, n=3, stream=True, user="jane", tools=None)
    assert request.estimated_prompt_tokens == 7
    draft, _ = begin(log, route_of(candidates_of("a", "b")), request)
    draft.close("ok")
    (decision,) = log.last()
    assert (decision.max_tokens, decision.answers, decision.stream) == (77, 3, True)
    assert decision.estimated_prompt_tokens == 7
    assert decision.needs == ("chat", "stream")
    text = dumps(decision)
    assert SECRET_WORDS not in text
    assert "jane" not in text


def test_what_the_caller_wrote_is_let_go_when_the_request_ends():
    log = log_of()
    draft, _ = begin(log, route_of(candidates_of("a", "b")))
    draft.close("ok")
    assert not any(isinstance(getattr(draft, name, None), GenerateRequest) for name in type(draft).__slots__)


def test_counting_a_prompt_is_left_to_those_who_need_it():
    log = log_of()
    draft, _ = begin(log, route_of(candidates_of("a", "b")))
    draft.close("ok")
    assert log.last()[0].estimated_prompt_tokens is None


def test_the_last_records_come_newest_first():
    log = log_of(keep=3)
    for number in range(5):
        begin(log, route_of(candidates_of("a")), context=context_of(str(number)))
    assert [decision.request_id for decision in log.last()] == ["4", "3", "2"]
    assert [decision.request_id for decision in log.last(1)] == ["4"]
    assert log.last(0) == log.last(-1) == []


def ids(log, count=None):
    return [decision.request_id for decision in log.last(count)]


def filled(log, *names):
    for name in names:
        begin(log, route_of(candidates_of("a")), context=context_of(name))
    return log


def test_records_outlive_a_reload_until_as_many_have_come_since():
    log = log_of(keep=3)
    log.take_over(filled(log_of(keep=5), "1", "2", "3", "4", "5"))
    assert ids(log) == ["5", "4", "3"]
    filled(log, "6", "7")
    assert (ids(log), ids(log, 1)) == (["7", "6", "5"], ["7"])
    assert ids(filled(log, "8", "9")) == ["9", "8", "7"]


def test_records_of_many_reloads_are_bounded():
    log, alive = log_of(keep=3), []
    for number in range(2_000):
        alive.append(weakref.ref(log))
        log, former = log_of(keep=3), filled(log, str(number)) if number % 2 else log
        log.take_over(former)
        del former
    assert ids(log) == ["1999", "1997", "1995"]
    # Its own, and those of three others, of which nothing else is left.
    assert len(log.kept()) == 4
    gc.collect()
    assert not any(each() for each in alive)


def test_former_records_are_told_with_the_settings_of_their_time():
    former = filled(log_of(strategy=Counting(), options={"a": 1}), "1")
    log = log_of(options={"a": 2})
    log.take_over(former)
    assert log.last() == former.last()


def test_a_record_shows_what_is_under_way():
    log = log_of()
    draft, ranking = begin(log, route_of(candidates_of("a", "b")))
    draft.taken(next(ranking))
    (decision,) = log.last()
    assert decision.outcome == ""
    assert decision.candidates[0].verdict == "taken"
    draft.close("cancelled")
    assert log.last()[0].outcome == "cancelled"


def test_without_records_nothing_is_kept_and_the_randomness_is_shared():
    random = Random(3)
    log = DecisionLog(0, random=random)
    draft = log.draft(chat(), context_of())
    assert draft.random is random
    assert log.draft(chat(), context_of()) is draft
    (only,) = candidates_of("a")
    draft.route(route_of((only,)), "s", None)
    for tell in (draft.ranked, draft.taken):
        tell(only)
    for tell in (draft.pinned, draft.failed, draft.passed_over, draft.unable):
        tell(only, "why")
    draft.close("ok")
    assert log.last() == []


def test_a_dry_run_is_not_kept_and_foretells_the_next_request():
    log, pool = log_of(seed=9), candidates_of(*"abcdefgh")
    route = route_of(pool)
    dry = []
    for _ in range(3):
        draft, ranking = begin(log, route, dry_run=True)
        dry.append([c.provider for c in ranking])
        assert draft.decision().dry_run
    assert log.last() == []
    _, ranking = begin(log, route)
    assert dry == [[c.provider for c in ranking]] * 3
    _, ranking = begin(log, route)
    assert dry[0] != [c.provider for c in ranking]


def test_a_dry_run_works_where_no_records_are_kept():
    log = log_of(keep=0)
    draft, ranking = begin(log, route_of(candidates_of("a", "b")), dry_run=True)
    list(ranking)
    assert [c.rank for c in log.decision(draft).candidates] == [1, 2]


def test_long_routes_are_recorded_in_part_and_the_rest_is_counted():
    pool = tuple(attrs.evolve(c, priority=-n) for n, c in enumerate(candidates_of(*map(str, range(1000)))))
    log = log_of()
    draft, ranking = begin(log, route_of(pool))
    draft.taken(next(ranking))
    (decision,) = log.last()
    assert len(decision.candidates) == 17
    assert decision.routes[0].omitted == 984
    assert (decision.candidates[0].provider, decision.candidates[0].rank) == ("999", 1)
    assert decision.candidates[0].facts == {}
    with pytest.raises(InvalidRequestError, match="leaves out 984"):
        replay(decision, PriorityStrategy().apex_select)


def test_a_dry_run_records_all_of_a_long_route():
    log, pool = log_of(), candidates_of(*map(str, range(100)))
    draft, ranking = begin(log, route_of(pool), dry_run=True)
    list(ranking)
    decision = log.decision(draft)
    assert decision.routes[0].omitted == 0
    assert replay(decision, PriorityStrategy().apex_select) == recorded(decision)


def test_scores_are_told_by_the_strategy_from_the_recorded_facts():
    pool = candidates_of("a", "b", "c")
    for attempts, candidate in zip((5, 3, 4), pool, strict=True):
        candidate.live.attempts = attempts
    request = chat("x" * 400)
    assert request.estimated_prompt_tokens == 104
    log = log_of(strategy=Counting())
    draft, ranking = begin(log, route_of(pool), request, rank=Counting().apex_select)
    draft.taken(next(ranking))
    draft.close("ok")
    pool[1].live.attempts = 1000
    decision = log.last()[0]
    assert decision.candidates[0].score == {"attempts": 3, "prompt": 104}
    assert {c.provider: c.score["attempts"] for c in decision.candidates} == {"a": 5, "b": 3, "c": 4}


def test_a_strategy_that_fails_leaves_a_record_without_scores():
    class Broken:
        @hookimpl
        def apex_select(self, request, candidates, turn):
            raise ZeroDivisionError

    log = log_of(strategy=Broken())
    begin(log, route_of(candidates_of("a", "b")))
    assert [c.score for c in log.last()[0].candidates] == [{}, {}]


def test_the_settings_of_the_strategy_are_recorded_without_their_secrets():
    options = {"tolerance": 0.5, "token": "sk-1234", "more": {"words": ["sk-1234", "fine"]}}
    log = log_of(default="s", options=options, scrub=lambda text: text.replace("sk-1234", "***"))
    begin(log, route_of(candidates_of("a", "b")))
    assert log.last()[0].routes[0].options == {"tolerance": 0.5, "token": "***", "more": {"words": ("***", "fine")}}


def test_routes_of_fallback_models_have_their_own_randomness_and_can_be_replayed():
    log, small, large = log_of(), candidates_of(*"abcdef"), candidates_of(*"abcdef", model="large")
    draft, ranking = begin(log, route_of(small))
    list(ranking)
    # Interleaved: the second ranking goes on while the third is under way.
    second, third = go_on(draft, route_of(large), chat()), go_on(draft, route_of(small), chat(), sequence=4)
    for _ in range(6):
        next(second)
        next(third)
    draft.close("ok")
    decision = structure(loads(dumps(log.last()[0])), Decision)
    assert [route.model for route in decision.routes] == ["m", "large", "m"]
    assert len({route.seed for route in decision.routes}) == 3
    for number in (0, 1):
        assert replay(decision, PriorityStrategy().apex_select, number) == recorded(decision, number)
    assert decision.routes[2].sequence == 4
    assert len(replay(decision, PriorityStrategy().apex_select, 2)) == 6


def test_who_is_pinned_comes_first_in_the_replay_too():
    log, pool = log_of(), candidates_of(*"abcdef")
    route = route_of(pool)
    for position in range(6):
        draft = log.draft(chat(), context_of())
        turn = Turn(sequence=0, random=draft.random)
        draft.route(route, "s", turn)
        draft.pinned(pool[position], "the session's candidate")
        for candidate in turn.by_priority(pool):
            if candidate is not pool[position]:
                draft.ranked(candidate)
        draft.close("ok")
        decision = log.last(1)[0]
        assert decision.candidates[0].reason == "the session's candidate"
        assert recorded(decision)[0] == ("abcdef"[position], "m")
        assert replay(decision, PriorityStrategy().apex_select) == recorded(decision)


def test_an_only_candidate_is_not_ranked():
    class Never:
        @hookimpl
        def apex_select(self, request, candidates, turn):
            raise AssertionError

    log, pool = log_of(), candidates_of("only")
    draft = log.draft(chat(), context_of())
    draft.route(route_of(pool), "s", None)
    draft.ranked(pool[0])
    assert replay(log.last()[0], Never().apex_select) == [("only", "m")]


def test_there_is_nothing_to_replay_beyond_the_routes():
    log = log_of()
    log.draft(chat(), context_of()).close("model_not_found_error")
    (decision,) = log.last()
    assert (decision.strategy, decision.rule, decision.seed, decision.sequence) == ("", None, 0, 0)
    with pytest.raises(InvalidRequestError, match="0 rankings"):
        replay(decision, PriorityStrategy().apex_select)
    with pytest.raises(InvalidRequestError, match="number -1"):
        replay(decision, PriorityStrategy().apex_select, -1)


@given(size=st.integers(0, 3000), operation=st.sampled_from(["chat", "text", "embed", "image"]))
def test_a_replayed_request_is_as_long_as_the_recorded_one(size, operation):
    text = "x" * size
    requests = {
        "chat": chat(text),
        "text": attrs.evolve(chat(text), kind="text"),
        "embed": EmbedRequest(texts=(text, "y"), model="m", options=EmbeddingOptions()),
        "image": ImageRequest(prompt=text + "!", model="m", options=ImageGenerationOptions()),
    }
    request, seen = requests[operation], []

    class Looking:
        @hookimpl
        def apex_select(self, request, candidates, turn):
            seen.append((type(request), request.needs, request.estimated_prompt_tokens, request.model))
            return candidates

    log = log_of(strategy=Looking())
    pool = candidates_of("a", "b")
    draft, _ = begin(log, route_of(pool), request, context_of(operation=operation), rank=Looking().apex_select)
    draft.close("ok")
    decision = structure(loads(dumps(log.last()[0])), Decision)
    replay(decision, Looking().apex_select)
    assert len(set(seen)) == 1
    assert len(seen) == 3


def test_a_ranking_that_begins_after_the_pinned_one_failed_is_recorded_as_it_began():
    log, pool = log_of(), candidates_of(*"abcdef")
    for _ in range(20):
        for candidate in pool:
            candidate.live.weight_factor = 1.0
        draft = log.draft(chat(), context_of())
        turn = Turn(sequence=0, random=draft.random)
        draft.route(route_of(pool), "s", turn)
        draft.pinned(pool[0], "it answered this session before")
        draft.taken(pool[0])
        # While it was asked, others were found to fail.
        for candidate in pool[1:4]:
            candidate.live.weight_factor = 0.02
        ranking = turn.by_priority(pool)
        for candidate in ranking:
            if candidate is not pool[0]:
                draft.ranked(candidate)
                # What changes after it began does not matter to it.
                pool[5].live.weight_factor = 0.5
        decision = log.last(1)[0]
        assert by_provider(decision)["b"].facts["weight_factor"] == 0.02
        assert by_provider(decision)["f"].facts["weight_factor"] == 1.0
        assert replay(decision, PriorityStrategy().apex_select) == recorded(decision)
