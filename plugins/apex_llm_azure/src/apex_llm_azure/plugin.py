"""The entry point: registers the provider type ``azure``."""

from __future__ import annotations

from apex_llm_azure.auth import TokenSources
from apex_llm_azure.provider import AzureProvider
from apex_llm_azure.settings import AzureSettings
from apex_llm_core.config import ProviderConfig
from apex_llm_core.hookspecs import Registrar, Runtime
from apex_llm_core.markers import hookimpl


@hookimpl
def apex_register(registrar: Registrar) -> None:
    """Offer the provider type ``azure``. Tokens are shared by all its providers of one configuration."""
    sources = TokenSources()

    def make(config: ProviderConfig, settings: AzureSettings, runtime: Runtime) -> AzureProvider:
        return AzureProvider(config, settings, runtime, sources)

    registrar.provider("azure", make, settings=AzureSettings, auth=("api_key", "azure_ad"), auth_required=True)


__all__ = ["apex_register"]
