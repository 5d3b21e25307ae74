from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import pytest
from apex_llm_gateway.handlers import health
from apex_llm_gateway.handlers.health import HealthWatch

from apex_llm_core.manager import LLMProviderManager
from apex_llm_core.models import HealthState, HealthStatus
from apex_llm_core.testing import FakeClock, run_virtual

HEALTHY = HealthStatus(status=HealthState.HEALTHY)
MODELS = [{"id": "small"}, {"id": "large"}]
CONFIG = {
    "providers": [
        {"name": "first", "type": "mock", "models": MODELS},
        {"name": "second", "type": "mock", "models": MODELS},
        {"name": "resting", "type": "mock", "enabled": False},
    ]
}


class Patient:
    """A manager whose health takes time, is scripted, and counts who asks."""

    def __init__(self, clock, *answers, seconds=0.0):
        self.clock = clock
        self.answers = list(answers)
        self.seconds = seconds
        self.asked = []
        self.under_way = self.most = 0

    async def get_health(self):
        self.asked.append(self.clock())
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.under_way -= 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def watching(work, *answers, seconds=0.0, interval=30.0, failed=None, told=None):
    clock = FakeClock(0.0)

    async def play():
        manager = Patient(clock, *answers, seconds=seconds)
        watch = HealthWatch(
            manager,
            interval,
            failed=([] if failed is None else failed).append,
            tell=([] if told is None else told).append,
            wall=lambda: clock() + 1e9,
        )
        watch.start()
        try:
            return await work(watch, manager)
        finally:
            await watch.stop()
            assert not manager.under_way

    return run_virtual(play(), clock=clock)


class TestWatch:
    def test_it_asks_at_once_and_then_in_the_interval(self):
        async def work(watch, manager):
            assert watch.statuses == {}
            assert watch.checked is None
            await asyncio.sleep(61.0)
            return manager.asked, watch.statuses, watch.checked

        assert watching(work, {"first": HEALTHY}) == ([0.0, 30.0, 60.0], {"first": HEALTHY}, 1e9 + 60.0)

    def test_slow_checks_do_not_overlap(self):
        async def work(watch, manager):
            await asyncio.sleep(200.0)
            return manager.asked, manager.most

        assert watching(work, {}, seconds=45.0) == ([0.0, 75.0, 150.0], 1)

    def test_the_last_answers_stand_while_nobody_can_be_asked(self):
        async def work(watch, manager):
            await asyncio.sleep(31.0)
            during = watch.statuses, watch.checked
            await asyncio.sleep(30.0)
            return during, watch.statuses

        during, after = watching(work, {"first": HEALTHY}, RuntimeError("closed"), {})
        assert during == ({"first": HEALTHY}, 1e9)
        assert after == {}

    def test_of_checks_that_fail_in_a_row_the_first_is_told(self):
        async def work(watch, manager):
            await asyncio.sleep(151.0)

        failed, errors = [], [RuntimeError(str(number)) for number in range(4)]
        watching(work, {}, errors[0], errors[1], {}, errors[2], errors[3], failed=failed)
        assert failed == [errors[0], errors[2]]

    def test_who_becomes_unavailable_and_who_is_back_is_told_once(self):
        async def work(watch, manager):
            await asyncio.sleep(181.0)

        down = HealthStatus(status=HealthState.UNAVAILABLE, message="the key\n\x1b is refused")
        slow = HealthStatus(status=HealthState.DEGRADED)
        told = []
        watching(
            work,
            {"a": HEALTHY, "b": down},
            {"a": HEALTHY, "b": down},
            {"a": slow, "b": slow},
            {"a": down, "b": HEALTHY},
            RuntimeError("closed"),
            {"a": down},
            {"a": HEALTHY},
            told=told,
        )
        assert told == [
            "provider 'b' is unavailable: the key is refused",
            "provider 'b' is no longer unavailable",
            "provider 'a' is unavailable: the key is refused",
            "provider 'a' is no longer unavailable",
        ]

    def test_without_an_interval_nobody_is_asked(self):
        async def work(watch, manager):
            await asyncio.sleep(100.0)
            return manager.asked

        assert watching(work, {}, interval=0.0) == []

    def test_a_check_under_way_is_given_up_at_the_end(self):
        async def work(watch, manager):
            await asyncio.sleep(1.0)
            assert manager.under_way == 1

        # `watching` looks whether anything is left.
        watching(work, {}, seconds=1e6)

    def test_it_can_be_stopped_before_it_began_and_twice(self):
        async def work(watch, manager):
            await watch.stop()
            await watch.stop()
            return manager.asked

        assert watching(work, {}) == []


def asked(statuses=None, moves=(), later=0.0, config=CONFIG, path=health.overall, draining=False):
    clock = FakeClock()

    async def play():
        async with LLMProviderManager(config, clock=clock) as manager:
            for provider, model, action in moves:
                manager.set_breaker(provider, model, action=action)
            clock.advance(later)
            watch = SimpleNamespace(
                statuses={name: HealthStatus(status=HealthState(state)) for name, state in (statuses or {}).items()}
            )
            house = SimpleNamespace(manager=manager, watch=watch, draining=draining)
            reply = await path(house, None)
            return reply.status, json.loads(reply.body)

    return run_virtual(play(), clock=clock)


BOTH = {"first": "healthy", "second": "healthy"}


class TestOverall:
    def test_before_the_first_check_everybody_is_believed_to_serve(self):
        assert asked() == (200, {"status": "healthy", "providers": {"first": "unknown", "second": "unknown"}})

    def test_healthy(self):
        assert asked(BOTH) == (200, {"status": "healthy", "providers": BOTH})

    @pytest.mark.parametrize("state", ["degraded", "unavailable"])
    def test_one_who_is_not_well_degrades_all(self, state):
        statuses = {**BOTH, "first": state}
        assert asked(statuses) == (200, {"status": "degraded", "providers": statuses})

    def test_nobody_can_serve(self):
        statuses = {"first": "unavailable", "second": "unavailable"}
        assert asked(statuses) == (503, {"status": "unavailable", "providers": statuses})

    @pytest.mark.parametrize("action", ["open", "isolate"])
    def test_an_open_breaker_of_one_model_degrades_its_provider(self, action):
        status, document = asked(BOTH, [("first", "small", action)])
        assert (status, document["status"]) == (200, "degraded")
        assert document["providers"] == {**BOTH, "first": "degraded"}

    @pytest.mark.parametrize("action", ["open", "isolate"])
    def test_open_breakers_everywhere_are_unavailability(self, action):
        status, document = asked(BOTH, [("first", None, action), ("second", None, action)])
        assert (status, document["status"]) == (503, "unavailable")

    def test_open_breakers_whose_time_is_over_let_somebody_through(self):
        moves = [("first", None, "open"), ("second", None, "isolate")]
        status, document = asked(BOTH, moves, later=31.0)
        assert (status, document["status"]) == (200, "degraded")
        assert document["providers"] == {"first": "degraded", "second": "unavailable"}

    def test_breakers_that_only_watch_shut_nobody_out(self):
        assert asked(BOTH, [("first", None, "watch"), ("second", None, "disable")])[1]["status"] == "healthy"

    def test_a_provider_that_could_not_be_started_counts_and_a_stranger_does_not(self):
        _, document = asked({**BOTH, "stranger": "unavailable", "resting": "unavailable"})
        assert document == {"status": "healthy", "providers": BOTH}


class TestProbes:
    @pytest.mark.parametrize("draining", [False, True])
    def test_alive(self, draining):
        assert asked(path=health.live, draining=draining) == (200, {"status": "alive"})

    def test_ready(self):
        assert asked(path=health.ready) == (200, {"status": "ready"})

    def test_not_ready_while_it_stops(self):
        assert asked(path=health.ready, draining=True) == (503, {"status": "draining"})
