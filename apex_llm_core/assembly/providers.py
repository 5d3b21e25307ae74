"""Configured providers: from their tables to handles that can be called."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import attrs

from apex_llm_core.assembly.loader import Loader
from apex_llm_core.config.schema import AuthConfig, ModelConfig, ProviderConfig
from apex_llm_core.config.secrets import iter_references
from apex_llm_core.config.settings import all_defaults
from apex_llm_core.errors import ConfigurationError, InvalidRequestError, PluginError, nearest
from apex_llm_core.hookspecs import Runtime
from apex_llm_core.models.candidates import LiveFacts
from apex_llm_core.models.info import ProviderCapabilities
from apex_llm_core.plugin.discovery import PROVIDERS
from apex_llm_core.plugin.registrar import Registration
from apex_llm_core.plugin.registry import PROVIDER_HOOKS, ProviderHandle, make_candidate, served_models
from apex_llm_core.redaction import Secret

_HOOKS = (*PROVIDER_HOOKS, "apex_count_tokens", "apex_health", "apex_models")


async def default_providers(loader: Loader) -> tuple[list[ProviderConfig], list[PluginError]]:
    """Return one provider for each installed type whose settings all have defaults, and the plugins that are broken.

    Raises:
        ConfigurationError: there is no such type.
    """
    found, failures = [], []
    for source in loader.installed[PROVIDERS].values():
        try:
            await loader.load(source)
        except PluginError as error:
            failures.append(error)
    for name in sorted(loader.registrar.names("provider")):
        registration = loader.registrar.get("provider", name)
        if registration is not None and not registration.auth_required and all_defaults(registration.settings):
            found.append(ProviderConfig(name=name, type=name))
    if not found:
        broken = "".join(f"; {failure}" for failure in failures)
        raise ConfigurationError(
            "there is no configuration, and no installed provider type works without one: write a configuration "
            f"(--config or APEX_LLM_CONFIG), or try the mock: pip install apex-llm-mock{broken}"
        )
    return found, failures


async def make_provider(
    loader: Loader, config: ProviderConfig, key: str, runtime: Runtime, live: Callable[[str, str], LiveFacts]
) -> ProviderHandle:
    """Make the provider that *config*, found at *key*, describes.

    Raises:
        ConfigurationError: unknown type, unfit options or authentication, or a secret that cannot be resolved.
        PluginError: the plugin is broken.
    """
    registration = await loader.find("provider", config.type, f"{key}.type")
    config = attrs.evolve(config, auth=_auth(config, registration, key, loader.file))
    if config.auth is not None:
        for name, reference in iter_references(config.auth.credentials):
            await _resolve(loader, runtime, reference, f"{key}.auth.credentials.{name}")
        for secret in _literals(config.auth.credentials):
            # So that it is known to be one before the provider says a word.
            await runtime.resolve_secret(secret)
    instance = await loader.make(registration, config.name, config, config.options, f"{key}.options")
    return await make_handle(loader, config, instance, live)


async def make_handle(
    loader: Loader, config: ProviderConfig, instance: object, live: Callable[[str, str], LiveFacts]
) -> ProviderHandle:
    """Read the hooks and capabilities of a started provider and give its models their candidates.

    Raises:
        PluginError: its capabilities cannot be told; it is stopped again.
    """
    try:
        return _read_handle(loader, config, instance, live)
    except BaseException:
        await loader.stop(f"provider:{config.name}")
        raise


def _read_handle(
    loader: Loader, config: ProviderConfig, instance: object, live: Callable[[str, str], LiveFacts]
) -> ProviderHandle:
    full_name = f"provider:{config.name}"
    hooks = {}
    for hook in _HOOKS:
        function = loader.plugins.implementation(full_name, hook)
        if function is not None:
            hooks[hook] = function
    tell = loader.plugins.implementation(full_name, "apex_capabilities")
    try:
        capabilities = tell() if tell is not None else ProviderCapabilities()
    except Exception as error:
        message = loader.scrub(f"apex_capabilities failed: {type(error).__name__}: {error}")
        raise PluginError(message, plugin=full_name) from error
    if type(capabilities) is not ProviderCapabilities:
        raise PluginError(
            f"apex_capabilities returned {type(capabilities).__name__}; expected ProviderCapabilities", plugin=full_name
        )
    handle = ProviderHandle(config=config, instance=instance, hooks=hooks, capabilities=capabilities)
    for model in served_models(config, capabilities):
        handle.candidates[model.id] = make_candidate(config, model, capabilities, live(config.name, model.id))
    return handle


def _literals(credentials: Mapping[str, Any]) -> Iterator[Secret]:
    for value in credentials.values():
        if isinstance(value, Secret):
            yield value
        elif isinstance(value, Mapping):
            yield from _literals(value)


def provider_table(
    provider: object | None,
    config: ProviderConfig | Mapping[str, Any] | None,
    name: str | None,
    models: str | Iterable[str | Mapping[str, Any] | ModelConfig],
) -> ProviderConfig | Mapping[str, Any]:
    """Return the table that the arguments of `register_provider` amount to; nothing of it is checked yet.

    Raises:
        ConfigurationError: *config* and *name* or *models* say the same thing twice.
        InvalidRequestError: neither a config nor a provider with its name is given.
    """
    if config is not None:
        if name is not None or models:
            raise ConfigurationError("a config tells the provider's name and models; leave out 'name' and 'models'")
        return config
    if provider is None or name is None:
        raise InvalidRequestError("register_provider needs a config, or a provider and its name")
    listed: object = models
    if isinstance(models, (str, Mapping, ModelConfig)):
        listed = [models]
    elif isinstance(models, Iterable):
        listed = list(models)
    if isinstance(listed, list):
        listed = [{"id": model} if isinstance(model, str) else model for model in listed]
    return {"name": name, "type": name, "models": listed}


async def _resolve(loader: Loader, runtime: Runtime, reference: str, key: str) -> None:
    try:
        await runtime.resolve_secret(reference)
    except ConfigurationError as error:
        raise ConfigurationError(loader.scrub(error.reason), file=loader.file, key=key) from error


def _auth(config: ProviderConfig, registration: Registration, key: str, file: str | None) -> AuthConfig | None:
    taken = registration.auth
    if config.auth is None:
        if registration.auth_required:
            raise ConfigurationError(
                f"provider type {config.type!r} needs [providers.auth] with type {' or '.join(taken)}",
                file=file,
                key=f"{key}.auth",
            )
        return AuthConfig(type=taken[0]) if taken else None  # type: ignore[arg-type]
    if config.auth.type not in taken:
        raise ConfigurationError(
            f"provider type {config.type!r} does not take {config.auth.type!r}{nearest(config.auth.type, taken)}",
            file=file,
            key=f"{key}.auth.type",
        )
    return config.auth


__all__ = ["default_providers", "make_handle", "make_provider", "provider_table"]
