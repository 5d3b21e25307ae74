"""What ``[providers.auth]`` of an Azure provider says, read strictly: which way to authenticate, and with what.

==================  ===============================================================================================
type                credentials
==================  ===============================================================================================
``api_key``         ``api_key``
``azure_ad``        ``tenant_id``, ``client_id`` and ``client_secret``
                    … and ``certificate_path`` (PEM with the private key, or PKCS#12), perhaps ``certificate_password``
                    … and ``federated_token_file`` (workload identity; read anew for every token)
                    … and ``device_code = true`` (a human signs in with a browser)
                    ``managed_identity = true``, perhaps one of ``client_id``, ``resource_id``, ``object_id``
                    ``azure_cli = true``, perhaps ``tenant_id``
==================  ===============================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from apex_llm_core.config import AuthConfig
from apex_llm_core.errors import ConfigurationError, nearest
from apex_llm_core.redaction import Secret

#: A literal, a reference such as "env:NAME", or a secret made in code.
Value = str | Secret


@attrs.frozen(kw_only=True)
class ApiKey:
    """A key of the resource."""

    api_key: Value = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class ClientSecret:
    """An application with a secret."""

    tenant_id: Value | None
    client_id: Value
    client_secret: Value = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class ClientCertificate:
    """An application with a certificate."""

    tenant_id: Value | None
    client_id: Value
    certificate_path: Value
    certificate_password: Value | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class WorkloadIdentity:
    """An application that presents the token of another issuer, for example of its Kubernetes cluster."""

    tenant_id: Value | None
    client_id: Value
    federated_token_file: Value


@attrs.frozen(kw_only=True)
class DeviceCode:
    """A human who signs in with a browser somewhere."""

    tenant_id: Value | None
    client_id: Value


@attrs.frozen(kw_only=True)
class ManagedIdentity:
    """The identity of the machine: the system's own without an id, else a user-assigned one."""

    client_id: Value | None = None
    resource_id: Value | None = None
    object_id: Value | None = None


@attrs.frozen(kw_only=True)
class AzureCli:
    """Whoever is signed in to the Azure CLI."""

    tenant_id: Value | None = None


Application = ClientSecret | ClientCertificate | WorkloadIdentity | DeviceCode
EntraCredential = Application | ManagedIdentity | AzureCli
Credential = ApiKey | EntraCredential


@attrs.frozen
class _Way:
    """One way to get tokens: by which key it is chosen, and which others may or must stand beside."""

    make: Callable[..., EntraCredential]
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    #: At most one of these.
    exclusive: tuple[str, ...] = ()


_SWITCHES = ("managed_identity", "azure_cli", "device_code")
_IDENTITIES = ("client_id", "resource_id", "object_id")
_WAYS: Mapping[str, _Way] = {
    "client_secret": _Way(ClientSecret, ("tenant_id", "client_id", "client_secret")),
    "certificate_path": _Way(
        ClientCertificate, ("tenant_id", "client_id", "certificate_path"), ("certificate_password",)
    ),
    "federated_token_file": _Way(WorkloadIdentity, ("tenant_id", "client_id", "federated_token_file")),
    "device_code": _Way(DeviceCode, ("tenant_id", "client_id")),
    "managed_identity": _Way(ManagedIdentity, (), _IDENTITIES, _IDENTITIES),
    "azure_cli": _Way(AzureCli, (), ("tenant_id",)),
}
_KNOWN = frozenset(
    name for chosen, way in _WAYS.items() for name in (chosen, *way.required, *way.optional)
)  # everything that azure_ad takes in one way or another
_PLACE = "auth.credentials"


def read_credentials(auth: AuthConfig | None, *, tenant_known: bool = False) -> Credential:
    """Return the one way to authenticate that *auth* describes.

    Args:
        auth: the table as configured.
        tenant_known: the authority's address names the tenant already, so that ``tenant_id`` may be missing.
    Raises:
        ConfigurationError: an unknown name, a missing part, several ways at once, or a value of the wrong kind.
    """
    if auth is None or auth.type not in {"api_key", "azure_ad"}:
        raise ConfigurationError("auth: an Azure provider needs [providers.auth] with type 'api_key' or 'azure_ad'")
    given = {name: value for name, value in auth.credentials.items() if not _is_off(name, value)}
    if auth.type == "api_key":
        _check_names(given, {"api_key"}, "type 'api_key'")
        return ApiKey(api_key=_value(given, "api_key", "type 'api_key'"))
    return _read_entra(given, tenant_known=tenant_known)


def _read_entra(given: Mapping[str, Any], *, tenant_known: bool) -> EntraCredential:
    _check_names(given, _KNOWN, "type 'azure_ad'")
    chosen = [name for name in _WAYS if name in given]
    ways = ", ".join(f"{name} = true" if name in _SWITCHES else name for name in _WAYS)
    if not chosen:
        raise ConfigurationError(f"{_PLACE}: type 'azure_ad' needs one of {ways}")
    if len(chosen) > 1:
        raise ConfigurationError(f"{_PLACE}: {' and '.join(chosen)} contradict each other; give only one of {ways}")
    name = chosen[0]
    way = _WAYS[name]
    _check_names(given, {name, *way.required, *way.optional}, name)
    several = [other for other in way.exclusive if other in given]
    if len(several) > 1:
        raise ConfigurationError(f"{_PLACE}: {' and '.join(several)} name an identity each; give only one")
    fields: dict[str, Value | None] = {}
    for part in way.required:
        if part == "tenant_id" and tenant_known and part not in given:
            fields[part] = None
        else:
            fields[part] = _value(given, part, name)
    fields |= {part: _value(given, part, name) for part in way.optional if part in given}
    return way.make(**fields)


def _is_off(name: str, value: object) -> bool:
    """Tell whether a switch stands on false, which is as good as absent; anything but true and false is refused."""
    if name not in _SWITCHES:
        return False
    if not isinstance(value, bool):
        raise ConfigurationError(f"{_PLACE}.{name}: must be true or false, not {type(value).__name__}")
    return not value


def _check_names(given: Mapping[str, Any], taken: set[str] | frozenset[str], what: str) -> None:
    for name in given:
        if name not in taken:
            raise ConfigurationError(f"{_PLACE}.{name}: {what} does not take it{nearest(name, taken - {name})}")


def _value(given: Mapping[str, Any], name: str, what: str) -> Value:
    if name not in given:
        raise ConfigurationError(f"{_PLACE} lacks {name!r}, which {what} needs")
    value = given[name]
    if not isinstance(value, (str, Secret)):
        raise ConfigurationError(f"{_PLACE}.{name}: must be text, not {type(value).__name__}")
    text = value.reveal() if isinstance(value, Secret) else value
    if not text.strip():
        raise ConfigurationError(f"{_PLACE}.{name}: is empty")
    return value


__all__ = [
    "ApiKey",
    "Application",
    "AzureCli",
    "ClientCertificate",
    "ClientSecret",
    "Credential",
    "DeviceCode",
    "EntraCredential",
    "ManagedIdentity",
    "Value",
    "WorkloadIdentity",
    "read_credentials",
]
