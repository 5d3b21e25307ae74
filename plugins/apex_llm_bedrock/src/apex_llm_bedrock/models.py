"""Which model is meant: its id as Bedrock reads it, its family, and how it is called.

What a model takes follows from the foundation model behind it. An id says it, or `base_model`; an application profile says
nothing, so that AWS is asked once which model it is.
"""

from __future__ import annotations

import asyncio
import math
import warnings
from collections.abc import Awaitable, Callable

import attrs

from apex_llm_bedrock.families import FAMILIES, UNKNOWN, Family, family_of
from apex_llm_bedrock.model_ids import ModelId, parse_model_id, with_geo
from apex_llm_bedrock.settings import BedrockSettings
from apex_llm_core.config import ProviderConfig
from apex_llm_core.context import CallContext
from apex_llm_core.errors import (
    AuthenticationError,
    ConfigurationError,
    ConfigurationWarning,
    InvalidRequestError,
    LLMError,
    nearest,
)
from apex_llm_core.models import ModelInfo, ProviderCapabilities

#: Models of which it is kept what is known.
_KEPT = 256
#: Seconds that a look-up may take, and that none is made after one without an answer.
_LOOK_UP = 3.0
_REST = 60.0
#: Asks AWS for the model behind a profile: its foundation id.
LookUp = Callable[[ModelId, CallContext], Awaitable[str]]


@attrs.define(kw_only=True, eq=False)
class Model:
    """One model as this provider calls it."""

    #: As configured.
    name: str
    id: ModelId
    family: Family
    #: The foundation model behind it, "" where nobody says.
    base: str
    #: The form of its bodies when it is called by InvokeModel; empty: it is called by Converse.
    invoke_format: str
    #: The service said that it takes no tools in streams.
    whole_with_tools: bool = False


class Models:
    """The configured models, and those that requests name without configuration.

    Raises:
        ConfigurationError: an id is none; names the key.
    """

    def __init__(self, config: ProviderConfig, settings: BedrockSettings, look_up: LookUp) -> None:
        self._config = config
        self._settings = settings
        self._look_up = look_up
        self._known: dict[tuple[str, str], Model] = {}
        self._asking: dict[tuple[str, str], asyncio.Lock] = {}
        #: When AWS may be asked again after it did not answer.
        self._resting: dict[tuple[str, str], float] = {}
        self._declared: dict[str, str | None] = {}
        for position, model in enumerate(config.models):
            self._declared[model.id] = model.base_model
            _doubt(config.name, model.base_model)
            try:
                self._read(model.provider_model_id or model.id)
            except ValueError as error:
                key = "provider_model_id" if model.provider_model_id else "id"
                raise ConfigurationError(f"models[{position}].{key}: {error}") from error
        self._most = max(_KEPT, len(config.models))

    def known(self, context: CallContext, model: str) -> Model | None:
        """Return the model that the attempt is about, if nobody has to be asked; *model* stands in outside an attempt."""
        return self._known.get(_key(context, model))

    async def of(self, context: CallContext, model: str) -> Model:
        """Return the model that the attempt is about.

        Raises:
            InvalidRequestError: no model has such an id.
        """
        key = _key(context, model)
        found = self._known.get(key)
        if found is None:
            try:
                found = self._make(key, self._declared.get(key[0]))
            except ValueError as error:
                raise InvalidRequestError(str(error)) from error
            if found.family is UNKNOWN and self._settings.look_up_profiles and found.id.kind == "application_profile":
                return await self._asked(key, found, context)
            self._keep(key, found)
        return found

    def capabilities(self) -> ProviderCapabilities:
        """Tell what is known of the configured models, by their names."""
        facts: dict[str, ModelInfo] = {}
        for model in self._config.models:
            name = model.provider_model_id or model.id
            family = self._make((model.id, name), model.base_model).family
            if family is not UNKNOWN:
                facts[name] = model_info(name, family)
        features = frozenset().union(*(family.capabilities for family in FAMILIES.values()))
        return ProviderCapabilities(features=features, models=facts)

    def _read(self, name: str) -> ModelId:
        return with_geo(parse_model_id(name), self._settings.geo_prefix)

    def _make(self, key: tuple[str, str], base: str | None) -> Model:
        generic, name = key
        model_id = self._read(name)
        family = family_of(base or model_id.base or generic)
        forms = self._settings.invoke
        form = forms.get(name) or forms.get(generic) or ("" if family.converse else family.invoke_format)
        return Model(name=name, id=model_id, family=family, base=base or model_id.base, invoke_format=form)

    async def _asked(self, key: tuple[str, str], model: Model, context: CallContext) -> Model:
        """Return *model* with the family that AWS tells; without an answer it stays unknown, which is permissive."""
        async with self._asking.setdefault(key, asyncio.Lock()):
            found = self._known.get(key)
            if found is not None:
                return found
            resting = self._resting.get(key, -math.inf)
            if context.clock() < resting:
                return model
            try:
                async with asyncio.timeout(_LOOK_UP):
                    found = self._make(key, await self._look_up(model.id, context))
            except AuthenticationError:
                # The call itself would fail in the same way, and says so better than one for an unknown model.
                raise
            except (LLMError, TimeoutError) as error:
                if isinstance(error, TimeoutError) or error.retryable:
                    self._resting[key] = context.clock() + _REST
                    return model
                found = model
            self._keep(key, found)
        self._asking.pop(key, None)
        self._resting.pop(key, None)
        return found

    def _keep(self, key: tuple[str, str], model: Model) -> None:
        # Callers may name any model: the oldest give way.
        if len(self._known) >= self._most:
            del self._known[next(iter(self._known))]
        self._known[key] = model


def _key(context: CallContext, model: str) -> tuple[str, str]:
    candidate = context.candidate
    return (model, model) if candidate is None else (candidate.model, candidate.provider_model_id or candidate.model)


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


__all__ = ["LookUp", "Model", "Models", "model_info"]
