"""Patterns of the configuration that no key, provider or model fits: mistyped, they would quietly let through what they should keep."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase

from apex_llm_core.config import Config
from apex_llm_core.errors import ConfigurationWarning, nearest
from apex_llm_gateway.keys import Key


def warn_of_unmatched(config: Config | None, keys: Sequence[Key], *, file: str | None = None) -> None:
    """Warn of each pattern of *config* that none of *keys*, or nothing that *config* lists, fits.

    Warns:
        ConfigurationWarning: names the place, and what is near.
    """
    for place, message in unmatched(config, keys) if config is not None else ():
        warnings.warn(": ".join(part for part in (file, place, message) if part), ConfigurationWarning, stacklevel=3)


def unmatched(config: Config, keys: Sequence[Key]) -> Iterator[tuple[str, str]]:
    """Return place and message for each such pattern; without keys there is nobody to tell apart, and nothing to say."""
    if keys:
        yield from _of_callers(config, keys)
        yield from _of_keys(config, keys)


def _of_callers(config: Config, keys: Sequence[Key]) -> Iterator[tuple[str, str]]:
    names = [key.name for key in keys if key.name is not None]
    users = [key.user for key in keys if key.user is not None]
    tiers = [key.tier for key in keys if key.tier is not None]
    for position, limit in enumerate(config.limits):
        if limit.scope in {"key", "user"}:
            yield from _about(
                f"limits[{position}].match", limit.scope, limit.match, names if limit.scope == "key" else users
            )
        yield from _about(f"limits[{position}].tier", "tier", limit.tier, tiers)
    for position, route in enumerate(config.routes):
        yield from _about(f"routes[{position}].user", "user", route.user, users)
        yield from _about(f"routes[{position}].tier", "tier", route.tier, tiers)
        roles = {role for key in keys for role in key.roles}
        if route.role is not None and route.role not in roles:
            yield (
                f"routes[{position}].role",
                f"no key of [gateway] has the role {route.role!r}{nearest(route.role, roles)}",
            )


def _about(place: str, what: str, pattern: str | None, known: Iterable[str]) -> Iterator[tuple[str, str]]:
    # Everybody, those without a name too.
    if pattern is None or pattern == "*" or any(fnmatchcase(name, pattern) for name in known):
        return
    is_named = "is called" if what == "key" else f"has the {what}"
    yield place, f"no key of [gateway] {is_named} {pattern!r}{nearest(pattern, known)}"


def _of_keys(config: Config, keys: Sequence[Key]) -> Iterator[tuple[str, str]]:
    serving = [provider for provider in config.providers if provider.enabled]
    providers = {provider.name for provider in config.providers}
    models = {model.id for provider in serving for model in provider.models}
    placed = models | {f"{provider.name}/{model.id}" for provider in serving for model in provider.models}
    # A provider without models offers those of its type, and the embedded default is no part of the configuration.
    all_listed = bool(serving) and all(provider.models for provider in serving)
    for position, key in enumerate(keys):
        place = f"gateway.api_keys[{position}]"
        for pattern in key.providers if providers else ():
            if not any(fnmatchcase(name, pattern) for name in providers):
                yield f"{place}.providers", f"there is no provider {pattern!r}{nearest(pattern, providers)}"
        for pattern in key.models if all_listed else ():
            if not any(fnmatchcase(name, pattern) for name in placed):
                yield f"{place}.models", f"no enabled provider serves a model {pattern!r}{nearest(pattern, models)}"


__all__ = ["unmatched", "warn_of_unmatched"]
