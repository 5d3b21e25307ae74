"""What ``[providers.auth]`` of a Bedrock provider says, read strictly: which way to authenticate, and with what.

==========  ========================================================================================================
type        credentials
==========  ========================================================================================================
none given  AWS's default chain: environment, profile, web identity, SSO, container, instance; or the API key in the
            variable ``AWS_BEARER_TOKEN_BEDROCK``
``iam``     nothing: the same chain
            ``access_key_id`` and ``secret_access_key``, perhaps ``session_token``
            ``profile``: of the AWS configuration files, whatever it is made of
            ``role_arn``, perhaps ``external_id``: a role to assume, with the credentials of the chain, of ``profile`` or
            of the access key beside it
            ``role_arn`` and ``web_identity_token_file``: a role that another issuer's token opens
``api_key`` ``api_key``: an API key of Bedrock
==========  ========================================================================================================

Access keys, tokens and API keys given here are all there is: neither environment nor files are asked for credentials.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import attrs

from apex_llm_core.config import AuthConfig, is_reference
from apex_llm_core.errors import ConfigurationError, nearest
from apex_llm_core.redaction import Secret

#: A literal, a reference such as "env:NAME", or a secret made in code.
Value = str | Secret


@attrs.frozen(kw_only=True)
class ApiKey:
    """An API key of Bedrock."""

    api_key: Value = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class AccessKey:
    """An access key, of long life or with a session token."""

    access_key_id: Value
    secret_access_key: Value = attrs.field(repr=False)
    session_token: Value | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class Profile:
    """A profile of the AWS configuration files."""

    profile: Value


@attrs.frozen(kw_only=True)
class DefaultChain:
    """Whatever this process is equipped with."""


@attrs.frozen(kw_only=True)
class AssumedRole:
    """A role, perhaps of another account."""

    role_arn: Value
    external_id: Value | None = None
    #: Who assumes it.
    source: AccessKey | Profile | DefaultChain


@attrs.frozen(kw_only=True)
class WebIdentity:
    """A role that is opened by the token of another issuer, for example of a Kubernetes cluster."""

    role_arn: Value
    web_identity_token_file: Value


Credential = ApiKey | AccessKey | Profile | DefaultChain | AssumedRole | WebIdentity

_KEY = ("access_key_id", "secret_access_key", "session_token")
_IAM = (*_KEY, "profile", "role_arn", "external_id", "web_identity_token_file")
#: Those that stand in the options of the provider, where they are often not looked for.
_OPTIONS = frozenset({"region", "role_session_name", "role_duration", "endpoint", "sts_endpoint"})
_ROLE = re.compile(r"arn:[a-z0-9-]+:iam::\d{12}:role/\S+")
_PLACE = "auth.credentials"


def read_credentials(auth: AuthConfig | None) -> Credential:
    """Return the one way to authenticate that *auth* describes; None is the default chain.

    Raises:
        ConfigurationError: an unknown name, a missing part, several ways at once, or a value of the wrong kind.
    """
    if auth is None:
        return DefaultChain()
    if auth.type == "api_key":
        _check_names(auth.credentials, ("api_key",), "type 'api_key'")
        return ApiKey(api_key=_value(auth.credentials, "api_key", "type 'api_key'"))
    if auth.type != "iam":
        raise ConfigurationError(
            "auth: a Bedrock provider takes type 'iam' or 'api_key'; without auth it uses AWS's default chain"
        )
    return _read_iam(auth.credentials)


def check_role_arn(text: str) -> str:
    """Return the ARN of a role without blanks around it.

    Raises:
        ValueError: it is none.
    """
    arn = text.strip()
    if _ROLE.fullmatch(arn) is None:
        raise ValueError("must be the ARN of a role: 'arn:aws:iam::123456789012:role/NAME'")
    return arn


def _read_iam(given: Mapping[str, Any]) -> Credential:
    _check_names(given, _IAM, "type 'iam'")
    keys = [name for name in _KEY if name in given]
    if "web_identity_token_file" in given:
        _refuse_beside("web_identity_token_file", given, (*_KEY, "profile", "external_id"))
        token_file = _value(given, "web_identity_token_file", "type 'iam'")
        return WebIdentity(role_arn=_role(given, "web_identity_token_file"), web_identity_token_file=token_file)
    if keys:
        _refuse_beside(keys[0], given, ("profile",))
    source: AccessKey | Profile | DefaultChain = DefaultChain()
    if keys:
        source = AccessKey(
            access_key_id=_value(given, "access_key_id", keys[0]),
            secret_access_key=_value(given, "secret_access_key", keys[0]),
            session_token=_value(given, "session_token", keys[0]) if "session_token" in given else None,
        )
    elif "profile" in given:
        source = Profile(profile=_value(given, "profile", "type 'iam'"))
    if "role_arn" in given:
        external_id = _value(given, "external_id", "role_arn") if "external_id" in given else None
        return AssumedRole(role_arn=_role(given, "role_arn"), external_id=external_id, source=source)
    if "external_id" in given:
        raise ConfigurationError(f"{_PLACE} lacks 'role_arn', which external_id needs")
    return source


def _role(given: Mapping[str, Any], what: str) -> Value:
    value = _value(given, "role_arn", what)
    if isinstance(value, str) and not is_reference(value):
        try:
            return check_role_arn(value)
        except ValueError as error:
            raise ConfigurationError(f"{_PLACE}.role_arn: {error}") from error
    return value


def _refuse_beside(name: str, given: Mapping[str, Any], others: Collection[str]) -> None:
    for other in others:
        if other in given:
            raise ConfigurationError(f"{_PLACE}: {name} and {other} contradict each other; give only one of them")


def _check_names(given: Mapping[str, Any], taken: Collection[str], what: str) -> None:
    for name in given:
        if name in _OPTIONS:
            raise ConfigurationError(f"{_PLACE}.{name}: is no credential; it stands in [providers.options]")
        if name not in taken:
            raise ConfigurationError(f"{_PLACE}.{name}: {what} does not take it{nearest(name, taken)}")


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
    "AccessKey",
    "ApiKey",
    "AssumedRole",
    "Credential",
    "DefaultChain",
    "Profile",
    "Value",
    "WebIdentity",
    "check_role_arn",
    "read_credentials",
]
