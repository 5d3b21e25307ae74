"""The extension's entry point: describes the table ``[gateway]``, so that it is checked wherever it is loaded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from apex_llm_core.hookspecs import Registrar
from apex_llm_core.markers import hookimpl
from apex_llm_gateway.settings import GatewaySettings


@hookimpl
def apex_register(registrar: Registrar) -> None:
    """Describe ``[gateway]``; who reads it is the command `serve`."""
    registrar.table("gateway", GatewaySettings, _check)


async def _check(config: Any, resolve: Callable[[Any], Awaitable[Any]]) -> None:
    """Make sure that the gateway would start with *config*: its keys are there, and none is weak.

    Raises:
        ConfigurationError: it would not.

    Warns:
        ConfigurationWarning: a limit, a route or a key concerns nobody, or a key is easy to guess.
    """
    from apex_llm_gateway.configured import file_of, settings_of
    from apex_llm_gateway.keys import check_open, load_keys
    from apex_llm_gateway.unmatched import warn_of_unmatched

    settings, file = settings_of(config), file_of(config)
    ring = await load_keys(settings, resolve, file=file)
    check_open(ring, settings.host, file=file)
    warn_of_unmatched(config, ring.keys, file=file)


__all__ = ["apex_register"]
