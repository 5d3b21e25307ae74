"""`LLMProviderManager`: the front door."""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
import time
import warnings
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from threading import get_ident
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import attrs

from apex_llm_core.assembly import Generation
from apex_llm_core.assembly.following import ConfigurationFiles
from apex_llm_core.assembly.providers import provider_table
from apex_llm_core.assembly.report import breaker_statuses, statistics
from apex_llm_core.config.loading import checked_config, load_config, parse_config, parse_provider
from apex_llm_core.config.schema import Config, ModelConfig, ProviderConfig
from apex_llm_core.context import CallContext
from apex_llm_core.errors import (
    ApexLLMError,
    ConfigurationError,
    ConfigurationWarning,
    InvalidRequestError,
)
from apex_llm_core.hookspecs import ChunkBatch
from apex_llm_core.interfaces import HttpClient
from apex_llm_core.models.decisions import Decision
from apex_llm_core.models.events import ConfigurationRejected, ConfigurationReloaded
from apex_llm_core.models.info import ANONYMOUS, Caller, HealthStatus, ModelInfo, ProviderCapabilities
from apex_llm_core.models.options import (
    ChatGenerationOptions,
    EmbeddingOptions,
    ImageGenerationOptions,
    TextGenerationOptions,
)
from apex_llm_core.models.requests import EmbedRequest, GenerateRequest, ImageRequest
from apex_llm_core.models.results import (
    ChatGenerationResult,
    EmbeddingResult,
    ImageGenerationResult,
    TextGenerationResult,
    TokenCount,
)
from apex_llm_core.plugin.discovery import EXTENSIONS, Installed
from apex_llm_core.plugin.registry import ProviderHandle
from apex_llm_core.policies.limits import LimitStanding
from apex_llm_core.redaction import Secret
from apex_llm_core.routing.breakers import BreakerAction
from apex_llm_core.routing.intake import Messages, chat_request, embed_request, image_request, text_request
from apex_llm_core.routing.streams import ChatStream

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from apex_llm_core.models.options import ChatKeywords, EmbeddingKeywords, ImageKeywords, TextKeywords

ConfigSource = str | Path | Mapping[str, Any] | Config | None
R = TypeVar("R", GenerateRequest, EmbedRequest, ImageRequest)
T = TypeVar("T")


class LLMProviderManager:
    """Many LLM providers as one. An async context manager.

    It belongs to the event loop it was started in: from another loop, and before the start or after `close`, its methods
    raise a `RuntimeError` that says so. A closed manager can be started again, in any loop.

    Args:
        config: a file's path, a mapping, a `Config`, or nothing: then APEX_LLM_CONFIG, then the installed defaults.
        plugins: objects with `apex_register` that are not installed as distributions.
        clock: monotonic seconds.
        environ: where ``env:`` references and APEX_LLM_* look; the process's environment by default.
        http: the HTTP client of all providers; one on aiohttp by default.
    """

    def __init__(
        self,
        config: ConfigSource = None,
        *,
        plugins: Sequence[object] = (),
        clock: Callable[[], float] = time.monotonic,
        environ: Mapping[str, str] | None = None,
        http: HttpClient | None = None,
    ) -> None:
        self._source = config
        self._plugins = tuple(plugins)
        self._clock = clock
        self._environ = os.environ if environ is None else environ
        self._http = http
        self._generation: Generation | None = None
        #: Held while the generation in force, or what belongs to it, changes.
        self._changing = asyncio.Lock()
        #: Where it was started.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        #: Generations whose last requests are waited for.
        self._retired: dict[asyncio.Task[None], Generation] = {}
        self._files = ConfigurationFiles()
        self._observers: dict[str, Callable[[Any], None]] = {}
        self._added: dict[str, tuple[object | None, ProviderConfig]] = {}
        self._prefix = secrets.token_hex(6)
        self._count = itertools.count(1)

    # -- life --------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Read the configuration and get ready.

        Raises:
            ConfigurationError: the configuration cannot be used; names file, key and nearest valid name.
            PluginError: a plugin that cannot be done without is broken.
            RuntimeError: it was started in another event loop and is not closed yet.
        """
        loop = asyncio.get_running_loop()
        if self._is_busy_outside(loop):
            raise RuntimeError(_ELSEWHERE)
        if self._loop is not loop:
            # A lock belongs to the first loop in which somebody had to wait for it.
            self._loop, self._thread, self._changing = loop, get_ident(), asyncio.Lock()
        async with self._changing:
            if self._generation is None:
                self._generation = await self._make(self._source, None)
        self._follow_files()

    async def close(self) -> None:
        """Stop all providers and release connections. Requests under way are not waited for."""
        if self._is_busy_outside(asyncio.get_running_loop()):
            raise RuntimeError(_ELSEWHERE)
        await self._files.forget()
        async with self._changing:
            generation, self._generation = self._generation, None
            for earlier in self._retired.values():
                earlier.engine.pipeline.hurry()
            await asyncio.gather(*self._retired)
            if generation is not None:
                await generation.shutdown()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def reload(self, config: ConfigSource = None) -> None:
        """Put another configuration in force; with nothing, read the same source again.

        The new one is complete before it takes over; requests under way finish on the old one. When it cannot be used, the
        old one stays and the error is raised.
        """
        async with self._changing:
            earlier = self._running
            source = self._source if config is None else config
            generation = await self._make(source, earlier)
            self._source, self._generation = source, generation
            task = asyncio.get_running_loop().create_task(_retire(earlier))
            self._retired[task] = earlier
            task.add_done_callback(self._retired.pop)
            generation.bus.emit(
                ConfigurationReloaded(providers=tuple(handle.get_name() for handle in generation.registry))
            )
        self._follow_files()

    # -- generation --------------------------------------------------------------------------------------------------

    async def generate_text(
        self,
        prompt: str,
        options: TextGenerationOptions | Mapping[str, Any] | None = None,
        *,
        caller: Caller | None = None,
        **keywords: Unpack[TextKeywords],
    ) -> TextGenerationResult:
        """Complete *prompt*. Options may be given as an object, a mapping, or keywords.

        Raises:
            LLMError: the request failed; `type` says how, `attempts` what was tried.
        """
        generation = self._running
        request = text_request(prompt, options, keywords, stream=False)
        result = await generation.engine.pipeline.generate(*self._prepare(generation, request, caller, "text"))
        return TextGenerationResult.from_chat(result)

    async def generate_chat(
        self,
        messages: Messages,
        options: ChatGenerationOptions | Mapping[str, Any] | None = None,
        *,
        caller: Caller | None = None,
        **keywords: Unpack[ChatKeywords],
    ) -> ChatGenerationResult:
        """Answer a conversation: messages, mappings of the same form, or one user message as text.

        Raises:
            LLMError: the request failed; `type` says how, `attempts` what was tried.
        """
        generation = self._running
        request = chat_request(messages, options, keywords, stream=False)
        return await generation.engine.pipeline.generate(*self._prepare(generation, request, caller, "chat"))

    def generate_text_stream(
        self,
        prompt: str,
        options: TextGenerationOptions | Mapping[str, Any] | None = None,
        *,
        caller: Caller | None = None,
        **keywords: Unpack[TextKeywords],
    ) -> ChatStream:
        """Complete *prompt* piece by piece; errors come from the iteration, except for a malformed request."""
        generation = self._started
        request = text_request(prompt, options, keywords, stream=True)
        request, context = self._prepare(generation, request, caller, "text")
        return ChatStream(partial(self._begin_stream, request, context), context)

    def generate_chat_stream(
        self,
        messages: Messages,
        options: ChatGenerationOptions | Mapping[str, Any] | None = None,
        *,
        caller: Caller | None = None,
        **keywords: Unpack[ChatKeywords],
    ) -> ChatStream:
        """Answer a conversation piece by piece; errors come from the iteration, except for a malformed request."""
        generation = self._started
        request = chat_request(messages, options, keywords, stream=True)
        request, context = self._prepare(generation, request, caller, "chat")
        return ChatStream(partial(self._begin_stream, request, context), context)

    async def generate_embedding(
        self,
        text: str | Iterable[str],
        options: EmbeddingOptions | Mapping[str, Any] | None = None,
        *,
        caller: Caller | None = None,
        **keywords: Unpack[EmbeddingKeywords],
    ) -> EmbeddingResult:
        """Embed one text or several; `embedding` is the first vector, `embeddings` are all of them.

        Raises:
            LLMError: the request failed; `type` says how, `attempts` what was tried.
        """
        generation = self._running
        request = embed_request(text, options, keywords)
        return await generation.engine.pipeline.embed(*self._prepare(generation, request, caller, "embed"))

    async def count_tokens(
        self,
        messages: Messages,
        options: ChatGenerationOptions | Mapping[str, Any] | None = None,
        *,
        caller: Caller | None = None,
        **keywords: Unpack[ChatKeywords],
    ) -> TokenCount:
        """Return the size of the prompt that `generate_chat` would send: the provider's count, else an estimate.

        The prompt goes to the provider's counter as it is; where middleware is configured it stays here and is estimated.

        Raises:
            LLMError: the provider counts, but failed to.
        """
        generation = self._running
        request = chat_request(messages, options, keywords, stream=False)
        return await generation.engine.counter.count(*self._prepare(generation, request, caller, "chat"))

    async def generate_image(
        self,
        prompt: str,
        options: ImageGenerationOptions | Mapping[str, Any] | None = None,
        *,
        caller: Caller | None = None,
        **keywords: Unpack[ImageKeywords],
    ) -> ImageGenerationResult:
        """Make images from *prompt*.

        Raises:
            LLMError: the request failed; `type` says how, `attempts` what was tried.
        """
        generation = self._running
        request = image_request(prompt, options, keywords)
        return await generation.engine.pipeline.image(*self._prepare(generation, request, caller, "image"))

    # -- what there is -----------------------------------------------------------------------------------------------

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._started.config

    @property
    def providers(self) -> list[ProviderHandle]:
        """All configured providers, disabled ones included."""
        return list(self._started.registry)

    @property
    def failures(self) -> list[ApexLLMError]:
        """Plugins that could not be used."""
        return list(self._started.failures)

    async def get_models(self) -> list[ModelInfo]:
        """Return the models that requests may name, then what the providers list beyond them.

        A provider that cannot be asked is represented by its configured models.
        """
        return await self._running.engine.inquiry.models(self._next_id)

    def get_capabilities(self) -> dict[str, ProviderCapabilities]:
        """Return what each enabled provider can do, by its name; `features` are narrowed to the hooks it implements."""
        return {
            handle.get_name(): ProviderCapabilities(
                features=handle.features, models=handle.capabilities.models, served=handle.capabilities.served
            )
            for handle in self._started.registry
            if handle.enabled
        }

    async def get_health(self) -> dict[str, HealthStatus]:
        """Check all enabled providers at once and return their states by name.

        A provider that could not be started is among them, as unavailable.
        """
        return await self._running.engine.inquiry.health(self._next_id)

    def stats(self) -> dict[str, Any]:
        """Return what happened so far, and the live facts of every candidate, as a JSON-safe document.

        `governor.amplification` is upstream calls per request; `retry_after` of a candidate the seconds until its open circuit
        breaker lets somebody through.
        """
        return statistics(self._started, self._clock)

    # -- why and how much --------------------------------------------------------------------------------------------

    def explain(
        self,
        messages: Messages,
        options: ChatGenerationOptions | Mapping[str, Any] | None = None,
        *,
        caller: Caller | None = None,
        stream: bool = False,
        **keywords: Unpack[ChatKeywords],
    ) -> Decision:
        """Return where `generate_chat` (or its stream) would send this request now, and why; nobody is asked.

        Raises:
            LLMError: the request is malformed, or nobody could serve it.
        """
        generation = self._started
        request = chat_request(messages, options, keywords, stream=stream)
        return generation.engine.explainer.explain(*self._prepare(generation, request, caller, "chat"))

    def decisions(self, count: int = 20) -> list[Decision]:
        """Return where the last requests went, and why, the latest first; how many are kept, `[decisions]` says."""
        return self._started.engine.decisions.last(count)

    async def get_limits(self) -> list[LimitStanding]:
        """Return what is used and what is left of every configured limit, by subject."""
        return await self._running.engine.admission.standing()

    def breakers(self) -> list[dict[str, Any]]:
        """Return state, rates and history of every circuit breaker, as a JSON-safe document."""
        return breaker_statuses(self._started)

    def set_breaker(self, provider: str, model: str | None = None, *, action: BreakerAction) -> int:
        """Move the circuit breaker of a candidate, or of all models of a provider, by hand; return how many were moved.

        Args:
            provider: the configured name.
            model: the generic id; None: all of the provider's.
            action: "isolate" lets nobody through until it is moved again, "open" for the usual time, "close" begins anew, "watch"
                lets everybody through and goes on counting, "disable" stops counting, too.

        Raises:
            InvalidRequestError: there is no such action.
            ModelNotFoundError: there is no such breaker.
        """
        return self._started.balancer.breakers.move(provider, model, action)

    async def resolve_secret(self, value: str | Secret) -> Secret:
        """Return the secret behind a reference of a built-in or installed scheme, or *value* itself when it is none.

        For applications that keep secrets of their own beside the configuration. From then on log lines and events are
        cleaned of it, until the next reload.

        Raises:
            ConfigurationError: the scheme is unknown, or the reference leads nowhere; the message names it, never a value.
            PluginError: the plugin of the scheme is broken.
        """
        return await self._running.resolve_secret(value)

    # -- coming and going --------------------------------------------------------------------------------------------

    async def register_provider(
        self,
        provider: object | None = None,
        config: ProviderConfig | Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
        models: str | Iterable[str | Mapping[str, Any] | ModelConfig] = (),
    ) -> ProviderHandle:
        """Add a provider at run time.

        Either a ready instance (*provider*, with its *name* and *models*, or a *config* that tells both), or a *config*
        whose `type` is an installed provider type. It survives reloads: an instance is then started for the new
        configuration before it is stopped for the old one.

        Raises:
            ConfigurationError: the configuration does not fit, *name* or *models* stand beside it, or the name is taken.
            InvalidRequestError: there is neither a configuration nor a provider with its name.
            PluginError: the provider breaks the hook contract, or cannot start.
        """
        chosen, notices = parse_provider(provider_table(provider, config, name, models))
        for notice in notices:
            warnings.warn(notice, ConfigurationWarning, stacklevel=2)
        async with self._changing:
            handle = await self._running.register_provider(provider, chosen)
            self._added[chosen.name] = (provider, chosen)
        return handle

    async def deregister_provider(self, name: str) -> None:
        """Take a provider out: new calls no longer reach it, those under way end as they may.

        It is stopped before this returns, or, when calls are under way, after the last of them; `close` does not wait.

        Raises:
            ModelNotFoundError: there is none of that name; the nearest is in the message.
        """
        async with self._changing:
            await self._running.deregister_provider(name)
            self._added.pop(name, None)

    def subscribe(self, name: str, observe: Callable[[Any], None]) -> None:
        """Call *observe* with every event, also after a reload; synchronously, so it must not block.

        Before the start it hears of the start itself. A *name* given again replaces its observer; reports call it
        ``subscriber:name``.

        Raises:
            InvalidRequestError: *observe* cannot be called, or *name* is no text.
        """
        if not isinstance(name, str):
            raise InvalidRequestError(f"an observer's name is a text, not a {type(name).__name__}")
        if not callable(observe):
            raise InvalidRequestError(f"the observer {name!r} is a {type(observe).__name__}, which cannot be called")
        full_name = f"subscriber:{name}"
        if self._generation is not None:
            self._generation.bus.unsubscribe(full_name)
            self._generation.bus.subscribe(full_name, observe)
        self._observers[full_name] = observe

    # -- inside ------------------------------------------------------------------------------------------------------

    @property
    def _started(self) -> Generation:
        """The generation in force, for whoever only looks."""
        generation = self._generation
        if generation is None:
            raise RuntimeError(_NOT_RUNNING)
        return generation

    @property
    def _running(self) -> Generation:
        """The generation in force, for whoever awaits something of it."""
        generation = self._generation
        if generation is None:
            raise RuntimeError(_NOT_RUNNING)
        # Timers, connections and locks belong to one loop: elsewhere requests would lose their time limits, or hang.
        # A thread runs one loop at a time, so while ours runs, its thread tells it for a fraction of get_running_loop().
        loop = self._loop
        if (
            loop is None or get_ident() != self._thread or not loop.is_running()
        ) and asyncio.get_running_loop() is not loop:
            raise RuntimeError(_ELSEWHERE)
        return generation

    def _is_busy_outside(self, loop: asyncio.AbstractEventLoop) -> bool:
        return self._loop is not loop and (self._generation is not None or self._changing.locked())

    def _follow_files(self) -> None:
        def interval() -> float:
            config = self._started.config
            return config.manager.watch if config.files else 0.0

        def rejected(error: Exception) -> None:
            generation = self._started
            message = error.message if isinstance(error, ApexLLMError) else f"{type(error).__name__}: {error}"
            generation.bus.emit(ConfigurationRejected(message=generation.redactor.scrub(message)))

        self._files.follow(interval, self.reload, rejected)

    async def _make(self, source: ConfigSource, earlier: Generation | None) -> Generation:
        installed = Installed()
        config = await self._read(source, installed)
        generation = Generation(
            config,
            installed=installed,
            plugins=self._plugins,
            environ=self._environ,
            clock=self._clock,
            http=self._http,
            added=tuple(self._added.values()),
            earlier=earlier,
        )
        for name, observe in self._observers.items():
            generation.bus.subscribe(name, observe)
        await generation.start()
        return generation

    async def _read(self, source: ConfigSource, installed: Installed) -> Config | None:
        if isinstance(source, Config):
            return checked_config(source)
        if source is not None and not isinstance(source, (str, os.PathLike, Mapping)):
            raise ConfigurationError(f"expected a file's path, a mapping or a Config, not a {type(source).__name__}")
        known = tuple(installed[EXTENSIONS])
        if isinstance(source, Mapping):
            return parse_config(source, extensions=known)
        await self._files.look(source, self._environ)
        return await asyncio.to_thread(load_config, source, environ=self._environ, extensions=known)

    def _begin_stream(self, request: GenerateRequest, context: CallContext) -> AsyncGenerator[ChunkBatch, None]:
        # The generation that the stream was asked of may be retired by the time somebody wants the first chunk.
        generation = self._running
        context.emit = generation.bus.emit
        return generation.engine.pipeline.stream(request, context)

    def _prepare(
        self, generation: Generation, request: R, caller: Caller | None, operation: str
    ) -> tuple[R, CallContext]:
        if caller is None:
            caller = ANONYMOUS
        elif not isinstance(caller, Caller):
            raise InvalidRequestError(f"'caller' is a {type(caller).__name__}; expected a Caller")
        preferred = None
        if not request.model:
            model, preferred = generation.engine.router.default(request)
            request = attrs.evolve(request, model=model)
        deadline = request.options.deadline
        if deadline is None:
            deadline = generation.config.manager.deadline
        context = CallContext(
            request_id=caller.request_id or self._next_id(),
            operation=operation,
            caller=caller,
            clock=self._clock,
            deadline=self._clock() + deadline if deadline else None,
            emit=generation.bus.emit,
            preferred=preferred,
        )
        return request, context

    def _next_id(self) -> str:
        return f"{self._prefix}-{next(self._count)}"


_NOT_RUNNING = "the manager is not running; use it as `async with LLMProviderManager(…) as manager:` or await start()"
_ELSEWHERE = (
    "the manager was started in another event loop; use it there, start one manager for each loop, "
    "or take a BlockingManager for synchronous code"
)


async def _retire(generation: Generation) -> None:
    await generation.engine.pipeline.drained()
    await generation.shutdown()


__all__ = ["BreakerAction", "LLMProviderManager"]
