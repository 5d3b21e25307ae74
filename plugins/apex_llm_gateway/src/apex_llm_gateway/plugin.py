"""The extension's entry point: describes the table ``[gateway]``, so that it is checked wherever it is loaded."""

from __future__ import annotations

from apex_llm_core.hookspecs import Registrar
from apex_llm_core.markers import hookimpl
from apex_llm_gateway.settings import GatewaySettings


@hookimpl
def apex_register(registrar: Registrar) -> None:
    """Describe ``[gateway]``; who reads it is the command `serve`."""
    registrar.table("gateway", GatewaySettings)


__all__ = ["apex_register"]
