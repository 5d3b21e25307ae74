"""From names in the configuration to started instances: finds, imports, validates, makes and starts plugins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from apex_llm_core.config.settings import settings_from
from apex_llm_core.errors import ApexLLMError, ConfigurationError, PluginError, nearest
from apex_llm_core.hookspecs import Runtime
from apex_llm_core.models.events import PluginFailed
from apex_llm_core.observability.logs import silence, speak
from apex_llm_core.plugin.discovery import EXTENSIONS, PROVIDERS, STRATEGIES, Installed, PluginSource
from apex_llm_core.plugin.manager import PluginManager
from apex_llm_core.plugin.registrar import Kind, PluginRegistrar, Registration

#: The entry-point group in which plugins of each kind are looked for.
_GROUPS: dict[Kind, str] = {"provider": PROVIDERS, "strategy": STRATEGIES}
#: Hooks of which an instance of each kind must have at least one.
_REQUIRED: dict[Kind, tuple[str, ...]] = {
    "provider": ("apex_generate", "apex_stream", "apex_embed", "apex_image"),
    "strategy": ("apex_select",),
    "middleware": ("apex_around_generate", "apex_around_stream", "apex_around_embed", "apex_around_image"),
    "observer": ("apex_event",),
    "secret_scheme": ("apex_resolve_secret",),
    "state_store": ("apex_state_store",),
}


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
            (speak if self._logging else silence)(package)
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
            ConfigurationError: nothing of that name is installed; names the nearest.
            PluginError: its plugin is broken.
        """
        found = self.registrar.get(kind, name)
        if found is not None:
            return found
        word = kind.replace("_", " ")
        installed = self.installed[_GROUPS.get(kind, EXTENSIONS)]
        source = installed.get(name)
        if source is None:
            raise ConfigurationError(
                f"no {word} called {name!r} is installed{nearest(name, [*installed, *self.registrar.names(kind)])}",
                file=self.file,
                key=key,
            )
        await self.load(source)
        found = self.registrar.get(kind, name)
        if found is None:
            raise source.error(f"registers no {word} called {name!r}{nearest(name, self.registrar.names(kind))}")
        return found

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
        except ApexLLMError:
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
            PluginError: it breaks the hook contract, or its start failed.
        """
        full_name = f"{kind}:{name}"
        self.plugins.add(instance, full_name, source)
        try:
            if not any(self.plugins.implementation(full_name, hook) for hook in _REQUIRED[kind]):
                message = f"has none of the hooks of a {kind.replace('_', ' ')}: {', '.join(_REQUIRED[kind])}"
                raise source.error(message) if source is not None else PluginError(message, plugin=full_name)
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
        stop = self.plugins.implementation(full_name, "apex_shutdown")
        self.plugins.remove(full_name)
        if full_name in self._started:
            self._started.remove(full_name)
        if stop is not None:
            try:
                await stop(self._runtime)
            except Exception as error:
                message = self.scrub(f"apex_shutdown failed: {type(error).__name__}: {error}")
                self._runtime.emit(PluginFailed(plugin=full_name, message=message))

    async def stop_all(self) -> None:
        """Stop everything, the last started first."""
        while self._started:
            await self.stop(self._started[-1])

    async def _run_start(self, start: Callable[..., Any], full_name: str) -> None:
        try:
            await start(self._runtime)
        except ApexLLMError as error:
            error.message = self.scrub(error.message)
            error.args = (error.message,)
            if isinstance(error, (ConfigurationError, PluginError)):
                error.reason = self.scrub(error.reason)
            raise
        except Exception as error:
            message = self.scrub(f"apex_startup failed: {type(error).__name__}: {error}")
            raise PluginError(message, plugin=full_name) from error


__all__ = ["Loader"]
