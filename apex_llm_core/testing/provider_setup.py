"""What `ProviderConformance` asks of its subclasses, and how it runs a provider."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest

from apex_llm_core.context import CallContext
from apex_llm_core.errors import LLMErrorType
from apex_llm_core.hookspecs import Runtime
from apex_llm_core.models import (
    ChatGenerationOptions,
    ChatMessage,
    EmbeddingOptions,
    EmbedRequest,
    FunctionDefinition,
    GenerateRequest,
    ImageGenerationOptions,
    ImageRequest,
    ModelInfo,
    TextGenerationOptions,
)
from apex_llm_core.testing.clock import FakeClock, run_virtual
from apex_llm_core.testing.guard import ConformanceBase
from apex_llm_core.testing.interruption import Leaks, watching
from apex_llm_core.testing.runtime import FakeRuntime, make_candidate, make_context

#: The candidate's names differ from everything a provider could know, so that a result that has them took them from there.
PROVIDER = "the-configured-name"
MODEL = "the-generic-model"

WEATHER = FunctionDefinition(
    name="get_weather",
    description="Return the weather of a city.",
    parameters={
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "The city's name."},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
        },
        "required": ["city", "unit"],
    },
)

_HOOKS = {
    "generate": "apex_generate",
    "stream": "apex_stream",
    "embed": "apex_embed",
    "image": "apex_image",
    "models": "apex_models",
    "health": "apex_health",
    "capabilities": "apex_capabilities",
}


def on_provider(*needs: str) -> Callable[[Callable[[Any, Any], Coroutine[Any, Any, None]]], Callable[[Any], None]]:
    """Make a pytest method of an async one that takes a provider; skipped when it lacks an ability of *needs*."""

    def decorate(test: Callable[[Any, Any], Coroutine[Any, Any, None]]) -> Callable[[Any], None]:
        # functools.wraps would show pytest the parameter `provider`, which it would take for a fixture.
        def run(self: ProviderSetup) -> None:
            async def body(provider: Any) -> None:
                for ability in needs:
                    if not self.can(provider, ability):
                        pytest.skip(f"the provider does not offer {ability!r}")
                await test(self, provider)

            self.run(body)

        run.__name__, run.__qualname__, run.__doc__ = test.__name__, test.__qualname__, test.__doc__
        return run

    return decorate


class ProviderSetup(ConformanceBase):
    """The part of `ProviderConformance` that subclasses fill in."""

    # -- what is tested ----------------------------------------------------------------------------------------------

    #: The module with `apex_register` and the name of the provider type; None leaves the registration untested.
    plugin: ClassVar[Any] = None
    name: ClassVar[str] = ""

    #: The provider's own ids of models; needed for the hooks it implements.
    chat_model: ClassVar[str] = ""
    embed_model: ClassVar[str] = ""
    image_model: ClassVar[str] = ""

    #: Sleeps and timeouts cost no time. False runs on real time, as real sockets need.
    virtual_time: ClassVar[bool] = True

    # -- what it claims; None follows from the hooks and from `apex_capabilities`. Denying what is there fails. ----------

    supports_generate: ClassVar[bool | None] = None
    supports_stream: ClassVar[bool | None] = None
    supports_embed: ClassVar[bool | None] = None
    supports_image: ClassVar[bool | None] = None
    supports_models: ClassVar[bool | None] = None
    supports_health: ClassVar[bool | None] = None
    supports_capabilities: ClassVar[bool | None] = None
    supports_tools: ClassVar[bool | None] = None
    supports_json: ClassVar[bool | None] = None
    #: Several alternatives (`n`); without it, asking for them must be an `InvalidRequestError`.
    supports_choices: ClassVar[bool] = True
    #: `dimensions` of embeddings; without it, asking for them must be an `InvalidRequestError`.
    supports_dimensions: ClassVar[bool] = True

    #: Vectors have the length one.
    unit_vectors: ClassVar[bool] = True
    #: Results carry usage.
    reports_usage: ClassVar[bool] = True
    #: A request gets the same answer each time.
    deterministic: ClassVar[bool] = False
    #: A model nobody knows is an error; None where the provider takes any name.
    unknown_model: ClassVar[str | None] = "no-such-model"
    image_size: ClassVar[str | None] = None
    #: On real time: how many seconds a cancelled call may take to be gone everywhere.
    patience: ClassVar[float] = 2.0
    #: Qualified names of coroutines that serve several calls and may outlive one that is cancelled, for example a refresh of
    #: credentials; `apex_shutdown` must end them.
    shared_tasks: ClassVar[frozenset[str]] = frozenset()
    #: At most so many awaits of a call are cancelled one after the other.
    cancellation_points: ClassVar[int] = 60

    def make_provider(self, runtime: Runtime) -> object:
        """Return a new provider; called inside the running loop."""
        raise NotImplementedError

    @asynccontextmanager
    async def serving(self, clock: Callable[[], float]) -> AsyncIterator[Runtime]:
        """Yield the runtime of one test; override to start a loopback server and to give an HTTP client."""
        yield FakeRuntime(clock=clock)

    def failures(self) -> Mapping[LLMErrorType, Callable[[Runtime], object]]:
        """Return factories of providers whose every chat call fails with the error type that is the key."""
        return {}

    def belongs(self, marker: str, text: str) -> bool:
        """Tell whether *text* answers the prompt that holds *marker*; override where answers do not repeat it."""
        return marker in text

    def upstream_calls(self) -> int:
        """Return how many calls are in progress at the loopback server."""
        return 0

    def tokens_spent(self) -> int:
        """Return how many tokens the loopback server has sold so far."""
        return 0

    # -- requests and contexts ---------------------------------------------------------------------------------------

    def context(self, operation: str = "chat", **fields: Any) -> CallContext:
        """Return the context of an attempt at the model for *operation*."""
        model_id = {"embed": self.embed_model, "image": self.image_model}.get(operation, self.chat_model)
        fields.setdefault("candidate", make_candidate(PROVIDER, MODEL, provider_model_id=model_id))
        return make_context(operation=operation, **fields)

    def request(
        self, prompt: str | Sequence[ChatMessage] = "Say hello.", *, stream: bool = False, **options: Any
    ) -> GenerateRequest:
        """Return a chat request for one prompt or a conversation."""
        messages = (ChatMessage(role="user", content=prompt),) if isinstance(prompt, str) else tuple(prompt)
        chat = ChatGenerationOptions(model=MODEL, **options)
        return GenerateRequest(kind="chat", messages=messages, model=MODEL, options=chat, stream=stream)

    def text_request(self, prompt: str, *, stream: bool = False) -> GenerateRequest:
        """Return a text request."""
        messages = (ChatMessage(role="user", content=prompt),)
        options = TextGenerationOptions(model=MODEL)
        return GenerateRequest(kind="text", messages=messages, model=MODEL, options=options, stream=stream)

    def embed_request(self, *texts: str, **options: Any) -> EmbedRequest:
        """Return an embedding request."""
        return EmbedRequest(texts=texts, model=MODEL, options=EmbeddingOptions(model=MODEL, **options))

    def image_request(self, prompt: str = "a lighthouse in the fog", **options: Any) -> ImageRequest:
        """Return an image request."""
        if self.image_size is not None:
            options.setdefault("size", self.image_size)
        return ImageRequest(prompt=prompt, model=MODEL, options=ImageGenerationOptions(model=MODEL, **options))

    # -- running -----------------------------------------------------------------------------------------------------

    def can(self, provider: Any, ability: str) -> bool:
        """Return whether the provider claims *ability*: a hook's name without prefix, "tools" or "json"."""
        claim: bool | None = getattr(self, f"supports_{ability}")
        return self.offers(provider, ability) if claim is None else claim

    def offers(self, provider: Any, ability: str) -> bool:
        """Return whether the provider has *ability*, whatever the switches say."""
        if ability in _HOOKS:
            return hasattr(provider, _HOOKS[ability])
        return self.offers(provider, "generate") and ability in self.declared(provider)

    def declared(self, provider: Any) -> frozenset[str]:
        """Return the words that the provider's table has for the chat model, else for the whole provider."""
        if not self.offers(provider, "capabilities"):
            return frozenset()
        table = provider.apex_capabilities()
        facts: ModelInfo | None = table.models.get(self.chat_model)
        features: frozenset[str] = table.features
        return features if facts is None or facts.capabilities is None else facts.capabilities

    def run(self, body: Callable[[Any], Awaitable[None]]) -> None:
        """Run *body* with a new provider, started and shut down as the core does."""

        async def with_provider(runtime: Runtime) -> None:
            async with self.started(runtime) as provider:
                await body(provider)

        self.run_serving(with_provider)

    def run_serving(self, body: Callable[[Runtime], Awaitable[None]]) -> None:
        """Run *body* with the runtime of `serving`, on virtual or real time."""
        clock: Callable[[], float] = FakeClock() if self.virtual_time else time.monotonic

        async def main() -> None:
            async with self.serving(clock) as runtime:
                await body(runtime)

        if isinstance(clock, FakeClock):
            run_virtual(main(), clock=clock)
        else:
            asyncio.run(main())

    @asynccontextmanager
    async def started(self, runtime: Runtime, make: Callable[[Runtime], object] | None = None) -> AsyncIterator[Any]:
        """Yield a provider between its `apex_startup` and `apex_shutdown`."""
        provider: Any = (make or self.make_provider)(runtime)
        if hasattr(provider, "apex_startup"):
            await provider.apex_startup(runtime)
        try:
            yield provider
        finally:
            if hasattr(provider, "apex_shutdown"):
                await provider.apex_shutdown(runtime)

    @asynccontextmanager
    async def leaving_nothing(self, doing: str) -> AsyncIterator[None]:
        """Fail when the body leaves a task, an open async generator or an upstream call behind."""
        async with watching() as leaks:
            yield
            await self._settled(leaks)
            left = leaks.left(self.shared_tasks)
        if self.upstream_calls():
            left.append(f"{self.upstream_calls()} calls at the server")
        assert not left, f"{doing} left behind: {', '.join(left)}"

    async def _settled(self, leaks: Leaks) -> None:
        # Cancelled tasks need turns of the loop to end; a real server needs time to see that a connection closed.
        pause, turns = (0.0, 20) if self.virtual_time else (0.01, round(self.patience / 0.01))
        for _ in range(turns):
            if not leaks.left(self.shared_tasks) and not self.upstream_calls():
                return
            await asyncio.sleep(pause)


__all__ = ["MODEL", "PROVIDER", "WEATHER", "ProviderSetup", "on_provider"]
