"""The entry point: registers the provider type ``mock``."""

from __future__ import annotations

from apex_llm_core.hookspecs import Registrar
from apex_llm_core.markers import hookimpl
from apex_llm_mock.provider import MockProvider
from apex_llm_mock.settings import MockSettings


@hookimpl
def apex_register(registrar: Registrar) -> None:
    """Offer the provider type ``mock``; it takes no credentials."""
    # It asks nobody, so that it can stand in for any type; the core resolves the credentials all the same.
    auth = ("none", "api_key", "iam", "azure_ad", "oauth")
    registrar.provider("mock", MockProvider, settings=MockSettings, auth=auth)


__all__ = ["apex_register"]
