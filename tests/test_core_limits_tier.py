"""Limits for the callers of a tier."""

from __future__ import annotations

import pytest
from jsonschema import Draft202012Validator

from apex_llm_core.cache.memory import MemoryStore
from apex_llm_core.config import LimitConfig, config_json_schema, parse_config
from apex_llm_core.errors import ConfigurationError, RateLimitError
from apex_llm_core.models import Caller
from apex_llm_core.policies.limits import Limiter, Refusal, Ticket
from apex_llm_core.policies.shared_limits import SharedLimiter
from apex_llm_core.testing import FakeClock, run_virtual


def admits(limiter, **subjects):
    answer = limiter.enter({"all": "", **subjects})
    assert isinstance(answer, Ticket | Refusal)
    return isinstance(answer, Ticket)


def test_only_callers_of_the_tier_are_counted():
    limiter = Limiter([LimitConfig(name="free", tier="free*", scope="user", requests=1)], FakeClock())
    assert admits(limiter, user="alice", tier="free")
    assert not admits(limiter, user="alice", tier="free-trial")
    assert admits(limiter, user="bob", tier="free")
    for _ in range(3):
        assert admits(limiter, user="alice", tier="gold")
        assert admits(limiter, user="alice")
        # A tier is nothing without the subject that is counted.
        assert admits(limiter, tier="free")


def test_all_callers_of_a_tier_together():
    limiter = Limiter([LimitConfig(name="free", tier="free", requests=2)], FakeClock())
    assert [admits(limiter, user=user, tier="free") for user in ("a", "b", "c")] == [True, True, False]
    assert admits(limiter, user="c", tier="gold")


def test_callers_without_a_tier_fit_a_pattern_that_fits_nothing():
    limiter = Limiter([LimitConfig(name="all", tier="*", requests=1)], FakeClock())
    assert admits(limiter)
    assert not admits(limiter, tier="gold")


def test_a_limit_of_another_tier_goes_on_with_what_was_counted():
    clock = FakeClock()
    earlier = Limiter([LimitConfig(name="slow", tier="free", requests=1)], clock)
    assert admits(earlier, tier="free")
    later = Limiter([LimitConfig(name="slow", tier="trial", requests=1)], clock)
    later.adopt(earlier)
    assert admits(later, tier="free")
    assert not admits(later, tier="trial")


def test_standings_name_those_who_were_counted():
    limits = [
        LimitConfig(name="free", tier="free", scope="user", requests=5),
        LimitConfig(name="all", scope="user", requests=5),
    ]
    limiter = Limiter(limits, FakeClock())
    admits(limiter, user="alice", tier="free")
    admits(limiter, user="bob", tier="gold")
    named = sorted((one.limit, one.subject) for one in limiter.standing())
    assert named == [("all", "alice"), ("all", "bob"), ("free", "alice")]


def test_counted_in_a_store():
    limits = [
        LimitConfig(name="free", tier="free", scope="user", requests=1),
        LimitConfig(name="all", scope="user", requests=5),
    ]
    clock = FakeClock(0.0)
    limiter = SharedLimiter(limits, MemoryStore(max_entries=100, clock=clock), wall=clock, on_error=pytest.fail)

    async def body():
        answers = [
            await limiter.enter({"all": "", "user": user, "tier": tier})
            for user, tier in (("alice", "free"), ("alice", "free"), ("bob", "gold"), ("bob", "gold"))
        ]
        standing = sorted((one.limit, one.subject, one.requests.used) for one in await limiter.standing())
        await limiter.close()
        return [isinstance(answer, Ticket) for answer in answers], standing

    answers, standing = run_virtual(body(), clock=clock)
    assert answers == [True, False, True, True]
    assert standing == [("all", "alice", 1), ("all", "bob", 2), ("free", "alice", 1)]


def test_through_the_manager(stage):
    async def body(manager):
        free, gold = Caller(user="alice", tier="free"), Caller(user="alice", tier="gold")
        await manager.generate_chat("hi", model="m", caller=free)
        with pytest.raises(RateLimitError, match="'free' is reached for 'alice'"):
            await manager.generate_chat("hi", model="m", caller=free)
        await manager.generate_chat("hi", model="m", caller=gold)

    stage({"a": []}, limits=[{"name": "free", "scope": "user", "tier": "free", "requests": 1}]).run(body)


@pytest.mark.parametrize("scope", ["provider", "model"])
def test_upstream_calls_have_no_tier(scope):
    table = {"limits": [{"name": "x", "requests": 1, "scope": scope, "tier": "free"}]}
    with pytest.raises(ConfigurationError, match="whoever makes them"):
        parse_config(table)
    validator = Draft202012Validator(config_json_schema())
    assert not validator.is_valid(table)
    for scope_of_callers in ("all", "user", "key"):
        table["limits"][0]["scope"] = scope_of_callers
        assert validator.is_valid(table)
        assert parse_config(table).limits[0].tier == "free"
    del table["limits"][0]["scope"]
    assert validator.is_valid(table)
