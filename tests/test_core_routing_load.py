"""Bulkheads, affinity, shadow traffic, canaries, and breakers that are moved by hand."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import ClassVar

import pytest

from apex_llm_core.errors import (
    InvalidRequestError,
    LLMTimeoutError,
    ModelNotFoundError,
    RateLimitError,
    ServiceUnavailableError,
)
from apex_llm_core.models import Caller, RequestFinished, ShadowFinished
from apex_llm_core.testing.interruption import interrupt, watching

DOWN = ServiceUnavailableError("down")


async def ask(manager, **keywords):
    return (await manager.generate_chat("hi", **{"model": "m", **keywords})).provider


class TestBulkhead:
    def test_who_finds_it_full_goes_elsewhere(self, stage):
        scene = stage({"a": [[5, "a"]] * 9, "b": [[5, "b"]] * 9}, concurrency={"max": 2})

        async def body(manager):
            return Counter(await asyncio.gather(*(ask(manager) for _ in range(4))))

        assert scene.run(body) == {"a": 2, "b": 2}

    def test_when_all_are_full_requests_wait_in_order(self, stage):
        scene = stage({"a": [[1, "a"]] * 9}, concurrency={"max": 2})
        ended = []

        async def body(manager):
            async def one(number):
                await ask(manager)
                ended.append((number, scene.clock() - 1000))

            await asyncio.gather(*(one(number) for number in range(6)))
            scene.assert_settled(manager)
            return manager.stats()["concurrency"]

        assert scene.run(body) == [{"provider": "a", "model": None, "limit": 2, "in_flight": 0, "waiting": 0}]
        assert ended == [(0, 1), (1, 1), (2, 2), (3, 2), (4, 3), (5, 3)]

    def test_not_for_ever(self, stage):
        scene = stage({"a": [[25, "a"]] * 9}, concurrency={"max": 1, "wait": 3})

        async def body(manager):
            first = asyncio.ensure_future(ask(manager))
            await asyncio.sleep(0)
            with pytest.raises(RateLimitError, match="calls in flight"):
                await ask(manager)
            waited = scene.clock() - 1000
            return waited, await first

        assert scene.run(body) == (3, "a")

    def test_no_longer_than_the_deadline(self, stage):
        scene = stage({"a": [[100, "a"]] * 9}, concurrency={"max": 1, "wait": 30})

        async def body(manager):
            first = asyncio.ensure_future(ask(manager))
            await asyncio.sleep(0)
            with pytest.raises((RateLimitError, LLMTimeoutError)):
                await ask(manager, deadline=2)
            first.cancel()
            await asyncio.wait([first])
            return scene.clock() - 1000

        assert scene.run(body) == pytest.approx(2, abs=0.2)

    def test_cancelled_at_every_await_no_place_is_lost(self, stage):
        for at in range(40):
            scene = stage({"a": [[1, "a"]] * 9}, concurrency={"max": 1})

            async def body(manager, at=at, scene=scene):
                async with watching() as leaks:
                    others = [asyncio.ensure_future(ask(manager)) for _ in range(2)]
                    await asyncio.sleep(0)
                    reached = await interrupt(ask(manager), at)
                    await asyncio.gather(*others)
                scene.assert_settled(manager)
                assert leaks.left() == []
                return reached

            if not scene.run(body):
                assert at > 1
                return
        raise AssertionError("it never ends")


class TestAffinity:
    def test_a_session_returns_to_who_answered_it(self, stage):
        equals = {name: {"priority": 1} for name in "abc"}
        scene = stage({"a": [], "b": [], "c": []}, providers=equals)

        async def body(manager):
            return [await ask(manager, caller=Caller(user="u", session="s")) for _ in range(20)]

        assert len(set(scene.run(body))) == 1

    def test_unless_it_is_not_well(self, stage):
        scene = stage({"a": [], "b": []})

        async def body(manager):
            session = Caller(session="s")
            first = await ask(manager, caller=session)
            manager.set_breaker(first, action="isolate")
            return first, await ask(manager, caller=session), await ask(manager, caller=session)

        assert scene.run(body) == ("a", "b", "b")

    def test_it_is_forgotten(self, stage):
        scene = stage({"a": [DOWN], "b": []}, load_balancer={"affinity_ttl": 10})

        async def body(manager):
            session = Caller(session="s")
            first = await ask(manager, caller=session)
            second = await ask(manager, caller=session)
            await asyncio.sleep(11)
            return first, second, await ask(manager, caller=session)

        assert scene.run(body) == ("b", "b", "a")


class TestShadow:
    def scene(self, stage, scripts=None, **rule):
        return stage(
            scripts or {"a": ["a"] * 500, "b": ["b"] * 500},
            providers={"b": {"models": [{"id": "next", "cost_per_input_token": 1.0, "cost_per_output_token": 1.0}]}},
            routes=[{"name": "try-next", "shadow_model": "next", **rule}],
        )

    def test_a_copy_goes_to_the_other_model_and_its_answer_is_dropped(self, stage):
        scene = self.scene(stage)

        async def body(manager):
            result = await manager.generate_chat("hi", model="m", temperature=0.3)
            await asyncio.sleep(1)
            return result, manager.stats()["governor"], manager.stats()["shadows"]

        result, governor, shadows = scene.run(body)
        assert (result.provider, len(result.attempts)) == ("a", 1)
        assert (scene.b.requests[0].model, scene.b.requests[0].options.temperature) == ("next", 0.3)
        assert (governor["amplification"], governor["shadow_attempts"]) == (1, 1)
        assert shadows == {"outcomes": {"ok": 1}, "cost": 15.0}
        [event] = scene.events_of(ShadowFinished)
        assert (event.provider, event.model, event.outcome, event.cost) == ("b", "next", "ok", 15.0)
        assert len(scene.events_of(RequestFinished)) == 1

    def test_its_failure_and_its_slowness_are_nobodys(self, stage):
        scene = self.scene(stage, {"a": [], "b": [[500, DOWN]]})

        async def body(manager):
            await manager.generate_chat("hi", model="m")
            return scene.clock() - 1000

        assert scene.run(body) == 0

    def test_streams_are_copied_whole(self, stage):
        scene = self.scene(stage, {"a": [["x", "y"]], "b": ["b"]})

        async def body(manager):
            texts = [chunk.text async for chunk in manager.generate_chat_stream("hi", model="m") if chunk.text]
            await asyncio.sleep(1)
            return texts

        assert scene.run(body) == ["x", "y"]
        assert scene.b.opened == 0
        assert len(scene.b.calls) == 1

    def test_a_share_is_copied(self, stage):
        scene = self.scene(stage, shadow_percentage=20)

        async def body(manager):
            for _ in range(300):
                await manager.generate_chat("hi", model="m")
            await asyncio.sleep(1)

        scene.run(body)
        assert 30 < len(scene.b.calls) < 90

    def test_it_goes_to_the_model_that_is_named_whatever_the_rule_says_of_the_request(self, stage):
        scene = stage(
            {"a": [], "b": [], "c": []},
            providers={"b": {"models": [{"id": "other"}]}, "c": {"models": [{"id": "next"}]}},
            routes=[{"to_model": "other", "shadow_model": "next"}],
        )

        async def body(manager):
            served = await ask(manager)
            await asyncio.sleep(1)
            return served

        assert scene.run(body) == "b"
        assert (len(scene.a.calls), len(scene.b.calls), len(scene.c.calls)) == (0, 1, 1)

    def test_it_takes_no_session_with_it(self, stage):
        scene = stage({"a": ["a"] * 3, "b": ["b"] * 3}, routes=[{"shadow_provider": "b"}])

        async def body(manager):
            answers = []
            for _ in range(3):
                answers.append(await ask(manager, caller=Caller(session="s")))
                await asyncio.sleep(1)
            return answers

        assert scene.run(body) == ["a", "a", "a"]

    def test_it_is_tried_once(self, stage):
        scene = self.scene(stage, {"a": ["a"], "b": [DOWN] * 9})

        async def body(manager):
            await ask(manager)
            await asyncio.sleep(60)
            return manager.stats()["governor"]["budget_left"]

        assert scene.run(body) == 100
        assert len(scene.b.calls) == 1


class TestSlowStart:
    def test_after_an_outage_requests_come_back_little_by_little(self, stage):
        scene = stage(
            {"a": [DOWN] + [[1, "a"]] * 99},
            manager={"circuit_breaker_threshold": 1, "circuit_breaker_reset_timeout": 5},
        )

        async def body(manager):
            with pytest.raises(ServiceUnavailableError):
                await ask(manager)
            await asyncio.sleep(6)
            await ask(manager)
            before = scene.clock()
            await asyncio.gather(*(ask(manager) for _ in range(14)))
            scene.assert_settled(manager)
            return scene.clock() - before

        # The probe opened two places, the next rounds are of two, four and eight.
        assert scene.run(body) == pytest.approx(3)

    def test_other_models_of_the_provider_are_not_concerned(self, stage):
        scene = stage(
            {"a": [DOWN, "a"] + [[1, "a"]] * 99},
            providers={"a": {"models": [{"id": "m"}, {"id": "n"}]}},
            manager={"circuit_breaker_threshold": 1, "circuit_breaker_reset_timeout": 5},
        )

        async def body(manager):
            with pytest.raises(ServiceUnavailableError):
                await ask(manager)
            await asyncio.sleep(6)
            await ask(manager)
            before = scene.clock()
            await asyncio.gather(*(ask(manager, model="n") for _ in range(20)))
            return scene.clock() - before

        assert scene.run(body) == pytest.approx(1)


class TestCanary:
    RULE: ClassVar = {"name": "canary", "providers": ["b"], "percentage": 10}

    def test_a_share_of_users_goes_there_and_stays(self, stage):
        scene = stage({"a": ["a"] * 600, "b": ["b"] * 600}, routes=[self.RULE])

        async def body(manager):
            return [
                tuple([await ask(manager, caller=Caller(user=f"user-{number}")) for _ in range(2)])
                for number in range(300)
            ]

        counts = Counter(scene.run(body))
        assert set(counts) == {("a", "a"), ("b", "b")}
        assert 10 < counts["b", "b"] < 60

    def test_a_flag_decides_for_whom(self, stage):
        scene = stage(
            {"a": [], "b": []},
            routes=[{"name": "beta", "providers": ["b"], "flag": "beta"}],
            flags={"beta": {"percentage": 0, "users": ["alice"]}},
        )

        async def body(manager):
            return [await ask(manager, caller=Caller(user=user)) for user in ("alice", "bob")]

        assert scene.run(body) == ["b", "a"]


class TestByHand:
    def test_an_isolated_candidate_is_asked_by_nobody(self, stage):
        scene = stage({"a": [], "b": []})

        async def body(manager):
            await ask(manager)
            assert manager.set_breaker("a", "m", action="isolate") == 1
            isolated = [await ask(manager) for _ in range(2)]
            manager.set_breaker("a", action="close")
            return isolated, await ask(manager)

        assert scene.run(body) == (["b", "b"], "a")

    def test_not_even_as_a_last_resort(self, stage):
        scene = stage({"a": []})

        async def body(manager):
            await ask(manager)
            manager.set_breaker("a", action="isolate")
            with pytest.raises(ServiceUnavailableError, match="opened by hand") as caught:
                await ask(manager)
            return caught.value

        error = scene.run(body)
        assert (error.retryable, error.attempts) == (False, ())

    def test_statuses_are_a_document(self, stage):
        scene = stage({"a": [DOWN], "b": []}, manager={"circuit_breaker_threshold": 1})

        async def body(manager):
            await ask(manager)
            return manager.breakers()

        opened, closed = scene.run(body)
        assert (opened["provider"], opened["state"], opened["times_opened"], closed["state"]) == (
            "a",
            "open",
            1,
            "closed",
        )
        assert opened["history"][0]["reason"] == "failures in a row"

    @pytest.mark.parametrize(
        ("arguments", "error", "says"),
        [
            (("a", "n", "close"), ModelNotFoundError, "did you mean 'a/m'"),
            (("z", None, "close"), ModelNotFoundError, "no circuit breaker for 'z'"),
            (("a", None, "closed"), InvalidRequestError, "did you mean 'close'"),
        ],
    )
    def test_what_there_is_not_is_told(self, stage, arguments, error, says):
        provider, model, action = arguments

        async def body(manager):
            await ask(manager)
            with pytest.raises(error, match=says):
                manager.set_breaker(provider, model, action=action)

        stage({"a": []}).run(body)


def test_no_further_attempt_begins_that_cannot_end_in_time(stage):
    usual = [[4.0, "ok"]] * 12
    scene = stage({"a": [[3.0, DOWN]], "b": [*usual, "b"]}, manager={"max_attempts": 6})

    async def body(manager):
        for _ in range(12):
            await ask(manager, provider="b")
        with pytest.raises(ServiceUnavailableError) as caught:
            await ask(manager, deadline=5)
        return caught.value

    assert len(scene.run(body).attempts) == 1


def test_retries_and_hedges_stop_when_the_budget_is_used_up(stage):
    scene = stage(
        {"a": [DOWN] * 500},
        providers={"a": {"retry_count": 5}},
        manager={"circuit_breaker_enabled": False},
        retry={"base": 0.001, "max_delay": 0.001, "quota": 0, "budget": 0.1, "budget_reserve": 10},
    )

    async def body(manager):
        for _ in range(100):
            with pytest.raises(ServiceUnavailableError):
                await ask(manager)
        return manager.stats()["governor"]

    counts = scene.run(body)
    assert counts["attempts"]["retry"] <= 10 + 0.1 * 100
    assert counts["amplification"] <= 1.2


def test_one_sound_candidate_of_three_is_reached_whatever_the_retries(stage):
    down = ServiceUnavailableError("down")
    for number in range(4):
        retries = {name: {"retry_count": number} for name in "abc"}
        scene = stage(
            {"a": [down] * 9, "b": [down] * 9, "c": []},
            providers=retries,
            manager={"max_attempts": 3},
            retry={"base": 0.001, "max_delay": 0.001},
        )
        assert scene.chat().provider == "c"
