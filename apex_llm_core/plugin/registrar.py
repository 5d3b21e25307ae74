"""Where plugins leave their factories, by kind and name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import attrs

from apex_llm_core.errors import PluginError
from apex_llm_core.hookspecs import Factory, TableCheck
from apex_llm_core.plugin.discovery import PluginSource

Kind = Literal["provider", "strategy", "middleware", "observer", "secret_scheme", "state_store", "table"]


@attrs.frozen(kw_only=True)
class Registration:
    """One factory as a plugin registered it."""

    kind: Kind
    name: str
    factory: Factory
    settings: type | None
    plugin: str
    source: PluginSource | None
    #: Authentication types a provider takes; the first serves when none is configured.
    auth: tuple[str, ...] = ("none",)
    auth_required: bool = False
    #: Looks for what the types of a table cannot say.
    check: TableCheck | None = None

    def error(self, message: str) -> PluginError:
        """Make a `PluginError` that names where this came from."""
        if self.source is not None:
            return self.source.error(message)
        return PluginError(message, plugin=self.plugin)


class PluginRegistrar:
    """The `Registrar` handed to `apex_register`; one per configuration generation."""

    def __init__(self) -> None:
        self._registrations: dict[tuple[Kind, str], Registration] = {}
        self._plugin = ""
        self._source: PluginSource | None = None

    @contextmanager
    def registering(self, plugin: str, source: PluginSource | None) -> Iterator[None]:
        """Attribute what is registered meanwhile to *plugin*; a failure takes all of it back."""
        before = dict(self._registrations)
        self._plugin, self._source = plugin, source
        try:
            yield
        except BaseException:
            self._registrations = before
            raise
        finally:
            self._plugin, self._source = "", None

    def provider(
        self,
        name: str,
        factory: Factory,
        settings: type | None = None,
        auth: Sequence[str] = ("none",),
        auth_required: bool = False,
    ) -> None:
        """Offer a provider type."""
        self._add("provider", name, factory, settings, tuple(auth), auth_required)

    def strategy(self, name: str, factory: Factory, settings: type | None = None) -> None:
        """Offer a selection strategy."""
        self._add("strategy", name, factory, settings)

    def middleware(self, name: str, factory: Factory, settings: type | None = None) -> None:
        """Offer a middleware."""
        self._add("middleware", name, factory, settings)

    def observer(self, name: str, factory: Factory, settings: type | None = None) -> None:
        """Offer an observer of events."""
        self._add("observer", name, factory, settings)

    def secret_scheme(self, name: str, factory: Factory, settings: type | None = None) -> None:
        """Offer the resolution of references that begin with ``name:``."""
        self._add("secret_scheme", name, factory, settings)

    def state_store(self, name: str, factory: Factory, settings: type | None = None) -> None:
        """Offer a state store."""
        self._add("state_store", name, factory, settings)

    def table(self, name: str, settings: type, check: TableCheck | None = None) -> None:
        """Describe a table of the configuration; nothing is made of it."""
        self._add("table", name, _nothing, settings, check=check)

    def get(self, kind: Kind, name: str) -> Registration | None:
        """Return what was registered under *name*."""
        return self._registrations.get((kind, name))

    def names(self, kind: Kind) -> list[str]:
        """Return the registered names of one kind."""
        return [name for registered, name in self._registrations if registered == kind]

    def of_plugin(self, plugin: str, kind: Kind) -> list[Registration]:
        """Return what *plugin* registered of one kind, in its order."""
        return [r for r in self._registrations.values() if r.plugin == plugin and r.kind == kind]

    def _add(
        self,
        kind: Kind,
        name: str,
        factory: Factory,
        settings: type | None,
        auth: tuple[str, ...] = ("none",),
        auth_required: bool = False,
        check: TableCheck | None = None,
    ) -> None:
        registration = Registration(
            kind=kind,
            name=name,
            factory=factory,
            settings=settings,
            plugin=self._plugin,
            source=self._source,
            auth=auth,
            auth_required=auth_required,
            check=check,
        )
        if not name:
            raise registration.error(f"registers a {kind} without a name")
        if not callable(factory):
            raise registration.error(f"registers {kind} {name!r} with a factory that cannot be called: {factory!r}")
        if settings is not None and not attrs.has(settings):
            raise registration.error(f"registers {kind} {name!r} with settings that are no attrs class: {settings!r}")
        earlier = self._registrations.get((kind, name))
        if earlier is not None:
            raise registration.error(
                f"registers {kind} {name!r}, which {_origin(earlier)} has registered already; names must be unique"
            )
        self._registrations[kind, name] = registration


def _nothing(_config: Any, _settings: Any, _runtime: Any) -> None:
    """Stand for the factory of what is only described."""


def _origin(registration: Registration) -> str:
    source = registration.source
    return f"{source.distribution} {source.version}" if source is not None else f"plugin {registration.plugin!r}"


__all__ = ["Kind", "PluginRegistrar", "Registration"]
