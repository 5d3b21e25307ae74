from __future__ import annotations

import asyncio
import warnings

import pytest

from apex_llm_core.errors import ConfigurationWarning, InvalidRequestError, LLMTimeoutError, ServiceUnavailableError
from apex_llm_core.models import Hedged, HedgeFinished, RequestFinished
from apex_llm_core.testing.interruption import interrupt, watching

SLOW = [10.0, "slow"]
PRICED = [{"id": "m", "cost_per_input_token": 0.001, "cost_per_output_token": 0.01}]


def hedging(**more):
    return {"enabled": True, "delay": 1.0, **more}


@pytest.fixture
def opened(stage):
    def make(scripts, hedge=None, **tables):
        return stage(scripts, hedging=hedging(**(hedge or {})), **tables)

    return make


def test_the_faster_answer_wins_and_the_slower_call_is_cancelled(opened):
    scene = opened({"a": [SLOW], "b": [[0.5, "quick"]]})

    async def body(manager):
        result = await manager.generate_chat("hi", model="m")
        scene.assert_settled(manager)
        return result

    result = scene.run(body)
    assert (result.provider, result.message.text, scene.clock() - 1000) == ("b", "quick", pytest.approx(1.5))
    told = [(attempt.provider, attempt.reason, attempt.message) for attempt in result.attempts]
    assert told == [("b", "hedge", ""), ("a", "first", "another attempt was faster")]
    [hedge], [end] = scene.events_of(Hedged), scene.events_of(HedgeFinished)
    assert (hedge.from_provider, hedge.to_provider, hedge.delay) == ("a", "b", 1.0)
    assert (end.provider, end.won) == ("b", True)


def test_a_first_attempt_in_time_has_no_company(opened):
    scene = opened({"a": [[0.9, "a"]], "b": []})
    assert scene.chat().provider == "a"
    assert scene.called == "a"
    assert scene.events_of(Hedged) == []


def test_the_first_attempt_may_still_win(opened):
    scene = opened({"a": [[1.5, "a"]], "b": [SLOW]})
    assert scene.chat().provider == "a"
    assert scene.events_of(HedgeFinished)[0].won is False


def test_both_are_paid(opened):
    scene = opened({"a": [SLOW], "b": []}, providers={"a": {"models": PRICED}, "b": {"models": PRICED}})
    result = scene.chat()
    winner = 10 * 0.001 + 5 * 0.01
    # "hi" is four tokens by estimate: a quarter of its characters, and four for the message.
    assert result.cost == pytest.approx(winner + 4 * 0.001)
    assert scene.events_of(RequestFinished)[0].cost == pytest.approx(result.cost)


def test_an_unknown_price_of_the_loser_makes_the_cost_unknown(opened):
    scene = opened({"a": [SLOW], "b": []}, providers={"b": {"models": PRICED}})
    assert scene.chat().cost is None


def test_a_stream_is_hedged_until_its_first_chunk(opened):
    scene = opened({"a": [SLOW], "b": [[0.5, "b", 5.0, "b"]]})

    async def body(manager):
        stream = manager.generate_chat_stream("hi", model="m")
        texts = [chunk.text async for chunk in stream if chunk.text]
        scene.assert_settled(manager)
        return texts, stream.provider

    assert scene.run(body) == (["b", "b"], "b")


def test_when_both_open_at_once_the_one_nobody_reads_is_closed(opened):
    scene = opened({"a": [[1.5, "a", 1.0, "a"]], "b": [[0.5, "b", 1.0, "b"]]})

    async def body(manager):
        stream = manager.generate_chat_stream("hi", model="m")
        texts = [chunk.text async for chunk in stream if chunk.text]
        scene.assert_settled(manager)
        return len(texts)

    assert scene.run(body) == 2


def test_a_hedge_that_fails_leaves_the_first_alone(opened):
    scene = opened({"a": [[3.0, "a"]], "b": [ServiceUnavailableError("down")]})
    assert scene.chat().provider == "a"


def test_when_both_fail_the_next_candidate_is_asked(opened):
    down = ServiceUnavailableError("down")
    scene = opened({"a": [[2.0, down]], "b": [[2.0, down]], "c": ["c"]})
    result = scene.chat()
    assert result.provider == "c"
    assert [attempt.reason for attempt in result.attempts] == ["first", "hedge", "fallback"]


def test_another_provider_comes_before_another_model_place_of_the_same(stage):
    scene = stage(
        {"a": [SLOW, "a2"], "b": ["b"]},
        hedging=hedging(),
        providers={"a": {"models": [{"id": "m"}, {"id": "n"}]}, "b": {"models": [{"id": "n"}]}},
        fallback={"models": {"m": ["n"]}},
    )
    assert scene.chat().provider == "b"


class TestWhenNot:
    @pytest.mark.parametrize(
        "tables",
        [
            {"hedge": {"operations": ["embed"]}},
            {"manager": {"max_attempts": 1}},
            {"retry": {"budget": 0, "budget_reserve": 0}},
            {"hedge": {"max_cost": 0.001}, "providers": {"b": {"models": PRICED}}},
            {"hedge": {"max_cost": 100.0}},
            {"hedge": {"delay": None}},
        ],
        ids=["operation", "attempts", "budget", "price", "unknown price", "nothing observed"],
    )
    def test_it_is_not_allowed(self, opened, tables):
        scene = opened({"a": [SLOW], "b": []}, **tables)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConfigurationWarning)
            assert scene.chat().provider == "a"
        assert scene.called == "a"

    def test_the_deadline_comes_first(self, opened):
        scene = opened({"a": [SLOW], "b": []})
        scene.failed_chat(LLMTimeoutError, deadline=0.8)
        assert scene.called == "a"

    def test_nobody_else_is_well(self, opened):
        scene = opened({"a": [SLOW], "b": []})

        async def body(manager):
            await manager.generate_chat("hi", model="m", provider="b")
            manager.set_breaker("b", action="isolate")
            return (await manager.generate_chat("hi", model="m")).provider

        assert scene.run(body) == "a"

    def test_nobody_else_is_there(self, opened):
        assert opened({"a": [SLOW]}).chat().provider == "a"

    def test_what_is_wrong_with_the_request_ends_it(self, opened):
        scene = opened({"a": [[2.0, InvalidRequestError("no")]], "b": [[9.0, "b"]]})
        result = scene.chat()
        # The other was asked already, and may know better.
        assert result.provider == "b"


def test_the_percentile_of_what_was_observed_decides(stage):
    scene = stage(
        {"a": [[0.1 * number, "a"] for number in range(1, 11)] + [SLOW], "b": []},
        hedging={"enabled": True, "percentile": 0.9, "minimum_samples": 10},
    )

    async def body(manager):
        for _ in range(10):
            await manager.generate_chat("hi", model="m")
        return (await manager.generate_chat("hi", model="m")).provider

    assert scene.run(body) == "b"
    assert scene.events_of(Hedged)[0].delay == pytest.approx(0.9, abs=0.11)


def test_the_budget_bounds_how_many_are_hedged(stage):
    scene = stage(
        {"a": [[3.0, "a"]] * 40, "b": [[3.0, "b"]] * 40},
        hedging=hedging(),
        retry={"budget": 0.05, "budget_reserve": 10},
    )

    async def body(manager):
        for _ in range(40):
            await manager.generate_chat("hi", model="m")
        return manager.stats()["governor"]

    counts = scene.run(body)
    # Half of the reserve and what forty requests brought.
    assert counts["attempts"]["hedge"] <= 5 + 0.05 * 40 + 1
    assert counts["amplification"] < 1.25


@pytest.mark.parametrize("kind", ["whole", "stream"])
def test_cancelled_at_every_await_nothing_is_left(opened, kind):
    async def ask(manager):
        if kind == "whole":
            await manager.generate_chat("hi", model="m")
        else:
            async with manager.generate_chat_stream("hi", model="m") as stream:
                async for _ in stream:
                    pass

    for at in range(100):
        scene = opened({"a": [[2.0, "a", 1.0, "a"]], "b": [[0.5, "b", 0.7, "b"]]})

        async def body(manager, at=at, scene=scene):
            async with watching() as leaks:
                reached = await interrupt(ask(manager), at)
                await asyncio.sleep(0)
            scene.assert_settled(manager)
            assert leaks.left() == []
            return reached

        if not scene.run(body):
            assert at > 2
            return
    raise AssertionError("it never ends")


def test_streams_that_are_left_early_tell_how_long_a_first_chunk_takes(stage):
    scene = stage(
        {"a": [[0.5, "a", 1.0, "a"]] * 10 + [SLOW], "b": []},
        hedging={"enabled": True, "minimum_samples": 10},
    )

    async def body(manager):
        for _ in range(10):
            async with manager.generate_chat_stream("hi", model="m") as stream:
                await anext(stream)
        stream = manager.generate_chat_stream("hi", model="m")
        return [chunk.text async for chunk in stream if chunk.text], stream.provider

    assert scene.run(body) == (["ok"], "b")
    assert scene.events_of(Hedged)[0].delay == pytest.approx(0.5)


def test_losers_keep_the_percentile_where_it_is(stage):
    # One call in five is slow; without what the slow ones are known to have taken, the percentile would sink to 1.0.
    times = [1.0, 1.0, 1.0, 1.0, 5.0]
    scene = stage(
        {name: [[times[number % 5], name] for number in range(400)] for name in "ab"},
        hedging={"enabled": True, "percentile": 0.9, "minimum_samples": 10},
        retry={"budget": 1.0},
    )

    async def body(manager):
        for _ in range(200):
            await manager.generate_chat("hi", model="m")
        return manager.stats()["governor"]["attempts"]

    attempts = scene.run(body)
    assert 20 <= attempts["hedge"] <= 50
    assert min(event.delay for event in scene.events_of(Hedged)) > 1.0
