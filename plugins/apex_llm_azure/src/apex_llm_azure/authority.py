"""Who issues tokens: the address of an authority, read strictly, and a tenant's directory there."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import attrs

from apex_llm_core.errors import AuthenticationError, ConfigurationError

_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")


@attrs.frozen(kw_only=True)
class Authority:
    """Who issues tokens: an address without the tenant, and the tenant if the address named one."""

    base: str
    tenant: str | None = None

    @classmethod
    def parse(cls, address: str) -> Authority:
        """Read ``https://HOST[:PORT]`` or ``https://HOST[:PORT]/TENANT``; https may be left out.

        Raises:
            ConfigurationError: it is something else.
        """
        text = address.strip()
        try:
            parts = urlsplit(text if "://" in text else f"https://{text}")
            usable = parts.scheme == "https" and parts.hostname and "@" not in parts.netloc
            usable = usable and not parts.query and not parts.fragment and (parts.port is None or parts.port > 0)
        except ValueError:
            usable = False
        segments = [segment for segment in parts.path.split("/") if segment] if usable else []
        if segments[1:] == ["v2.0"]:
            segments = segments[:1]
        if not usable or len(segments) > 1:
            raise ConfigurationError(
                "options.authority: must be the https address of a token authority, such as"
                " https://login.microsoftonline.com, with the tenant or without"
            )
        return cls(base=f"https://{parts.netloc}", tenant=segments[0] if segments else None)

    def url(self, tenant: str | None) -> str:
        """Return the address for *tenant*, None for the one that the authority names itself.

        Raises:
            AuthenticationError: both name one and they differ, or it is no name of a tenant.
        """
        if tenant is not None and self.tenant is not None and tenant.lower() != self.tenant.lower():
            raise AuthenticationError("tenant_id and the option 'authority' name different tenants")
        chosen = tenant or self.tenant
        if chosen is None or not _TENANT.fullmatch(chosen):
            raise AuthenticationError("tenant_id is neither a tenant's id nor a domain of it")
        return f"{self.base}/{chosen}"


@attrs.frozen(kw_only=True)
class Directory:
    """Where an application asks for tokens, and how."""

    #: With the tenant: ``https://login.microsoftonline.com/TENANT``.
    authority: str
    client_id: str
    #: Certificate authorities to trust instead of the usual ones, in PEM; "" for the usual ones.
    ca_file: str = ""
    #: Seconds to connect, and of silence.
    timeout: float = 10.0


__all__ = ["Authority", "Directory"]
