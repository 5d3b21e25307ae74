from __future__ import annotations

import asyncio

import attrs
import pytest

from apex_llm_core.config.schema import Config
from apex_llm_core.context import CallContext
from apex_llm_core.errors import (
    ContentFilterError,
    InvalidRequestError,
    LLMError,
    RateLimitError,
    ServiceUnavailableError,
)
from apex_llm_core.models import BreakerChanged, Caller, Candidate, LimitRejected
from apex_llm_core.routing.balancer import LoadBalancer
from apex_llm_core.testing import FakeClock

DOWN = ServiceUnavailableError("down")
BREAKER = {"circuit_breaker_threshold": 2, "circuit_breaker_reset_timeout": 30}


async def ask(manager, **keywords):
    """Return the provider that answered, or the type of the error."""
    try:
        return (await manager.generate_chat("hi", **{"model": "m", **keywords})).provider
    except LLMError as error:
        return type(error)


def live_of(manager, position=0):
    return manager.providers[position].candidates["m"].live


class TestBreaker:
    def test_opens_after_the_threshold_while_others_serve(self, stage):
        scene = stage({"a": [DOWN] * 9, "b": []}, manager=BREAKER)

        async def body(manager):
            answers = [await ask(manager) for _ in range(5)]
            return answers, live_of(manager).breaker

        assert scene.run(body) == (["b"] * 5, "open")
        assert (len(scene.a.calls), len(scene.b.calls)) == (2, 5)
        assert [(event.provider, event.previous, event.current) for event in scene.events_of(BreakerChanged)] == [
            ("a", "closed", "open")
        ]

    def test_retries_stop_when_it_opens(self, stage):
        scene = stage({"a": [DOWN] * 9, "b": []}, manager=BREAKER, providers={"a": {"retry_count": 5}})
        scene.chat()
        assert scene.called == "aab"

    def test_one_probe_after_the_reset_timeout(self, stage):
        scene = stage({"a": [DOWN, DOWN, [1, "a"]], "b": []}, manager=BREAKER)

        async def body(manager):
            for _ in range(2):
                await ask(manager)
            await asyncio.sleep(29)
            assert await ask(manager) == "b"
            await asyncio.sleep(1)
            # Only one of three may probe; the others are served meanwhile.
            assert sorted(await asyncio.gather(*(ask(manager) for _ in range(3)))) == ["a", "b", "b"]
            return live_of(manager).breaker

        assert scene.run(body) == "closed"
        assert [event.current for event in scene.events_of(BreakerChanged)] == ["open", "half_open", "closed"]

    def test_a_failed_probe_opens_it_anew(self, stage):
        scene = stage({"a": [DOWN] * 3, "b": []}, manager=BREAKER)

        async def body(manager):
            for _ in range(2):
                await ask(manager)
            await asyncio.sleep(30)
            assert await ask(manager) == "b"
            await asyncio.sleep(29)
            assert await ask(manager) == "b"
            return len(scene.a.calls)

        assert scene.run(body) == 3

    def test_when_all_are_open_the_best_is_tried_all_the_same(self, stage):
        scene = stage({"a": [DOWN, DOWN], "b": [DOWN, DOWN]}, manager=BREAKER)

        async def body(manager):
            for _ in range(2):
                assert await ask(manager) is ServiceUnavailableError
            states = [live_of(manager, position).breaker for position in (0, 1)]
            return states, await ask(manager), live_of(manager).breaker

        assert scene.run(body) == (["open", "open"], "a", "closed")

    @pytest.mark.parametrize("error", [InvalidRequestError("no"), ContentFilterError("no")])
    def test_the_callers_mistakes_do_not_count(self, stage, error):
        scene = stage({"a": [error] * 9}, manager=BREAKER)

        async def body(manager):
            for _ in range(5):
                await ask(manager)
            return live_of(manager).breaker, live_of(manager).success_rate

        assert scene.run(body) == ("closed", None)

    def test_is_one_per_provider_and_model(self, stage):
        scene = stage({"a": [DOWN, DOWN]}, manager=BREAKER, providers={"a": {"models": [{"id": "m"}, {"id": "n"}]}})

        async def body(manager):
            for _ in range(2):
                await ask(manager)
            return [candidate.live.breaker for candidate in manager.providers[0].candidates.values()]

        assert scene.run(body) == ["open", "closed"]

    def test_can_be_switched_off(self, stage):
        scene = stage({"a": [DOWN] * 9}, manager={**BREAKER, "circuit_breaker_enabled": False})

        async def body(manager):
            for _ in range(9):
                await ask(manager)
            return live_of(manager).breaker, await ask(manager)

        assert scene.run(body) == ("disabled", "a")


class TestLimits:
    def test_on_all_requests_refuse_before_any_call(self, stage):
        scene = stage({"a": []}, limits=[{"name": "house", "requests": 2, "per": 10}])

        async def body(manager):
            assert [await ask(manager) for _ in range(2)] == ["a", "a"]
            with pytest.raises(RateLimitError, match="'house'") as caught:
                await manager.generate_chat("hi", model="m")
            assert caught.value.retry_after == 10
            assert caught.value.attempts == ()
            await asyncio.sleep(10)
            return await ask(manager)

        assert scene.run(body) == "a"
        [event] = scene.events_of(LimitRejected)
        assert (event.limit, event.retry_after) == ("house", 10)

    def test_on_a_provider_pass_over_it(self, stage):
        limits = [{"name": "small", "scope": "provider", "match": "a", "concurrent": 1}]
        scene = stage({"a": [[1, "a"]], "b": []}, limits=limits)

        async def body(manager):
            first = asyncio.ensure_future(ask(manager))
            await asyncio.sleep(0)
            answers = [await ask(manager), await first, await ask(manager)]
            scene.assert_settled(manager)
            return answers

        assert scene.run(body) == ["b", "a", "a"]

    def test_on_every_provider_are_the_final_error(self, stage):
        limits = [{"name": "each", "scope": "provider", "requests": 1, "per": 5}]
        scene = stage({"a": [], "b": []}, limits=limits)

        async def body(manager):
            answers = [await ask(manager) for _ in range(2)]
            error = None
            try:
                await manager.generate_chat("hi", model="m")
            except RateLimitError as raised:
                error = raised
            return answers, error

        answers, error = scene.run(body)
        assert answers == ["a", "b"]
        assert (error.retry_after, error.provider) == (5, "b")

    def test_on_a_provider_count_retries_and_stop_them(self, stage):
        limits = [{"name": "each", "scope": "provider", "requests": 2, "per": 500}]
        scene = stage({"a": [DOWN] * 9, "b": []}, limits=limits, providers={"a": {"retry_count": 5}})
        scene.chat()
        assert scene.called == "aab"

    def test_on_users_and_models_are_apart(self, stage):
        limits = [
            {"name": "per-user", "scope": "user", "requests": 1},
            {"name": "per-model", "scope": "model", "match": "n*", "requests": 1},
        ]
        scene = stage({"a": []}, limits=limits, providers={"a": {"models": [{"id": "m"}, {"id": "n"}]}})

        async def body(manager):
            alice, bob = Caller(user="alice"), Caller(user="bob")
            return [
                await ask(manager, caller=alice),
                await ask(manager, caller=alice),
                await ask(manager, caller=bob),
                await ask(manager),
                await ask(manager),
                await ask(manager, model="n"),
                await ask(manager, model="n"),
            ]

        assert scene.run(body) == ["a", RateLimitError, "a", "a", "a", "a", RateLimitError]

    def test_a_refused_candidate_gives_its_breakers_permit_back(self, stage):
        limits = [{"name": "small", "scope": "provider", "match": "a", "concurrent": 1}]
        scene = stage({"a": [DOWN, DOWN, [5, "a"], "a"], "b": []}, manager=BREAKER, limits=limits)

        async def body(manager):
            for _ in range(2):
                await ask(manager)
            await asyncio.sleep(30)
            probe = asyncio.ensure_future(ask(manager))
            await asyncio.sleep(1)
            assert await ask(manager) == "b"
            return await probe, await ask(manager), live_of(manager).breaker

        assert scene.run(body) == ("a", "a", "closed")


class TestLiveFacts:
    def test_count_what_is_in_flight(self, stage):
        scene = stage({"a": [[1, "a"]] * 3})

        async def body(manager):
            asks = [asyncio.ensure_future(ask(manager)) for _ in range(3)]
            await asyncio.sleep(0.5)
            during = live_of(manager).in_flight
            await asyncio.gather(*asks)
            return during, live_of(manager).in_flight, live_of(manager).attempts

        assert scene.run(body) == (3, 0, 3)

    def test_averages_move_towards_the_newest(self):
        candidate = Candidate(provider="a", model="m")
        balancer = LoadBalancer(Config(), clock=FakeClock(), emit=print)
        standing = balancer.standing(candidate)
        for succeeded, latency in [(True, 1.0), (True, 2.0), (False, 99.0), (None, 99.0)]:
            LoadBalancer.begin(standing)
            balancer.end(standing, succeeded=succeeded, latency=latency)
        live = candidate.live
        # Failures are fast or slow for reasons of their own: only successes have a latency.
        assert live.latency == pytest.approx(1.2)
        assert live.success_rate == pytest.approx(0.9)
        assert live.weight_factor == pytest.approx(0.9**2.8)
        assert (live.in_flight, live.attempts) == (0, 4)

    def test_are_in_the_statistics(self, stage):
        scene = stage({"a": [[2, "a"], DOWN]})

        async def body(manager):
            await ask(manager)
            await ask(manager)
            return manager.stats()["candidates"]

        [facts] = scene.run(body)
        assert facts == {
            "provider": "a",
            "model": "m",
            "in_flight": 0,
            "attempts": 2,
            "latency": 2.0,
            "time_to_first_chunk": None,
            "seconds_per_output_token": 0.4,
            "peak_latency": 2.0,
            "success_rate": 0.9,
            "weight_factor": pytest.approx(0.9**2.8),
            "breaker": "closed",
            "health": "unknown",
            "retry_after": 0.0,
            "remaining_requests": None,
            "remaining_tokens": None,
        }


def test_the_context_of_an_attempt_has_every_field():
    whole = CallContext(request_id="r", operation="chat", caller=Caller(user="u"), deadline=5.0, shadow=True)
    part = whole.for_attempt(Candidate(provider="a", model="m"), 3, timeout=2.0, touch=print, note_rate_limits=print)
    own = {"candidate", "attempt", "timeout", "touch", "note_rate_limits", "started", "preferred", "charged"}
    for field in attrs.fields(CallContext):
        assert hasattr(part, field.name)
        if field.name not in own:
            assert getattr(part, field.name) is getattr(whole, field.name)
    assert (part.attempt, part.timeout, part.started, part.preferred, part.charged) == (3, 2.0, 0, None, False)
