"""What ``[providers.options]`` of an Azure provider may say."""

from __future__ import annotations

from typing import Literal

import attrs

from apex_llm_azure.endpoints import parse_endpoint
from apex_llm_core.config import setting
from apex_llm_core.errors import nearest

_SURFACES = ("", "v1", "dated")
_POLICIES = ("error", "drop")


@attrs.frozen(kw_only=True)
class AzureSettings:
    """One Azure OpenAI (or Foundry) resource."""

    endpoint: str = setting(
        doc="The resource's address, or any URL of it as the portal shows it; surface, version and deployment are taken from it."
    )
    surface: str = setting(
        "", doc="'v1' (/openai/v1/) or 'dated' (?api-version=…); empty: as the endpoint or api_version says, else v1."
    )
    api_version: str = setting(
        "", doc="On the dated surface 'YYYY-MM-DD' or 'YYYY-MM-DD-preview'; on v1 nothing, 'v1' or 'preview'."
    )
    authority: str = setting(
        "", doc="Address of the token authority without the tenant; empty: that of the endpoint's cloud."
    )
    scope: str = setting("", doc="Scope of tokens; empty: that of the endpoint's cloud and surface.")
    ca_file: str = setting("", doc="A file of certificate authorities to trust at the token authority, in PEM.")
    embeddings_surface: str = setting(
        "",
        doc="'dated' asks for embeddings there although the rest goes to v1, 'v1' never does; empty: under Entra ID, whose tokens v1 may refuse for embeddings.",
    )
    embedding_batch: int = setting(2048, low=1, doc="Texts per embedding call; longer lists take several calls.")
    embedding_concurrency: int = setting(4, low=1, doc="Embedding calls of one request at the same time.")
    quota_after: float = setting(
        3600.0, above=0, doc="A service that asks for so many seconds of waiting, or more, tells of a used-up quota."
    )
    unsupported_parameters: str = setting(
        "error",
        doc="What becomes of a parameter that the model or version does not take: 'error', or 'drop', which is reported in the result's details.",
    )
    spillover_deployment: str = setting(
        "", doc="Deployment of the same resource that takes over when a provisioned one is full, by the service itself."
    )

    def __attrs_post_init__(self) -> None:
        _check_word("surface", self.surface, _SURFACES)
        _check_word("embeddings_surface", self.embeddings_surface, _SURFACES)
        _check_word("unsupported_parameters", self.unsupported_parameters, _POLICIES)
        parse_endpoint(self.endpoint, surface=self.surface, api_version=self.api_version)

    @property
    def policy(self) -> Literal["error", "drop"]:
        """What becomes of unsupported parameters."""
        return "drop" if self.unsupported_parameters == "drop" else "error"


def _check_word(key: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{key} is {value!r}{nearest(value, [choice for choice in choices if choice])}")


__all__ = ["AzureSettings"]
