"""Tokens of Microsoft Entra ID: from a credential to what a `TokenSource` calls, with msal in worker threads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from apex_llm_azure.authority import Authority, Directory
from apex_llm_azure.azure_cli import cli_token
from apex_llm_azure.credentials import (
    AzureCli,
    ClientCertificate,
    ClientSecret,
    DeviceCode,
    EntraCredential,
    ManagedIdentity,
    Value,
    WorkloadIdentity,
)
from apex_llm_azure.tokens import Token
from apex_llm_azure.workers import Workers
from apex_llm_core.config import is_reference
from apex_llm_core.errors import AuthenticationError, ConfigurationError, LLMError, LLMTimeoutError
from apex_llm_core.hookspecs import Runtime
from apex_llm_core.redaction import Redactor, Secret

if TYPE_CHECKING:
    from apex_llm_azure.msal_flows import DeviceFlow, Grant

T = TypeVar("T")


@attrs.frozen(kw_only=True, eq=False)
class EntraTokens:
    """Gets tokens for one credential, authority and scope; `acquire` is for a `TokenSource`."""

    credential: EntraCredential
    authority: Authority
    scope: str
    ca_file: str
    runtime: Runtime
    workers: Workers
    wall: Callable[[], float]
    #: Shows a human what to do to sign in.
    show: Callable[[str], None]
    #: Waits between two polls of a device code.
    sleep: Callable[[float], Awaitable[object]]
    #: Seconds to connect to the authority, and of its silence; and for all there is to one token.
    timeout: float = 10.0
    limit: float = 30.0
    #: Seconds to connect to a managed identity endpoint.
    connect: float = 1.0
    #: Seconds that the Azure CLI may take.
    cli_limit: float = 15.0
    _device: list[DeviceFlow] = attrs.field(factory=list, init=False, repr=False)

    async def acquire(self) -> Token:
        """Return a new token. References in the credential are resolved, files read, each time.

        Raises:
            LLMError: there is none; says why, and shows no credential.
        """
        credential = self.credential
        if isinstance(credential, ClientSecret):
            return await self._by_secret(credential)
        if isinstance(credential, ClientCertificate):
            return await self._by_certificate(credential)
        if isinstance(credential, WorkloadIdentity):
            path = await self._plain(credential.federated_token_file)
            directory = await self._directory(credential.tenant_id, credential.client_id)
            return await self._ask(lambda: _msal().by_federated_token(directory, self.scope, path))
        if isinstance(credential, ManagedIdentity):
            fields = attrs.asdict(credential).items()
            identity = {name: await self._plain(value) for name, value in fields if value is not None}
            resource = self.scope.removesuffix("/.default")
            waits = {"connect": self.connect, "silence": self.timeout}
            return await self._ask(lambda: _msal().by_managed_identity(resource, identity, **waits))
        if isinstance(credential, AzureCli):
            tenant = None if credential.tenant_id is None else await self._plain(credential.tenant_id)
            return await cli_token(self.scope, tenant, workers=self.workers, limit=self.cli_limit)
        return await self._by_device(credential)

    async def _by_secret(self, credential: ClientSecret) -> Token:
        directory = await self._directory(credential.tenant_id, credential.client_id)
        secret = await self._secret(credential.client_secret)
        return await self._ask(lambda: _msal().by_secret(directory, self.scope, secret), hide=secret)

    async def _by_certificate(self, credential: ClientCertificate) -> Token:
        directory = await self._directory(credential.tenant_id, credential.client_id)
        path = await self._plain(credential.certificate_path)
        given = credential.certificate_password
        password = None if given is None else await self._secret(given)
        return await self._ask(
            lambda: _msal().by_certificate(directory, self.scope, path, password), hide=password or ""
        )

    async def _by_device(self, credential: DeviceCode) -> Token:
        if not self._device:
            directory = await self._directory(credential.tenant_id, credential.client_id)
            flow = await self.workers.run(lambda: _msal().DeviceFlow(directory=directory, scope=self.scope))
            self._device.append(flow)
        flow = self._device[0]
        asked_at = self.wall()
        grant = await self._within(self.workers.run(flow.silently))
        if grant is None:
            await self._within(self.workers.run(flow.begin))
            await self.workers.run(self.show, flow.message)
        while grant is None:
            await self.sleep(flow.interval)
            asked_at = self.wall()
            grant = await self._within(self.workers.run(flow.poll))
        return _token(grant, asked_at)

    async def _ask(self, flow: Callable[[], Grant], *, hide: str = "") -> Token:
        asked_at = self.wall()
        try:
            grant = await self._within(self.workers.run(flow))
        except LLMError as error:
            redactor = Redactor()
            redactor.learn(Secret(hide))
            error.restate(redactor.scrub)
            raise
        return _token(grant, asked_at)

    async def _within(self, asked: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self.limit):
                return await asked
        except LLMError:
            # A timeout of the taxonomy is a TimeoutError too.
            raise
        except TimeoutError as error:
            raise LLMTimeoutError(f"no token within {self.limit:g} s", original_error=error) from error

    async def _directory(self, tenant: Value | None, client: Value) -> Directory:
        url = self.authority.url(None if tenant is None else await self._plain(tenant))
        client_id = await self._plain(client)
        return Directory(authority=url, client_id=client_id, ca_file=self.ca_file, timeout=self.timeout)

    async def _plain(self, value: Value) -> str:
        """Return a value that is no secret, behind a reference or as it stands."""
        if isinstance(value, Secret) or is_reference(value):
            value = await self._secret(value)
        return value.strip()

    async def _secret(self, value: Value) -> str:
        try:
            return (await self.runtime.resolve_secret(value)).reveal()
        except ConfigurationError as error:
            raise AuthenticationError(error.message, original_error=error) from error


def _msal() -> Any:
    # Only in a worker, and only now: importing msal takes a tenth of a second and 20 MiB.
    from apex_llm_azure import msal_flows

    return msal_flows


def _token(grant: Grant, asked_at: float) -> Token:
    return Token(
        value=Secret(grant.access_token),
        expires_on=asked_at + grant.expires_in,
        refresh_on=None if grant.refresh_in is None else asked_at + grant.refresh_in,
    )


__all__ = ["EntraTokens"]
