"""The resource's catalogue, and its health.

The data plane lists the models that are *available to* the resource. Deployments, which are what requests name, are listed
by the management plane only, with other credentials; the configured ones are the truth here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apex_llm_azure.answers import malformed, request_id_of
from apex_llm_azure.client import AzureClient
from apex_llm_azure.deployments import model_info
from apex_llm_azure.families import UNKNOWN, family_of
from apex_llm_core.context import CallContext
from apex_llm_core.errors import LLMError
from apex_llm_core.models import HealthState, HealthStatus, ModelInfo

#: The catalogue's own words, by ours.
_ABILITIES = {"chat_completion": ("chat", "stream"), "completion": ("text",), "embeddings": ("embed",)}


async def listed_models(client: AzureClient, context: CallContext) -> list[ModelInfo]:
    """Return the models available to the resource.

    Raises:
        LLMError: the catalogue cannot be had.
    """
    response = await client.get(client.endpoint.models_url(), context)
    document = await client.read(response)
    entries = _entries(document, response.headers)
    return [_model(entry) for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)]


async def health(client: AzureClient, context: CallContext) -> HealthStatus:
    """Ask for the catalogue: that proves network, key or role, and address, and spends no tokens."""
    started = context.clock()
    try:
        response = await client.get(client.endpoint.models_url(), context)
        _entries(await client.read(response), response.headers)
    except LLMError as error:
        return HealthStatus(
            status=HealthState.UNAVAILABLE,
            latency=context.clock() - started,
            message=error.message,
            details=_facts(error.type.value, error.request_id),
        )
    return HealthStatus(
        status=HealthState.HEALTHY,
        latency=context.clock() - started,
        details=_facts(None, request_id_of(response.headers)) | _region(response.headers),
    )


def _entries(document: Mapping[str, Any], headers: Mapping[str, str]) -> list[Any]:
    entries = document.get("data")
    if not isinstance(entries, list):
        raise malformed("without a list of models", headers)
    return entries


def _model(entry: Mapping[str, Any]) -> ModelInfo:
    name = entry["id"]
    family = family_of(name)
    status = entry.get("lifecycle_status") or entry.get("status") or "listed"
    info = model_info(
        name, family, description=f"available to the resource ({status}); called by its deployment's name"
    )
    if family is not UNKNOWN:
        return info
    told = entry.get("capabilities")
    if not isinstance(told, dict):
        return info
    words = [word for ability, words in _ABILITIES.items() if told.get(ability) for word in words]
    return ModelInfo(id=name, provider_model_id=name, capabilities=words or None, description=info.description)


def _facts(error_type: str | None, request_id: str | None) -> dict[str, Any]:
    return {name: value for name, value in (("error_type", error_type), ("request_id", request_id)) if value}


def _region(headers: Mapping[str, str]) -> dict[str, Any]:
    region = headers.get("x-ms-region")
    return {"region": region} if region else {}


__all__ = ["health", "listed_models"]
