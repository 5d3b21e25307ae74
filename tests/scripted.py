"""A provider that does what a script says, and a stage that puts some of them behind a manager in virtual time.

A script is a list of outcomes, one per call; when it is used up, calls answer "ok". An outcome is a step or a list of steps:

- a number: seconds to wait;
- a text: the answer, or one chunk of a stream;
- an exception: raised;
- ``...``: silence for ever;
- None: the end at once, for a stream without a finish reason;
- a function: called with (request, context).
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import aclosing

from apex_llm_core.manager import LLMProviderManager
from apex_llm_core.markers import hookimpl
from apex_llm_core.models import (
    ChatGenerationChunk,
    ChatGenerationResult,
    ChatMessage,
    EmbeddingResult,
    ImageGenerationResult,
    Usage,
)
from apex_llm_core.testing import FakeClock, run_virtual


class ScriptedProvider:
    def __init__(self, script=()):
        self.script = deque(script)
        self.usage = Usage(prompt_tokens=10, completion_tokens=5)
        #: The contexts of all calls.
        self.calls = []
        #: The requests of all calls.
        self.requests = []
        #: When they began.
        self.times = []
        self.running = 0
        self.opened = 0
        self.closed = 0
        self.life = []

    async def _play(self, request, context):
        self.calls.append(context)
        self.requests.append(request)
        self.times.append(context.clock())
        outcome = self.script.popleft() if self.script else "ok"
        self.running += 1
        try:
            for step in outcome if isinstance(outcome, list) else [outcome]:
                if step is None:
                    return
                if step is ...:
                    await asyncio.Event().wait()
                elif isinstance(step, str):
                    yield step
                elif isinstance(step, BaseException):
                    raise step
                elif callable(step):
                    step(request, context)
                else:
                    await asyncio.sleep(step)
            yield None
        finally:
            self.running -= 1

    async def _whole(self, request, context):
        text = ""
        async with aclosing(self._play(request, context)) as pieces:
            async for piece in pieces:
                text += piece or ""
        return text

    def _names(self, context):
        return {"provider": context.candidate.provider, "model": context.candidate.model}

    @hookimpl
    async def apex_startup(self, runtime):
        self.life.append(("startup", runtime))

    @hookimpl
    async def apex_shutdown(self, runtime):
        self.life.append(("shutdown", runtime))

    @hookimpl
    async def apex_generate(self, request, context):
        message = ChatMessage(role="assistant", content=await self._whole(request, context))
        return ChatGenerationResult(message=message, usage=self.usage, **self._names(context))

    @hookimpl
    async def apex_stream(self, request, context):
        self.opened += 1
        try:
            async with aclosing(self._play(request, context)) as pieces:
                async for piece in pieces:
                    if piece is None:
                        yield [ChatGenerationChunk(finish_reason="stop", usage=self.usage)]
                    else:
                        yield [ChatGenerationChunk(text=piece)]
        finally:
            self.closed += 1

    @hookimpl
    async def apex_embed(self, request, context):
        await self._whole(request, context)
        vectors = tuple((float(len(text)), 1.0) for text in request.texts)
        return EmbeddingResult(embeddings=vectors, usage=self.usage, **self._names(context))

    @hookimpl
    async def apex_image(self, request, context):
        await self._whole(request, context)
        return ImageGenerationResult(images=("aW1n",), media_type="image/png", **self._names(context))


class Plugin:
    """Registers whatever it was made with: ``Plugin(lambda registrar: registrar.strategy(...))``."""

    def __init__(self, register):
        self._register = register

    @hookimpl
    def apex_register(self, registrar):
        self._register(registrar)


class Stage:
    """Scripted providers by name, the first most preferred, behind a manager whose time is `clock`."""

    def __init__(self, scripts, *, providers=None, plugins=(), environ=None, **tables):
        self.clock = FakeClock()
        self.providers = {name: ScriptedProvider(script) for name, script in scripts.items()}
        self.plugins = (Plugin(self._register), *plugins)
        self.environ = environ or {}
        self.events = []
        self.config = {
            "seed": 1,
            "providers": [
                {
                    "name": name,
                    "type": "scripted",
                    "priority": position,
                    "timeout": 30,
                    "retry_count": 0,
                    "models": [{"id": "m"}],
                    **(providers or {}).get(name, {}),
                }
                for position, name in enumerate(scripts)
            ],
            **tables,
        }

    def _register(self, registrar):
        registrar.provider("scripted", lambda config, settings, runtime: self.providers[config.name])

    def __getattr__(self, name):
        try:
            return self.__dict__["providers"][name]
        except KeyError:
            raise AttributeError(name) from None

    def make(self, config=None):
        return LLMProviderManager(
            self.config if config is None else config, plugins=self.plugins, clock=self.clock, environ=self.environ
        )

    def run(self, body):
        """Run ``await body(manager)`` with a started manager, and return its result."""

        async def main():
            async with self.make() as manager:
                manager.subscribe("stage", self.events.append)
                return await body(manager)

        return run_virtual(main(), clock=self.clock)

    def chat(self, prompt="hi", **keywords):
        """Run one chat request and return its result."""
        return self.run(lambda manager: manager.generate_chat(prompt, **{"model": "m", **keywords}))

    def failed_chat(self, kind, **keywords):
        """Run one chat request and return the error of class *kind* that it raises."""

        async def body(manager):
            try:
                await manager.generate_chat("hi", **{"model": "m", **keywords})
            except kind as error:
                return error
            raise AssertionError("it was answered")

        return self.run(body)

    @property
    def called(self):
        """The names of the called providers, in the order of the calls."""
        calls = [(context.attempt, name) for name, provider in self.providers.items() for context in provider.calls]
        return "".join(name for _, name in sorted(calls))

    def events_of(self, kind):
        return [event for event in self.events if type(event) is kind]

    def assert_settled(self, manager):
        """Nothing is left of any request."""
        generation = manager._generation
        assert generation.engine.pipeline._in_flight == 0
        assert generation.sweeper._armed == set()
        for handle in generation.registry:
            for candidate in handle.candidates.values():
                assert candidate.live.in_flight == 0
        if generation.engine.cache is not None:
            assert len(generation.engine.cache.flights) == 0
        for bulkhead in generation.balancer.bulkheads._bulkheads.values():
            assert bulkhead.limit.in_flight == bulkhead.waiting == 0
        for provider in self.providers.values():
            assert provider.running == 0
            assert provider.opened == provider.closed


async def drain(stream):
    """Return the texts of all chunks."""
    return [chunk.text async for chunk in stream if chunk.text]
