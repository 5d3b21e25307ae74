"""The rules of all providers, kept at an emulated resource."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial

import pytest
from apex_llm_azure import plugin
from apex_llm_azure.auth import TokenSources
from apex_llm_azure.provider import AzureProvider
from apex_llm_azure.settings import AzureSettings
from apex_llm_mock.emulation import AzureEmulator

from apex_llm_core.config import AuthConfig, ModelConfig, ProviderConfig
from apex_llm_core.errors import LLMErrorType
from apex_llm_core.testing import ProviderConformance
from apex_llm_core.testing.runtime import FakeRuntime
from apex_llm_core.transport import AiohttpClient

MODELS = tuple(ModelConfig(id=model, base_model=model) for model in ("gpt-4o", "text-embedding-3-small", "gpt-image-1"))
#: An order of the emulator for each kind of failure that a service can tell of.
FAULTS = {
    LLMErrorType.AUTHENTICATION_ERROR: "unauthorized",
    LLMErrorType.AUTHORIZATION_ERROR: "permission_denied",
    LLMErrorType.RATE_LIMIT_ERROR: "rate_limit",
    LLMErrorType.QUOTA_EXCEEDED_ERROR: "insufficient_quota",
    LLMErrorType.INVALID_REQUEST_ERROR: "bad_request",
    LLMErrorType.MODEL_NOT_FOUND_ERROR: "deployment_not_found",
    LLMErrorType.CONTEXT_LENGTH_EXCEEDED_ERROR: "context_length",
    LLMErrorType.CONTENT_FILTER_ERROR: "content_filter",
    LLMErrorType.SERVICE_UNAVAILABLE_ERROR: "unavailable",
    LLMErrorType.TIMEOUT_ERROR: "gateway_timeout",
}


class AzureConformance(ProviderConformance):
    plugin = plugin
    name = "azure"
    chat_model = "gpt-4o"
    embed_model = "text-embedding-3-small"
    image_model = "gpt-image-1"
    deterministic = True
    virtual_time = False

    #: Where the directory of tokens listens.
    token_port = None

    @asynccontextmanager
    async def serving(self, clock):
        http = AiohttpClient()
        async with AzureEmulator(token_port=self.token_port) as self.emulator:
            environ = {"KEY": self.emulator.api_key, "SECRET": self.emulator.entra.client_secret}
            try:
                yield FakeRuntime(clock=clock, http=http, environ=environ)
            finally:
                await http.close()

    def auth(self):
        return AuthConfig(type="api_key", credentials={"api_key": "env:KEY"})

    def options(self):
        return {}

    def make_provider(self, runtime):
        config = ProviderConfig(name="the-resource", type="azure", auth=self.auth(), models=MODELS)
        settings = AzureSettings(endpoint=self.emulator.url, **self.options())
        return AzureProvider(config, settings, runtime, TokenSources())

    def failures(self):
        def failing(fault, runtime):
            self.emulator.faults.clear()
            self.emulator.faults.add(fault, times=None)
            return self.make_provider(runtime)

        return {kind: partial(failing, fault) for kind, fault in FAULTS.items()}

    def upstream_calls(self):
        return self.emulator.traffic.counts.open_requests

    def tokens_spent(self):
        # Every call but one for the catalogue costs at least one.
        return sum(received.operation != "models" for received in self.emulator.journal)


class TestOnV1(AzureConformance):
    """With an API key."""


class WithTokens(AzureConformance):
    token_port = 0
    # Getting a token serves all who wait for it.
    shared_tasks = frozenset({"TokenSource._fly"})

    @pytest.fixture(autouse=True)
    def _place_for_certificate(self, tmp_path):
        self._file = tmp_path / "authority.pem"

    @asynccontextmanager
    async def serving(self, clock):
        async with super().serving(clock) as runtime:
            self.emulator.certificate.write_ca(self._file)
            yield runtime

    def auth(self):
        entra = self.emulator.entra
        application = {"tenant_id": entra.tenant, "client_id": entra.client_id, "client_secret": "env:SECRET"}
        return AuthConfig(type="azure_ad", credentials=application)

    def options(self):
        authority, _, _ = self.emulator.authority.rpartition("/")
        return {"authority": authority, "ca_file": str(self._file)}


class TestOnV1WithTokens(WithTokens):
    """With tokens of Entra ID, which v1 does not take for embeddings."""


class TestOnDatedWithTokens(WithTokens):
    """With tokens of Entra ID for the other audience."""

    def options(self):
        return {**super().options(), "api_version": "2025-04-01-preview"}


def test_only_what_no_service_tells_of_is_left_out():
    assert set(LLMErrorType) - FAULTS.keys() == {LLMErrorType.UNKNOWN_ERROR}
