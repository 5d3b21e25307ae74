"""Names of one table that must exist in another: providers, models and feature flags."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from apex_llm_core.config.findings import Findings, KeyPath
from apex_llm_core.config.schema import Config, ProviderConfig
from apex_llm_core.errors import nearest

#: The tables of the fallback handler that lead from a model to others.
_CHAINS = ("models", "context_length", "content_filter")


def check_relations(config: Config, findings: Findings) -> None:
    """Check every name that must exist elsewhere."""
    # Without providers the embedded default serves, which is not known here.
    if config.providers:
        _check_providers(config, findings)
    _check_chains(config, findings)
    _check_models(config, findings)
    for position, route in enumerate(config.routes):
        if route.flag is not None and route.flag not in config.flags:
            findings.problem(
                f"there is no feature flag {route.flag!r}{nearest(route.flag, config.flags)}",
                "routes",
                position,
                "flag",
            )


# -- providers ---------------------------------------------------------------------------------------------------------


def _check_providers(config: Config, findings: Findings) -> None:
    providers = {provider.name: provider for provider in config.providers}
    default = config.manager.default_provider
    if default is not None:
        _check_provider(default, ("manager", "default_provider"), providers, findings)
    for position, route in enumerate(config.routes):
        for place, name in enumerate(route.providers):
            if name not in providers:
                findings.problem(_no_provider(name, providers), "routes", position, "providers", place)
        if route.shadow_provider is not None:
            _check_provider(route.shadow_provider, ("routes", position, "shadow_provider"), providers, findings)
    for position, limit in enumerate(config.limits):
        # Providers may be registered at run time, so that the limit is not pointless for certain.
        if limit.scope == "provider" and not _is_pattern(limit.match) and limit.match not in providers:
            findings.notice(_no_provider(limit.match, providers), "limits", position, "match")


def _check_provider(name: str, path: KeyPath, providers: Mapping[str, ProviderConfig], findings: Findings) -> None:
    if name not in providers:
        findings.problem(_no_provider(name, providers), *path)
    elif not providers[name].enabled:
        findings.notice(f"the provider {name!r} is disabled", *path)


def _no_provider(name: str, names: Iterable[str]) -> str:
    return f"there is no provider {name!r}{nearest(name, names)}"


# -- models ------------------------------------------------------------------------------------------------------------


def _chains(config: Config) -> Iterator[tuple[KeyPath, str, Sequence[str]]]:
    for table in _CHAINS:
        chains: Mapping[str, Sequence[str]] = getattr(config.fallback, table)
        for model, others in chains.items():
            yield ("fallback", table, model), model, others


def _check_chains(config: Config, findings: Findings) -> None:
    for path, model, others in _chains(config):
        if not others:
            findings.problem("names no model to go on with", *path)
        for place, other in enumerate(others):
            if other == model:
                findings.problem(f"{model!r} cannot stand in for itself", *path, place)
            elif other in others[:place]:
                findings.problem(f"{other!r} stands here twice", *path, place)
    for position, step in enumerate(config.degradation):
        if step.to_model is not None and step.to_model == step.model:
            findings.problem(f"{step.model!r} cannot stand in for itself", "degradation", position, "to_model")


def _check_models(config: Config, findings: Findings) -> None:
    serving = [provider for provider in config.providers if provider.enabled]
    # A provider without models offers those of its type, which are not known here.
    if not serving or not all(provider.models for provider in serving):
        return
    served = {model.id for provider in serving for model in provider.models}
    for path, model in _asked_models(config):
        if model not in served:
            findings.notice(f"no enabled provider serves a model {model!r}{nearest(model, served)}", *path)


def _asked_models(config: Config) -> Iterator[tuple[KeyPath, str]]:
    if config.manager.default_model is not None:
        yield ("manager", "default_model"), config.manager.default_model
    for position, route in enumerate(config.routes):
        if route.to_model is not None:
            yield ("routes", position, "to_model"), route.to_model
        # A provider that is named passes models through which nobody lists.
        if route.shadow_model is not None and route.shadow_provider is None:
            yield ("routes", position, "shadow_model"), route.shadow_model
    for path, model, others in _chains(config):
        yield path, model
        for place, other in enumerate(others):
            if other != model:
                yield (*path, place), other
    for position, step in enumerate(config.degradation):
        if step.to_model is not None:
            yield ("degradation", position, "to_model"), step.to_model
    for position, limit in enumerate(config.limits):
        if limit.scope == "model" and not _is_pattern(limit.match):
            yield ("limits", position, "match"), limit.match


def _is_pattern(text: str) -> bool:
    return any(sign in text for sign in "*?[")


__all__ = ["check_relations"]
