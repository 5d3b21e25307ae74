"""Records of what the manager did, and their replay, from the front door."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from apex_llm_core.converters import dumps, loads, structure
from apex_llm_core.errors import ConfigurationError, LLMError, ServiceUnavailableError
from apex_llm_core.models import Caller
from apex_llm_core.models.decisions import Decision
from apex_llm_core.replay import replay_record

NAMES = "abcdefg"


def equals(stage, **tables):
    """Return a stage of equals, all slow at times, the heaviest of which fail now and then."""
    chance = Random(5)

    def outcome(name):
        if name in "abc" and chance.random() < 0.4:
            return ServiceUnavailableError("down")
        return [chance.uniform(0.1, 2.0), "ok"]

    scripts = {name: [outcome(name) for _ in range(200)] for name in NAMES}
    providers = {name: {"priority": 1, "weight": 10 - position} for position, name in enumerate(NAMES)}
    return stage(scripts, providers=providers, **tables)


def replayed(decision):
    """Rank a record again, after a way through JSON."""
    again = asyncio.run(replay_record(structure(loads(dumps(decision)), Decision)))
    assert all(each.recorded for each in again)
    return all(each.same for each in again)


@pytest.mark.parametrize("algorithm", ["weighted", "p2c", "least_busy"])
@pytest.mark.parametrize("affinity", [True, False])
def test_records_of_concurrent_traffic_with_failures_can_be_replayed(stage, algorithm, affinity):
    played = equals(
        stage,
        manager={"circuit_breaker_enabled": False},
        load_balancer={"algorithm": algorithm},
        decisions={"keep": 400},
    )

    async def ask(manager, number):
        await asyncio.sleep(number / 10)
        caller = Caller(session=f"s{number % 9}") if affinity else Caller()
        await manager.generate_chat("hello", model="m", caller=caller)

    async def body(manager):
        await asyncio.gather(*(ask(manager, number) for number in range(200)))
        return manager.decisions(400)

    decisions = played.run(body)
    assert len(decisions) == 200
    assert all(decision.outcome == "ok" for decision in decisions)
    several = [d for d in decisions if sum(c.rank is not None for c in d.candidates) > 1]
    assert several
    # What changes between the attempts does not matter here: the candidates are of one group, whose weights were taken at first.
    assert all(replayed(decision) for decision in decisions)
    pinned = [decision for decision in decisions if decision.routes[0].pinned]
    assert bool(pinned) == affinity


def test_a_dry_run_foretells_the_next_request(stage):

    async def body(manager):
        pairs = []
        for _ in range(30):
            foretold = manager.explain("hello", model="m")
            await manager.generate_chat("hello", model="m")
            pairs.append((foretold, manager.decisions(1)[0]))
        return pairs

    for foretold, done in equals(stage).run(body):
        assert foretold.dry_run
        assert not done.dry_run
        assert foretold.seed == done.seed
        first = next(c for c in done.candidates if c.rank == 1)
        assert foretold.candidates[0].provider == first.provider


def test_failures_are_told_in_the_record(stage):
    played = stage({"a": [ServiceUnavailableError("down")], "b": ["ok"], "c": []})

    async def body(manager):
        await manager.generate_chat("hello", model="m")
        return manager.decisions(1)[0]

    decision = played.run(body)
    assert [(c.provider, c.rank, c.verdict, c.reason) for c in decision.candidates] == [
        ("a", 1, "failed", "service_unavailable_error"),
        ("b", 2, "taken", ""),
        ("c", None, "not_reached", ""),
    ]


def test_a_request_that_failed_everywhere_says_so(stage):
    played = stage({"a": [ServiceUnavailableError("down")], "b": [ServiceUnavailableError("down")]})

    async def body(manager):
        with pytest.raises(LLMError):
            await manager.generate_chat("hello", model="m")
        return manager.decisions(1)[0]

    decision = played.run(body)
    assert decision.outcome == "service_unavailable_error"
    assert [c.verdict for c in decision.candidates] == ["failed", "failed"]


def test_nothing_is_kept_where_nothing_is_wanted(stage):
    played = stage({"a": []}, decisions={"keep": 0})

    async def body(manager):
        await manager.generate_chat("hello", model="m")
        return manager.decisions(), manager.explain("hello", model="m")

    kept, foretold = played.run(body)
    assert kept == []
    assert foretold.candidates[0].verdict == "taken"


def test_a_strategy_given_in_code_is_not_found_offline(stage):
    decision = equals(stage).run(lambda manager: asyncio.sleep(0, manager.explain("hello", model="m")))
    document = loads(dumps(decision))
    document["routes"][0]["strategy"] = "of-my-own"
    with pytest.raises(ConfigurationError, match="of-my-own"):
        asyncio.run(replay_record(structure(document, Decision)))
