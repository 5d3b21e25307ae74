from __future__ import annotations

import asyncio
import os
from io import BytesIO
from json import dumps, loads

import aiohttp
import pytest
from apex_llm_mock import MockSettings
from apex_llm_mock.emulation import AzureEmulator
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


class Caller:
    """A client without comforts: it sends what it is told and returns what came."""

    def __init__(self, emulator, session):
        self.emulator = emulator
        self._session = session

    def request(self, method, path, *, json=None, headers=None, **more):
        """Return the open response; the key goes along unless the headers carry credentials."""
        headers = {"api-key": self.emulator.api_key} if headers is None else headers
        if json is not None:
            # A file, since aiohttp warns about large bodies of bytes.
            more["data"] = BytesIO(dumps(json).encode())
            headers = {**headers, "Content-Type": "application/json"}
        return self._session.request(
            method, f"{self.emulator.url}{path}", headers=headers, allow_redirects=False, **more
        )

    async def ask(self, method, path, **more):
        """Return status, headers and body."""
        async with self.request(method, path, **more) as response:
            return Response(response.status, response.headers, await response.read())

    def _body(self, prompt, fields):
        return {"messages": [{"role": "user", "content": prompt}], **fields}

    async def chat(self, prompt="hello", *, deployment="gpt-4o", version="2024-10-21", headers=None, **fields):
        path = f"/openai/deployments/{deployment}/chat/completions?api-version={version}"
        return await self.ask("POST", path, json=self._body(prompt, fields), headers=headers)

    async def v1(self, prompt="hello", *, model="gpt-4o", headers=None, **fields):
        body = self._body(prompt, {"model": model, **fields})
        return await self.ask("POST", "/openai/v1/chat/completions", json=body, headers=headers)

    def stream(self, prompt="hello", *, model="gpt-4o", **fields):
        body = self._body(prompt, {"model": model, "stream": True, **fields})
        return self.request("POST", "/openai/v1/chat/completions", json=body)


class Response:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self):
        return loads(self.body)

    @property
    def error(self):
        return self.json["error"]

    @property
    def events(self):
        """The documents of a stream, and the word at its end."""
        frames = self.body.decode().removesuffix("\n\n").split("\n\n")
        data = [frame.removeprefix("data: ") for frame in frames]
        return [loads(text) if text.startswith("{") else text for text in data]

    @property
    def text(self):
        """The text of the first choice, streamed or not."""
        if not self.headers["Content-Type"].startswith("text/event-stream"):
            return self.json["choices"][0]["message"]["content"]
        choices = [event["choices"][0] for event in self.events if isinstance(event, dict) and event.get("choices")]
        return "".join(choice.get("delta", {}).get("content") or "" for choice in choices)


@pytest.fixture(scope="session")
def emulated():
    """Run a coroutine function with a `Caller` of an Azure emulator; keywords are the emulator's."""

    def run(main, **settings):
        async def bounded():
            async with asyncio.timeout(30), AzureEmulator(**settings) as emulator, aiohttp.ClientSession() as session:
                return await main(Caller(emulator, session))

        return asyncio.run(bounded())

    return run


@pytest.fixture
def no_aws(monkeypatch, tmp_path):
    """Keep what this machine knows about AWS away from botocore."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
