from __future__ import annotations

import asyncio
import json
from hashlib import sha256

import pytest
from apex_llm_gateway.gateway import Gateway
from apex_llm_gateway.keys import Key, KeyRing
from apex_llm_gateway.settings import GatewaySettings
from multidict import CIMultiDict

from apex_llm_core.manager import LLMProviderManager

CONFIG = {
    "providers": [
        {"name": "near", "type": "mock", "models": [{"id": "small"}, {"id": "large"}]},
        {"name": "far", "type": "mock", "models": [{"id": "small"}, {"id": "maker/huge"}]},
    ]
}


class Asked:
    method, remote, query = "GET", "192.0.2.7", ()
    headers = CIMultiDict({"api-key": "a key"})

    def __init__(self, path):
        self.path = path


def listed(**restrictions):
    """Return what a key sees in the list, and what each of it is answered with by itself."""

    async def run():
        ring = KeyRing([Key(name="key", digest=sha256(b"a key").digest(), roles=["user"], **restrictions)])
        async with LLMProviderManager(CONFIG) as manager:
            gateway = Gateway(manager, GatewaySettings(health_interval=0), ring)
            models = json.loads((await gateway.handle(Asked("/v1/models"))).body)["data"]
            single = [
                json.loads((await gateway.handle(Asked(f"/v1/models/{model['id']}"))).body).get("owned_by")
                for model in models
            ]
        return {model["id"]: model["owned_by"] for model in models}, single

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("restrictions", "models"),
    [
        ({}, {"small": "near", "large": "near", "maker/huge": "far"}),
        ({"models": ["small"]}, {"small": "near"}),
        ({"models": ["near/*"]}, {"near/small": "near", "near/large": "near"}),
        ({"models": ["large", "far/small"]}, {"large": "near", "far/small": "far"}),
        ({"models": ["far/*"], "providers": ["near"]}, {}),
        ({"models": ["maker/*"]}, {"maker/huge": "far"}),
        ({"models": []}, {}),
    ],
)
def test_models_are_listed_by_the_names_under_which_a_key_may_ask_for_them(restrictions, models):
    found, single = listed(**restrictions)
    assert found == models
    assert single == list(models.values())
