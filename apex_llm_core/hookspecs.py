"""Every hook, as typed Protocols whose methods carry the hookspec marker; and what plugins register with and run on.

pluggy declares, validates, orders and discovers; it cannot await. The core therefore reads the implementations once, at
start, builds handler chains from them, and calls plain functions afterwards. An absent hook is the declaration that an
operation is unsupported. Hooks have no defaults and no keyword-only parameters: they grow by fields of the request or the
context.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from random import Random
from typing import Any, Protocol

from apex_llm_core.context import CallContext
from apex_llm_core.interfaces import HttpClient, StateStore
from apex_llm_core.markers import hookspec
from apex_llm_core.models.candidates import Candidate, Turn
from apex_llm_core.models.events import Event
from apex_llm_core.models.info import Caller, HealthStatus, ModelInfo, ProviderCapabilities
from apex_llm_core.models.requests import EmbedRequest, GenerateRequest, ImageRequest, Request
from apex_llm_core.models.results import (
    ChatGenerationChunk,
    ChatGenerationResult,
    EmbeddingResult,
    ImageGenerationResult,
)
from apex_llm_core.redaction import Secret

#: All chunks that one network read brought, in order.
ChunkBatch = list[ChatGenerationChunk]
GenerateHandler = Callable[[GenerateRequest, CallContext], Awaitable[ChatGenerationResult]]
StreamHandler = Callable[[GenerateRequest, CallContext], AsyncGenerator[ChunkBatch, None]]
EmbedHandler = Callable[[EmbedRequest, CallContext], Awaitable[EmbeddingResult]]
ImageHandler = Callable[[ImageRequest, CallContext], Awaitable[ImageGenerationResult]]


# -- what a plugin registers with, and what its instances run on ----------------------------------------------------------


class Runtime(Protocol):
    """What instances of one configuration share. Handed to every factory and to `apex_startup` and `apex_shutdown`."""

    @property
    def http(self) -> HttpClient:
        """The pooled HTTP client; its connections are opened at the first request."""

    def http_trusting(self, ca_file: str) -> HttpClient:
        """Return a client that trusts the certificate authorities in *ca_file* (PEM) in place of the usual ones.

        One for all who ask for the same file, closed with the configuration; "" gives `http`, and so does everything when
        the application handed its own client to the manager.
        """

    @property
    def clock(self) -> Callable[[], float]:
        """Monotonic seconds. Use it instead of `time`: tests and simulations run on a virtual one."""

    @property
    def random(self) -> Random:
        """Seeded randomness. Use it instead of the `random` module."""

    @property
    def emit(self) -> Callable[[Event], None]:
        """Tell all observers; never raises."""

    @property
    def flags(self) -> Mapping[str, bool]:
        """The feature flags of the configuration, by name; True are those that are on for everybody.

        For what is decided once, for example at the start. Ask `flag` where there is a caller.
        """

    def flag(self, name: str, caller: Caller, request_id: str = "") -> bool:
        """Return whether the feature flag *name* is on for *caller*; one that is not configured is off.

        Give the *request_id* of the context, too: it stands in for callers that say nothing of themselves.
        """

    async def resolve_secret(self, value: str | Secret) -> Secret:
        """Return the secret behind a reference ("env:NAME", "file:PATH", an extension's scheme) or a literal.

        Raises:
            ConfigurationError: the reference leads nowhere; the message names it, never a value.
        """


#: `factory(config, settings, runtime)`: *config* is the instance's table (a `ProviderConfig` for providers, a mapping for
#: the others), *settings* an instance of the registered settings class (None without one).
Factory = Callable[[Any, Any, Runtime], object]


#: `await check(config, resolve_secret)` raises `ConfigurationError`; *config* is the whole `Config`.
TableCheck = Callable[[Any, Callable[[str | Secret], Awaitable[Secret]]], Awaitable[None]]


class Registrar(Protocol):
    """Where a module plugin leaves its factories. Names are those used in the configuration.

    *settings* is an attrs class; the core validates the configured options against it strictly before it calls the factory.
    A factory must not do I/O: that belongs into `apex_startup` or the first request.
    """

    def provider(
        self,
        name: str,
        factory: Factory,
        settings: type | None = None,
        auth: Sequence[str] = ("none",),
        auth_required: bool = False,
    ) -> None:
        """Offer a provider type.

        *auth* lists the authentication types it takes; the first serves when none is configured, unless *auth_required*.
        """

    def strategy(self, name: str, factory: Factory, settings: type | None = None) -> None:
        """Offer a selection strategy."""

    def middleware(self, name: str, factory: Factory, settings: type | None = None) -> None:
        """Offer a middleware."""

    def observer(self, name: str, factory: Factory, settings: type | None = None) -> None:
        """Offer an observer of events."""

    def secret_scheme(self, name: str, factory: Factory, settings: type | None = None) -> None:
        """Offer the resolution of references that begin with ``name:``."""

    def state_store(self, name: str, factory: Factory, settings: type | None = None) -> None:
        """Offer a state store."""

    def table(self, name: str, settings: type, check: TableCheck | None = None) -> None:
        """Describe the configuration's table ``[name]``, where *name* is the extension's entry point.

        For tables that somebody else reads, such as a command: the core checks them against *settings* whenever it starts.

        Args:
            name: of the table.
            settings: an attrs class.
            check: looks for what types cannot say, for example secrets that cannot be had; whoever only checks the
                configuration calls it, as ``apex-llm config check`` does. The reader of the table finds out by itself.
        """


class RegisterSpec(Protocol):
    """The hook of module plugins; what an entry point names has it."""

    @hookspec
    def apex_register(self, registrar: Registrar) -> None:
        """Register everything this plugin offers.

        Args:
            registrar: takes factories by name.
        Raises:
            Any exception isolates the plugin: it is reported with its distribution and the others go on.
        Called: once per plugin and configuration generation, before any instance is made.
        Ordering: built-ins first, then in the order in which the configuration names the plugins.
        Cancellation: synchronous; do nothing that takes time.
        """


# -- providers --------------------------------------------------------------------------------------------------------


class GenerateSpec(Protocol):
    """Whole answers to text and chat."""

    @hookspec
    async def apex_generate(self, request: GenerateRequest, context: CallContext) -> ChatGenerationResult:
        """Answer one request.

        Args:
            request: messages and options; `request.kind` is "text" or "chat".
            context: this attempt; `context.provider_model_id` is the model to call.
        Returns:
            The result, with `model` and `provider` as in `context.candidate`.
        Raises:
            LLMError: every failure, typed, with `retryable` and `retry_after` as the provider told.
        Called: once per attempt, concurrently for many requests.
        Ordering: after all middleware, routing and the breaker; retries are the core's, so make one upstream call.
        Cancellation: cancel the upstream call and give the connection back; never swallow `CancelledError`.
        """


class StreamSpec(Protocol):
    """Streamed answers to text and chat."""

    @hookspec
    def apex_stream(self, request: GenerateRequest, context: CallContext) -> AsyncGenerator[ChunkBatch, None]:
        """Answer one request piece by piece; an async generator.

        Args:
            request: as for `apex_generate`; `request.stream` is True.
            context: this attempt; call `context.touch()` when bytes arrive that make no chunk yet.
        Returns:
            Non-empty lists of chunks, each with everything one network read brought. Every choice ends with exactly one
            chunk that has a `finish_reason`; usage comes on it or after it.
        Raises:
            LLMError: before the first list it can lead to a retry or a fallback, afterwards it reaches the caller. Ending
                without a `finish_reason` counts as a `ServiceUnavailableError`.
        Called: once per attempt, concurrently for many requests.
        Ordering: as for `apex_generate`.
        Cancellation: the core always closes the generator; release the upstream in `finally`.
        """


class EmbedSpec(Protocol):
    """Embeddings."""

    @hookspec
    async def apex_embed(self, request: EmbedRequest, context: CallContext) -> EmbeddingResult:
        """Embed all texts of one request, however many calls that takes.

        Args:
            request: texts in order, and options.
            context: this attempt.
        Returns:
            As many vectors as texts, in their order.
        Raises:
            LLMError: every failure, typed.
        Called: once per attempt, concurrently for many requests.
        Ordering: as for `apex_generate`.
        Cancellation: as for `apex_generate`.
        """


class ImageSpec(Protocol):
    """Images."""

    @hookspec
    async def apex_image(self, request: ImageRequest, context: CallContext) -> ImageGenerationResult:
        """Make images from one prompt.

        Args:
            request: prompt and options.
            context: this attempt.
        Returns:
            Base64 texts with `media_type`, or URLs.
        Raises:
            LLMError: every failure, typed; a filtered answer is a `ContentFilterError`.
        Called: once per attempt, concurrently for many requests.
        Ordering: as for `apex_generate`.
        Cancellation: as for `apex_generate`.
        """


class CountTokensSpec(Protocol):
    """The size of prompts."""

    @hookspec
    async def apex_count_tokens(self, request: GenerateRequest, context: CallContext) -> int | None:
        """Count the tokens of the prompt of one request, without answering it.

        Args:
            request: as for `apex_generate`.
            context: names the candidate; no attempt is counted.
        Returns:
            The provider's own count; None when it has none for this model. Never an estimate: the core makes that.
        Raises:
            LLMError: every failure, typed.
        Called: whenever an application asks for it.
        Ordering: the candidates in the order of their ranking, until one counts.
        Cancellation: as for `apex_generate`.
        """


class HealthSpec(Protocol):
    """Whether a provider can serve."""

    @hookspec
    async def apex_health(self, context: CallContext) -> HealthStatus:
        """Check the provider with its credentials, without spending tokens.

        Args:
            context: a context outside any request, with a deadline.
        Returns:
            The status; a failed check is a status, too.
        Raises:
            LLMError: becomes the status "unavailable".
        Called: on demand, all providers concurrently.
        Ordering: none.
        Cancellation: at the deadline; the status is then "unavailable".
        """


class ModelsSpec(Protocol):
    """The provider's catalogue."""

    @hookspec
    async def apex_models(self, context: CallContext) -> list[ModelInfo]:
        """List the models that the provider knows beyond the configured ones.

        Args:
            context: a context outside any request, with a deadline.
        Returns:
            All of them, every page.
        Raises:
            LLMError: the provider is then listed with its configured models only.
        Called: on demand, all providers concurrently.
        Ordering: none.
        Cancellation: at the deadline.
        """


class CapabilitiesSpec(Protocol):
    """The provider's table of facts."""

    @hookspec
    def apex_capabilities(self) -> ProviderCapabilities:
        """Tell what the provider type can do and what is known of its models.

        Returns:
            Constant facts; the hooks an instance implements and the configuration narrow them.
        Raises:
            Nothing.
        Called: once per provider and configuration generation.
        Ordering: after the factory, before the first request.
        Cancellation: synchronous; do nothing that takes time.
        """


# -- strategies -------------------------------------------------------------------------------------------------------


class SelectSpec(Protocol):
    """Ranking of candidates: one answer serves selection, balancing and fallback."""

    @hookspec
    def apex_select(self, request: Request, candidates: Sequence[Candidate], turn: Turn) -> Iterable[Candidate]:
        """Rank the candidates of one request, best first.

        Args:
            request: what is to be served.
            candidates: all that could serve it; live views, not to be changed.
            turn: the running number of the request for this model, and randomness. `turn.rank` and `turn.shuffle` help.
        Returns:
            A ranking of the very candidates given; leaving one out excludes it. Lazy where it can be: usually only the
            first is taken.
        Raises:
            Any exception fails the request with a `PluginError`.
        Called: once per request, synchronously, in the middle of everything: microseconds.
        Ordering: after capabilities and routing rules have narrowed the candidates, before the breaker.
        Cancellation: synchronous and pure: the same arguments give the same ranking, nothing is kept.
        """


# -- middleware: wraps a whole request, outside routing ----------------------------------------------------------------


class AroundGenerateSpec(Protocol):
    """Middleware around `apex_generate`."""

    @hookspec
    async def apex_around_generate(
        self, request: GenerateRequest, context: CallContext, call_next: GenerateHandler
    ) -> ChatGenerationResult:
        """Act before, after or instead of the rest of the way.

        Args:
            request: pass it on as it is, or another one made from it.
            context: the request's context; the same object all the way.
            call_next: the rest of the way; may be called once, several times or not at all.
        Returns:
            What `call_next` returned, or another result.
        Raises:
            LLMError: refuses the request.
        Called: once per request, outside routing, retries and fallback.
        Ordering: in the order of the configuration, the first outermost; `tryfirst` further out, `trylast` further in.
        Cancellation: reaches the middleware at its `await`; clean up in `finally` and let it pass.
        """


class AroundStreamSpec(Protocol):
    """Middleware around `apex_stream`."""

    @hookspec
    def apex_around_stream(
        self, request: GenerateRequest, context: CallContext, call_next: StreamHandler
    ) -> AsyncGenerator[ChunkBatch, None]:
        """Act before, between or instead of the lists of chunks.

        Args:
            request: as for `apex_around_generate`.
            context: as for `apex_around_generate`; keep state here, a ContextVar set between yields leaks to the caller.
            call_next: the rest of the way.
        Returns:
            An async generator. `return call_next(request, context)` from a plain method costs nothing per chunk; one that
            re-yields must close the inner generator (`contextlib.aclosing`).
        Raises:
            LLMError: refuses or breaks off the stream.
        Called: once per request.
        Ordering: as for `apex_around_generate`.
        Cancellation: the core closes the outermost generator; pass it on inwards.
        """


class AroundEmbedSpec(Protocol):
    """Middleware around `apex_embed`."""

    @hookspec
    async def apex_around_embed(
        self, request: EmbedRequest, context: CallContext, call_next: EmbedHandler
    ) -> EmbeddingResult:
        """Act before, after or instead of the rest of the way.

        Args:
            request: as for `apex_around_generate`.
            context: as for `apex_around_generate`.
            call_next: the rest of the way.
        Returns:
            What `call_next` returned, or another result.
        Raises:
            LLMError: refuses the request.
        Called: once per request.
        Ordering: as for `apex_around_generate`.
        Cancellation: as for `apex_around_generate`.
        """


class AroundImageSpec(Protocol):
    """Middleware around `apex_image`."""

    @hookspec
    async def apex_around_image(
        self, request: ImageRequest, context: CallContext, call_next: ImageHandler
    ) -> ImageGenerationResult:
        """Act before, after or instead of the rest of the way.

        Args:
            request: as for `apex_around_generate`.
            context: as for `apex_around_generate`.
            call_next: the rest of the way.
        Returns:
            What `call_next` returned, or another result.
        Raises:
            LLMError: refuses the request.
        Called: once per request.
        Ordering: as for `apex_around_generate`.
        Cancellation: as for `apex_around_generate`.
        """


# -- everything else --------------------------------------------------------------------------------------------------


class EventSpec(Protocol):
    """Observers."""

    @hookspec
    def apex_event(self, event: Event) -> None:
        """Take note of something that happened.

        Args:
            event: one of the classes of `models.events`.
        Raises:
            An exception is reported once and the observer goes on being called.
        Called: synchronously on the event loop, a few times per request: never block, hand work to a queue.
        Ordering: in the order of registration; do not depend on it.
        Cancellation: synchronous.
        """


class ResolveSecretSpec(Protocol):
    """Secret schemes."""

    @hookspec
    async def apex_resolve_secret(self, reference: str) -> Secret:
        """Fetch one secret.

        Args:
            reference: the text after the scheme's colon.
        Returns:
            The value.
        Raises:
            ConfigurationError: it does not exist or may not be read; name the reference, never a value.
        Called: when a provider starts and whenever it asks again; may be concurrent.
        Ordering: none.
        Cancellation: blocking work belongs into a thread.
        """


class StateStoreSpec(Protocol):
    """State stores."""

    @hookspec
    def apex_state_store(self, config: Mapping[str, Any]) -> StateStore:
        """Open the store.

        Args:
            config: the options of the `[state]` table, and `max_entries` of `[cache]` unless they say otherwise.
        Returns:
            The store; connect at first use.
        Raises:
            ConfigurationError: the table does not fit.
        Called: once per configuration generation.
        Ordering: before providers are made.
        Cancellation: synchronous; do no I/O.
        """


class LifecycleSpec(Protocol):
    """Start and stop of any instance."""

    @hookspec
    async def apex_startup(self, runtime: Runtime) -> None:
        """Get ready, for example check credentials or warm a table.

        Args:
            runtime: the same as given to the factory.
        Raises:
            ConfigurationError: the operator must change something; it stops the start.
            Any other exception of a provider leaves it out, with a warning and a `PluginFailed`, while another provider can
                serve. Of every other kind it stops the start; what has started is shut down again.
        Called: once per instance and configuration generation, before the first request.
        Ordering: secret schemes, state store, observers, strategies, middleware, providers.
        Cancellation: may be cancelled; leave nothing open.
        """

    @hookspec
    async def apex_shutdown(self, runtime: Runtime) -> None:
        """Release what the instance holds.

        Args:
            runtime: the same as at start.
        Raises:
            Exceptions are reported; the others are shut down all the same.
        Called: once, after the last request of this configuration generation.
        Ordering: the reverse of the start.
        Cancellation: finish quickly.
        """


#: All of them; the plugin manager registers these.
HOOKSPECS: tuple[type, ...] = (
    RegisterSpec,
    GenerateSpec,
    StreamSpec,
    EmbedSpec,
    ImageSpec,
    CountTokensSpec,
    HealthSpec,
    ModelsSpec,
    CapabilitiesSpec,
    SelectSpec,
    AroundGenerateSpec,
    AroundStreamSpec,
    AroundEmbedSpec,
    AroundImageSpec,
    EventSpec,
    ResolveSecretSpec,
    StateStoreSpec,
    LifecycleSpec,
)


__all__ = [
    "HOOKSPECS",
    "AroundEmbedSpec",
    "AroundGenerateSpec",
    "AroundImageSpec",
    "AroundStreamSpec",
    "CapabilitiesSpec",
    "ChunkBatch",
    "CountTokensSpec",
    "EmbedHandler",
    "EmbedSpec",
    "EventSpec",
    "Factory",
    "GenerateHandler",
    "GenerateSpec",
    "HealthSpec",
    "ImageHandler",
    "ImageSpec",
    "LifecycleSpec",
    "ModelsSpec",
    "RegisterSpec",
    "Registrar",
    "ResolveSecretSpec",
    "Runtime",
    "SelectSpec",
    "StateStoreSpec",
    "StreamHandler",
    "StreamSpec",
]
