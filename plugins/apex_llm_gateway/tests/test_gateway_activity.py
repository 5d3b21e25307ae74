from __future__ import annotations

import json

import pytest
from apex_llm_gateway.activity import FURTHER, Activity
from apex_llm_gateway.histograms import Histogram
from apex_llm_gateway.notable import RecentEvents
from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.errors import LLMErrorType
from apex_llm_core.models import Usage
from apex_llm_core.models.events import (
    BreakerChanged,
    ConfigurationRejected,
    ConfigurationReloaded,
    Degraded,
    FellBack,
    Hedged,
    HedgeFinished,
    LimitRejected,
    PluginFailed,
    ProviderRegistered,
    RequestFinished,
    RetryScheduled,
)
from apex_llm_core.testing import FakeClock

TIMEOUT = LLMErrorType.TIMEOUT_ERROR


class Watched:
    """An activity with both of its clocks."""

    def __init__(self, start=1_700_000_000.0, **options):
        self.clock, self.wall = FakeClock(), FakeClock(start)
        self.activity = Activity(clock=self.clock, wall=self.wall, **options)

    def pass_time(self, seconds):
        self.clock.advance(seconds)
        self.wall.advance(seconds)

    def finish(self, **fields):
        self.activity.observe(finished(**fields))

    @property
    def snapshot(self):
        return json.loads(json.dumps(self.activity.snapshot(), allow_nan=False))


def finished(**fields):
    return RequestFinished(
        **{
            "request_id": "r",
            "operation": "chat",
            "model": "gpt-4o",
            "provider": "azure",
            "outcome": "ok",
            "duration": 0.8,
            **fields,
        }
    )


@pytest.fixture
def watched():
    return Watched()


class TestLive:
    def test_requests_are_told_from_begin_to_end_the_newest_first(self, watched):
        activity = watched.activity
        activity.begin("one", "chat", "gpt-4o", "alice", "alice-1", True)
        watched.pass_time(2.0)
        activity.begin("two", "embed", "ada", None, None, False)
        watched.pass_time(1.0)
        assert watched.snapshot["live"] == [
            {
                "request_id": "two",
                "operation": "embed",
                "model": "ada",
                "provider": None,
                "user": None,
                "key": None,
                "stream": False,
                "seconds": 1.0,
            },
            {
                "request_id": "one",
                "operation": "chat",
                "model": "gpt-4o",
                "provider": None,
                "user": "alice",
                "key": "alice-1",
                "stream": True,
                "seconds": 3.0,
            },
        ]
        activity.end("one")
        assert [record["request_id"] for record in watched.snapshot["live"]] == ["two"]
        activity.end("two")
        assert watched.snapshot["live"] == []
        assert activity.live_count == 0

    def test_who_is_asked_is_told_when_it_is_known(self, watched):
        watched.activity.begin("one", "chat", "gpt-4o", None, None, False)
        watched.activity.note("one", "azure", None)
        watched.activity.note("stranger", "azure", "gpt-4o")
        (record,) = watched.snapshot["live"]
        assert (record["provider"], record["model"]) == ("azure", "gpt-4o")

    def test_a_fallback_tells_who_is_asked_next(self, watched):
        watched.activity.begin("r", "chat", "gpt-4o", None, None, False)
        watched.activity.observe(fell_back(request_id="r"))
        (record,) = watched.snapshot["live"]
        assert (record["provider"], record["model"]) == ("bedrock", "claude")

    @given(st.lists(st.sampled_from("ab"), max_size=12))
    def test_requests_with_the_same_id_are_all_counted(self, ids):
        watched = Watched()
        for begun in ids:
            watched.activity.begin(begun, "chat", "m", None, None, False)
            watched.pass_time(1.0)
        for left in range(len(ids), 0, -1):
            assert watched.activity.live_count == len(watched.snapshot["live"]) == left
            watched.activity.end(ids[left - 1])
        assert watched.snapshot["live"] == []

    def test_at_most_a_hundred_are_told_and_all_are_counted(self, watched):
        for number in range(250):
            watched.activity.begin(str(number), "chat", "m", None, None, False)
            watched.pass_time(0.1)
        snapshot = watched.snapshot
        assert [record["request_id"] for record in snapshot["live"]] == [str(number) for number in range(249, 149, -1)]
        assert snapshot["live_count"] == 250


class TestSeries:
    def test_buckets_begin_at_multiples_of_the_step(self):
        watched = Watched(start=1_700_000_003.0)
        watched.finish()
        watched.pass_time(1.9)
        watched.finish()
        watched.pass_time(0.1)
        watched.finish()
        found = [(bucket["at"], sum(bucket["tally"]["outcomes"].values())) for bucket in watched.snapshot["buckets"]]
        assert found == [(1_700_000_000.0, 2), (1_700_000_005.0, 1)]

    def test_what_is_older_than_what_is_kept_goes(self):
        watched = Watched(keep=20.0, step=5.0)
        for _ in range(10):
            watched.finish()
            watched.pass_time(5.0)
        assert [bucket["at"] - 1_700_000_000.0 for bucket in watched.snapshot["buckets"]] == [30.0, 35.0, 40.0, 45.0]

    def test_a_clock_that_is_put_back_loses_nothing_of_now(self):
        watched = Watched(keep=20.0, step=5.0)
        for second in (100.0, 105.0, 110.0, 115.0, 0.0):
            watched.activity._wall = lambda second=second: second
            watched.finish()
        assert [bucket["at"] for bucket in watched.snapshot["buckets"]] == [0.0]

    def test_only_answers_count_for_latency(self, watched):
        watched.finish(duration=2.0, time_to_first_chunk=0.4)
        watched.finish(duration=0.01, outcome="rate_limit_error")
        watched.finish(duration=0.02, outcome="cancelled", time_to_first_chunk=0.01)
        (bucket,) = watched.snapshot["buckets"]
        assert Histogram.merged([bucket["latency"]]).count == 1
        assert Histogram.merged([bucket["first_chunk"]]).count == 1
        assert bucket["tally"]["outcomes"] == {"ok": 1, "rate_limit_error": 1, "cancelled": 1}

    def test_durations_of_all_outcomes_are_in_the_series(self, watched):
        for outcome in ("ok", "timeout_error", "cancelled"):
            watched.finish(outcome=outcome)
        (series,) = watched.snapshot["series"]
        assert Histogram.merged([series["duration"]]).count == 3

    def test_models_beyond_a_thousand_are_counted_together(self, watched):
        for number in range(1200):
            watched.finish(model=f"model-{number}")
        series = watched.snapshot["series"]
        assert len(series) == 1001
        assert {(entry["model"], entry["tally"]["requests"]) for entry in series if entry["model"] == FURTHER} == {
            (FURTHER, 200)
        }

    def test_names_that_nobody_serves_take_no_place(self):
        watched = Watched(known=lambda model: model.startswith("real"))
        for number in range(1200):
            watched.finish(model=f"nonsense-{number}", provider=None, outcome="model_not_found_error")
        watched.finish(model="real-1", provider=None, outcome="rate_limit_error")
        for number in range(1200):
            watched.finish(model=f"unlisted-{number}")
        watched.finish(model="real-2")
        found = {
            (entry["provider"], entry["model"]): entry["tally"]["requests"] for entry in watched.snapshot["series"]
        }
        assert found[None, FURTHER] == 1200
        assert found[None, "real-1"] == found["azure", "real-2"] == 1
        assert found["azure", FURTHER] == 202
        assert len(found) == 1002

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["ok", "ok", "timeout_error", "cancelled"]),
                st.sampled_from("ab"),
                st.sampled_from([None, "alice", "bob"]),
                st.sampled_from([0.125, 0.5, 8.0]),
                st.sampled_from([None, 0.25]),
                st.booleans(),
                st.sampled_from([0.0, 0.0, 3.0, 40.0]),
            ),
            max_size=30,
        )
    )
    def test_reading_in_between_changes_nothing(self, happenings):
        read, left = Watched(), Watched()
        for outcome, model, user, duration, first, cached, passing in happenings:
            for watched in (read, left):
                watched.pass_time(passing)
                watched.finish(
                    outcome=outcome,
                    model=model,
                    user=user,
                    duration=duration,
                    time_to_first_chunk=first,
                    cached=cached,
                    cost=duration,
                    usage=Usage(prompt_tokens=3, completion_tokens=2),
                )
            assert read.snapshot["buckets"]
        assert read.snapshot == left.snapshot
        assert sum(entry["tally"]["requests"] for entry in left.snapshot["users"]) == len(happenings)
        assert sum(Histogram.merged([entry["duration"]]).count for entry in left.snapshot["series"]) == len(happenings)

    def test_kinds_without_number_are_added_up_in_time(self):
        watched = Watched()
        for number in range(3000):
            watched.finish(model=f"model-{number}")
        assert len(watched.activity._cells) <= 1000
        assert sum(entry["tally"]["requests"] for entry in watched.snapshot["series"]) == 3000


class TestUsage:
    def test_tokens_and_known_cost_are_added_up(self, watched):
        usage = Usage(prompt_tokens=10, completion_tokens=5, cached_tokens=4)
        watched.finish(user="alice", usage=usage, cost=0.5)
        watched.finish(user="alice", usage=usage, cost=0.25)
        (entry,) = watched.snapshot["users"]
        assert entry == {
            "user": "alice",
            "tally": {
                "requests": 2,
                "outcomes": {"ok": 2},
                "cached": 0,
                "prompt_tokens": 20,
                "completion_tokens": 10,
                "cached_tokens": 8,
                "cost": 0.75,
                "cost_unknown": 0,
            },
        }

    def test_an_unknown_cost_is_counted_and_not_zero(self, watched):
        watched.finish(cost=None)
        watched.finish(cost=0.0)
        watched.finish(outcome="timeout_error")
        assert watched.snapshot["users"][0]["tally"]["cost_unknown"] == 1

    @pytest.mark.parametrize(
        ("ended", "unknown"),
        [
            ({"outcome": "cancelled", "attempts": 1}, 1),
            ({"outcome": "cancelled", "attempts": 0}, 0),
            ({"outcome": "cancelled", "attempts": 1, "cost": 0.5}, 0),
            ({"outcome": "service_unavailable_error", "attempts": 2, "time_to_first_chunk": 0.1}, 1),
            ({"outcome": "service_unavailable_error", "attempts": 2}, 0),
        ],
    )
    def test_what_is_left_in_the_middle_may_cost_all_the_same(self, watched, ended, unknown):
        watched.finish(**{"cost": None, **ended})
        assert watched.snapshot["users"][0]["tally"]["cost_unknown"] == unknown

    def test_answers_from_a_cache_used_nothing(self, watched):
        watched.finish(cached=True, usage=Usage(prompt_tokens=10, completion_tokens=5), cost=0.5)
        tally = watched.snapshot["users"][0]["tally"]
        assert (tally["requests"], tally["cached"], tally["prompt_tokens"], tally["cost"]) == (1, 1, 0, 0.0)
        assert tally["cost_unknown"] == 0

    def test_users_beyond_two_hundred_are_counted_together(self, watched):
        for number in range(300):
            watched.finish(user=f"user-{number}")
        watched.finish(user="user-0")
        users = {entry["user"]: entry["tally"]["requests"] for entry in watched.snapshot["users"]}
        assert len(users) == 201
        assert users[FURTHER] == 100
        assert users["user-0"] == 2

    def test_requests_without_a_user_are_counted_without_one(self, watched):
        watched.finish(user=None)
        assert [entry["user"] for entry in watched.snapshot["users"]] == [None]


def fell_back(**fields):
    return FellBack(
        from_provider="azure",
        from_model="gpt-4o",
        to_provider="bedrock",
        to_model="claude",
        error_type=TIMEOUT,
        **fields,
    )


NOTABLE = [
    (
        BreakerChanged(provider="azure", model="gpt-4o", previous="closed", current="open", reason="failures in a row"),
        ("breaker_changed", "error", "azure", "gpt-4o", "circuit breaker closed → open (failures in a row)"),
    ),
    (
        BreakerChanged(provider="azure", model="gpt-4o", previous="half_open", current="closed"),
        ("breaker_changed", "ok", "azure", "gpt-4o", "half open → closed"),
    ),
    (fell_back(), ("fell_back", "warning", "azure", "gpt-4o", "went on to bedrock, claude after timeout error")),
    (
        RetryScheduled(provider="azure", model="gpt-4o", number=1, delay=0.5, error_type=TIMEOUT),
        ("retry_scheduled", "info", "azure", "gpt-4o", "tried again after timeout error"),
    ),
    (
        LimitRejected(limit="per user", subject="alice", retry_after=3.0),
        ("limit_rejected", "warning", None, None, "limit per user for alice refused a request"),
    ),
    (
        LimitRejected(limit="all", subject="", retry_after=None, shadow=True),
        ("limit_rejected", "info", None, None, "limit all would have refused a request; it only watches"),
    ),
    (
        Hedged(from_provider="azure", from_model="gpt-4o", to_provider="bedrock", to_model="claude", delay=1.0),
        ("hedged", "info", "azure", "gpt-4o", "slow, bedrock, claude was asked beside it"),
    ),
    (
        Degraded(step="cache", model="gpt-4o", error_type=TIMEOUT),
        ("degraded", "error", None, "gpt-4o", "everybody failed (timeout error), degraded to cache"),
    ),
    (
        ConfigurationReloaded(providers=("azure", "bedrock")),
        ("configuration_reloaded", "ok", None, None, "a new configuration is in force: azure, bedrock"),
    ),
    (ConfigurationRejected(message="no such key"), ("configuration_rejected", "error", None, None, "no such key")),
    (
        PluginFailed(plugin="otel", message="cannot be imported"),
        ("plugin_failed", "error", None, None, "plugin otel: cannot be imported"),
    ),
    (
        ProviderRegistered(provider="extra", provider_type="mock"),
        ("provider_registered", "info", "extra", None, "extra (mock) was registered"),
    ),
]


class TestEvents:
    @pytest.mark.parametrize(("event", "told"), NOTABLE, ids=lambda value: type(value).__name__)
    def test_notable_ones_are_told_in_words(self, watched, event, told):
        watched.activity.observe(event)
        (document,) = watched.snapshot["events"]
        kind, severity, provider, model, words = told
        assert (document["type"], document["severity"]) == (kind, severity)
        assert (document["provider"], document["model"]) == (provider, model)
        assert words in document["text"]
        assert document["at"] == 1_700_000_000.0

    def test_others_are_not(self, watched):
        watched.finish()
        watched.activity.observe(HedgeFinished(provider="azure", model="gpt-4o", won=True))
        assert watched.snapshot["events"] == []

    def test_they_come_the_newest_first(self, watched):
        for name in "abc":
            watched.activity.observe(ProviderRegistered(provider=name, provider_type="mock"))
            watched.pass_time(1.0)
        assert [event["provider"] for event in watched.snapshot["events"]] == ["c", "b", "a"]

    def test_names_that_callers_make_up_do_not_fill_the_memory(self):
        wall = FakeClock(1_700_000_000.0)
        journal = RecentEvents(wall)
        events = [ProviderRegistered(provider=f"made-up-{number}", provider_type="mock") for number in range(3000)]
        for event in events:
            journal.write(event)
        assert len(journal._recent) == 1000
        # The last ones are still counted, and not told again.
        assert journal.write(events[-1]) is None
        assert journal.write(events[-1000]) is None
        assert journal.write(events[0]) is not None
        wall.advance(60.0)
        assert journal.write(events[-1]) is not None
        assert len(journal._recent) == 1

    def test_what_happens_again_and_again_is_one_entry_for_a_minute(self, watched):
        for _ in range(1000):
            watched.activity.observe(fell_back())
            watched.pass_time(0.01)
        (event,) = watched.snapshot["events"]
        assert event["count"] == 1000
        watched.pass_time(60.0)
        watched.activity.observe(fell_back())
        again, earlier = watched.snapshot["events"]
        assert again["count"] == 1
        assert again["id"] != earlier["id"]

    def test_a_flood_does_not_push_out_what_is_different(self, watched):
        watched.activity.observe(NOTABLE[0][0])
        for _ in range(500):
            watched.activity.observe(fell_back())
        assert [event["type"] for event in watched.snapshot["events"]] == ["fell_back", "breaker_changed"]

    def test_the_last_fifty_are_kept(self, watched):
        for number in range(80):
            watched.activity.observe(ProviderRegistered(provider=str(number), provider_type="mock"))
        found = [event["provider"] for event in watched.snapshot["events"]]
        assert found == [str(number) for number in range(79, 29, -1)]

    def test_listeners_hear_each_entry_once_until_they_leave(self, watched):
        heard = []
        leave = watched.activity.listen(heard.append)
        for _ in range(3):
            watched.activity.observe(fell_back())
        watched.activity.observe(NOTABLE[0][0])
        leave()
        watched.activity.observe(NOTABLE[-1][0])
        assert [notable.type for notable in heard] == ["fell_back", "breaker_changed"]

    def test_detours_are_counted(self, watched):
        for event, _ in NOTABLE:
            watched.activity.observe(event)
        assert watched.snapshot["counts"] == {"retries": 1, "fallbacks": 1, "hedges": 1, "limit_rejections": 1}


def test_answers_are_counted_by_route_and_status(watched):
    for status in (200, 200, 404):
        watched.activity.answered("/v1/models/{id}", status)
    assert watched.snapshot["answers"] == [
        {"route": "/v1/models/{id}", "status": 200, "count": 2},
        {"route": "/v1/models/{id}", "status": 404, "count": 1},
    ]
