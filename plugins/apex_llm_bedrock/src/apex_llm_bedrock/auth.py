"""What authenticates a call: a signature made with credentials that all providers configured alike share.

Headers are made anew for every attempt, so that a retry never carries a signature of the past.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, Protocol

import attrs

from apex_llm_bedrock.acquisition import Acquisition, renewable
from apex_llm_bedrock.credential_source import CredentialSource, closed
from apex_llm_bedrock.credentials import AccessKey, ApiKey, Credential, read_credentials
from apex_llm_bedrock.signing import Signature
from apex_llm_bedrock.single_flight import Once
from apex_llm_bedrock.surroundings import Surroundings, Wanted
from apex_llm_bedrock.workers import Workers
from apex_llm_core.config import ProviderConfig
from apex_llm_core.context import CallContext
from apex_llm_core.hookspecs import Runtime

if TYPE_CHECKING:
    from apex_llm_bedrock.settings import BedrockSettings


class Authenticator(Protocol):
    """Gives what signs, and what else the surroundings of the credentials say."""

    def current(self) -> Signature | None:
        """Return the signature if fresh credentials are at hand: the way of nearly every request."""

    async def signature(self, context: CallContext) -> Signature:
        """Return a signature that is valid now.

        Raises:
            LLMError: there are no credentials; says what was looked at and what to do.
        """

    def rejected(self, signature: Signature) -> bool:
        """Take note that the service called these credentials expired or unknown; tell whether new ones may help."""

    async def surroundings(self) -> Surroundings:
        """Return what environment and profile say about where and how to call; read once.

        Raises:
            LLMError: there is no such profile, or the files cannot be read.
        """

    async def close(self) -> None:
        """Release what the credentials hold."""


class CredentialSources:
    """The credential sources of one configuration: one per credential and its options, whoever uses it.

    Args:
        wall: seconds since 1970.
        limit: seconds that getting credentials may take.
    """

    def __init__(self, *, wall: Callable[[], float] = time.time, limit: float = 60.0) -> None:
        self._wall = wall
        self._limit = limit
        self._workers = Workers()
        self._leases: dict[Hashable, Lease] = {}

    def lease(self, credential: Credential, options: Wanted, runtime: Runtime, environ: Mapping[str, str]) -> Lease:
        """Return the source for these, to be given back with `release`. No I/O."""
        key = (credential, options, id(environ))
        lease = self._leases.get(key)
        if lease is None:
            acquisition = Acquisition(
                credential=credential,
                options=options,
                runtime=runtime,
                workers=self._workers,
                environ=environ,
                limit=self._limit,
            )
            source = CredentialSource(acquisition.acquire, clock=runtime.clock, wall=self._wall)
            lease = self._leases[key] = Lease(
                key=key, source=source, surroundings=Once(acquisition.surroundings), environ=environ
            )
        lease.users += 1
        return lease

    async def release(self, lease: Lease) -> None:
        """Give a source back; the last user closes it, the last source ends the threads."""
        lease.users -= 1
        if lease.users == 0:
            del self._leases[lease.key]
            if not self._leases:
                self._workers.close()
            await lease.source.close()
            await lease.surroundings.close()


@attrs.define(kw_only=True, eq=False)
class Lease:
    """A source in use, and the surroundings of its credentials."""

    key: Hashable = attrs.field(repr=False)
    source: CredentialSource
    surroundings: Once[Surroundings]
    #: Kept so that nothing else can have its identity, which is part of the key.
    environ: Mapping[str, str] = attrs.field(repr=False)
    users: int = 0


class SourceAuthenticator:
    """Signs with the credentials of a source that is shared."""

    def __init__(
        self,
        credential: Credential,
        options: Wanted,
        runtime: Runtime,
        sources: CredentialSources,
        environ: Mapping[str, str],
    ) -> None:
        self._credential = credential
        self._options = options
        self._runtime = runtime
        self._sources = sources
        self._environ = environ
        self._renewable = renewable(credential)
        self._lease: Lease | None = None
        self._closed = False

    def current(self) -> Signature | None:
        """Return the signature if nothing has to be done about it."""
        return None if self._lease is None else self._lease.source.fresh()

    async def signature(self, context: CallContext) -> Signature:
        """Return a signature that is valid now.

        Raises:
            LLMError: there is none; says why.
        """
        source = self._leased().source
        signature = source.fresh()
        if signature is None:
            signature = await source.get()
            # Waiting for credentials was no silence of the service.
            context.touch()
        return signature

    def rejected(self, signature: Signature) -> bool:
        """Drop *signature* unless a newer one is kept. Literals of the configuration are no better the second time."""
        if self._closed:
            return False
        return self._leased().source.reject(signature) and self._renewable

    async def surroundings(self) -> Surroundings:
        """Return what environment and profile say; explicit credentials let no file be read.

        Raises:
            LLMError: there is no such profile, or the files cannot be read.
        """
        return await self._leased().surroundings.get()

    async def close(self) -> None:
        """Give the source back; no credentials are asked for afterwards."""
        self._closed = True
        lease, self._lease = self._lease, None
        if lease is not None:
            await self._sources.release(lease)

    def _leased(self) -> Lease:
        if self._closed:
            raise closed()
        if self._lease is None:
            self._lease = self._sources.lease(self._credential, self._options, self._runtime, self._environ)
        return self._lease


def make_authenticator(
    config: ProviderConfig,
    settings: BedrockSettings,
    runtime: Runtime,
    sources: CredentialSources,
    *,
    environ: Mapping[str, str],
) -> Authenticator:
    """Return what authenticates the calls of the provider *config*. No I/O.

    Args:
        config: its ``auth`` is read strictly; without one, AWS's default chain is used.
        settings: say where STS is, and how the sessions of roles are called.
        runtime: resolves references to secrets.
        sources: shared by all providers of the configuration.
        environ: the environment variables.
    Raises:
        ConfigurationError: the credentials cannot be used; names the key.
    """
    credential = read_credentials(config.auth)
    options = Wanted()
    if not isinstance(credential, (ApiKey, AccessKey)):
        options = Wanted(
            role_session_name=settings.role_session_name,
            role_duration=settings.role_duration,
            region=settings.region,
            sts_endpoint=settings.sts_endpoint,
            ca_file=settings.ca_file,
            use_fips=settings.use_fips,
            use_dualstack=settings.use_dualstack,
        )
    return SourceAuthenticator(credential, options, runtime, sources, environ)


__all__ = ["Authenticator", "CredentialSources", "Lease", "SourceAuthenticator", "Surroundings", "make_authenticator"]
