"""The entry point: registers the provider type ``bedrock``."""

from __future__ import annotations

from apex_llm_bedrock.auth import CredentialSources
from apex_llm_bedrock.provider import BedrockProvider
from apex_llm_bedrock.settings import BedrockSettings
from apex_llm_core.config import ProviderConfig
from apex_llm_core.hookspecs import Registrar, Runtime
from apex_llm_core.markers import hookimpl


@hookimpl
def apex_register(registrar: Registrar) -> None:
    """Offer the provider type ``bedrock``. Credentials are shared by all its providers of one configuration."""
    sources = CredentialSources()

    def make(config: ProviderConfig, settings: BedrockSettings, runtime: Runtime) -> BedrockProvider:
        return BedrockProvider(config, settings, runtime, sources)

    registrar.provider("bedrock", make, settings=BedrockSettings, auth=("iam", "api_key"))


__all__ = ["apex_register"]
