from __future__ import annotations

import pytest
from apex_llm_mock import MockSettings
from apex_llm_mock.provider import MockProvider

from apex_llm_core.config import ModelConfig, ProviderConfig
from apex_llm_core.models import (
    ChatGenerationOptions,
    ChatMessage,
    EmbeddingOptions,
    EmbedRequest,
    GenerateRequest,
    ImageGenerationOptions,
    ImageRequest,
    TextGenerationOptions,
)
from apex_llm_core.testing import FakeClock, run_virtual
from apex_llm_core.testing.runtime import FakeRuntime, make_candidate, make_context
from apex_llm_core.testing.streams import put_together


class Mock:
    """A mock provider that is called like a function, each call a virtual-time run of its own."""

    def __init__(self, *, name: str = "mock", models: tuple[ModelConfig, ...] = (), **settings: object) -> None:
        self.clock = FakeClock()
        self.touched = 0
        self.provider = MockProvider(
            ProviderConfig(name=name, type="mock", models=models),
            MockSettings(**settings),
            FakeRuntime(clock=self.clock),
        )

    def touch(self):
        self.touched += 1

    def context(self, model):
        return make_context(candidate=make_candidate("a-mock", model), clock=self.clock, touch=self.touch)

    def run(self, coroutine):
        return run_virtual(coroutine, clock=self.clock)

    def request(self, prompt, model, *, stream=False, kind="chat", **options):
        messages = (ChatMessage(role="user", content=prompt),) if isinstance(prompt, str) else tuple(prompt)
        cls = ChatGenerationOptions if kind == "chat" else TextGenerationOptions
        return GenerateRequest(kind=kind, messages=messages, model=model, options=cls(**options), stream=stream)

    def generate(self, prompt="hello", model="mock-large", **options):
        return self.run(self.provider.apex_generate(self.request(prompt, model, **options), self.context(model)))

    def batches(self, prompt="hello", model="mock-large", into=None, **options):
        """Read a whole stream; what came before an error is in *into*."""
        batches = [] if into is None else into

        async def read():
            request = self.request(prompt, model, stream=True, **options)
            async for batch in self.provider.apex_stream(request, self.context(model)):
                batches.append(batch)

        self.run(read())
        return batches

    def stream(self, prompt="hello", model="mock-large", **options):
        return put_together(self.batches(prompt, model, **options))

    def embed(self, *texts, model="mock-embed", **options):
        request = EmbedRequest(texts=texts, model=model, options=EmbeddingOptions(**options))
        return self.run(self.provider.apex_embed(request, self.context(model)))

    def image(self, prompt="a cat", model="mock-image", **options):
        request = ImageRequest(prompt=prompt, model=model, options=ImageGenerationOptions(**options))
        return self.run(self.provider.apex_image(request, self.context(model)))

    def health(self):
        return self.run(self.provider.apex_health(make_context(candidate=None)))


@pytest.fixture(scope="session")
def mock():
    return Mock
