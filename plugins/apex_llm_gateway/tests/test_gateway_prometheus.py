from __future__ import annotations

import json
import re
from types import SimpleNamespace

import pytest
from apex_llm_gateway.activity import Activity
from apex_llm_gateway.backend import LocalBackend, WorkerFacts
from apex_llm_gateway.handlers.metrics import metrics
from apex_llm_gateway.prometheus import CONTENT_TYPE, render
from apex_llm_gateway.settings import GatewaySettings
from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.errors import LLMError
from apex_llm_core.manager import LLMProviderManager
from apex_llm_core.models import Caller, Usage
from apex_llm_core.models.events import RequestFinished
from apex_llm_core.testing import FakeClock, run_virtual

#: As the format's description has them, https://prometheus.io/docs/instrumenting/exposition_formats/
NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)')
NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]Inf|NaN")
ENDINGS = ("_bucket", "_sum", "_count")
ESCAPES = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}


def parse(text):
    """Return {name: (kind, {labels: value})}, and accept nothing but what the format allows."""
    assert text.endswith("\n")
    families, current = {}, None
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            name, told = line.removeprefix("# HELP ").split(" ", 1)
            assert NAME.fullmatch(name)
            assert told
            assert name not in families, f"{name} comes twice"
            families[name] = [None, {}]
        elif line.startswith("# TYPE "):
            current, kind = line.removeprefix("# TYPE ").split(" ")
            assert current == list(families)[-1], "types follow their help"
            assert kind in {"counter", "gauge", "histogram"}
            families[current][0] = kind
        else:
            name, labels, value = sample(line)
            kind, samples = families[current]
            family = name.removesuffix(next(filter(name.endswith, ENDINGS), "")) if kind == "histogram" else name
            assert family == current, "samples follow their type"
            assert kind != "counter" or value >= 0
            key = (name, *sorted(labels.items()))
            assert key not in samples, f"{line} comes twice"
            samples[key] = value
    for name, (kind, samples) in families.items():
        assert kind is not None
        assert (kind == "counter") == name.endswith("_total"), name
        if kind == "histogram":
            check_histogram(name, samples)
    return {name: (kind, samples) for name, (kind, samples) in families.items()}


def sample(line):
    name = NAME.match(line).group()
    rest, labels = line[len(name) :], {}
    if rest.startswith("{"):
        rest = rest[1:]
        while not rest.startswith("}"):
            found = LABEL.match(rest) or re.match(LABEL.pattern.replace("(,|$)", "(,|(?=}))"), rest)
            assert found, line
            assert found[1] not in labels, line
            labels[found[1]] = re.sub(r"\\.", lambda escape: ESCAPES[escape.group()], found[2])
            rest = rest[found.end() :]
        rest = rest[1:]
    assert rest.startswith(" "), line
    assert NUMBER.fullmatch(rest[1:]), line
    return name, labels, float(rest[1:])


def check_histogram(name, samples):
    groups = {}
    for (part, *labels), value in samples.items():
        own = dict(labels)
        edge = own.pop("le", None)
        groups.setdefault(tuple(own.items()), {})[part.removeprefix(name), edge] = value
    for group in groups.values():
        edges = sorted((float(edge), count) for (part, edge), count in group.items() if part == "_bucket")
        counts = [count for _, count in edges]
        assert edges[-1][0] == float("inf")
        assert counts == sorted(counts)
        assert counts[-1] == group["_count", None]
        assert group["_sum", None] >= 0


def values(families, name):
    """Return {labels as a text: value} of one metric."""
    return {
        " ".join(f"{label}={value}" for label, value in labels): number
        for (_, *labels), number in families[name][1].items()
    }


CONFIG = {
    "providers": [
        {"name": "first", "type": "mock", "models": [{"id": "small", "base_model": "mock-small"}]},
        {
            "name": "failing",
            "type": "mock",
            "retry_count": 0,
            "models": [{"id": "small", "base_model": "mock-small"}, {"id": "bad", "base_model": "mock-small"}],
            "priority": 50,
            "options": {"faults": [{"error": "service_unavailable_error"}]},
        },
    ],
    "manager": {"cache_enabled": True},
    "limits": [{"name": "pace", "scope": "user", "match": "eager", "requests": 1}],
}


def scraped(work, settings=None, worker=None):
    """Return the metrics after *work* with a manager and an activity."""
    clock = FakeClock()

    async def play():
        async with LLMProviderManager(CONFIG, clock=clock) as manager:
            house = SimpleNamespace(
                manager=manager,
                activity=Activity(clock=clock, wall=lambda: clock() + 1e9, known={"small", "bad"}.__contains__),
                watch=SimpleNamespace(statuses={}, checked=None),
                ring=SimpleNamespace(open=False),
                worker=worker or WorkerFacts(started=5.0),
                draining=False,
                clock=clock,
                settings=settings or GatewaySettings(),
            )
            house.backend = LocalBackend(house)
            manager.subscribe("gateway", house.activity.observe)
            await work(manager, house.activity)
            return await metrics(house, None)

    reply = run_virtual(play(), clock=clock)
    assert reply.status == 200
    assert reply.content_type == CONTENT_TYPE
    return parse(reply.body.decode())


async def nothing(manager, activity):
    pass


async def much(manager, activity):
    await manager.generate_chat("hi", model="small")
    await manager.generate_chat("hi", model="small")
    async for _ in manager.generate_chat_stream("tell me", model="small"):
        pass
    with pytest.raises(LLMError):
        await manager.generate_chat("hi", model="bad")
    await manager.generate_chat("you", model="small", caller=Caller(user="eager"))
    with pytest.raises(LLMError):
        await manager.generate_chat("me", model="small", caller=Caller(user="eager"))
    manager.set_breaker("first", "small", action="isolate")
    for status in (200, 200, 429):
        activity.answered("/v1/chat/completions", status)
    activity.answered("", 404)
    activity.begin("under way", "chat", "small", "eager", "key", True)


def test_every_metric_is_there_before_anything_happens():
    assert set(scraped(nothing)) == {
        "apex_llm_requests_total",
        "apex_llm_request_duration_seconds",
        "apex_llm_time_to_first_token_seconds",
        "apex_llm_tokens_total",
        "apex_llm_cost_total",
        "apex_llm_cost_unknown_total",
        "apex_llm_attempts_total",
        "apex_llm_fallbacks_total",
        "apex_llm_hedges_total",
        "apex_llm_limiter_rejections_total",
        "apex_llm_cache_requests_total",
        "apex_llm_retry_budget_left",
        "apex_llm_circuit_state",
        "apex_llm_in_flight_attempts",
        "apex_llm_in_flight_requests",
        "apex_llm_gateway_http_requests_total",
        "apex_llm_build_info",
        "process_start_time_seconds",
        "process_resident_memory_bytes",
    }


def test_what_happens_is_counted():
    families = scraped(much)
    pair = "model=small provider=first"
    assert values(families, "apex_llm_requests_total") == {
        "model=small operation=chat outcome=ok provider=first": 3,
        # From the cache.
        "model=small operation=chat outcome=ok provider=": 1,
        "model=bad operation=chat outcome=service_unavailable_error provider=failing": 1,
        "model=small operation=chat outcome=rate_limit_error provider=": 1,
    }
    assert values(families, "apex_llm_fallbacks_total") == {
        "from_provider=failing reason=service_unavailable_error to_provider=first": 3
    }
    assert values(families, "apex_llm_attempts_total")["model=small outcome=ok provider=first"] == 3
    assert values(families, "apex_llm_cache_requests_total")["result=hit"] == 1
    assert values(families, "apex_llm_limiter_rejections_total") == {"limit=pace": 1}
    assert values(families, "apex_llm_tokens_total")[f"direction=input {pair}"] > 0
    assert values(families, "apex_llm_cost_total")[pair] > 0
    assert values(families, "apex_llm_cost_unknown_total")[pair] == 0
    assert values(families, "apex_llm_gateway_http_requests_total") == {
        "route=/v1/chat/completions status=200": 2,
        "route=/v1/chat/completions status=429": 1,
        "route=none status=404": 1,
    }
    assert values(families, "apex_llm_in_flight_requests") == {"": 1}


def test_durations_of_all_and_first_chunks_of_streams_are_there():
    families = scraped(much)

    def counts(name):
        return {key: value for key, value in values(families, name).items() if "le=" not in key and value >= 1}

    assert sum(counts("apex_llm_request_duration_seconds").values()) == 6
    assert counts("apex_llm_time_to_first_token_seconds") == {"model=small operation=chat provider=first": 1}


def test_a_breaker_is_in_one_state():
    states = values(scraped(much), "apex_llm_circuit_state")
    of_first = {key: value for key, value in states.items() if "provider=first" in key and "model=small" in key}
    assert {key.rpartition("=")[2]: value for key, value in of_first.items()} == {
        "closed": 0,
        "open": 0,
        "half_open": 0,
        "forced_open": 1,
        "metrics_only": 0,
        "disabled": 0,
    }


def test_users_and_keys_are_no_labels():
    text = json.dumps([[list(key) for key in samples] for _, samples in scraped(much).values()])
    assert "eager" not in text
    assert "under way" not in text


def test_several_processes_have_series_of_their_own():
    settings, worker = GatewaySettings(workers=2), WorkerFacts(index=1, started=7.0)
    families = scraped(much, settings, worker)
    assert values(families, "process_start_time_seconds") == {"worker=1": 7.0}
    labels = [dict(key[1:]) for _, samples in families.values() for key in samples]
    assert {label.get("worker") for label in labels} == {"1"}


def process(index, events):
    activity = Activity(clock=FakeClock(), wall=FakeClock(), known=lambda _model: True)
    for event in events:
        activity.observe(event)
    return {
        "version": "1",
        "worker": {"index": index, "live": 0, "started": 1.5, "memory_bytes": None},
        "activity": activity.snapshot(),
        "breakers": [],
        "stats": {
            "attempts": [],
            "fallbacks": [],
            "hedges": {},
            "limit_rejections": {},
            "cache": None,
            "candidates": [],
            "governor": {"budget_left": 1.0},
        },
    }


EVENTS = st.lists(
    st.builds(
        RequestFinished,
        operation=st.sampled_from(["chat", "text"]),
        model=st.text(),
        provider=st.none() | st.text(min_size=1, max_size=3),
        outcome=st.sampled_from(["ok", "timeout_error"]),
        duration=st.floats(0, 1e6),
        time_to_first_chunk=st.none() | st.floats(0, 1e3),
        usage=st.none() | st.builds(Usage, prompt_tokens=st.integers(0, 9), total_tokens=st.none()),
        cost=st.none() | st.floats(0, 1e6),
    )
)


@given(EVENTS, EVENTS)
def test_whatever_models_are_called_it_is_the_format(first, second):
    families = parse(render([process(0, first), process(1, second)], by_worker=True).decode())
    counted = values(families, "apex_llm_requests_total")
    assert sum(counted.values()) == len(first) + len(second)
    told = {dict(key[1:])["model"] for key in families["apex_llm_requests_total"][1]}
    assert told == {event.model for event in (*first, *second)}


def test_halves_of_surrogate_pairs_do_not_break_it():
    event = RequestFinished(operation="chat", model="\ud800x", provider="p", outcome="ok", duration=1.0)
    assert 'model="?x"' in render([process(0, [event])]).decode()
