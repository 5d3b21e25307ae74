"""Keys of the policies and routing rules that contradict one another, and those that do nothing as they stand."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from apex_llm_core.config.findings import Findings
from apex_llm_core.config.schema import Config, HedgingConfig, RouteConfig
from apex_llm_core.errors import nearest

_OPERATIONS: tuple[str, ...] = attrs.fields(HedgingConfig).operations.metadata["choices"]


def check_policies(config: Config, findings: Findings) -> None:
    """Check the tables of resilience, the routing rules and what the manager does with them."""
    _check_breaker(config, findings)
    _check_concurrency(config, findings)
    _check_hedging(config, findings)
    _check_degradation(config, findings)
    _check_routes(config, findings)
    if config.manager.watch and not config.files:
        findings.problem("there is no file to watch: the configuration was made in code", "manager", "watch")


def _check_breaker(config: Config, findings: Findings) -> None:
    breaker = config.circuit_breaker
    if breaker.slow_call_rate < 1 and not breaker.slow_call_seconds:
        findings.notice("no call is slow while slow_call_seconds is 0", "circuit_breaker", "slow_call_rate")


def _check_concurrency(config: Config, findings: Findings) -> None:
    limit = config.concurrency
    # A bound that is not adaptive has nothing but its maximum.
    if not limit.adaptive:
        return
    if limit.initial < limit.min:
        findings.problem(f"is {limit.initial}, less than min, which is {limit.min}", "concurrency", "initial")
    if 0 < limit.max < limit.min:
        findings.problem(f"is {limit.max}, less than min, which is {limit.min}", "concurrency", "max")
    elif 0 < limit.max < limit.initial:
        findings.problem(f"is {limit.initial}, more than max, which is {limit.max}", "concurrency", "initial")


def _check_hedging(config: Config, findings: Findings) -> None:
    for place, word in enumerate(config.hedging.operations):
        if word not in _OPERATIONS:
            findings.problem(f"unknown operation {word!r}{nearest(word, _OPERATIONS)}", "hedging", "operations", place)
    if not config.hedging.enabled:
        return
    if config.manager.max_attempts == 1:
        findings.notice("nothing is hedged while manager.max_attempts is 1", "hedging", "enabled")
    elif not config.retry.budget and not config.retry.budget_reserve:
        findings.notice("nothing is hedged while retry.budget and budget_reserve are 0", "hedging", "enabled")


def _check_degradation(config: Config, findings: Findings) -> None:
    final: int | None = None
    for position, step in enumerate(config.degradation):
        if final is not None:
            findings.notice(f"is never taken: degradation[{final}] refuses everything", "degradation", position)
        elif step.step == "refuse" and step.model == "*":
            final = position
        if step.step == "cached_answer":
            for reason in _no_old_answers(config):
                findings.notice(reason, "degradation", position, "step")
    if config.cache.stale_ttl and not any(step.step == "cached_answer" for step in config.degradation):
        findings.notice(
            "keeps answers for the degradation step cached_answer, which is not there", "cache", "stale_ttl"
        )


def _no_old_answers(config: Config) -> Iterator[str]:
    if not config.manager.cache_enabled:
        yield "there are no answers to give while manager.cache_enabled is false"
    elif not config.cache.stale_ttl:
        yield "no answer is kept beyond its time while cache.stale_ttl is 0"


def _check_routes(config: Config, findings: Findings) -> None:
    final: int | None = None
    for position, route in enumerate(config.routes):
        if final is not None:
            findings.notice(f"is never reached: routes[{final}] matches every request", "routes", position)
        elif _matches_all(route):
            final = position
        if not route.percentage:
            findings.notice("applies to no request", "routes", position, "percentage")
        if route.shadow_model is None and route.shadow_provider is None:
            if route.shadow_percentage != 100:
                findings.notice(
                    "nothing is copied without shadow_model or shadow_provider", "routes", position, "shadow_percentage"
                )
        elif not route.shadow_percentage:
            findings.notice("no request is copied", "routes", position, "shadow_percentage")


def _matches_all(route: RouteConfig) -> bool:
    conditions = (route.operation, route.user, route.tier, route.role, route.flag)
    return route.model == "*" and route.percentage == 100 and conditions == (None,) * len(conditions)


__all__ = ["check_policies"]
