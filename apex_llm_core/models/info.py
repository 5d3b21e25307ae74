"""What is known of providers and models, and who is calling."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import attrs

#: What an installed provider plugin offers; its entry-point name ("azure", "bedrock", "mock", …).
ProviderType = str


def _words(value: Iterable[str] | None) -> frozenset[str] | None:
    return None if value is None else frozenset(value)


def _set(value: Iterable[str]) -> frozenset[str]:
    return frozenset(value)


@attrs.frozen(kw_only=True)
class ModelInfo:
    """One model of one provider. Sizes in tokens, costs per token; None is unknown, never zero or unlimited."""

    id: str
    provider: str = ""
    provider_model_id: str = ""
    base_model: str | None = None
    capabilities: frozenset[str] | None = attrs.field(default=None, converter=_words)
    #: Context window.
    max_tokens: int | None = None
    max_output_tokens: int | None = None
    cost_per_input_token: float | None = None
    cost_per_output_token: float | None = None
    description: str | None = None


def _models(value: Iterable[ModelInfo]) -> tuple[ModelInfo, ...]:
    return tuple(value)


@attrs.frozen(kw_only=True)
class ProviderCapabilities:
    """What a provider can do.

    `features` narrows nothing below the hooks it implements; `models` holds facts by `provider_model_id` or
    `base_model`; `served` are the models it offers when the configuration lists none for it.
    """

    features: frozenset[str] = attrs.field(default=frozenset(), converter=_set)
    models: Mapping[str, ModelInfo] = attrs.field(factory=lambda: MappingProxyType({}))
    served: tuple[ModelInfo, ...] = attrs.field(default=(), converter=_models)


class HealthState(StrEnum):
    """Whether a provider can serve now."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNAVAILABLE = "unavailable"
    UNKNOWN = "unknown"


@attrs.frozen(kw_only=True)
class HealthStatus:
    """The answer of one health check; `latency` in seconds."""

    status: HealthState
    latency: float | None = None
    message: str = ""
    details: Mapping[str, Any] | None = None


@attrs.frozen(kw_only=True)
class Caller:
    """Who makes a request, as the application or the gateway established it; never taken from a request's body."""

    user: str | None = None
    tier: str | None = None
    #: The name of the API key that was used; never the key itself.
    key: str | None = None
    roles: frozenset[str] = attrs.field(default=frozenset(), converter=_set)
    #: Requests of one session may be kept at one provider.
    session: str | None = None
    #: Correlation id to keep; None makes a new one.
    request_id: str | None = None
    #: W3C trace context of the request that caused this one.
    traceparent: str | None = None
    metadata: Mapping[str, str] = attrs.field(factory=lambda: MappingProxyType({}))


#: Requests without a caller.
ANONYMOUS = Caller()


__all__ = ["ANONYMOUS", "Caller", "HealthState", "HealthStatus", "ModelInfo", "ProviderCapabilities", "ProviderType"]
