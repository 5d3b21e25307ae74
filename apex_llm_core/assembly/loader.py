"""From names in the configuration to started instances: finds, imports, validates, makes and starts plugins."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from apex_llm_core.config.settings import settings_from
from apex_llm_core.errors import ApexLLMError, ConfigurationError, PluginError, nearest
from apex_llm_core.hookspecs import Runtime
from apex_llm_core.models.events import PluginFailed
from apex_llm_core.observability.logs import hush, silence, speak
from apex_llm_core.plugin.discovery import EXTENSIONS, PROVIDERS, STRATEGIES, Installed, PluginSource
from apex_llm_core.plugin.manager import PluginManager
from apex_llm_core.plugin.registrar import Kind, PluginRegistrar, Registration

#: The entry-point group in which plugins of each kind are looked for.
_GROUPS: dict[Kind, str] = {"provider": PROVIDERS, "strategy": STRATEGIES}
_STRATEGIES = ("availability", "cost", "feature", "performance", "round_robin", "weighted")
#: Where this project's own plugins are to be had: who names one by its right name needs no list of others.
_DISTRIBUTIONS: dict[tuple[Kind, str], str] = {
    ("provider", "azure"): "apex-llm-azure",
    ("provider", "bedrock"): "apex-llm-bedrock",
    ("provider", "mock"): "apex-llm-mock",
    ("state_store", "sqlite"): "apex-llm-sqlite",
    **{("strategy", name): f"apex-llm-strategy-{name.replace('_', '-')}" for name in _STRATEGIES},
}
#: Hooks of which an instance of each kind must have at least one.
_REQUIRED: dict[Kind, tuple[str, ...]] = {
    "provider": ("apex_generate", "apex_stream", "apex_embed", "apex_image"),
    "strategy": ("apex_select",),
    "middleware": ("apex_around_generate", "apex_around_stream", "apex_around_embed", "apex_around_image"),
    "observer": ("apex_event",),
    "secret_scheme": ("apex_resolve_secret",),
    "state_store": ("apex_state_store",),
}
#: Hooks that an instance of each kind may have besides; the lifecycle is everybody's.
_OPTIONAL: dict[Kind, tuple[str, ...]] = {
    "provider": ("apex_count_tokens", "apex_health", "apex_models", "apex_capabilities")
}
_LIFECYCLE = ("apex_startup", "apex_shutdown")


class Loader:
    """The plugins of one generation. Instances are known by ``kind:name``."""

    def __init__(
        self, runtime: Runtime, *, installed: Installed, logging: bool, file: str | None, scrub: Callable[[str], str]
    ) -> None:
        self.installed = installed
        #: Removes secrets from what plugins say.
        self.scrub = scrub
        self.plugins = PluginManager()
        self.registrar = PluginRegistrar()
        self._runtime = runtime
        self._logging = logging
        #: The configuration's file, for messages.
        self.file = file
        #: The names of module plugins, by entry point and by the identity of what it names.
        self._loaded: dict[tuple[str, str], str] = {}
        self._named: dict[int, str] = {}
        self._started: list[str] = []
        #: Packages that log because this generation's configuration says so.
        self._speaking: set[str] = set()

    async def load(self, source: PluginSource) -> str:
        """Import one installed plugin, once, and let it register; return its name.

        Several entry points may name one module: it registers once, and has the name of the first.

        Raises:
            PluginError: it is broken or does not fit the core.
        """
        entry = (source.group, source.name)
        name = self._loaded.get(entry)
        if name is None:
            package = source.value.partition(":")[0].partition(".")[0]
            if not self._logging:
                silence(package)
            elif speak(package):
                self._speaking.add(package)
            module = await asyncio.to_thread(source.load)
            name = self._named.get(id(module))
            if name is None:
                name = f"{source.group}:{source.name}"
                self.plugins.register_module(module, name, self.registrar, source)
                self._named[id(module)] = name
            self._loaded[entry] = name
        return name

    async def find(self, kind: Kind, name: str, key: str) -> Registration:
        """Return the factory called *name*, importing its plugin if need be; *key* is the place that asks for it.

        Raises:
            ConfigurationError: nothing of that name is installed; names the distribution that has it, or the nearest.
            PluginError: its plugin is broken.
        """
        found = self.registrar.get(kind, name)
        if found is not None:
            return found
        word = kind.replace("_", " ")
        installed = self.installed[_GROUPS.get(kind, EXTENSIONS)]
        source = installed.get(name)
        if source is None:
            distribution = _DISTRIBUTIONS.get((kind, name))
            if distribution is not None:
                advice = f": pip install {distribution}"
            else:
                advice = nearest(name, [*await self._offered(kind, installed), *self.registrar.names(kind)])
            raise ConfigurationError(f"no {word} called {name!r} is installed{advice}", file=self.file, key=key)
        await self.load(source)
        found = self.registrar.get(kind, name)
        if found is None:
            raise source.error(f"registers no {word} called {name!r}{nearest(name, self.registrar.names(kind))}")
        return found

    async def _offered(self, kind: Kind, installed: Mapping[str, PluginSource]) -> Iterable[str]:
        """Return the names of *installed* that may be of *kind*."""
        if kind in _GROUPS:
            return installed
        # An extension may be of any kind, and tells only when it is imported.
        for source in installed.values():
            with suppress(ConfigurationError, PluginError):
                await self.load(source)
        return ()

    async def make(
        self, registration: Registration, name: str, config: Any, options: Mapping[str, Any], key: str
    ) -> object:
        """Make the instance ``kind:name``, check its hooks, and start it.

        Raises:
            ConfigurationError: *options*, found at *key*, do not fit the plugin's settings.
            PluginError: the factory failed or the instance breaks the hook contract.
        """
        settings = settings_from(options, registration.settings, key=key, file=self.file)
        try:
            instance = registration.factory(config, settings, self._runtime)
        except (ConfigurationError, PluginError) as error:
            self.clean(error)
            if isinstance(error, ConfigurationError) and error.key is None:
                # The plugin knows what is wrong, the core knows where.
                place = key.removesuffix(".options")
                raise ConfigurationError(error.reason, file=self.file, key=place) from error
            raise
        except Exception as error:
            raise registration.error(
                self.scrub(f"making {registration.kind} {name!r} failed: {type(error).__name__}: {error}")
            ) from error
        await self.take_in(instance, registration.kind, name, registration.source)
        return instance

    async def take_in(self, instance: object, kind: Kind, name: str, source: PluginSource | None = None) -> None:
        """Check a ready instance and start it.

        Raises:
            ConfigurationError: it says itself that its configuration cannot be used.
            PluginError: it breaks the hook contract, has hooks of another kind, or its start failed.
        """
        full_name = f"{kind}:{name}"
        self.plugins.add(instance, full_name, source)
        try:
            if not any(self.plugins.implementation(full_name, hook) for hook in _REQUIRED[kind]):
                message = f"has none of the hooks of a {kind.replace('_', ' ')}: {', '.join(_REQUIRED[kind])}"
                raise source.error(message) if source is not None else PluginError(message, plugin=full_name)
            own = (*_REQUIRED[kind], *_OPTIONAL.get(kind, ()), *_LIFECYCLE)
            foreign = self.plugins.foreign(full_name, kind.replace("_", " "), own, source)
            if foreign is not None:
                raise foreign
            start = self.plugins.implementation(full_name, "apex_startup")
            if start is not None:
                await self._run_start(start, full_name)
        except BaseException:
            self.plugins.remove(full_name)
            raise
        self._started.append(full_name)

    def hook(self, kind: Kind, name: str, hook: str) -> Callable[..., Any]:
        """Return a hook that the instance ``kind:name`` is known to have."""
        function = self.plugins.implementation(f"{kind}:{name}", hook)
        if function is None:
            raise PluginError(f"lacks {hook}", plugin=f"{kind}:{name}")
        return function

    async def stop(self, full_name: str) -> None:
        """Run the stop hook of one instance and forget it; a failure is reported, not raised."""
        await self.forget(full_name)()

    def forget(self, full_name: str) -> Callable[[], Awaitable[None]]:
        """Forget one instance, so that its name is free, and return what stops it later."""
        stop = self.plugins.implementation(full_name, "apex_shutdown")
        self.plugins.remove(full_name)
        if full_name in self._started:
            self._started.remove(full_name)
        return partial(self._run_stop, stop, full_name)

    async def stop_all(self) -> None:
        """Stop everything, the last started first."""
        while self._started:
            await self.stop(self._started[-1])
        self.fall_silent()

    def succeed(self, earlier: Loader) -> None:
        """Decide, in the place of *earlier*, about the packages that it let speak."""
        if self._logging:
            self._speaking |= earlier._speaking
            earlier._speaking = set()
        else:
            earlier.fall_silent()

    def fall_silent(self) -> None:
        """Take the word from the packages that this generation let speak."""
        while self._speaking:
            hush(self._speaking.pop())

    def clean(self, error: ApexLLMError) -> None:
        """Remove secrets from what a plugin says in *error*; the place that the core put before it stays as it is."""
        said = error.reason if isinstance(error, (ConfigurationError, PluginError)) else error.message
        cleaned = self.scrub(said)
        if cleaned != said:
            error.restate(lambda text: text.replace(said, cleaned))

    async def _run_start(self, start: Callable[..., Any], full_name: str) -> None:
        try:
            await start(self._runtime)
        except (ConfigurationError, PluginError) as error:
            self.clean(error)
            raise
        except Exception as error:
            message = self.scrub(f"apex_startup failed: {type(error).__name__}: {error}")
            raise PluginError(message, plugin=full_name) from error

    async def _run_stop(self, stop: Callable[..., Any] | None, full_name: str) -> None:
        if stop is not None:
            try:
                await stop(self._runtime)
            except Exception as error:
                message = self.scrub(f"apex_shutdown failed: {type(error).__name__}: {error}")
                self._runtime.emit(PluginFailed(plugin=full_name, message=message))


__all__ = ["Loader"]
