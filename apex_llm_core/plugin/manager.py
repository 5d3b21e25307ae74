"""The plugin manager: the only module that touches pluggy's manager, behind typed methods."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import pluggy

from apex_llm_core.errors import PluginError
from apex_llm_core.hookspecs import HOOKSPECS
from apex_llm_core.markers import HOOK_PREFIX, PROJECT_NAME
from apex_llm_core.plugin.discovery import PluginSource
from apex_llm_core.plugin.registrar import PluginRegistrar
from apex_llm_core.plugin.validation import problems


class _PrefixedManager(pluggy.PluginManager):
    """Looks at no attribute without the prefix, so that registering never runs a plugin's properties."""

    def parse_hookimpl_opts(self, plugin: object, name: str) -> Any:
        if not name.startswith(HOOK_PREFIX):
            return None
        return super().parse_hookimpl_opts(plugin, name)


class PluginManager:
    """All plugin objects of one configuration generation: modules that register, and the instances made from them."""

    def __init__(self) -> None:
        self._pluggy = _PrefixedManager(PROJECT_NAME)
        for spec in HOOKSPECS:
            self._pluggy.add_hookspecs(spec)

    def add(self, plugin: object, name: str, source: PluginSource | None = None) -> None:
        """Check *plugin* against the hook specifications and take it in under *name*.

        Raises:
            PluginError: the name is taken, or hooks are misspelt or malformed; every problem is in the message.
        """
        found = problems(plugin)
        if not found and self._pluggy.has_plugin(name):
            found = [f"{name!r} is already registered; names must be unique"]
        if not found:
            try:
                self._pluggy.register(plugin, name)
                self._pluggy.check_pending()
            except (pluggy.PluginValidationError, ValueError) as error:
                self.remove(name)
                raise _error(str(error), name, source) from error
            return
        raise _error("; ".join(found), name, source)

    def register_module(
        self, plugin: object, name: str, registrar: PluginRegistrar, source: PluginSource | None
    ) -> None:
        """Take in a module plugin and let it register its factories.

        Raises:
            PluginError: as for `add`, or the plugin's `apex_register` is missing, failed, or has company.
        """
        self.add(plugin, name, source)
        register = self.implementation(name, "apex_register")
        if register is None:
            self.remove(name)
            raise _error("has no apex_register(registrar), so it offers nothing", name, source)
        foreign = self.foreign(name, "module plugin", ("apex_register",), source)
        if foreign is not None:
            self.remove(name)
            raise foreign
        try:
            with registrar.registering(name, source):
                register(registrar)
        except PluginError:
            self.remove(name)
            raise
        except Exception as error:
            self.remove(name)
            raise _error(f"apex_register failed: {type(error).__name__}: {error}", name, source) from error

    def remove(self, name: str) -> None:
        """Forget the plugin called *name*, if there is one."""
        if self._pluggy.has_plugin(name):
            self._pluggy.unregister(name=name)

    def implementation(self, name: str, hook: str) -> Callable[..., Any] | None:
        """Return the bound hook of the plugin called *name*, None when it has none."""
        for implementation in self._implementations(hook):
            if implementation.plugin_name == name:
                return implementation.function
        return None

    def foreign(self, name: str, kind: str, own: Collection[str], source: PluginSource | None) -> PluginError | None:
        """Return the error when the plugin called *name* has hooks beside *own*, which are those of its *kind*."""
        callers = self._pluggy.get_hookcallers(self._pluggy.get_plugin(name)) or ()
        found = sorted({caller.name for caller in callers} - set(own))
        if not found:
            return None
        article = "an" if kind[0] in "aeiou" else "a"
        return _error(f"is {article} {kind} but has {', '.join(found)}, which only other kinds have", name, source)

    def innermost_first(self, hook: str) -> list[Callable[..., Any]]:
        """Return all implementations of *hook*, the one to be called last first: the order to fold middleware in."""
        return [implementation.function for implementation in self._implementations(hook)]

    def _implementations(self, hook: str) -> Sequence[pluggy.HookImpl]:
        caller: pluggy.HookCaller = getattr(self._pluggy.hook, hook)
        return caller.get_hookimpls()


def _error(message: str, name: str, source: PluginSource | None) -> PluginError:
    return source.error(message) if source is not None else PluginError(message, plugin=name)


__all__ = ["PluginManager"]
