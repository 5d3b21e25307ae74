"""From a configured credential to what signs: references resolved, botocore asked in a worker thread, within a limit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

import attrs

from apex_llm_bedrock.credential_source import Acquired
from apex_llm_bedrock.credentials import (
    AccessKey,
    ApiKey,
    AssumedRole,
    Credential,
    DefaultChain,
    Profile,
    Value,
    WebIdentity,
    check_role_arn,
)
from apex_llm_bedrock.signing import BearerSignature, SigV4Signature
from apex_llm_bedrock.surroundings import Keys, Surroundings, Wanted, environment_surroundings
from apex_llm_bedrock.workers import Workers
from apex_llm_core.config import is_reference
from apex_llm_core.errors import AuthenticationError, ConfigurationError, LLMError, LLMTimeoutError
from apex_llm_core.hookspecs import Runtime
from apex_llm_core.redaction import Secret

T = TypeVar("T")
#: An API key of Bedrock for whoever configures nothing; as in botocore, it wins over access keys.
BEARER_VARIABLE = "AWS_BEARER_TOKEN_BEDROCK"


@attrs.frozen(kw_only=True, eq=False)
class Acquisition:
    """Gets what signs for one credential; `acquire` is for a `CredentialSource`."""

    credential: Credential
    #: What the options of the provider say; the rest of it comes from the credential.
    options: Wanted
    runtime: Runtime
    workers: Workers
    environ: Mapping[str, str]
    #: Seconds for all there is to one set of credentials: a process may have to ask somebody.
    limit: float = 60.0

    async def acquire(self) -> Acquired:
        """Return new credentials. References are resolved, files and environment read, each time.

        Raises:
            LLMError: there are none; says why, and shows no secret.
        """
        credential = self.credential
        if isinstance(credential, ApiKey):
            return self._bearer(await self._secret(credential.api_key), "api_key")
        if isinstance(credential, DefaultChain) and self.environ.get(BEARER_VARIABLE):
            # Not by botocore's get_auth_token: it goes on to offer the access token of an SSO session.
            return self._bearer(Secret(self.environ[BEARER_VARIABLE]), BEARER_VARIABLE)
        if isinstance(credential, AccessKey):
            keys = await self._keys(credential)
        else:
            wanted = await self._wanted(credential)
            keys = await self._within(
                self.workers.run((self, "credentials"), lambda: _session().acquire(wanted, self.environ))
            )
        signature = SigV4Signature(keys.access_key_id, keys.secret_access_key, keys.session_token)
        return Acquired(signature=signature, expires_on=keys.expires_on)

    async def surroundings(self) -> Surroundings:
        """Return what environment and, unless the credential is explicit, profile say about where and how to call.

        Raises:
            LLMError: there is no such profile, or the files cannot be read.
        """
        source = self.credential.source if isinstance(self.credential, AssumedRole) else self.credential
        if not isinstance(source, (DefaultChain, Profile)):
            return environment_surroundings(self.environ)
        wanted = await self._wanted(source)
        try:
            return await self._within(
                self.workers.run((self, "surroundings"), lambda: _session().read_surroundings(wanted, self.environ))
            )
        except AuthenticationError:
            if isinstance(source, DefaultChain) and self.environ.get(BEARER_VARIABLE):
                # The API key needs no profile, so that a broken one does no harm.
                return environment_surroundings(self.environ)
            raise

    async def _wanted(self, credential: Profile | DefaultChain | AssumedRole | WebIdentity) -> Wanted:
        if isinstance(credential, Profile):
            return attrs.evolve(self.options, profile=await self._plain(credential.profile))
        if isinstance(credential, DefaultChain):
            return self.options
        role_arn = await self._plain(credential.role_arn)
        try:
            wanted = attrs.evolve(self.options, role_arn=check_role_arn(role_arn))
        except ValueError as error:
            raise AuthenticationError(f"auth.credentials.role_arn: {error}", original_error=error) from error
        if isinstance(credential, WebIdentity):
            return attrs.evolve(wanted, web_identity_token_file=await self._plain(credential.web_identity_token_file))
        if credential.external_id is not None:
            wanted = attrs.evolve(wanted, external_id=await self._plain(credential.external_id))
        if isinstance(credential.source, AccessKey):
            return attrs.evolve(wanted, keys=await self._keys(credential.source))
        if isinstance(credential.source, Profile):
            return attrs.evolve(wanted, profile=await self._plain(credential.source.profile))
        return wanted

    async def _keys(self, given: AccessKey) -> Keys:
        token = None if given.session_token is None else await self._secret(given.session_token)
        return Keys(
            access_key_id=_checked(await self._secret(given.access_key_id), "access_key_id").reveal(),
            secret_access_key=_checked(await self._secret(given.secret_access_key), "secret_access_key"),
            session_token=None if token is None else _checked(token, "session_token"),
        )

    def _bearer(self, token: Secret, name: str) -> Acquired:
        return Acquired(signature=BearerSignature(_checked(token, name)))

    async def _within(self, asked: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self.limit):
                return await asked
        except LLMError:
            # A timeout of the taxonomy is a TimeoutError too.
            raise
        except TimeoutError as error:
            raise LLMTimeoutError(f"no AWS credentials within {self.limit:g} s", original_error=error) from error

    async def _plain(self, value: Value) -> str:
        """Return a value that is no secret, behind a reference or as it stands."""
        if isinstance(value, Secret) or is_reference(value):
            return (await self._secret(value)).reveal().strip()
        return value.strip()

    async def _secret(self, value: Value) -> Secret:
        try:
            return await self.runtime.resolve_secret(value)
        except ConfigurationError as error:
            raise AuthenticationError(error.message, original_error=error) from error


def renewable(credential: Credential) -> bool:
    """Tell whether asking again can give others: anything but literals can change."""
    if isinstance(credential, ApiKey):
        given: tuple[Value | None, ...] = (credential.api_key,)
    elif isinstance(credential, AccessKey):
        given = (credential.access_key_id, credential.secret_access_key, credential.session_token)
    else:
        return True
    return any(isinstance(value, str) and is_reference(value) for value in given)


def _checked(secret: Secret, name: str) -> Secret:
    """Refuse what fits no header, without quoting it."""
    text = secret.reveal()
    if not text.isascii() or not text.isprintable() or not text or " " in text:
        raise AuthenticationError(f"{name} is empty, or holds blanks, line ends or other characters that no key has")
    return secret


def _session() -> Any:
    # Only in a worker, and only now: importing botocore takes fifty milliseconds and ten MiB.
    from apex_llm_bedrock import aws_session

    return aws_session


__all__ = ["BEARER_VARIABLE", "Acquisition", "renewable"]
