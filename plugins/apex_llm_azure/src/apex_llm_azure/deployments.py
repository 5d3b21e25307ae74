"""What is known of each deployment: the model behind it, where it is called, and what it takes."""

from __future__ import annotations

import warnings
from typing import Any

import attrs

from apex_llm_azure.dialect import Dialect, corrected, dialect_of
from apex_llm_azure.endpoints import Endpoint
from apex_llm_azure.families import FAMILIES, UNKNOWN, Family, family_of
from apex_llm_core.config import ProviderConfig
from apex_llm_core.context import CallContext
from apex_llm_core.errors import ConfigurationWarning, nearest
from apex_llm_core.models import ModelInfo, ProviderCapabilities

#: Deployments of which it is kept what was learned.
_KEPT = 256


@attrs.define(kw_only=True, eq=False)
class Deployment:
    """One deployment. Its name says nothing about the model: that is declared, or unknown."""

    name: str
    family: Family
    #: Replaced when the service teaches us better.
    dialect: Dialect
    chat_url: str

    def learn(self, document: dict[str, Any], said: Any) -> dict[str, Any] | None:
        """Return the body to send in place of *document*, which the service refused by *said*; None when there is none.

        What was wrong is not sent to this deployment again.
        """
        better = corrected(document, said)
        if better is None:
            return None
        if "stream_options" not in better and "stream_options" in document:
            self.dialect = attrs.evolve(self.dialect, stream_options=False)
        for key in ("max_tokens", "max_completion_tokens"):
            if key in better and key not in document:
                self.dialect = attrs.evolve(self.dialect, max_tokens_key=key)
        return better


class Deployments:
    """The configured deployments, and those that requests name without configuration."""

    def __init__(self, config: ProviderConfig, endpoint: Endpoint) -> None:
        for model in config.models:
            _doubt(config.name, model.base_model)
        self._endpoint = endpoint
        self._declared = {model.id: family_of(model.base_model or model.id) for model in config.models}
        #: By generic id and deployment name; the first is what tells the family.
        self._known: dict[tuple[str, str], Deployment] = {}
        self._config = config

    def of(self, context: CallContext, model: str) -> Deployment:
        """Return the deployment that the attempt is about; *model* stands in outside an attempt."""
        candidate = context.candidate
        key = (model, model) if candidate is None else (candidate.model, candidate.provider_model_id or candidate.model)
        found = self._known.get(key)
        if found is None:
            base_model = None if candidate is None else candidate.base_model
            found = self._make(key[1], self._declared.get(key[0]) or family_of(base_model))
            # Callers may name any deployment: the oldest give way, and with them what was learned.
            if len(self._known) >= max(_KEPT, len(self._declared)):
                del self._known[next(iter(self._known))]
            self._known[key] = found
        return found

    def capabilities(self) -> ProviderCapabilities:
        """Tell what is known of the configured deployments, by their names."""
        facts: dict[str, ModelInfo] = {}
        for model in self._config.models:
            family = self._declared[model.id]
            name = model.provider_model_id or model.id
            if family is not UNKNOWN:
                facts[name] = model_info(name, family)
        served: tuple[ModelInfo, ...] = ()
        if self._endpoint.deployment:
            served = (ModelInfo(id=self._endpoint.deployment, provider_model_id=self._endpoint.deployment),)
        features = frozenset().union(*(family.capabilities for family in FAMILIES.values()))
        return ProviderCapabilities(features=features, models=facts, served=served)

    def _make(self, name: str, family: Family) -> Deployment:
        return Deployment(
            name=name,
            family=family,
            dialect=dialect_of(self._endpoint, family),
            chat_url=self._endpoint.url("chat/completions", name),
        )


def _doubt(provider: str, base_model: str | None) -> None:
    """Warn of a declared model that nobody knows but that looks like a known one."""
    if base_model and family_of(base_model) is UNKNOWN:
        hint = nearest(base_model, FAMILIES)
        if "did you mean" in hint:
            text = f"provider {provider!r}: base_model {base_model!r} is no model that is known here{hint}"
            warnings.warn(text, ConfigurationWarning, stacklevel=2)


def model_info(model_id: str, family: Family, *, description: str | None = None) -> ModelInfo:
    """Return what is known of *model_id*, whose model is of *family*."""
    known = family is not UNKNOWN
    return ModelInfo(
        id=model_id,
        provider_model_id=model_id,
        base_model=family.name if known else None,
        capabilities=family.capabilities if known else None,
        max_tokens=family.max_tokens,
        max_output_tokens=family.max_output_tokens,
        description=description,
    )


__all__ = ["Deployment", "Deployments", "model_info"]
