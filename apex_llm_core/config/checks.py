"""What types cannot say: names that must exist or be unique, addresses that must be safe, secrets that must not show.

Problems make a configuration unusable; notices deserve attention. Both are told with their path, never with a value.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import attrs

from apex_llm_core.config.findings import Findings, KeyPath
from apex_llm_core.config.policy_checks import check_policies
from apex_llm_core.config.relations import check_relations
from apex_llm_core.config.schema import AuthConfig, Config, ModelConfig, ProviderConfig
from apex_llm_core.config.secrets import is_reference, looks_secret
from apex_llm_core.converters import Problem
from apex_llm_core.errors import nearest
from apex_llm_core.models.requests import CAPABILITIES
from apex_llm_core.redaction import Secret


def check_config(config: Config, findings: Findings) -> Config:
    """Check all relations; return *config* with literal secrets hidden and each provider's `allow_insecure` settled."""
    problems = findings.problems
    providers = tuple(
        check_provider(provider, ("providers", position), findings)
        for position, provider in enumerate(config.providers)
    )
    names = [provider.name for provider in providers]
    problems += _repeated(names, lambda position: ("providers", position, "name"), "provider is named")
    if providers and not any(provider.enabled for provider in providers):
        problems.append(Problem(("providers",), "every provider is disabled; enable at least one"))
    problems += _repeated(
        [limit.name for limit in config.limits], lambda position: ("limits", position, "name"), "limit is named"
    )
    problems += _repeated(
        [route.name for route in config.routes], lambda position: ("routes", position, "name"), "route is named"
    )
    check_relations(config, findings)
    check_policies(config, findings)
    return attrs.evolve(config, providers=providers)


def check_provider(provider: ProviderConfig, path: KeyPath, findings: Findings) -> ProviderConfig:
    """Check one provider; return it with literal secrets hidden and `options.allow_insecure` moved to its place."""
    problems = findings.problems
    for name, value in (("name", provider.name), ("type", provider.type)):
        if not value.strip():
            problems.append(Problem((*path, name), "is empty"))
    if "/" in provider.name:
        problems.append(
            Problem((*path, "name"), "must not contain '/', which separates provider and model in requests")
        )
    for position, model in enumerate(provider.models):
        _check_model(model, (*path, "models", position), problems)
    problems += _repeated(
        [model.id for model in provider.models],
        lambda position: (*path, "models", position, "id"),
        "model of this provider has the id",
    )
    provider = _settle_insecure(provider, path, problems)
    addresses = list(_addresses(provider.options, (*path, "options")))
    if provider.auth is not None:
        addresses += _addresses(provider.auth.credentials, (*path, "auth", "credentials"))
        provider = attrs.evolve(provider, auth=_hide(provider.auth, (*path, "auth", "credentials"), findings))
    for place, address in addresses:
        reason = None if provider.allow_insecure else _insecure(address)
        if reason is not None:
            problems.append(Problem(place, reason))
    return provider


def _check_model(model: ModelConfig, path: KeyPath, problems: list[Problem]) -> None:
    if not model.id.strip():
        problems.append(Problem((*path, "id"), "is empty"))
    for position, word in enumerate(model.capabilities or ()):
        if word not in CAPABILITIES:
            problems.append(
                Problem((*path, "capabilities", position), f"unknown capability {word!r}{nearest(word, CAPABILITIES)}")
            )


def _repeated(names: Sequence[str], path: Callable[[int], KeyPath], what: str) -> Iterator[Problem]:
    seen: set[str] = set()
    for position, name in enumerate(names):
        if name and name in seen:
            yield Problem(path(position), f"another {what} {name!r}, too")
        seen.add(name)


# -- addresses ---------------------------------------------------------------------------------------------------------


def _settle_insecure(provider: ProviderConfig, path: KeyPath, problems: list[Problem]) -> ProviderConfig:
    if "allow_insecure" not in provider.options:
        return provider
    options = dict(provider.options)
    allowed = options.pop("allow_insecure")
    if not isinstance(allowed, bool):
        problems.append(Problem((*path, "options", "allow_insecure"), "expected true or false"))
    return attrs.evolve(provider, options=options, allow_insecure=provider.allow_insecure or allowed is True)


def _addresses(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """Yield every text whose key ends in ``endpoint`` or ``url``, at any depth."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if isinstance(item, str) and str(key).lower().endswith(("endpoint", "url")):
                yield (*path, key), item
            else:
                yield from _addresses(item, (*path, key))
    elif isinstance(value, list | tuple):
        for position, item in enumerate(value):
            yield from _addresses(item, (*path, position))


def _insecure(address: str) -> str | None:
    """Return why *address* may not be used, None when it may."""
    if not address.strip().lower().startswith("http:"):
        return None
    try:
        # A backslash ends the host for some readers of URLs and not for others.
        host = None if "\\" in address else urlsplit(address.strip()).hostname
    except ValueError:
        host = None
    if not host:
        return "is not a URL"
    if _is_loopback(host):
        return None
    return f"plain http to {host} would send credentials unencrypted; use https, or set allow_insecure = true"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# -- secrets -----------------------------------------------------------------------------------------------------------


def _hide(auth: AuthConfig, path: KeyPath, findings: Findings) -> AuthConfig:
    return attrs.evolve(auth, credentials=_hide_literals(auth.credentials, path, findings))


def _hide_literals(credentials: Mapping[str, Any], path: KeyPath, findings: Findings) -> dict[str, Any]:
    hidden: dict[str, Any] = {}
    for key, value in credentials.items():
        here = (*path, key)
        hidden[key] = value
        if isinstance(value, Mapping):
            hidden[key] = _hide_literals(value, here, findings)
        elif isinstance(value, str) and not value.strip():
            findings.problems.append(Problem(here, "is empty"))
        elif not looks_secret(key):
            continue
        elif isinstance(value, str) and not is_reference(value):
            hidden[key] = Secret(value)
            findings.notices.append(
                Problem(
                    here, "a literal secret in the configuration; keep it elsewhere and write 'env:NAME' or 'file:PATH'"
                )
            )
        elif isinstance(value, int | float | list | tuple) and not isinstance(value, bool):
            hidden[key] = Secret(str(value))
            findings.problems.append(Problem(here, "expected a string"))
    return hidden


__all__ = ["check_config", "check_provider"]
