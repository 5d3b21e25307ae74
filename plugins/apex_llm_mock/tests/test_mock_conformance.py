from __future__ import annotations

from collections.abc import Callable, Mapping

from apex_llm_mock import Fault, Latency, MockSettings, plugin
from apex_llm_mock.provider import MockProvider

from apex_llm_core.config import ProviderConfig
from apex_llm_core.errors import LLMErrorType
from apex_llm_core.hookspecs import Runtime
from apex_llm_core.testing.provider import ProviderConformance


def make(settings: MockSettings, runtime: Runtime) -> MockProvider:
    return MockProvider(ProviderConfig(name="mock", type="mock"), settings, runtime)


class TestMock(ProviderConformance):
    plugin = plugin
    name = "mock"
    chat_model = "mock-large"
    embed_model = "mock-embed"
    image_model = "mock-image"
    deterministic = True

    settings = MockSettings()

    def make_provider(self, runtime: Runtime) -> MockProvider:
        return make(self.settings, runtime)

    def failures(self) -> Mapping[LLMErrorType, Callable[[Runtime], object]]:
        return {
            kind: lambda runtime, kind=kind: make(MockSettings(faults=(Fault(error=kind),)), runtime)
            for kind in LLMErrorType
        }


class TestSlowMock(TestMock):
    settings = MockSettings(
        chunk_size=3,
        chunks_per_read=2,
        first_chunk=Latency(distribution="lognormal", seconds=0.4, deviation=0.5),
        between_chunks=Latency(distribution="exponential", seconds=0.02),
    )
