"""A generation: everything made from one configuration. A reload makes a new one beside the old."""

from __future__ import annotations

import asyncio
import os
import time
import warnings
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from random import Random

import attrs

from apex_llm_core.assembly.engine import Engine, make_engine
from apex_llm_core.assembly.loader import Loader
from apex_llm_core.assembly.providers import default_providers, make_handle, make_provider
from apex_llm_core.assembly.runtime import BuiltIns, SharedRuntime
from apex_llm_core.cache.exact import ResponseCache
from apex_llm_core.config.schema import Config, ProviderConfig
from apex_llm_core.config.secrets import SecretResolver, is_reference, iter_references
from apex_llm_core.config.settings import settings_from
from apex_llm_core.errors import ConfigurationError, ConfigurationWarning, PluginError
from apex_llm_core.interfaces import HttpClient, StateStore
from apex_llm_core.models.events import PluginFailed, ProviderDeregistered, ProviderRegistered
from apex_llm_core.observability.bus import EventBus
from apex_llm_core.observability.logs import EventLog, events_are_wanted
from apex_llm_core.observability.metrics import MetricsCollector
from apex_llm_core.plugin.discovery import EXTENSIONS, Installed
from apex_llm_core.plugin.registry import ProviderHandle, ProviderRegistry
from apex_llm_core.policies.deadline import Sweeper
from apex_llm_core.policies.limits import Limiter
from apex_llm_core.policies.shared_limits import SharedLimiter
from apex_llm_core.redaction import Redactor, Secret
from apex_llm_core.routing.balancer import LoadBalancer
from apex_llm_core.routing.selector import Select
from apex_llm_core.transport.session import AiohttpClient

#: Seconds between two looks at the calls under way of a provider that leaves.
_LOOK_AGAIN = 0.05


class Generation:
    """One configuration at work. `start` makes everything, `shutdown` ends everything."""

    engine: Engine

    def __init__(
        self,
        config: Config | None,
        *,
        installed: Installed,
        plugins: Sequence[object] = (),
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float],
        http: HttpClient | None = None,
        added: Sequence[tuple[object | None, ProviderConfig]] = (),
        earlier: Generation | None = None,
    ) -> None:
        self.config = config if config is not None else Config()
        self._needs_default = config is None
        self._plugins = plugins
        self._environ = environ
        self._added = added
        self._earlier = earlier
        self.redactor = Redactor()
        self.bus = EventBus(self.redactor.scrub)
        self.metrics: MetricsCollector = earlier.metrics if earlier is not None else MetricsCollector()
        #: Plugins that could not be used; the others go on.
        self.failures: list[PluginError] = []
        self._own_http: list[AiohttpClient] = []
        self._store: StateStore | None = None
        #: The store is another generation's to close.
        self._borrows = False
        self._schemes: dict[str, Callable[[str], Awaitable[Secret]]] = {}
        #: Held while a secret scheme that nobody had used yet is made.
        self._opening = asyncio.Lock()
        self.runtime = SharedRuntime(
            http=http or self._open_http(),
            open_http=self._open_http if http is None else None,
            clock=clock,
            random=Random(self.config.seed),
            flags=self.config.flags,
            emit=self.bus.emit,
            secrets=SecretResolver(self._schemes, self.redactor),
        )
        self.loader = Loader(
            self.runtime,
            installed=installed,
            logging=self.config.logging.enabled,
            file=self.config.files[0] if self.config.files else None,
            scrub=self.redactor.scrub,
        )
        self._limiter: Limiter | SharedLimiter | None = None
        self.registry = ProviderRegistry()
        #: Deregistered providers that are stopped when their last calls have ended.
        self._leaving: set[asyncio.Task[None]] = set()
        self._hurried = asyncio.Event()
        self.sweeper = Sweeper(clock)
        self.balancer: LoadBalancer = LoadBalancer(
            self.config, clock=clock, emit=self.bus.emit, earlier=earlier.balancer if earlier is not None else None
        )

    async def start(self) -> None:
        """Load plugins, make all instances, compile the handlers.

        Raises:
            ConfigurationError: something the configuration asks for does not exist or does not fit.
            PluginError: a plugin that cannot be done without is broken.
        """
        try:
            self._subscribe_own_observers()
            self._register_in_code()
            if self._needs_default:
                await self._take_default_configuration()
            for text in self.config.warnings:
                warnings.warn(text, ConfigurationWarning, stacklevel=4)
            await self._make_secret_schemes()
            await self._open_store()
            await self._make_extensions()
            strategies = await self._make_strategies()
            await self._make_middleware()
            await self._make_providers()
            if self._needs_default:
                self._tell_default_configuration()
            for provider, config in self._added:
                await self.register_provider(provider, config)
            earlier, self._earlier = self._earlier, None
            self._compile(strategies, earlier)
            # Last: from here on the earlier generation's breakers answer to this one.
            self.balancer.settle()
            if earlier is not None:
                self.loader.succeed(earlier.loader)
                if self._borrows:
                    self._borrows, earlier._borrows = False, True  # noqa: SLF001 - same class
        except BaseException:
            await self.shutdown()
            raise

    async def shutdown(self) -> None:
        """Stop all instances in reverse order and release what is held; failures are reported, not raised."""
        self._hurried.set()
        if self._leaving:
            await asyncio.wait(self._leaving)
        engine = getattr(self, "engine", None)
        if engine is not None:
            await engine.close()
        await self.loader.stop_all()
        self.sweeper.close()
        for what in (None if self._borrows else self._store, *self._own_http):
            if what is not None:
                try:
                    await what.close()
                except Exception as error:
                    self.bus.emit(
                        PluginFailed(
                            plugin=type(what).__name__, message=f"close failed: {type(error).__name__}: {error}"
                        )
                    )

    def _open_http(self, ca_file: str = "") -> AiohttpClient:
        client = AiohttpClient(trust_env=True, ca_file=ca_file)
        self._own_http.append(client)
        return client

    async def register_provider(self, provider: object | None, config: ProviderConfig) -> ProviderHandle:
        """Add a provider at run time: a ready instance, or, with None, one made from *config* by its type.

        Raises:
            ConfigurationError: the configuration does not fit, or the name is taken.
            PluginError: the provider breaks the hook contract.
        """
        if config.name in self.registry:
            raise ConfigurationError(f"a provider called {config.name!r} is there already; names must be unique")
        if provider is None:
            handle = await make_provider(self.loader, config, "provider", self.runtime, self.balancer.live)
        else:
            await self.loader.take_in(provider, "provider", config.name)
            handle = await make_handle(self.loader, config, provider, self.balancer.live)
        self.registry.add(handle)
        self.bus.emit(ProviderRegistered(provider=config.name, provider_type=config.type))
        return handle

    async def deregister_provider(self, name: str) -> None:
        """Take a provider out: no new call reaches it; it is stopped when its last call has ended, or at the shutdown.

        Raises:
            ModelNotFoundError: there is none of that name.
        """
        handle = self.registry.remove(name)
        self.balancer.forget(name)
        stop = self.loader.forget(f"provider:{name}")
        self.bus.emit(ProviderDeregistered(provider=name))
        if not handle.in_flight:
            await stop()
            return
        task = asyncio.get_running_loop().create_task(self._stop_idle(handle, stop))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _stop_idle(self, handle: ProviderHandle, stop: Callable[[], Awaitable[None]]) -> None:
        # The counts outlive generations, as the calls do, so no event of this one tells of the last of them.
        while handle.in_flight and not self._hurried.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_AGAIN):
                    await self._hurried.wait()
        await stop()

    async def resolve_secret(self, value: str | Secret) -> Secret:
        """Return the secret behind a reference, or *value* itself; a scheme is made when it is first asked for.

        Raises:
            ConfigurationError: the scheme is unknown, or the reference leads nowhere.
            PluginError: the plugin of the scheme is broken.
        """
        if isinstance(value, str) and is_reference(value):
            scheme = value.partition(":")[0]
            async with self._opening:
                if scheme not in self._schemes:
                    source = self.loader.installed[EXTENSIONS].get(scheme)
                    if source is not None:
                        await self.loader.load(source)
                    # What nobody registered is the resolver's to refuse.
                    if self.loader.registrar.get("secret_scheme", scheme) is not None:
                        await self._open_scheme(scheme, "")
        return await self.runtime.resolve_secret(value)

    def _subscribe_own_observers(self) -> None:
        if events_are_wanted(self.config.logging.enabled):
            self.bus.subscribe("log", EventLog(self.redactor, self.config.logging.level).observe)
        if self.config.manager.metrics_enabled:
            self.bus.subscribe("metrics", self.metrics.observe)

    def _register_in_code(self) -> None:
        plugins, registrar = self.loader.plugins, self.loader.registrar
        plugins.register_module(BuiltIns(self._environ), "built-in", registrar, None)
        for position, plugin in enumerate(self._plugins):
            name = getattr(plugin, "__name__", None) or f"{type(plugin).__name__}[{position}]"
            plugins.register_module(plugin, name, registrar, None)

    async def _take_default_configuration(self) -> None:
        providers, failures = await default_providers(self.loader)
        for failure in failures:
            self._report(failure)
        self.config = attrs.evolve(self.config, providers=tuple(providers))

    def _tell_default_configuration(self) -> None:
        names = ", ".join(handle.get_name() for handle in self.registry)
        text = f"no configuration given (--config or APEX_LLM_CONFIG): serving with the defaults of {names}"
        self.config = attrs.evolve(self.config, warnings=(text,))
        warnings.warn(text, ConfigurationWarning, stacklevel=5)

    async def _make_secret_schemes(self) -> None:
        wanted = {"env": "", "file": ""}
        for position, provider in enumerate(self.config.providers):
            if provider.enabled and provider.auth is not None:
                for name, reference in iter_references(provider.auth.credentials):
                    wanted.setdefault(reference.partition(":")[0], f"providers[{position}].auth.credentials.{name}")
        for scheme, key in wanted.items():
            await self._open_scheme(scheme, key)

    async def _open_scheme(self, scheme: str, key: str) -> None:
        registration = await self.loader.find("secret_scheme", scheme, key)
        options = self.config.extensions.get(scheme, {})
        await self.loader.make(registration, scheme, options, options, scheme)
        self._schemes[scheme] = self.loader.hook("secret_scheme", scheme, "apex_resolve_secret")

    async def _open_store(self) -> None:
        state, earlier = self.config.state, self._earlier
        # Nobody may need it yet, but a name that does not exist is a mistake today.
        registration = await self.loader.find("state_store", state.type, "state.type")
        if self.config.manager.cache_enabled or self._counts_elsewhere():
            if (
                earlier is not None
                and state.type == "memory"
                and (state, self.config.cache) == (earlier.config.state, earlier.config.cache)
                and earlier._store is not None  # noqa: SLF001 - same class
            ):
                # What is in memory is in no other place.
                self._store, self._borrows = earlier._store, True  # noqa: SLF001 - same class
                return
            await self.loader.make(registration, state.type, state, state.options, "state.options")
            factory = self.loader.hook("state_store", state.type, "apex_state_store")
            self._store = factory(
                {
                    "max_entries": self.config.cache.max_entries,
                    "max_bytes": self.config.cache.max_bytes,
                    **state.options,
                }
            )

    async def _make_extensions(self) -> None:
        installed = self.loader.installed[EXTENSIONS] if self.config.extensions else {}
        for name, options in self.config.extensions.items():
            plugin = await self.loader.load(installed[name]) if name in installed else name
            table = self.loader.registrar.get("table", name)
            if table is not None:
                settings_from(options, table.settings, key=name, file=self._file())
            for registration in self.loader.registrar.of_plugin(plugin, "observer"):
                await self.loader.make(registration, registration.name, options, options, name)
                observe = self.loader.hook("observer", registration.name, "apex_event")
                self.bus.subscribe(f"observer:{registration.name}", observe)

    async def _make_strategies(self) -> dict[str, Select]:
        wanted = {"priority": "", self.config.manager.selection_strategy: "manager.selection_strategy"}
        for position, route in enumerate(self.config.routes):
            if route.strategy is not None:
                wanted.setdefault(route.strategy, f"routes[{position}].strategy")
        strategies: dict[str, Select] = {}
        for name, key in wanted.items():
            registration = await self.loader.find("strategy", name, key)
            configured = name == self.config.manager.selection_strategy
            options = self.config.manager.strategy_options if configured else {}
            await self.loader.make(registration, name, options, options, "manager.strategy_options")
            strategies[name] = self.loader.hook("strategy", name, "apex_select")
        return strategies

    async def _make_middleware(self) -> None:
        # pluggy calls the last registered first, and the first of the array is to be the outermost.
        for position, middleware in reversed(list(enumerate(self.config.middleware))):
            if middleware.enabled:
                key = f"middleware[{position}]"
                registration = await self.loader.find("middleware", middleware.type, f"{key}.type")
                name = f"{middleware.type}[{position}]"
                await self.loader.make(registration, name, middleware, middleware.options, f"{key}.options")

    async def _make_providers(self) -> None:
        usable = 0
        broken: list[PluginError] = []
        unfit: list[PluginError] = []
        for position, config in enumerate(self.config.providers):
            if not config.enabled:
                self.registry.add(ProviderHandle(config=config, instance=None, hooks={}))
                continue
            try:
                handle = await make_provider(
                    self.loader, config, f"providers[{position}]", self.runtime, self.balancer.live
                )
            except PluginError as error:
                broken.append(error)
                self.registry.broken[config.name] = self.redactor.scrub(str(error))
                continue
            except ConfigurationError as error:
                if not self._needs_default:
                    raise
                # Nobody asked for this provider: it was only tried because it is installed.
                unfit.append(PluginError(error.reason, plugin=config.type))
                unfit[-1].__cause__ = error
                continue
            self.registry.add(handle)
            usable += 1
        if not usable and (broken or unfit):
            raise (broken or unfit)[0]
        for failure in broken:
            self._report(failure)
        for failure in unfit:
            self._note(failure)
        if not usable and self.config.files:
            raise ConfigurationError(
                "no provider is enabled; add a [[providers]] table", file=self._file(), key="providers"
            )

    def _compile(self, strategies: Mapping[str, Select], earlier: Generation | None) -> None:
        self.engine = make_engine(
            self.config,
            registry=self.registry,
            balancer=self.balancer,
            limiter=self._make_limiter(earlier),
            cache=self._cache(),
            strategies=strategies,
            plugins=self.loader.plugins,
            runtime=self.runtime,
            sweeper=self.sweeper,
            scrub=self.redactor.scrub,
            earlier=earlier.engine if earlier is not None else None,
        )

    def _make_limiter(self, earlier: Generation | None) -> Limiter | SharedLimiter:
        """Return the limits: what unchanged ones have counted outlives a reload, in the store or here."""
        limits = self.config.limits
        if self._store is not None and self._counts_elsewhere():
            shared = SharedLimiter(limits, self._store, wall=time.time, on_error=self._store_failed)
            if earlier is not None and isinstance(earlier._limiter, SharedLimiter):  # noqa: SLF001 - same class
                shared.adopt(earlier._limiter)  # noqa: SLF001 - same class
            self._limiter = shared
            return shared
        limiter = Limiter(limits, self.runtime.clock)
        if earlier is not None and isinstance(earlier._limiter, Limiter):  # noqa: SLF001 - same class
            limiter.adopt(earlier._limiter)  # noqa: SLF001 - same class
        self._limiter = limiter
        return limiter

    def _counts_elsewhere(self) -> bool:
        return bool(self.config.limits) and self.config.state.type != "memory"

    def _cache(self) -> ResponseCache | None:
        if self._store is None or not self.config.manager.cache_enabled:
            return None
        return ResponseCache(
            self._store,
            self.config.manager.cache_ttl,
            stale_ttl=self.config.cache.stale_ttl,
            wall=self.runtime.clock if self.config.state.type == "memory" else time.time,
            on_error=self._store_failed,
        )

    def _store_failed(self, error: Exception) -> None:
        self.bus.emit(PluginFailed(plugin=f"state_store:{self.config.state.type}", message=str(error)))

    def _report(self, failure: PluginError) -> None:
        self._note(failure)
        warnings.warn(f"{failure}; going on without it", ConfigurationWarning, stacklevel=4)

    def _note(self, failure: PluginError) -> None:
        self.loader.clean(failure)
        self.failures.append(failure)
        self.bus.emit(
            PluginFailed(
                plugin=failure.plugin,
                message=failure.reason,
                distribution=failure.distribution,
                version=failure.version,
            )
        )

    def _file(self) -> str | None:
        return self.config.files[0] if self.config.files else None


__all__ = ["Generation"]
