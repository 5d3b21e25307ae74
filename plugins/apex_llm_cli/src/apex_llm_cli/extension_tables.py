"""Tables of the configuration that installed extensions have described."""

from __future__ import annotations

import warnings
from collections.abc import Container

from apex_llm_core.errors import ConfigurationWarning, PluginError
from apex_llm_core.plugin.discovery import EXTENSIONS, discover


def described_tables(names: Container[str] | None = None) -> dict[str, type]:
    """Return the settings classes of the tables that extensions describe, by the name of the table.

    Args:
        names: the extensions that are looked at, and imported for it; None: all that are installed. One that is broken is
            told in a warning and left out.
    """
    from apex_llm_core.plugin.manager import PluginManager
    from apex_llm_core.plugin.registrar import PluginRegistrar

    found: dict[str, type] = {}
    for name, source in discover(EXTENSIONS).items():
        if names is not None and name not in names:
            continue
        registrar = PluginRegistrar()
        try:
            PluginManager().register_module(source.load(), name, registrar, source)
        except PluginError as error:
            warnings.warn(f"{error}; its table is not described", ConfigurationWarning, stacklevel=2)
            continue
        table = registrar.get("table", name)
        if table is not None and table.settings is not None:
            found[name] = table.settings
    return found


__all__ = ["described_tables"]
