"""The rules of all providers, kept at an emulated Bedrock."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial

from apex_llm_bedrock import plugin
from apex_llm_bedrock.auth import CredentialSources
from apex_llm_bedrock.provider import BedrockProvider
from apex_llm_bedrock.settings import BedrockSettings
from apex_llm_mock.emulation import BedrockEmulator

from apex_llm_core.config import AuthConfig, ModelConfig, ProviderConfig
from apex_llm_core.errors import LLMErrorType
from apex_llm_core.testing import ProviderConformance
from apex_llm_core.testing.runtime import FakeRuntime
from apex_llm_core.transport import AiohttpClient

CLAUDE, LLAMA = "us.anthropic.claude-sonnet-4-20250514-v1:0", "meta.llama3-70b-instruct-v1:0"
EMBEDDING, IMAGE = "amazon.titan-embed-text-v2:0", "amazon.nova-canvas-v1:0"
PROFILE = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/novareports1"
ROLE = "arn:aws:iam::123456789012:role/apex-llm"
#: An order of the emulator for each kind of failure that a service can tell of.
FAULTS = {
    LLMErrorType.AUTHENTICATION_ERROR: "unrecognized_client",
    LLMErrorType.AUTHORIZATION_ERROR: "access_denied",
    LLMErrorType.RATE_LIMIT_ERROR: "throttling",
    LLMErrorType.QUOTA_EXCEEDED_ERROR: "service_quota",
    LLMErrorType.INVALID_REQUEST_ERROR: "validation",
    LLMErrorType.MODEL_NOT_FOUND_ERROR: "resource_not_found",
    LLMErrorType.CONTEXT_LENGTH_EXCEEDED_ERROR: "input_too_long",
    LLMErrorType.CONTENT_FILTER_ERROR: "content_policy",
    LLMErrorType.SERVICE_UNAVAILABLE_ERROR: "service_unavailable",
    LLMErrorType.TIMEOUT_ERROR: "model_timeout",
}
#: What costs nothing: lists, and counting.
FREE = frozenset({"foundation-models", "inference-profiles", "inference-profile", "count-tokens"})


class BedrockConformance(ProviderConformance):
    plugin = plugin
    name = "bedrock"
    chat_model = CLAUDE
    embed_model = EMBEDDING
    image_model = IMAGE
    image_size = "512x512"
    supports_choices = False
    deterministic = True
    virtual_time = False

    @asynccontextmanager
    async def serving(self, clock):
        http = AiohttpClient()
        async with BedrockEmulator() as self.emulator:
            environ = {"SECRET": self.emulator.secret_access_key, "KEY": self.emulator.api_key}
            try:
                yield FakeRuntime(clock=clock, http=http, environ=environ)
            finally:
                await http.close()

    def credentials(self):
        return {"access_key_id": self.emulator.access_key_id, "secret_access_key": "env:SECRET"}

    def auth(self):
        return AuthConfig(type="iam", credentials=self.credentials())

    def options(self):
        return {}

    def make_provider(self, runtime):
        models = tuple(ModelConfig(id=model) for model in (self.chat_model, EMBEDDING, IMAGE))
        config = ProviderConfig(name="the-account", type="bedrock", auth=self.auth(), models=models)
        settings = BedrockSettings(endpoint=self.emulator.url, region=self.emulator.region, **self.options())
        return BedrockProvider(config, settings, runtime, CredentialSources())

    def failures(self):
        def failing(fault, runtime):
            self.emulator.faults.clear()
            self.emulator.faults.add(fault, times=None)
            return self.make_provider(runtime)

        return {kind: partial(failing, fault) for kind, fault in FAULTS.items()}

    def upstream_calls(self):
        return self.emulator.traffic.counts.open_requests

    def tokens_spent(self):
        # Every other call costs at least one.
        return sum(received.operation not in FREE for received in self.emulator.journal)


class TestWithAccessKeys(BedrockConformance):
    """Signed with keys of long life. Getting a signature serves all who wait for it, and so does asking AWS for a model."""

    shared_tasks = frozenset({"CredentialSource._fly", "Once._fly"})


class TestWithAnApiKey(BedrockConformance):
    """With a bearer token."""

    shared_tasks = TestWithAccessKeys.shared_tasks

    def auth(self):
        return AuthConfig(type="api_key", credentials={"api_key": "env:KEY"})


class TestWithARole(TestWithAccessKeys):
    """Signed with the temporary keys of a role, which botocore gets in a thread."""

    def credentials(self):
        return {**super().credentials(), "role_arn": ROLE}

    def options(self):
        return {"sts_endpoint": self.emulator.url}


class TestByAnApplicationProfile(TestWithAccessKeys):
    """The chat model is an ARN that names no model: AWS is asked."""

    chat_model = PROFILE


class TestByInvokeModel(TestWithAccessKeys):
    """The chat model is called without Converse."""

    chat_model = LLAMA

    def options(self):
        return {"invoke": {LLAMA: "llama"}}


def test_only_what_no_service_tells_of_is_left_out():
    assert set(LLMErrorType) - FAULTS.keys() == {LLMErrorType.UNKNOWN_ERROR}
