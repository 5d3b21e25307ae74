"""What authenticates a call: an API key, or a token that all providers with the same credential share.

Headers are made anew for every attempt, so that a retry never carries a token that has expired in the meantime.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Protocol

import attrs

from apex_llm_azure.authority import Authority
from apex_llm_azure.credentials import ApiKey, EntraCredential, Value, read_credentials
from apex_llm_azure.entra import EntraTokens
from apex_llm_azure.tokens import TokenSource
from apex_llm_azure.workers import Workers
from apex_llm_core.config import ProviderConfig
from apex_llm_core.context import CallContext
from apex_llm_core.errors import AuthenticationError, ConfigurationError, ServiceUnavailableError
from apex_llm_core.hookspecs import Runtime

_BEARER = "Bearer "


class Authenticator(Protocol):
    """Makes the headers that authenticate a call."""

    async def headers(self, scope: str, context: CallContext) -> dict[str, str]:
        """Return the headers for one attempt; *scope* is what a token must be for.

        Raises:
            LLMError: there are no credentials; says why and what to do.
        """

    def rejected(self, scope: str, headers: Mapping[str, str]) -> bool:
        """Take note that the service did not accept *headers* (HTTP 401); tell whether asking for new ones may help."""

    async def close(self) -> None:
        """Release what the credentials hold."""


class TokenSources:
    """The token sources of one configuration: one per credential, authority and scope, whoever uses it.

    Args:
        wall: seconds since 1970.
        show: shows a human what to do to sign in; by default on stderr. Called in a worker thread.
        sleep: waits between two polls of a device code.
        timeouts: other waits than the defaults of `EntraTokens`: timeout, limit, connect, cli_limit.
    """

    def __init__(
        self,
        *,
        wall: Callable[[], float] = time.time,
        show: Callable[[str], None] | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        **timeouts: float,
    ) -> None:
        self._wall = wall
        self._show = show or _to_stderr
        self._sleep = sleep
        self._timeouts = timeouts
        self._workers = Workers()
        self._leases: dict[Hashable, _Lease] = {}

    def lease(
        self, credential: EntraCredential, authority: Authority, ca_file: str, scope: str, runtime: Runtime
    ) -> tuple[Hashable, TokenSource]:
        """Return the source for these, and the key to give it back with `release`. No I/O."""
        key = (credential, authority, ca_file, scope)
        lease = self._leases.get(key)
        if lease is None:
            tokens = EntraTokens(
                credential=credential,
                authority=authority,
                scope=scope,
                ca_file=ca_file,
                runtime=runtime,
                workers=self._workers,
                wall=self._wall,
                show=self._show,
                sleep=self._sleep,
                **self._timeouts,
            )
            source = TokenSource(tokens.acquire, clock=runtime.clock, wall=self._wall)
            lease = self._leases[key] = _Lease(source)
        lease.users += 1
        return key, lease.source

    async def release(self, key: Hashable) -> None:
        """Give a source back; the last user closes it, the last source ends the threads."""
        lease = self._leases[key]
        lease.users -= 1
        if lease.users == 0:
            del self._leases[key]
            if not self._leases:
                self._workers.close()
            await lease.source.close()


@attrs.define(eq=False)
class _Lease:
    source: TokenSource
    users: int = 0


class KeyAuthenticator:
    """Sends the resource's API key, resolved at the first call and again after the service rejected it."""

    def __init__(self, api_key: Value, runtime: Runtime) -> None:
        self._api_key = api_key
        self._runtime = runtime
        self._headers: dict[str, str] | None = None

    async def headers(self, scope: str, context: CallContext) -> dict[str, str]:  # noqa: ARG002 - the interface's
        """Return the ``api-key`` header.

        Raises:
            AuthenticationError: the key cannot be resolved, or is none.
        """
        if self._headers is None:
            try:
                key = (await self._runtime.resolve_secret(self._api_key)).reveal()
            except ConfigurationError as error:
                raise AuthenticationError(error.message, original_error=error) from error
            if not key.isascii() or not key.isprintable() or key != key.strip() or not key:
                raise AuthenticationError("api_key holds blanks, line ends or other characters that no key has")
            self._headers = {"api-key": key}
        return self._headers

    def rejected(self, scope: str, headers: Mapping[str, str]) -> bool:  # noqa: ARG002 - the interface's
        """Look the key up again for the next request; for this one it would be the same."""
        self._headers = None
        return False

    async def close(self) -> None:
        """Hold nothing any more."""
        self._headers = None


class TokenAuthenticator:
    """Sends a token of Entra ID."""

    def __init__(
        self, credential: EntraCredential, authority: Authority, ca_file: str, runtime: Runtime, sources: TokenSources
    ) -> None:
        self._credential = credential
        self._authority = authority
        self._ca_file = ca_file
        self._runtime = runtime
        self._sources = sources
        self._leased: dict[str, tuple[Hashable, TokenSource]] = {}
        self._closed = False

    async def headers(self, scope: str, context: CallContext) -> dict[str, str]:
        """Return the ``Authorization`` header with a token for *scope*.

        Raises:
            LLMError: there is none; says why.
        """
        source = self._source(scope)
        token = source.fresh()
        if token is None:
            token = await source.get()
            # Waiting for a token was no silence of the service.
            context.touch()
        return {"Authorization": token.header}

    def rejected(self, scope: str, headers: Mapping[str, str]) -> bool:
        """Drop the token in *headers* unless it is a newer one that is kept."""
        return not self._closed and self._source(scope).reject(headers.get("Authorization", "").removeprefix(_BEARER))

    async def close(self) -> None:
        """Give the token sources back; no token is asked for afterwards."""
        self._closed = True
        while self._leased:
            _, (key, _) = self._leased.popitem()
            await self._sources.release(key)

    def _source(self, scope: str) -> TokenSource:
        if self._closed:
            raise ServiceUnavailableError("the provider is shut down: it gets no tokens any more", retryable=False)
        leased = self._leased.get(scope)
        if leased is None:
            leased = self._leased[scope] = self._sources.lease(
                self._credential, self._authority, self._ca_file, scope, self._runtime
            )
        return leased[1]


def make_authenticator(
    config: ProviderConfig, *, authority: str, ca_file: str, runtime: Runtime, sources: TokenSources
) -> Authenticator:
    """Return what authenticates the calls of the provider *config*. No I/O.

    Args:
        config: its ``auth`` is read strictly.
        authority: address of the token authority, with the tenant or without.
        ca_file: certificate authorities to trust there, in PEM; "" for the usual ones.
        runtime: resolves references to secrets.
        sources: shared by all providers of the configuration.
    Raises:
        ConfigurationError: the credentials or the authority cannot be used; names the key.
    """
    parsed = Authority.parse(authority)
    credential = read_credentials(config.auth, tenant_known=parsed.tenant is not None)
    if isinstance(credential, ApiKey):
        return KeyAuthenticator(credential.api_key, runtime)
    return TokenAuthenticator(credential, parsed, ca_file, runtime, sources)


def _to_stderr(message: str) -> None:
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()


__all__ = ["Authenticator", "KeyAuthenticator", "TokenAuthenticator", "TokenSources", "make_authenticator"]
