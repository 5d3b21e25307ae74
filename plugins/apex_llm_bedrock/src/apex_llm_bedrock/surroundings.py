"""What is wanted of botocore and what it gives, as plain values: they cross into worker threads and back.

Nothing here imports botocore. A provider with explicit credentials needs it for AWS's own addresses only.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from apex_llm_core.redaction import Secret

_TRUE = frozenset({"true"})


@attrs.frozen(kw_only=True)
class Surroundings:
    """What environment and profile say about where and how to call. Empty: nothing."""

    region: str = ""
    runtime_endpoint: str = ""
    control_endpoint: str = ""
    use_fips: bool = False
    use_dualstack: bool = False
    ca_bundle: str = ""


@attrs.frozen(kw_only=True)
class Keys:
    """Credentials to sign with. Times are seconds since 1970."""

    access_key_id: str
    secret_access_key: Secret
    session_token: Secret | None = None
    #: None: they tell no end.
    expires_on: float | None = None


@attrs.frozen(kw_only=True)
class Wanted:
    """Credentials to get, every reference in it resolved."""

    #: The profile to use; "": the one that the environment names, else the default one.
    profile: str = ""
    #: The keys to assume a role with; None: those of the profile or chain.
    keys: Keys | None = None
    role_arn: str = ""
    external_id: str = ""
    web_identity_token_file: str = ""
    role_session_name: str = "apex-llm"
    #: Seconds that an assumed role's credentials live.
    role_duration: int = 3600
    #: For STS, and for clients that botocore makes on its own; "": the environment's or the profile's.
    region: str = ""
    sts_endpoint: str = ""
    ca_file: str = ""
    use_fips: bool = False
    use_dualstack: bool = False

    @property
    def explicit(self) -> bool:
        """Whether the configuration says all there is to say: environment and files are not asked for credentials."""
        return self.keys is not None or bool(self.web_identity_token_file)


def environment_surroundings(environ: Mapping[str, str]) -> Surroundings:
    """Return what the environment variables say; no file is read."""
    ignored = _is_true(environ, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
    everywhere = "" if ignored else environ.get("AWS_ENDPOINT_URL", "")
    return Surroundings(
        region=environment_region(environ),
        runtime_endpoint="" if ignored else environ.get("AWS_ENDPOINT_URL_BEDROCK_RUNTIME") or everywhere,
        control_endpoint="" if ignored else environ.get("AWS_ENDPOINT_URL_BEDROCK") or everywhere,
        use_fips=_is_true(environ, "AWS_USE_FIPS_ENDPOINT"),
        use_dualstack=_is_true(environ, "AWS_USE_DUALSTACK_ENDPOINT"),
        ca_bundle=environment_ca_bundle(environ),
    )


def environment_region(environ: Mapping[str, str]) -> str:
    """Return the region that the environment names; botocore itself does not read ``AWS_REGION``."""
    return environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION", "")


def environment_ca_bundle(environ: Mapping[str, str]) -> str:
    """Return the file of certificate authorities that the environment names."""
    return environ.get("AWS_CA_BUNDLE") or environ.get("REQUESTS_CA_BUNDLE", "")


def _is_true(environ: Mapping[str, str], name: str) -> bool:
    return environ.get(name, "").strip().lower() in _TRUE


__all__ = [
    "Keys",
    "Surroundings",
    "Wanted",
    "environment_ca_bundle",
    "environment_region",
    "environment_surroundings",
]
