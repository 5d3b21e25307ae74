"""The entry point: registers the state store ``sqlite``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from apex_llm_core.hookspecs import Registrar, Runtime
from apex_llm_core.interfaces import StateStore
from apex_llm_core.markers import hookimpl
from apex_llm_sqlite.database import check
from apex_llm_sqlite.settings import SqliteSettings
from apex_llm_sqlite.store import SqliteStore


class SqlitePlugin:
    """What is registered as the state store ``sqlite``."""

    def __init__(self, config: Any, settings: SqliteSettings, runtime: Runtime) -> None:  # noqa: ARG002 - the form of factories
        self._settings = settings
        self._path = Path(settings.path).expanduser().absolute()

    @hookimpl
    async def apex_startup(self, runtime: Runtime) -> None:  # noqa: ARG002 - the form of the hook
        """Make the file if it is not there, and look whether it can be used.

        Raises:
            ConfigurationError: it cannot.
        """
        await asyncio.to_thread(check, self._path, self._settings.busy_timeout)

    @hookimpl
    def apex_state_store(self, config: Mapping[str, Any]) -> StateStore:
        """Return the store; it connects at its first use."""
        # Processes share the wall clock and nothing else.
        bounds = {name: config[name] for name in ("max_entries", "max_bytes") if config.get(name) is not None}
        return SqliteStore(str(self._path), busy_timeout=self._settings.busy_timeout, wall=time.time, **bounds)


@hookimpl
def apex_register(registrar: Registrar) -> None:
    """Offer the state store ``sqlite``."""
    registrar.state_store("sqlite", SqlitePlugin, settings=SqliteSettings)


__all__ = ["SqlitePlugin", "apex_register"]
