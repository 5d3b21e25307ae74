from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from apex_llm_gateway import merging
from apex_llm_gateway.activity import Activity
from apex_llm_gateway.backend import LocalBackend, WorkerFacts
from apex_llm_gateway.merging import merged
from apex_llm_gateway.snapshots import local_snapshot
from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.errors import ConfigurationWarning, LLMErrorType, ModelNotFoundError
from apex_llm_core.manager import LLMProviderManager
from apex_llm_core.markers import hookimpl
from apex_llm_core.models import Caller, HealthState, HealthStatus, Usage
from apex_llm_core.models.events import ConfigurationRejected, FellBack, RequestFinished
from apex_llm_core.testing import FakeClock, run_virtual

START = 1_700_000_000.0
TWO = {
    "providers": [
        {"name": "first", "type": "mock", "region": "eu", "weight": 3, "models": [{"id": "small"}, {"id": "large"}]},
        {"name": "second", "type": "mock", "priority": 200, "models": [{"id": "small"}]},
        {"name": "resting", "type": "mock", "enabled": False, "models": [{"id": "small"}]},
    ],
    "limits": [{"name": "pace", "scope": "all", "requests": 100, "concurrent": 5}],
}
FINISHED = st.builds(
    RequestFinished,
    operation=st.sampled_from(["chat", "embed"]),
    model=st.sampled_from(["small", "large"]),
    provider=st.sampled_from(["first", None]),
    outcome=st.sampled_from(["ok", "cancelled", "timeout_error", "rate_limit_error"]),
    duration=st.floats(0, 400),
    time_to_first_chunk=st.none() | st.floats(0, 10),
    usage=st.none()
    | st.builds(Usage, prompt_tokens=st.integers(0, 99), completion_tokens=st.integers(0, 99), total_tokens=st.none()),
    # Sums of these are exact, in whatever order.
    cost=st.none() | st.integers(0, 64).map(lambda sixteenths: sixteenths / 16),
    cached=st.booleans(),
    user=st.sampled_from(["alice", "bob", None]),
)


class Checks:
    def __init__(self, statuses=(), checked=None):
        self.statuses = dict(statuses)
        self.checked = checked


def house(manager, clock, wall, index=0, **fields):
    return SimpleNamespace(
        **{
            "manager": manager,
            "activity": Activity(clock=clock, wall=wall),
            "watch": Checks(),
            "ring": SimpleNamespace(open=False),
            "worker": WorkerFacts(index=index, pid=100 + index, started=START - 10 * index),
            "draining": False,
            "clock": clock,
            **fields,
        }
    )


class Gateways:
    """Several gateways, each with a manager of its own, as if each were a process."""

    def __init__(self, clock, managers):
        self.clock = clock
        self.shift = START - clock()
        self.houses = [house(manager, clock, self.wall, index) for index, manager in enumerate(managers)]
        for each in self.houses:
            each.manager.subscribe("gateway", each.activity.observe)

    def wall(self):
        return self.clock() + self.shift

    async def snapshots(self):
        # As they arrive from another process.
        found = [await local_snapshot(each, wall=self.wall) for each in self.houses]
        return [json.loads(json.dumps(snapshot, allow_nan=False)) for snapshot in found]

    async def state(self):
        return merged(await self.snapshots())


def with_gateways(work, *configs):
    clock = FakeClock()

    async def play():
        managers = [LLMProviderManager(config, clock=clock) for config in configs or (TWO, TWO)]
        for manager in managers:
            await manager.start()
        try:
            return await work(Gateways(clock, managers))
        finally:
            for manager in managers:
                await manager.close()

    return run_virtual(play(), clock=clock)


def empty_snapshot(activity, index=0):
    """Return a snapshot of a process that knows nobody."""
    return {
        "at": START + 60.0,
        "version": "1.2.3",
        "worker": {
            "index": index,
            "pid": 100 + index,
            "started": START,
            "live": activity.live_count,
            "memory_bytes": 5,
        },
        "open_mode": False,
        "ready": True,
        "draining": False,
        "config_files": [],
        "warnings": [],
        "providers": [],
        "stats": {"candidates": [], "governor": {"requests": 0, "attempts": {}}},
        "breakers": [],
        "activity": json.loads(json.dumps(activity.snapshot())),
        "decisions": [],
        "limits": [],
        "limits_shared": False,
    }


def recorded(events):
    """Return an activity that observed *events*, each with the second in which it came."""
    wall = FakeClock(START)
    activity = Activity(clock=FakeClock(), wall=wall)
    for second, event in events:
        wall.advance(START + second - wall())
        activity.observe(event)
    return activity


@given(st.lists(st.tuples(st.integers(0, 59), FINISHED, st.integers(0, 2)), max_size=30))
def test_several_processes_tell_what_one_would_have_told(events):
    events.sort(key=lambda event: event[0])
    one = merged([empty_snapshot(recorded([event[:2] for event in events]))])
    parts = [recorded([event[:2] for event in events if event[2] == index]) for index in range(3)]
    three = merged([empty_snapshot(part, index) for index, part in enumerate(parts)])
    assert three["totals"] == one["totals"]
    assert three["series"] == one["series"]
    for table, name in (("by_model", "model"), ("by_user", "user")):
        assert sorted(three["usage"][table], key=repr) == sorted(one["usage"][table], key=repr), name
    assert sum(worker["requests"] for worker in three["gateway"]["workers"]) == len(events)


def test_the_series_covers_ten_minutes_with_empty_buckets():
    activity = recorded([(50.0, finished())])
    series = merged([empty_snapshot(activity)])["series"]
    buckets = series["buckets"]
    assert series["step"] == 5.0
    assert [bucket["at"] for bucket in buckets] == [START + 60.0 - 5.0 * back for back in range(119, -1, -1)]
    used = [bucket for bucket in buckets if bucket["requests"]]
    assert [bucket["at"] for bucket in used] == [START + 50.0]
    assert buckets[0]["p50"] is None
    assert 0.5 < used[0]["p50"] <= used[0]["p95"] <= 0.75


def finished(**fields):
    return RequestFinished(
        **{"operation": "chat", "model": "small", "provider": "first", "outcome": "ok", "duration": 0.6, **fields}
    )


def test_gateway_facts_of_all_workers():
    async def work(gateways):
        gateways.clock.advance(100.0)
        gateways.houses[1].draining = True
        await gateways.houses[0].manager.generate_chat("hi", model="small")
        gateways.houses[1].activity.begin("x", "chat", "small", "alice", None, True)
        return (await gateways.state())["gateway"]

    facts = with_gateways(work)
    assert facts["started"] == START - 10
    assert facts["uptime"] == pytest.approx(110.0)
    assert (facts["ready"], facts["draining"], facts["open_mode"]) == (False, True, False)
    found = [(worker["index"], worker["pid"], worker["live"], worker["requests"]) for worker in facts["workers"]]
    assert found == [(0, 100, 0, 1), (1, 101, 1, 0)]
    assert all(worker["memory_bytes"] > 1_000_000 for worker in facts["workers"])
    assert facts["version"].count(".") >= 1


def test_providers_are_told_with_models_breakers_and_health():
    async def work(gateways):
        first, second = gateways.houses
        first.watch = Checks({"first": HealthStatus(status=HealthState.HEALTHY, latency=0.1)}, START + 1)
        second.watch = Checks({"first": HealthStatus(status=HealthState.DEGRADED, message="slow")}, START + 2)
        for each in (first, first, second):
            await each.manager.generate_chat("hi", model="small")
        return (await gateways.state())["providers"]

    providers = {provider["name"]: provider for provider in with_gateways(work)}
    assert list(providers) == ["first", "second", "resting"]
    first = providers["first"]
    assert (first["type"], first["region"], first["weight"], first["enabled"]) == ("mock", "eu", 3, True)
    assert (first["health"], first["health_message"], first["health_checked"]) == ("degraded", "slow", START + 2)
    assert [model["model"] for model in first["models"]] == ["small", "large"]
    small = first["models"][0]
    assert small["attempts"] == 3
    assert small["breaker"] == {
        "state": "closed",
        "reason": "",
        "retry_after": 0.0,
        "calls": 3,
        "failure_rate": 0.0,
        "times_opened": 0,
    }
    assert providers["second"]["health"] == "unknown"
    assert not providers["resting"]["enabled"]


class BrokenPlugin:
    @hookimpl
    def apex_register(self, registrar):
        registrar.provider("broken", self.make)

    def make(self, config, settings, runtime):
        raise RuntimeError("no license")


def test_a_provider_that_could_not_be_started_is_unavailable():
    clock = FakeClock()
    config = {"providers": [*TWO["providers"], {"name": "gone", "type": "broken"}]}

    async def work():
        async with LLMProviderManager(config, clock=clock, plugins=[BrokenPlugin()]) as manager:
            gateways = Gateways(clock, [manager])
            gateways.houses[0].watch = Checks(await manager.get_health(), START)
            return (await gateways.state())["providers"]

    with pytest.warns(ConfigurationWarning, match="no license"):
        *others, told = run_virtual(work(), clock=clock)
    assert [provider["name"] for provider in others] == ["first", "second", "resting"]
    assert (told["name"], told["type"], told["health"], told["models"]) == ("gone", "broken", "unavailable", [])
    assert "no license" in told["health_message"]


@pytest.mark.parametrize(
    ("one", "other", "worst"),
    [
        ("isolate", "open", "forced_open"),
        ("open", None, "open"),
        (None, "watch", "closed"),
        ("disable", "watch", "metrics_only"),
    ],
)
def test_a_breaker_is_told_in_its_worst_state(one, other, worst):
    async def work(gateways):
        for each, action in zip(gateways.houses, (one, other), strict=True):
            if action is not None:
                each.manager.set_breaker("first", "small", action=action)
        return await gateways.snapshots()

    snapshots = with_gateways(work)
    (found,) = [
        entry for entry in merging.breakers(snapshots) if (entry["provider"], entry["model"]) == ("first", "small")
    ]
    assert found["state"] == worst
    assert sum(found["states"].values()) == 2
    assert found["states"][worst] == 1
    (told,) = [model for model in merged(snapshots)["providers"][0]["models"] if model["model"] == "small"]
    assert (told["breaker"]["state"], told["breaker"]["states"]) == (worst, found["states"])


def test_states_are_told_only_where_they_differ():
    async def work(gateways):
        for each in gateways.houses:
            each.manager.set_breaker("first", "small", action="isolate")
        return await gateways.snapshots()

    found = merging.breakers(with_gateways(work))
    assert not any("states" in entry for entry in found)


def test_the_history_of_breakers_has_times_of_the_clock_on_the_wall():
    async def work(gateways):
        gateways.clock.advance(30.0)
        gateways.houses[0].manager.set_breaker("first", "small", action="open")
        gateways.clock.advance(10.0)
        return merging.breakers(await gateways.snapshots())

    (found,) = [entry for entry in with_gateways(work) if (entry["provider"], entry["model"]) == ("first", "small")]
    assert [change["at"] for change in found["history"]] == [pytest.approx(START + 30.0)]
    assert found["retry_after"] == pytest.approx(20.0)


def test_limits_in_memory_are_added_up_and_shared_ones_are_not():
    async def work(gateways):
        for each, count in zip(gateways.houses, (3, 1), strict=True):
            for _ in range(count):
                await each.manager.generate_chat("hi", model="small")
        snapshots = await gateways.snapshots()
        return merging.limits(snapshots), merging.limits(
            [{**snapshot, "limits_shared": True} for snapshot in snapshots]
        )

    (together,), (shared,) = with_gateways(work)
    assert together["requests"] == {"limit": 200, "used": 4, "remaining": 196}
    assert together["concurrent"] == {"limit": 10, "used": 0, "remaining": 10}
    assert together["tokens"] is None
    assert shared["requests"] == {"limit": 100, "used": 3, "remaining": 97}


def test_a_store_out_of_reach_is_a_warning():
    async def work(gateways):
        only = gateways.houses[0]

        async def fail():
            raise OSError("redis://secret@example is away")

        manager = only.manager
        only.manager = SimpleNamespace(
            **{name: getattr(manager, name) for name in ("config", "stats", "breakers", "decisions", "providers")},
            get_limits=fail,
        )
        return await gateways.state()

    state = with_gateways(work, TWO)
    assert state["limits"] == []
    assert [text for text in state["gateway"]["warnings"] if "OSError" in text]
    assert "secret" not in json.dumps(state)


def test_decisions_are_told_with_their_worker_the_newest_first():
    async def work(gateways):
        for turn in range(40):
            gateways.clock.advance(1.0)
            await gateways.houses[turn % 2].manager.generate_chat("hi", model="small")
        return (await gateways.state())["decisions"]

    found = with_gateways(work)
    assert len(found) == 30
    assert [decision["worker"] for decision in found[:4]] == [1, 0, 1, 0]
    assert [decision["at"] for decision in found[:2]] == [pytest.approx(START + 40.0), pytest.approx(START + 39.0)]
    assert found[0]["candidates"][0]["verdict"] == "taken"


def test_requests_under_way_are_told_with_worker_and_provider():
    async def work(gateways):
        first, second = gateways.houses
        first.activity.begin("asked", "chat", "small", "alice", "key-1", True)
        gateways.clock.advance(5.0)
        second.activity.begin("new", "chat", "small", None, None, False)
        stream = first.manager.generate_chat_stream(
            "hi", model="small", caller=Caller(request_id="asked", user="alice")
        )
        async with stream:
            await anext(aiter(stream))
            return await gateways.state()

    state = with_gateways(work)
    assert state["live_count"] == 2
    found = [(record["request_id"], record["worker"], record["provider"]) for record in state["live"]]
    assert found == [("new", 1, None), ("asked", 0, "first")]


def test_events_of_all_are_told_the_newest_first():
    fell = FellBack(
        from_provider="first",
        from_model="small",
        to_provider="second",
        to_model="small",
        error_type=LLMErrorType.TIMEOUT_ERROR,
    )

    async def work(gateways):
        first, second = gateways.houses
        first.activity.observe(ConfigurationRejected(message="no such key"))
        gateways.clock.advance(1.0)
        second.activity.observe(fell)
        return (await gateways.state())["events"]

    assert [event["type"] for event in with_gateways(work)] == ["fell_back", "configuration_rejected"]


@pytest.mark.parametrize(
    ("times", "told"),
    [
        # By worker, the seconds in which it happened.
        ([[0.0]], [("no such key", 1)]),
        ([[0.0, 1.0, 2.0]], [("no such key (3 times)", 3)]),
        ([[0.0], [1.0]], [("no such key (in 2 workers)", 2)]),
        ([[0.0, 1.0], [0.5]], [("no such key (3 times, in 2 workers)", 3)]),
        ([[0.0], [6.0]], [("no such key", 1), ("no such key", 1)]),
        ([[0.0, 100.0], [1.0, 101.0]], [("no such key (in 2 workers)", 2)] * 2),
    ],
)
def test_the_same_in_several_workers_at_once_is_one_event(times, told):
    event = ConfigurationRejected(message="no such key")
    activities = [recorded([(second, event) for second in seconds]) for seconds in times]
    events = merged([empty_snapshot(activity, index) for index, activity in enumerate(activities)])["events"]
    assert [(event["text"], event["count"]) for event in events] == told
    assert len({event["id"] for event in events}) == len(events)


def test_upstream_calls_per_request_are_those_of_all():
    async def work(gateways):
        before = (await gateways.state())["totals"]["amplification"]
        for each in gateways.houses:
            await each.manager.generate_chat("hi", model="small")
        return before, (await gateways.state())["totals"]["amplification"]

    assert with_gateways(work) == (None, 1.0)


def test_the_local_backend_moves_breakers_and_reads_the_configuration_again():
    async def work(gateways):
        backend = LocalBackend(gateways.houses[0], wall=gateways.wall)
        moved = await backend.move_breaker("first", None, "isolate")
        with pytest.raises(ModelNotFoundError):
            await backend.move_breaker("nobody", None, "isolate")
        await backend.reload()
        (snapshot,) = await backend.snapshots()
        return moved, snapshot

    moved, snapshot = with_gateways(work, TWO)
    assert moved == 2
    assert [event["type"] for event in snapshot["activity"]["events"]] == [
        "configuration_reloaded",
        *["breaker_changed"] * 2,
    ]
    states = {(entry["provider"], entry["model"]): entry["state"] for entry in snapshot["breakers"]}
    assert states["first", "small"] == states["first", "large"] == "forced_open"
    assert states["second", "small"] == "closed"
