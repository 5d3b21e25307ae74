"""The tables of resilience and of spreading load; part of the configuration that `schema` describes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs

from apex_llm_core.config.fields import empty, setting


@attrs.frozen(kw_only=True)
class FallbackConfig:
    """The fallback handler."""

    models: Mapping[str, tuple[str, ...]] = setting(
        factory=empty,
        doc="Models to go on with when all candidates of a model failed, for example {'gpt-4o' = ['claude-sonnet']}.",
    )
    context_length: Mapping[str, tuple[str, ...]] = setting(
        factory=empty,
        doc="Models to go on with when a request does not fit the window of a model; absent: those of 'models', the larger windows only.",
    )
    content_filter: Mapping[str, tuple[str, ...]] = setting(
        factory=empty,
        doc="Models that may answer what the content policy of a model refused; absent: a refusal is final.",
    )
    missing_features: Literal["error", "drop", "emulate"] = setting(
        "error",
        doc="When a fallback lacks what the request asks for: pass it over (error), leave out the parameter (drop), or do the like by other means and leave out the rest (emulate). Always told in the result's details.",
    )


@attrs.frozen(kw_only=True)
class BreakerConfig:
    """The circuit breaker, beside the keys in [manager]. One for each provider and model."""

    mode: Literal["enforce", "metrics_only", "disabled"] = setting(
        "enforce",
        doc="enforce: leave failing candidates alone; metrics_only: watch and tell, refuse nobody; disabled: neither.",
    )
    window: Literal["count", "time"] = setting(
        "count", doc="Rates are over the last 'window_size' calls (count) or over that many seconds (time)."
    )
    window_size: int = setting(100, low=1, doc="Calls or seconds.")
    minimum_calls: int = setting(20, low=1, doc="Rates of fewer calls than this decide nothing.")
    failure_rate: float = setting(
        0.5, above=0, high=1, doc="This share of failures in the window opens the breaker, beside failures in a row."
    )
    slow_call_rate: float = setting(
        1.0, above=0, high=1, doc="This share of slow calls in the window opens the breaker."
    )
    slow_call_seconds: float = setting(
        60.0,
        low=0,
        doc="Longer than this is slow: to the first chunk of a stream, to the end of a whole answer. 0: nothing is.",
    )
    half_open_permits: int = setting(1, low=1, doc="Requests that may probe at the same time, and must all succeed.")
    open_time_growth: float = setting(2.0, low=1, doc="Each further time in a row it stays open so many times as long.")
    max_open_time: float = setting(
        300.0, above=0, doc="The longest time open, in seconds; advice of the provider may be longer."
    )


@attrs.frozen(kw_only=True)
class LoadBalancerConfig:
    """How requests spread over candidates that the strategy holds to be equal."""

    algorithm: Literal["weighted", "p2c", "least_busy"] = setting(
        "weighted",
        doc="weighted: at random by weight; p2c: the less loaded of two drawn by weight (peak EWMA of latency times calls in flight); least_busy: fewest calls in flight for its weight.",
    )
    adaptive: bool = setting(True, doc="Candidates that fail have less weight, until they do better.")
    affinity_ttl: float = setting(
        300.0,
        low=0,
        doc="Seconds for which requests of one session (Caller.session) return to the candidate that answered; 0: never.",
    )
    affinity_sessions: int = setting(10_000, low=1, doc="Sessions remembered at most.")


@attrs.frozen(kw_only=True)
class ConcurrencyConfig:
    """Calls in flight at each provider. A candidate whose provider is full is passed over; when all are, requests wait."""

    max: int = setting(0, low=0, doc="Calls in flight at each provider at most; 0: no bound.")
    adaptive: bool = setting(
        False, doc="Find the bound: it grows while latency stays level, shrinks when it rises or the provider refuses."
    )
    initial: int = setting(20, low=1, doc="Where the adaptive bound starts.")
    min: int = setting(4, low=1, doc="The adaptive bound is never lower.")
    wait: float = setting(
        10.0, low=0, doc="Seconds a request waits when every candidate is full; 0: it is refused at once."
    )


@attrs.frozen(kw_only=True)
class HedgingConfig:
    """A second attempt beside a slow first one; who answers first wins, both are paid."""

    enabled: bool = setting(False, doc="Hedge requests.")
    percentile: float = setting(
        0.95,
        above=0,
        high=1,
        doc="Hedge when nothing arrived within this percentile of what the candidate usually takes.",
    )
    minimum_samples: int = setting(20, low=1, doc="Observations of a candidate before its percentile counts.")
    delay: float | None = setting(None, low=0, doc="Seconds, instead of the percentile.")
    max_extra: int = setting(1, low=1, high=4, doc="Further attempts beside the first at most.")
    max_cost: float | None = setting(
        None,
        low=0,
        doc="Do not hedge when the further attempt may cost more, by estimate; absent: no bound. An unknown price is above every bound.",
    )
    operations: tuple[str, ...] = setting(
        ("text", "chat"), choices=("text", "chat", "embed", "image"), doc="What is hedged."
    )


@attrs.frozen(kw_only=True)
class DegradationConfig:
    """One step of degradation: what is done when every candidate failed. The steps are taken in order."""

    step: Literal["smaller_model", "shorter_answer", "cached_answer", "refuse"] = setting(
        doc="smaller_model: ask 'to_model'; shorter_answer: ask again for 'max_tokens'; cached_answer: an answer from the cache that is out of date; refuse: end with 'message'."
    )
    model: str = setting("*", doc="Pattern of the requested model.")
    to_model: str | None = setting(None, doc="The model of the step smaller_model.")
    max_tokens: int | None = setting(None, low=1, doc="The longest answer of the step shorter_answer.")
    message: str = setting("", doc="What the step refuse tells the caller.")

    def __attrs_post_init__(self) -> None:
        wanted = {"smaller_model": "to_model", "shorter_answer": "max_tokens", "refuse": "message"}.get(self.step)
        for key in ("to_model", "max_tokens", "message"):
            given = getattr(self, key) not in (None, "")
            if given != (key == wanted):
                raise ValueError(f"the step {self.step!r} {'needs' if key == wanted else 'takes no'} {key!r}")


@attrs.frozen(kw_only=True)
class RetryConfig:
    """Retries at the same provider."""

    base: float = setting(0.25, above=0, doc="Seconds before the first retry, before jitter.")
    factor: float = setting(2.0, low=1, doc="Growth from one retry to the next.")
    max_delay: float = setting(8.0, above=0, doc="The longest computed wait in seconds.")
    patience: float = setting(
        1.0,
        low=0,
        doc="With only less preferred candidates left, wait at most this many seconds for the same one; a longer wait falls back at once. While one of the same or a better priority is free, nobody waits.",
    )
    quota: int = setting(
        500,
        low=0,
        doc="A provider's credit for retries, over all requests: a retry costs 14, after a rate limit 5; success gives back. 0: no limit.",
    )
    budget: float = setting(
        0.2,
        low=0,
        doc="Retries and hedges together per request, over all providers and in the long run. 0: none but those of the reserve.",
    )
    budget_reserve: int = setting(
        100,
        low=0,
        doc="Retries and hedges that may run ahead of the budget; hedges may use half of it. 0 with budget 0: none.",
    )


@attrs.frozen(kw_only=True)
class LimitConfig:
    """A limit on requests, tokens, money or calls in flight; at least one of them must be given."""

    name: str = setting(doc="Unique name, for errors and events.")
    scope: Literal["all", "provider", "model", "user", "key"] = setting(
        "all",
        doc="What is counted separately: requests of all, of a user or of an API key; upstream calls, retries included, of a provider or a model.",
    )
    match: str = setting(
        "*",
        doc="Pattern of the provider, model, user or key it concerns. A key of the gateway goes by its name, or its user's when it has none.",
    )
    tier: str | None = setting(None, doc="Only callers of this tier (pattern); for the scopes all, user and key.")
    requests: int | None = setting(None, low=1, doc="Requests per window.")
    tokens: int | None = setting(
        None,
        low=1,
        doc="Tokens per window, prompt and answer: reserved by estimate, settled by what the provider counted.",
    )
    cost: float | None = setting(
        None,
        above=0,
        doc="Money per window, in the currency of the prices. A request whose price is unknown is refused.",
    )
    per: float = setting(60.0, above=0, doc="The window in seconds.")
    concurrent: int | None = setting(None, low=1, doc="Requests in flight at the same time.")
    assumed_output_tokens: int = setting(
        1000, low=0, doc="Reserved for the answer of a request that does not say how long it may be."
    )
    shadow: bool = setting(False, doc="Count and tell, refuse nobody.")

    def __attrs_post_init__(self) -> None:
        if self.requests is None and self.concurrent is None and self.tokens is None and self.cost is None:
            raise ValueError("give at least one of 'requests', 'tokens', 'cost' and 'concurrent'")
        if self.scope == "all" and self.match != "*":
            raise ValueError("a limit with scope 'all' concerns everybody; give the scope that 'match' is meant for")
        if self.tier is not None and self.scope in {"provider", "model"}:
            raise ValueError(
                f"a limit with scope {self.scope!r} counts upstream calls, whoever makes them; 'tier' does not fit"
            )


@attrs.frozen(kw_only=True)
class FlagConfig:
    """A feature flag: for whom it is on. In a file a plain true or false will do."""

    enabled: bool = setting(True, doc="false: off for everybody, whatever else stands here.")
    percentage: float = setting(
        100.0,
        low=0,
        high=100,
        doc="Share of those left, by a stable draw on session, user or request; who is in at 5 is in at 20.",
    )
    users: tuple[str, ...] = setting((), doc="Patterns of users for whom it is on at any percentage.")
    tiers: tuple[str, ...] = setting((), doc="Only callers of these tiers (patterns); empty: all.")


@attrs.frozen(kw_only=True)
class DecisionsConfig:
    """Records of why each request went where it went."""

    keep: int = setting(100, low=0, doc="The last this many are kept for decisions(); 0: none are made.")
    per_second: int = setting(
        100,
        low=0,
        doc="Records made in a second at most: with more requests, the first of each second have one. 0: all have.",
    )


__all__ = [
    "BreakerConfig",
    "ConcurrencyConfig",
    "DecisionsConfig",
    "DegradationConfig",
    "FallbackConfig",
    "FlagConfig",
    "HedgingConfig",
    "LimitConfig",
    "LoadBalancerConfig",
    "RetryConfig",
]
