"""Shared by the tests that go through the manager: an emulated Bedrock, and clients that use it.

Emulator and clients run in one event loop per module, so that a test can wait for what the other side notices; nothing
runs in it between the calls of a test.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack, asynccontextmanager

import pytest
from apex_llm_mock.emulation import BedrockEmulator

from apex_llm_core import LLMProviderManager
from apex_llm_core.errors import LLMError
from apex_llm_core.testing.streams import put_together
from apex_llm_core.transport import AiohttpClient

#: Seconds that a test may take before it counts as hanging.
PATIENCE = 30.0
#: Models by what tests need of them. The first is called by an inference profile only.
CLAUDE = "us.anthropic.claude-sonnet-4-20250514-v1:0"
NOVA = "amazon.nova-lite-v1:0"
EMBEDDING = "amazon.titan-embed-text-v2:0"
IMAGE = "amazon.nova-canvas-v1:0"
#: What the providers of tests declare unless they say otherwise.
MODELS = (CLAUDE, NOVA, EMBEDDING, IMAGE)


class Stream:
    """A stream that was read to its end, or to its error: chunks, and what they amount to."""

    def __init__(self):
        self.batches = []
        self.error = None

    @property
    def chunks(self):
        return [chunk for batch in self.batches for chunk in batch]

    @property
    def text(self):
        """All text that arrived, complete or not."""
        return "".join(chunk.text for chunk in self.chunks)

    @property
    def whole(self):
        """The answers, put together; only of a stream without an error."""
        return put_together(self.batches)

    @property
    def finish_reason(self):
        return self.whole.choices[0].finish_reason

    @property
    def details(self):
        """What was told beside the text, joined."""
        return {name: value for chunk in self.chunks for name, value in (chunk.details or {}).items()}


class Client:
    """An open manager whose calls are waited for, one after the other."""

    def __init__(self, bedrock, configuration, **settings):
        self._bedrock = bedrock
        self._http = AiohttpClient()
        environ = {
            "BEDROCK_KEY": bedrock.emulator.api_key,
            "WRONG_KEY": "a-key-of-another-account",
            "SECRET_KEY": bedrock.emulator.secret_access_key,
        }
        settings = {"environ": environ, "http": self._http, **settings}
        self.manager = LLMProviderManager(configuration, **settings)
        self.events = []
        self.manager.subscribe("test", self.events.append)

    def __enter__(self):
        self._bedrock.run(self.manager.start())
        return self

    def __exit__(self, *_):
        self._bedrock.run(self._close())

    @asynccontextmanager
    async def opened(self):
        """Be open inside, for whoever runs in the loop already."""
        await self.manager.start()
        try:
            yield self
        finally:
            await self._close()

    async def _close(self):
        await self.manager.close()
        await self._http.close()

    def chat(self, messages="Hello there", **options):
        return self._bedrock.run(self.manager.generate_chat(messages, **{"model": CLAUDE, **options}))

    def read(self, messages="Hello there", **options):
        """Stream a chat; an error ends the reading and is kept."""
        return self._bedrock.run(self.reading(messages, **options))

    async def reading(self, messages="Hello there", **options):
        stream = Stream()
        try:
            async for batch in self.manager.generate_chat_stream(messages, **{"model": CLAUDE, **options}).batches():
                stream.batches.append(batch)
        except LLMError as error:
            stream.error = error
        return stream

    def stream(self, messages="Hello there", **options):
        """Stream a chat that must succeed."""
        stream = self.read(messages, **options)
        if stream.error is not None:
            raise stream.error
        return stream

    def embed(self, texts="Hello there", **options):
        options = {"model": EMBEDDING, **options}
        return self._bedrock.run(self.manager.generate_embedding(texts, **options))

    def image(self, prompt="a cat", **options):
        return self._bedrock.run(self.manager.generate_image(prompt, **{"model": IMAGE, **options}))

    def count(self, messages="Hello there", **options):
        return self._bedrock.run(self.manager.count_tokens(messages, **{"model": CLAUDE, **options}))

    def models(self):
        return self._bedrock.run(self.manager.get_models())

    def health(self):
        return self._bedrock.run(self.manager.get_health())

    @property
    def connections_in_use(self):
        """How many connections are neither back in the pool nor closed."""
        session = self._http._session
        return 0 if session is None else len(session.connector._acquired) - self._links_kept

    @property
    def connections_kept(self):
        """How many connections wait in the pool."""
        session = self._http._session
        return 0 if session is None else sum(map(len, session.connector._conns.values())) + self._links_kept

    @property
    def _links_kept(self):
        return sum(origin.idle for origin in self._http._origins.values())


class Bedrock:
    """One emulated Bedrock, and the clients that were opened for it."""

    def __init__(self, loop, emulator):
        self._loop = loop
        self._clients = ExitStack()
        self.emulator = emulator

    @property
    def journal(self):
        return self.emulator.journal

    @property
    def faults(self):
        return self.emulator.faults

    @property
    def counts(self):
        return self.emulator.traffic.counts

    @property
    def bodies(self):
        """What was sent in the requests so far."""
        return [received.body for received in self.journal]

    def run(self, coroutine):
        """Return what *coroutine* returns; it may take `PATIENCE` seconds."""

        async def bounded():
            async with asyncio.timeout(PATIENCE):
                return await coroutine

        return self._loop.run(bounded())

    def official(self, service="bedrock-runtime", *, read_timeout=10.0, **more):
        """Return AWS's own client, which tries once; *more* are arguments of boto3."""
        # Only the tests that compare need it.
        import boto3
        from botocore.config import Config

        settings = {
            "endpoint_url": self.emulator.url,
            "region_name": self.emulator.region,
            "aws_access_key_id": self.emulator.access_key_id,
            "aws_secret_access_key": self.emulator.secret_access_key,
            "config": Config(retries={"total_max_attempts": 1}, read_timeout=read_timeout),
        }
        return boto3.session.Session().client(service, **(settings | more))

    def blocking(self, call, **arguments):
        """Return what *call* returns, which blocks its thread."""
        return self.run(asyncio.to_thread(call, **arguments))

    def quiet(self):
        """Wait until the emulator answers nobody any more."""
        self.run(self.emulator.traffic.until(lambda counts: not counts.open_requests))

    def provider(self, name="bedrock", *, by="iam", models=MODELS, options=(), **keys):
        """Return a table of ``[[providers]]``; *by* "iam" or "key", *models* as names or tables."""
        access_key = {"access_key_id": self.emulator.access_key_id, "secret_access_key": "env:SECRET_KEY"}
        signing = {"type": "iam", "credentials": access_key}
        bearing = {"type": "api_key", "credentials": {"api_key": "env:BEDROCK_KEY"}}
        return {
            "name": name,
            "type": "bedrock",
            "retry_count": 0,
            "auth": signing if by == "iam" else bearing,
            "models": [{"id": m} if isinstance(m, str) else m for m in models],
            "options": {"region": self.emulator.region, "endpoint": self.emulator.url, **dict(options)},
            **keys,
        }

    def unopened(self, *providers, manager=(), tables=(), settings=(), **keys):
        """Make a client of *providers*, or of one with *keys*; breakers are off, so that tests of failures can go on.

        *manager* are keys of that table, *tables* other ones, *settings* arguments of `LLMProviderManager`.
        """
        configuration = {
            "manager": {"circuit_breaker_enabled": False, **dict(manager)},
            "providers": list(providers) or [self.provider(**keys)],
            **dict(tables),
        }
        return Client(self, configuration, **dict(settings))

    def client(self, *providers, **more):
        """Open a client that is closed with the test."""
        return self._clients.enter_context(self.unopened(*providers, **more))

    def close(self):
        """Close the clients, and forget what happened."""
        self._clients.close()
        self.forget()

    def forget(self):
        """Forget what was ordered and received."""
        self.faults.clear()
        self.journal.clear()


@pytest.fixture(autouse=True)
def no_machine(monkeypatch, tmp_path):
    """Nothing of this machine's own AWS configuration counts."""
    for name in [name for name in os.environ if name.startswith("AWS_") or name == "REQUESTS_CA_BUNDLE"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="session")
def opened():
    """Run an emulator with the given settings, and give its `Bedrock`, inside ``with``."""

    class Opened:
        def __init__(self, **settings):
            settings.setdefault("slow_pause", 0.005)
            self._loop = asyncio.Runner()
            self._emulator = BedrockEmulator(**settings)

        def __enter__(self):
            self._loop.run(self._emulator.start())
            self._bedrock = Bedrock(self._loop, self._emulator)
            return self._bedrock

        def __exit__(self, *_):
            self._bedrock.close()
            self._loop.run(self._emulator.stop())
            self._loop.close()

    return Opened


@pytest.fixture(scope="module")
def account(opened):
    """The emulated Bedrock of a module."""
    with opened() as bedrock:
        yield bedrock


@pytest.fixture
def bedrock(account):
    """The emulated Bedrock of the module, without a past."""
    yield account
    account.close()
