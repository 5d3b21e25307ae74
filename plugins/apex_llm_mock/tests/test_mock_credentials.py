from __future__ import annotations

import pytest

from apex_llm_core import ConfigurationError, LLMProviderManager
from apex_llm_core.testing import run_virtual


@pytest.mark.parametrize("kind", ["none", "api_key", "iam", "azure_ad", "oauth"])
def test_stands_in_for_a_provider_with_credentials(kind):
    auth = {"type": kind, "credentials": {"api_key": "env:MOCK_KEY"}}
    config = {"providers": [{"name": "stand-in", "type": "mock", "auth": auth}]}

    async def ask(environ):
        async with LLMProviderManager(config, environ=environ) as manager:
            return (await manager.generate_chat("hello")).message.text

    assert run_virtual(ask({"MOCK_KEY": "secret"})) == "hello"
    with pytest.raises(ConfigurationError, match=r"providers\[0\].auth.credentials.api_key.*MOCK_KEY is not set"):
        run_virtual(ask({}))
