"""Where requests go: region and address, by the model's ARN, the settings, environment and profile, in that order."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import NamedTuple
from urllib.parse import urlsplit

from apex_llm_bedrock.auth import Authenticator, Surroundings
from apex_llm_bedrock.endpoints import Endpoints, Service, check_endpoint, check_region
from apex_llm_bedrock.models import Model
from apex_llm_bedrock.settings import BedrockSettings
from apex_llm_core.errors import AuthenticationError

#: Targets that are remembered; callers may name any model.
_KEPT = 512


class Target(NamedTuple):
    """Where a request goes, in the parts that its signature is about."""

    url: str
    #: As the ``Host`` header has it.
    host: str
    path: str
    query: str
    region: str


class Targets:
    """The targets of one provider. What has to be read from files is read in threads, when it is first needed."""

    def __init__(self, settings: BedrockSettings, auth: Authenticator, *, allow_insecure: bool = False) -> None:
        self._settings = settings
        self._allow_insecure = allow_insecure
        self._auth = auth
        self._region = settings.region
        self._endpoints: Endpoints | None = None
        self._known: dict[tuple[str, str, str], Target] = {}

    def known(self, model: Model, operation: str) -> Target | None:
        """Return the target of *operation* if nothing has to be found out: the way of nearly every request."""
        return self._known.get((model.id.given, model.id.region, operation))

    async def of(self, model: Model, operation: str) -> Target:
        """Return the target of an operation of the runtime.

        Raises:
            AuthenticationError: region or address cannot be used.
            LLMError: environment or profile cannot be read.
        """
        region = model.id.region or await self.region()
        base = await self._base("bedrock-runtime", region)
        target = _joined(base, f"/model/{model.id.path}/{operation}", "", region)
        if len(self._known) >= _KEPT:
            del self._known[next(iter(self._known))]
        self._known[model.id.given, model.id.region, operation] = target
        return target

    async def control(self, path: str, query: str, region: str) -> Target:
        """Return the target of a question to the control plane, in the usual region for ""; raises as `of`."""
        region = region or await self.region()
        return _joined(await self._base("bedrock", region), path, query, region)

    async def region(self) -> str:
        """Return the region that is called unless a model's ARN names another; raises as `of`."""
        if not self._region:
            found = (await self._auth.surroundings()).region
            if not found:
                raise _unusable("no AWS region is known; set options.region, AWS_REGION, or the region of the profile")
            try:
                self._region = check_region(found)
            except ValueError as error:
                raise _unusable(f"the region of the environment or profile: {error}") from error
        return self._region

    async def ca_file(self) -> str:
        """Return the file of certificate authorities to trust, "" for the usual ones."""
        return self._settings.ca_file or (await self._auth.surroundings()).ca_bundle

    async def _base(self, service: Service, region: str) -> str:
        try:
            if self._endpoints is None:
                self._endpoints = _endpoints(
                    self._settings, await self._auth.surroundings(), allow_insecure=self._allow_insecure
                )
            known = self._endpoints.known(service, region)
            if known is None:
                # botocore reads its rules from files.
                known = await asyncio.to_thread(self._endpoints.resolve, service, region)
            return known
        except ValueError as error:
            raise _unusable(str(error)) from error


def _is_here(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _endpoints(settings: BedrockSettings, around: Surroundings, *, allow_insecure: bool) -> Endpoints:
    """Return the base URLs; what is configured goes before what environment and profile say.

    Raises:
        ValueError: an address in the environment or profile is none.
    """
    for name, address in (("runtime", around.runtime_endpoint), ("control plane", around.control_endpoint)):
        if not settings.endpoint and not allow_insecure and address.startswith("http://") and not _is_here(address):
            raise ValueError(
                f"environment or profile send requests to the {name} by plain http; use https, or set allow_insecure"
            )
    endpoint = settings.endpoint or around.runtime_endpoint
    # What the environment says for one service is not meant for the other.
    control = settings.control_endpoint or settings.endpoint or around.control_endpoint
    return Endpoints(
        endpoint=check_endpoint(endpoint) if endpoint else "",
        control_endpoint=check_endpoint(control) if control else "",
        use_fips=settings.use_fips or (around.use_fips and not settings.endpoint),
        use_dualstack=settings.use_dualstack or (around.use_dualstack and not settings.endpoint),
    )


def _joined(base: str, path: str, query: str, region: str) -> Target:
    parts = urlsplit(base)
    whole = f"{parts.path}{path}"
    return Target(
        f"{parts.scheme}://{parts.netloc}{whole}{f'?{query}' if query else ''}", parts.netloc, whole, query, region
    )


def _unusable(message: str) -> AuthenticationError:
    # The operator's matter, not the service's: no breaker is to open for it.
    return AuthenticationError(message)


__all__ = ["Target", "Targets"]
