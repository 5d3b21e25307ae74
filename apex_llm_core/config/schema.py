"""Every table and key of the configuration, with its meaning and its bounds; `config schema` prints what stands here.

Free tables (options, credentials, tables of extensions) stand in no repr: nobody knows which of their values are secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import attrs

from apex_llm_core.config.fields import empty, setting
from apex_llm_core.config.policies import (
    BreakerConfig,
    ConcurrencyConfig,
    DecisionsConfig,
    DegradationConfig,
    FallbackConfig,
    FlagConfig,
    HedgingConfig,
    LimitConfig,
    LoadBalancerConfig,
    RetryConfig,
)
from apex_llm_core.models.requests import CAPABILITIES


@attrs.frozen(kw_only=True)
class AuthConfig:
    """How to authenticate at a provider; which types and credentials it takes is the provider type's own matter."""

    type: Literal["api_key", "iam", "azure_ad", "oauth", "none"] = setting(doc="The kind of authentication.")
    credentials: Mapping[str, Any] = setting(
        factory=empty,
        doc="Values or references to them: 'env:NAME' (environment), 'file:PATH' (its content without the newline at the end), or an extension's scheme.",
        repr=False,
    )


@attrs.frozen(kw_only=True)
class ModelConfig:
    """One model a provider serves."""

    id: str = setting(doc="The generic id that callers use.")
    provider_model_id: str = setting("", doc="The provider's own name; empty: the same as id.")
    base_model: str | None = setting(None, doc="What the model really is, when its name does not say.")
    capabilities: tuple[str, ...] | None = setting(
        None,
        choices=CAPABILITIES,
        doc=f"What it can do: {', '.join(sorted(CAPABILITIES))}. Absent: the provider's own table decides.",
    )
    max_tokens: int | None = setting(None, low=1, doc="Context window in tokens.")
    max_output_tokens: int | None = setting(None, low=1, doc="The longest answer in tokens.")
    cost_per_input_token: float | None = setting(None, low=0, doc="Price of one token; absent is unknown, never free.")
    cost_per_output_token: float | None = setting(None, low=0, doc="Price of one token; absent is unknown, never free.")


@attrs.frozen(kw_only=True)
class ProviderConfig:
    """One configured provider."""

    name: str = setting(doc="Unique name of this provider.")
    type: str = setting(doc="The provider type: the entry-point name of an installed plugin.")
    enabled: bool = setting(True, doc="Whether it takes part at all.")
    priority: int = setting(100, doc="Lower is preferred.")
    weight: float = setting(1.0, low=0, doc="Share among equals; 0 only when all others failed.")
    timeout: float = setting(
        60.0, low=0, doc="Seconds of silence per attempt: connect, until headers, between reads. 0: none."
    )
    retry_count: int = setting(2, low=0, doc="Further attempts at this provider after the first.")
    region: str | None = setting(None, doc="For routing and residency.")
    tags: tuple[str, ...] = setting((), doc="Words that routing rules can ask for.")
    allow_insecure: bool = setting(False, doc="Accept a plain-http endpoint that is not loopback.")
    auth: AuthConfig | None = setting(None, doc="Authentication; absent: the provider type's default.")
    options: Mapping[str, Any] = setting(
        factory=empty, repr=False, doc="The provider type's own settings; 'endpoint' points it elsewhere."
    )
    models: tuple[ModelConfig, ...] = setting(
        (), doc="The models it serves; absent: those the provider type offers by itself."
    )


@attrs.frozen(kw_only=True)
class ManagerConfig:
    """The manager."""

    default_provider: str | None = setting(
        None, doc="Serves requests that name no model: its first model with the needed capability."
    )
    default_model: str | None = setting(
        None, doc="The model of requests that name none, where it can do what they need."
    )
    selection_strategy: str = setting("priority", doc="How candidates are ranked: 'priority' or an installed strategy.")
    strategy_options: Mapping[str, Any] = setting(factory=empty, repr=False, doc="The strategy's own settings.")
    fallback_enabled: bool = setting(True, doc="Go on to the next candidate when one fails.")
    max_attempts: int = setting(
        6, low=1, doc="Upstream calls per request at most, over retries and fallbacks together."
    )
    deadline: float = setting(120.0, low=0, doc="Seconds over everything; 0: none.")
    circuit_breaker_enabled: bool = setting(True, doc="Leave failing candidates alone for a while.")
    circuit_breaker_threshold: int = setting(5, low=1, doc="Consecutive failures that open the breaker.")
    circuit_breaker_reset_timeout: float = setting(
        30.0, above=0, doc="Seconds until an open breaker lets one request probe."
    )
    metrics_enabled: bool = setting(True, doc="Count requests, tokens and cost for stats().")
    cache_enabled: bool = setting(False, doc="Answer repeated requests from memory.")
    cache_ttl: float = setting(3600.0, above=0, doc="Seconds an answer is kept.")
    watch: float = setting(
        0.0, low=0, doc="Look every so many seconds whether the configuration's files changed, and reload; 0: never."
    )
    health_timeout: float = setting(10.0, above=0, doc="Seconds a provider has for a health check or a list of models.")


@attrs.frozen(kw_only=True)
class RouteConfig:
    """A routing rule: the first one that matches a request applies. Patterns know * and ?."""

    name: str = setting("", doc="For messages and decisions.")
    model: str = setting("*", doc="Pattern of the requested model.")
    operation: Literal["text", "chat", "embed", "image"] | None = setting(None, doc="Only this operation.")
    user: str | None = setting(None, doc="Pattern of the caller's user.")
    tier: str | None = setting(None, doc="Pattern of the caller's tier.")
    role: str | None = setting(None, doc="The caller must have this role.")
    to_model: str | None = setting(None, doc="Serve with this model instead.")
    providers: tuple[str, ...] = setting((), doc="Only these providers.")
    regions: tuple[str, ...] = setting((), doc="Only providers of these regions.")
    tags: tuple[str, ...] = setting((), doc="Only providers with all of these tags.")
    strategy: str | None = setting(None, doc="Rank with this strategy.")
    percentage: float = setting(
        100.0,
        low=0,
        high=100,
        doc="Applies to this share of the requests, by a stable draw on session, user or request: a canary.",
    )
    flag: str | None = setting(None, doc="Applies where this feature flag is on.")
    shadow_model: str | None = setting(
        None, doc="Send a copy of each request to this model, too; its answer is dropped, its cost is not."
    )
    shadow_provider: str | None = setting(None, doc="Send the copy to this provider.")
    shadow_percentage: float = setting(100.0, low=0, high=100, doc="Share of the requests that are copied.")


@attrs.frozen(kw_only=True)
class CacheConfig:
    """The response cache, beside the keys in [manager]."""

    max_entries: int = setting(10_000, low=1, doc="Answers kept at most; the least recently used go first.")
    max_bytes: int = setting(256_000_000, low=1, doc="Bytes kept at most.")
    stale_ttl: float = setting(
        0.0, low=0, doc="Seconds for which an answer is kept beyond its time, for the degradation step cached_answer."
    )


@attrs.frozen(kw_only=True)
class StateConfig:
    """Where shared state lives."""

    type: str = setting("memory", doc="'memory' or an installed state store.")
    options: Mapping[str, Any] = setting(factory=empty, repr=False, doc="The state store's own settings.")


@attrs.frozen(kw_only=True)
class MiddlewareConfig:
    """One middleware; the first of the array is the outermost."""

    type: str = setting(doc="The name of an installed middleware.")
    enabled: bool = setting(True, doc="Whether it takes part.")
    options: Mapping[str, Any] = setting(factory=empty, repr=False, doc="The middleware's own settings.")


@attrs.frozen(kw_only=True)
class LoggingConfig:
    """Log lines through loguru; nothing is emitted unless enabled here or by the application."""

    enabled: bool = setting(False, doc="Let the core and its plugins log.")
    level: Literal["TRACE", "DEBUG", "INFO", "WARNING", "ERROR"] = setting("INFO", doc="Lowest level that is logged.")


@attrs.frozen(kw_only=True)
class Config:
    """A whole configuration. Tables of extensions stand in `extensions` under their names."""

    manager: ManagerConfig = setting(factory=ManagerConfig, doc="The manager.")
    providers: tuple[ProviderConfig, ...] = setting((), doc="The providers.")
    middleware: tuple[MiddlewareConfig, ...] = setting((), doc="Middleware, outermost first.")
    routes: tuple[RouteConfig, ...] = setting((), doc="Routing rules, first match wins.")
    fallback: FallbackConfig = setting(factory=FallbackConfig, doc="The fallback handler.")
    circuit_breaker: BreakerConfig = setting(factory=BreakerConfig, doc="The circuit breaker.")
    retry: RetryConfig = setting(factory=RetryConfig, doc="Retries.")
    load_balancer: LoadBalancerConfig = setting(factory=LoadBalancerConfig, doc="The load balancer.")
    concurrency: ConcurrencyConfig = setting(factory=ConcurrencyConfig, doc="Calls in flight at each provider.")
    hedging: HedgingConfig = setting(factory=HedgingConfig, doc="Hedging.")
    degradation: tuple[DegradationConfig, ...] = setting((), doc="Steps when every candidate failed, in order.")
    decisions: DecisionsConfig = setting(factory=DecisionsConfig, doc="Decision records.")
    limits: tuple[LimitConfig, ...] = setting((), doc="Limits.")
    cache: CacheConfig = setting(factory=CacheConfig, doc="The response cache.")
    state: StateConfig = setting(factory=StateConfig, doc="Shared state.")
    flags: Mapping[str, bool | FlagConfig] = setting(
        factory=empty, doc="Feature flags: true, false, or for whom. Routing rules and plugins ask for them."
    )
    logging: LoggingConfig = setting(factory=LoggingConfig, doc="Logging.")
    seed: int | None = setting(None, doc="Makes ranking and jitter repeatable; absent: different at each start.")
    extensions: Mapping[str, Mapping[str, Any]] = setting(
        factory=empty,
        repr=False,
        doc="Not a table itself: every other top-level table belongs to the extension of its name.",
    )
    #: Not configured: what deserves attention, and the files the configuration came from.
    warnings: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


__all__ = [
    "AuthConfig",
    "BreakerConfig",
    "CacheConfig",
    "ConcurrencyConfig",
    "Config",
    "DecisionsConfig",
    "DegradationConfig",
    "FallbackConfig",
    "FlagConfig",
    "HedgingConfig",
    "LimitConfig",
    "LoadBalancerConfig",
    "LoggingConfig",
    "ManagerConfig",
    "MiddlewareConfig",
    "ModelConfig",
    "ProviderConfig",
    "RetryConfig",
    "RouteConfig",
    "StateConfig",
    "setting",
]
