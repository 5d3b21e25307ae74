"""What instances share, and the built-ins, which come in by the same door as everybody."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

import attrs

from apex_llm_core.cache.memory import MemoryStorePlugin
from apex_llm_core.config.secrets import EnvSecrets, FileSecrets, SecretResolver
from apex_llm_core.hookspecs import Registrar
from apex_llm_core.interfaces import HttpClient
from apex_llm_core.markers import hookimpl
from apex_llm_core.models.events import Event
from apex_llm_core.models.info import Caller
from apex_llm_core.policies.rollout import Flags
from apex_llm_core.redaction import Secret
from apex_llm_core.routing.selector import PriorityStrategy


@attrs.frozen(kw_only=True, eq=False)
class SharedRuntime:
    """The `Runtime` of one generation."""

    http: HttpClient
    clock: Callable[[], float]
    random: Random
    emit: Callable[[Event], None]
    #: Given as the table of the configuration.
    _flags: Flags = attrs.field(converter=Flags)
    _secrets: SecretResolver = attrs.field(repr=False)
    #: Opens a client for a file of certificate authorities; None where the application brought its own.
    _open_http: Callable[[str], HttpClient] | None
    _trusting: dict[str, HttpClient] = attrs.field(init=False, factory=dict)

    @property
    def flags(self) -> Mapping[str, bool]:
        """The feature flags by name; True are those that are on for everybody."""
        return self._flags.settled

    def flag(self, name: str, caller: Caller, request_id: str = "") -> bool:
        """Return whether the feature flag *name* is on for *caller*."""
        return self._flags.on(name, caller, request_id)

    def http_trusting(self, ca_file: str) -> HttpClient:
        """Return the client that trusts the authorities in *ca_file*, `http` for "" or where the application brought it."""
        if not ca_file or self._open_http is None:
            return self.http
        if ca_file not in self._trusting:
            self._trusting[ca_file] = self._open_http(ca_file)
        return self._trusting[ca_file]

    async def resolve_secret(self, value: str | Secret) -> Secret:
        """Return the secret behind a reference or a literal."""
        return await self._secrets.resolve(value)


class BuiltIns:
    """The core's own strategy, secret schemes and state store."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    @hookimpl
    def apex_register(self, registrar: Registrar) -> None:
        """Register what the core brings along."""
        registrar.strategy("priority", lambda _config, _settings, _runtime: PriorityStrategy())
        registrar.secret_scheme("env", lambda _config, _settings, _runtime: EnvSecrets(self._environ))
        registrar.secret_scheme("file", lambda _config, _settings, _runtime: FileSecrets())
        registrar.state_store("memory", lambda _config, _settings, runtime: MemoryStorePlugin(runtime.clock))


__all__ = ["BuiltIns", "SharedRuntime"]
