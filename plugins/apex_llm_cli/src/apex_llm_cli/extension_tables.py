"""Tables of the configuration that installed extensions have described."""

from __future__ import annotations

import warnings
from collections.abc import Container
from typing import TYPE_CHECKING

from apex_llm_core.errors import ConfigurationError, ConfigurationWarning, PluginError
from apex_llm_core.plugin.discovery import EXTENSIONS, discover

if TYPE_CHECKING:
    from apex_llm_core.manager import LLMProviderManager
    from apex_llm_core.plugin.registrar import Registration


def described_tables(names: Container[str] | None = None) -> dict[str, type]:
    """Return the settings classes of the tables that extensions describe, by the name of the table.

    Args:
        names: the extensions that are looked at, and imported for it; None: all that are installed. One that is broken is
            told in a warning and left out.
    """
    return {name: table.settings for name, table in _tables(names).items() if table.settings is not None}


async def problems(manager: LLMProviderManager) -> list[str]:
    """Return why tables of extensions cannot be used although their types are right."""
    found = []
    for table in _tables(manager.config.extensions).values():
        if table.check is not None:
            try:
                await table.check(manager.config, manager.resolve_secret)
            except ConfigurationError as error:
                found.append(error.message)
    return found


def _tables(names: Container[str] | None) -> dict[str, Registration]:
    from apex_llm_core.plugin.manager import PluginManager
    from apex_llm_core.plugin.registrar import PluginRegistrar

    found: dict[str, Registration] = {}
    for name, source in discover(EXTENSIONS).items():
        if names is not None and name not in names:
            continue
        registrar = PluginRegistrar()
        try:
            PluginManager().register_module(source.load(), name, registrar, source)
        except PluginError as error:
            warnings.warn(f"{error}; its table is not described", ConfigurationWarning, stacklevel=3)
            continue
        table = registrar.get("table", name)
        if table is not None:
            found[name] = table
    return found


__all__ = ["described_tables", "problems"]
