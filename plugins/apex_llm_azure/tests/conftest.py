"""Shared by the tests that go through the manager: an emulated Azure resource, and clients that use it.

Emulator and clients run in one event loop per module, so that a test can wait for what the other side notices; nothing
runs in it between the calls of a test.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, asynccontextmanager

import pytest
from apex_llm_mock.emulation import AzureEmulator

from apex_llm_core import LLMProviderManager
from apex_llm_core.errors import LLMError
from apex_llm_core.testing.streams import put_together
from apex_llm_core.transport import AiohttpClient

#: Seconds that a test may take before it counts as hanging.
PATIENCE = 30.0
#: What the providers of tests declare unless they say otherwise: deployments named after their models.
MODELS = ("gpt-4o", "o3-mini", "gpt-5", "text-embedding-3-small", "gpt-image-1", "dall-e-3")
#: The version that has every operation of the dated surface.
DATED = "2025-04-01-preview"


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

    def __init__(self, azure, configuration, **settings):
        self._azure = azure
        self._http = AiohttpClient()
        environ = {
            "AZURE_KEY": azure.emulator.api_key,
            "WRONG_KEY": "a-key-of-another-resource",
            "CLIENT_SECRET": azure.emulator.entra.client_secret,
        }
        settings = {"environ": environ, "http": self._http, **settings}
        self.manager = LLMProviderManager(configuration, **settings)
        self.events = []
        self.manager.subscribe("test", self.events.append)

    def __enter__(self):
        self._azure.run(self.manager.start())
        return self

    def __exit__(self, *_):
        self._azure.run(self._close())

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
        return self._azure.run(self.manager.generate_chat(messages, **{"model": "gpt-4o", **options}))

    def read(self, messages="Hello there", **options):
        """Stream a chat; an error ends the reading and is kept."""
        return self._azure.run(self.reading(messages, **options))

    async def reading(self, messages="Hello there", **options):
        stream = Stream()
        try:
            async for batch in self.manager.generate_chat_stream(messages, **{"model": "gpt-4o", **options}).batches():
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
        options = {"model": "text-embedding-3-small", **options}
        return self._azure.run(self.manager.generate_embedding(texts, **options))

    def image(self, prompt="a cat", **options):
        return self._azure.run(self.manager.generate_image(prompt, **{"model": "gpt-image-1", **options}))

    def models(self):
        return self._azure.run(self.manager.get_models())

    def health(self):
        return self._azure.run(self.manager.get_health())

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


class Azure:
    """One emulated resource with its directory, and the clients that were opened for it."""

    def __init__(self, loop, emulator, folder):
        self._loop = loop
        self._clients = ExitStack()
        self._authority_file = folder / "authority.pem"
        self.emulator = emulator
        emulator.certificate.write_ca(self._authority_file)

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

    def quiet(self):
        """Wait until the emulator answers nobody any more."""
        self.run(self.emulator.traffic.until(lambda counts: not counts.open_requests))

    def provider(self, name="azure", *, surface="v1", by="key", models=MODELS, options=(), **keys):
        """Return a table of ``[[providers]]``; *by* "key" or "entra", *models* as names or tables."""
        entra = self.emulator.entra
        authority, _, _ = self.emulator.authority.rpartition("/")
        key = {"type": "api_key", "credentials": {"api_key": "env:AZURE_KEY"}}
        application = {"tenant_id": entra.tenant, "client_id": entra.client_id, "client_secret": "env:CLIENT_SECRET"}
        token = {"type": "azure_ad", "credentials": application}
        return {
            "name": name,
            "type": "azure",
            "retry_count": 0,
            "auth": key if by == "key" else token,
            "models": [{"id": m, "base_model": m} if isinstance(m, str) else m for m in models],
            "options": {
                "endpoint": self.emulator.url,
                **({} if surface == "v1" else {"api_version": DATED}),
                **({} if by == "key" else {"authority": authority, "ca_file": str(self._authority_file)}),
                **dict(options),
            },
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
        self.emulator.entra.calls.clear()
        self.emulator.entra.faults.clear()


@pytest.fixture(scope="session")
def opened(tmp_path_factory):
    """Run an emulator with the given settings, and give its `Azure`, inside ``with``."""

    class Opened:
        def __init__(self, **settings):
            settings.setdefault("slow_pause", 0.005)
            self._loop = asyncio.Runner()
            self._emulator = AzureEmulator(token_port=0, **settings)

        def __enter__(self):
            self._loop.run(self._emulator.start())
            self._azure = Azure(self._loop, self._emulator, tmp_path_factory.mktemp("azure"))
            return self._azure

        def __exit__(self, *_):
            self._azure.close()
            self._loop.run(self._emulator.stop())
            self._loop.close()

    return Opened


@pytest.fixture(scope="module")
def resource(opened):
    """The emulated resource of a module."""
    with opened() as azure:
        yield azure


@pytest.fixture
def azure(resource):
    """The resource of the module, without a past."""
    yield resource
    resource.close()
