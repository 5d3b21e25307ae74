"""Limits and budgets of keys: from the header of a request through the manager."""

from __future__ import annotations

import pytest
from apex_llm_gateway.calls import Call
from apex_llm_gateway.keys import load_keys, new_key
from apex_llm_gateway.settings import GatewaySettings
from multidict import CIMultiDict

from apex_llm_core.config import settings_from
from apex_llm_core.errors import QuotaExceededError, RateLimitError
from apex_llm_core.manager import LLMProviderManager
from apex_llm_core.testing import FakeClock, run_virtual

KEYS = {"ALICE": new_key(), "ALICE_CI": new_key(), "BOB": new_key()}
CONFIG = {
    "providers": [
        {
            "name": "mock",
            "type": "mock",
            "models": [{"id": "mock-small", "cost_per_input_token": 0.01, "cost_per_output_token": 0.01}],
        }
    ],
    "limits": [
        {"name": "ci pace", "scope": "key", "match": "alice-ci", "requests": 2},
        {"name": "ci budget", "scope": "key", "match": "alice-ci", "cost": 1.0, "per": 86_400},
        {"name": "free pace", "scope": "key", "tier": "free", "requests": 1},
    ],
    "gateway": {
        "api_keys": [
            {"key": "env:ALICE", "user": "alice"},
            {"key": "env:ALICE_CI", "user": "alice", "name": "alice-ci"},
            {"key": "env:BOB", "user": "bob", "tier": "free"},
        ]
    },
}


class Sent:
    def __init__(self, name):
        self.headers = CIMultiDict({"Authorization": f"Bearer {KEYS[name]}"})


def served(body):
    """Run *body* with a function that asks as the owner of a key."""
    clock = FakeClock()

    async def main():
        async with LLMProviderManager(CONFIG, clock=clock, environ=KEYS) as manager:
            settings = settings_from(manager.config.extensions["gateway"], GatewaySettings, key="gateway")
            ring = await load_keys(settings, manager.resolve_secret)

            async def ask(name, **options):
                request = Sent(name)
                call = Call(request=request, id="r", key=ring.authenticate(request.headers))
                return await manager.generate_chat(
                    "hi", model="mock-small", caller=call.caller(), **{"max_tokens": 5, **options}
                )

            return await body(ask, manager)

    return run_virtual(main(), clock=clock)


def test_a_pace_concerns_one_key_and_not_its_owner():
    async def body(ask, manager):
        for _ in range(2):
            await ask("ALICE_CI")
        with pytest.raises(RateLimitError, match="'ci pace' is reached for 'alice-ci'"):
            await ask("ALICE_CI")
        for _ in range(3):
            await ask("ALICE")

    served(body)


def test_a_budget_is_a_quota():
    async def body(ask, manager):
        with pytest.raises(QuotaExceededError, match=r"'ci budget' admits a cost of 1 for 'alice-ci', .* may cost 5"):
            await ask("ALICE_CI", max_tokens=500)
        await ask("ALICE_CI")
        (found,) = (one for one in await manager.get_limits() if one.limit == "ci budget")
        assert (found.subject, found.cost.limit) == ("alice-ci", 1.0)
        assert 0.0 < found.cost.used < 1.0

    served(body)


def test_a_tier_limits_its_keys():
    async def body(ask, manager):
        await ask("BOB")
        with pytest.raises(RateLimitError, match="'free pace' is reached for 'bob'"):
            await ask("BOB")

    served(body)


def test_no_text_of_a_key_reaches_records():
    async def body(ask, manager):
        await ask("ALICE")
        text = f"{manager.decisions()} {manager.stats()} {manager.config} {await manager.get_limits()}"
        assert not any(key in text for key in KEYS.values())

    served(body)
