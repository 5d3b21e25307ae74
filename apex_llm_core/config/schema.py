"""Every table and key of the configuration, with its meaning and its bounds; `config schema` prints what stands here.

Free tables (options, credentials, tables of extensions) stand in no repr: nobody knows which of their values are secret.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any, Literal

import attrs

from apex_llm_core.models.requests import CAPABILITIES


def _bounds(low: float, high: float, *, above: bool = False) -> Callable[[Any], None]:
    wanted = f"above {low:g}" if above else f"of at least {low:g}"
    if high != math.inf:
        wanted += f" and at most {high:g}"

    def check(value: Any) -> None:
        if value is None:
            return
        number = isinstance(value, int | float) and not isinstance(value, bool)
        inside = number and (low < value if above else low <= value) and value <= high
        if not inside or math.isinf(value):
            raise ValueError(f"must be a finite number {wanted}, not {value if number else type(value).__name__}")

    return check


def _named(check: Callable[[Any], None]) -> Callable[[Any, Any, Any], None]:
    """Make an attrs validator of *check*, for instances made in code; its error begins as those of attrs do."""

    def validate(_instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        try:
            check(value)
        except ValueError as error:
            raise ValueError(f"'{attribute.name}' {error}") from None

    return validate


def setting(
    default: Any = attrs.NOTHING,
    *,
    doc: str,
    low: float | None = None,
    high: float = math.inf,
    above: float | None = None,
    choices: Collection[str] | None = None,
    factory: Callable[[], Any] | None = None,
    **more: Any,
) -> Any:
    """Declare one key: its default, its meaning, the bounds of a number, the words a list may hold.

    *low* is inclusive, *above* exclusive. The metadata is what the JSON Schema and the documentation are made of;
    its ``check`` lets the converter look at each value where it stands.
    """
    metadata: dict[str, Any] = {
        "doc": doc,
        "minimum": low,
        "exclusive_minimum": above,
        "maximum": None if high == math.inf else high,
        "choices": None if choices is None else tuple(sorted(choices)),
    }
    if low is not None or above is not None:
        metadata["check"] = _bounds(low if low is not None else above or 0.0, high, above=above is not None)
        more["validator"] = _named(metadata["check"])
    if factory is not None:
        return attrs.field(factory=factory, metadata=metadata, **more)
    return attrs.field(default=default, metadata=metadata, **more)


def _empty() -> Mapping[str, Any]:
    return MappingProxyType({})


@attrs.frozen(kw_only=True)
class AuthConfig:
    """How to authenticate at a provider; which types and credentials it takes is the provider type's own matter."""

    type: Literal["api_key", "iam", "azure_ad", "oauth", "none"] = setting(doc="The kind of authentication.")
    credentials: Mapping[str, Any] = setting(
        factory=_empty,
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
        factory=_empty, repr=False, doc="The provider type's own settings; 'endpoint' points it elsewhere."
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
    strategy_options: Mapping[str, Any] = setting(factory=_empty, repr=False, doc="The strategy's own settings.")
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


@attrs.frozen(kw_only=True)
class FallbackConfig:
    """The fallback handler."""

    models: Mapping[str, tuple[str, ...]] = setting(
        factory=_empty,
        doc="Models to go on with when all candidates of a model failed, for example {'gpt-4o' = ['claude-sonnet']}.",
    )


@attrs.frozen(kw_only=True)
class BreakerConfig:
    """The circuit breaker, beside the keys in [manager]."""

    half_open_permits: int = setting(1, low=1, doc="Requests that may probe at the same time.")


@attrs.frozen(kw_only=True)
class RetryConfig:
    """Retries at the same provider."""

    base: float = setting(0.25, above=0, doc="Seconds before the first retry, before jitter.")
    factor: float = setting(2.0, low=1, doc="Growth from one retry to the next.")
    max_delay: float = setting(8.0, above=0, doc="The longest computed wait in seconds.")
    patience: float = setting(
        1.0,
        low=0,
        doc="With another candidate left, wait at most this many seconds for the same one; a longer wait falls back at once.",
    )
    quota: int = setting(
        500,
        low=0,
        doc="A provider's credit for retries, over all requests: a retry costs 14, after a rate limit 5; success gives back. 0: no limit.",
    )


@attrs.frozen(kw_only=True)
class LimitConfig:
    """A limit on requests. At least one of `requests` and `concurrent` must be given."""

    name: str = setting(doc="Unique name, for errors and events.")
    scope: Literal["all", "provider", "model", "user"] = setting(
        "all",
        doc="What is counted separately: requests of all or of a user; upstream calls, retries included, of a provider or a model.",
    )
    match: str = setting("*", doc="Pattern of the provider, model or user it concerns.")
    requests: int | None = setting(None, low=1, doc="Requests per window.")
    per: float = setting(60.0, above=0, doc="The window in seconds.")
    concurrent: int | None = setting(None, low=1, doc="Requests in flight at the same time.")

    def __attrs_post_init__(self) -> None:
        if self.requests is None and self.concurrent is None:
            raise ValueError("give at least one of 'requests' and 'concurrent'")
        if self.scope == "all" and self.match != "*":
            raise ValueError("a limit with scope 'all' concerns everybody; give the scope that 'match' is meant for")


@attrs.frozen(kw_only=True)
class CacheConfig:
    """The response cache, beside the keys in [manager]."""

    max_entries: int = setting(10_000, low=1, doc="Answers kept at most; the least recently used go first.")


@attrs.frozen(kw_only=True)
class StateConfig:
    """Where shared state lives."""

    type: str = setting("memory", doc="'memory' or an installed state store.")
    options: Mapping[str, Any] = setting(factory=_empty, repr=False, doc="The state store's own settings.")


@attrs.frozen(kw_only=True)
class MiddlewareConfig:
    """One middleware; the first of the array is the outermost."""

    type: str = setting(doc="The name of an installed middleware.")
    enabled: bool = setting(True, doc="Whether it takes part.")
    options: Mapping[str, Any] = setting(factory=_empty, repr=False, doc="The middleware's own settings.")


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
    limits: tuple[LimitConfig, ...] = setting((), doc="Limits.")
    cache: CacheConfig = setting(factory=CacheConfig, doc="The response cache.")
    state: StateConfig = setting(factory=StateConfig, doc="Shared state.")
    flags: Mapping[str, bool] = setting(factory=_empty, doc="Feature flags that middleware can ask for.")
    logging: LoggingConfig = setting(factory=LoggingConfig, doc="Logging.")
    seed: int | None = setting(None, doc="Makes ranking and jitter repeatable; absent: different at each start.")
    extensions: Mapping[str, Mapping[str, Any]] = setting(
        factory=_empty,
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
    "Config",
    "FallbackConfig",
    "LimitConfig",
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
