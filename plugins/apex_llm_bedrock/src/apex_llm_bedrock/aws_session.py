"""Every use of botocore for credentials, each blocking: only worker threads import this module, and only when needed.

Sessions are not safe to share between threads, keep what they once found, and ask for credentials of a short life again at
every look. All of it stands in the way of a source that keeps its own: so each acquisition makes a session of its own,
which reads files and environment anew; that costs some milliseconds, of which there are a few an hour.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import botocore.session  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.configprovider import ConfiguredEndpointProvider  # type: ignore[import-untyped]
from botocore.credentials import (  # type: ignore[import-untyped]
    AssumeRoleCredentialFetcher,
    AssumeRoleWithWebIdentityCredentialFetcher,
    Credentials,
)

from apex_llm_bedrock.botocore_logs import quiet
from apex_llm_bedrock.session_errors import Circumstances, NothingFoundError, SecondFactorError, explained
from apex_llm_bedrock.surroundings import (
    Keys,
    Surroundings,
    Wanted,
    environment_ca_bundle,
    environment_region,
)
from apex_llm_core.redaction import Secret

#: Ways that have asked for credentials the moment they are found; the others ask when the credentials are first used.
_JUST_ASKED = frozenset({"custom-process", "iam-role", "container-role"})
#: Where STS is asked when nobody names a region, by partition of the role.
_STS_REGIONS = {"aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1"}
#: Overrides for a session that reads neither profiles nor files: key in files, variables, default, conversion.
_NOTHING_AMBIENT = {
    "profile": (None, None, None, None),
    "config_file": (None, None, "", None),
    "credentials_file": (None, None, "", None),
}


def acquire(wanted: Wanted, environ: Mapping[str, str]) -> Keys:
    """Return new credentials.

    Args:
        wanted: which ones.
        environ: for the region, and to tell what is missing; botocore reads the process's own.
    Raises:
        LLMError: there are none; says what was looked at and what to do, and shows no secret.
    """
    session: _Session | None = None
    with quiet():
        try:
            session = _Session(wanted, environ)
            return _acquire(session, wanted)
        except Exception as error:
            failure = explained(error, _circumstances(session, wanted, environ))
            # A process's output that is no JSON is in the error itself, and may hold credentials.
            raise failure from (None if isinstance(error, ValueError) else error)


def read_surroundings(wanted: Wanted, environ: Mapping[str, str]) -> Surroundings:
    """Return what environment and profile say about where and how to call.

    Raises:
        LLMError: there is no such profile, or the files cannot be read.
    """
    session: _Session | None = None
    with quiet():
        try:
            session = _Session(wanted, environ)
            return Surroundings(
                region=environment_region(environ) or session.get_config_variable("region") or "",
                runtime_endpoint=session.endpoint_of("bedrock-runtime"),
                control_endpoint=session.endpoint_of("bedrock"),
                use_fips=bool(session.get_config_variable("use_fips_endpoint")),
                use_dualstack=bool(session.get_config_variable("use_dualstack_endpoint")),
                ca_bundle=session.get_config_variable("ca_bundle") or environment_ca_bundle(environ),
            )
        except Exception as error:
            raise explained(error, _circumstances(session, wanted, environ)) from error


class _Session(botocore.session.Session):  # type: ignore[misc]
    """A session as the provider's options want it."""

    def __init__(self, wanted: Wanted, environ: Mapping[str, str]) -> None:
        super().__init__(
            session_vars=_NOTHING_AMBIENT if wanted.explicit else None,
            profile=wanted.profile or None,
        )
        self._sts_endpoint = wanted.sts_endpoint
        region = wanted.region or environment_region(environ)
        if region:
            self.set_config_variable("region", region)
        if wanted.ca_file:
            self.set_config_variable("ca_bundle", wanted.ca_file)
        for name in ("fips", "dualstack"):
            if getattr(wanted, f"use_{name}"):
                self.set_config_variable(f"use_{name}_endpoint", True)
        self.set_default_client_config(
            Config(connect_timeout=5, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 3})
        )

    def create_client(self, service_name: str, *arguments: Any, **options: Any) -> Any:
        """Make a client; STS is where the options of the provider say, for the roles of profiles too."""
        if service_name == "sts" and self._sts_endpoint:
            options["endpoint_url"] = self._sts_endpoint
            # Whatever the address is, it is final.
            plain = Config(use_fips_endpoint=False, use_dualstack_endpoint=False)
            options["config"] = plain.merge(options.get("config") or Config())
        return super().create_client(service_name, *arguments, **options)

    def endpoint_of(self, service: str) -> str:
        """Return the address that environment or profile name for *service*, "" if they name none."""
        if self.get_config_variable("ignore_configured_endpoint_urls"):
            return ""
        provider = ConfiguredEndpointProvider(
            full_config=self.full_config, scoped_config=self.get_scoped_config(), client_name=service
        )
        return provider.provide() or ""


def _acquire(session: _Session, wanted: Wanted) -> Keys:
    if not session.get_config_variable("region"):
        # Whoever calls models by ARN needs no region, but STS is somewhere.
        role_arn = wanted.role_arn or session.get_scoped_config().get("role_arn", "")
        session.set_config_variable(
            "region", _STS_REGIONS.get(role_arn.partition(":")[2].partition(":")[0], "us-east-1")
        )
    about_session = {"RoleSessionName": wanted.role_session_name, "DurationSeconds": wanted.role_duration}
    if wanted.web_identity_token_file:
        token = Path(wanted.web_identity_token_file).read_text(encoding="utf-8").strip()
        fetcher = AssumeRoleWithWebIdentityCredentialFetcher(
            client_creator=session.create_client,
            web_identity_token_loader=lambda: token,
            role_arn=wanted.role_arn,
            extra_args=about_session,
        )
        return _assumed(fetcher.fetch_credentials())
    source = _source(session, wanted)
    if wanted.role_arn:
        about_caller = {"ExternalId": wanted.external_id} if wanted.external_id else {}
        fetcher = AssumeRoleCredentialFetcher(
            client_creator=session.create_client,
            source_credentials=source,
            role_arn=wanted.role_arn,
            extra_args=about_session | about_caller,
        )
        return _assumed(fetcher.fetch_credentials())
    if source.method in _JUST_ASKED:
        # With less than fifteen minutes to live botocore would ask a second time.
        source._advisory_refresh_timeout = source._mandatory_refresh_timeout = 0  # noqa: SLF001 - no public way
    frozen = source.get_frozen_credentials()
    end = getattr(source, "_expiry_time", None)
    return Keys(
        access_key_id=frozen.access_key,
        secret_access_key=Secret(frozen.secret_key),
        session_token=Secret(frozen.token) if frozen.token else None,
        expires_on=None if end is None else end.timestamp(),
    )


def _source(session: _Session, wanted: Wanted) -> Any:
    if wanted.keys is not None:
        token = wanted.keys.session_token
        return Credentials(
            wanted.keys.access_key_id,
            wanted.keys.secret_access_key.reveal(),
            None if token is None else token.reveal(),
        )
    _refuse_second_factor(session)
    found = session.get_credentials()
    if found is None:
        raise NothingFoundError
    return found


def _refuse_second_factor(session: _Session) -> None:
    """Refuse a profile for which botocore would ask for a code on the terminal, in a thread, and wait forever."""
    profiles = session.full_config["profiles"]
    name: str | None = session.profile or "default"
    seen: set[str] = set()
    while name is not None and name not in seen:
        seen.add(name)
        profile = profiles.get(name, {})
        if "role_arn" in profile and "mfa_serial" in profile:
            raise SecondFactorError(name)
        name = profile.get("source_profile") if "role_arn" in profile else None


def _assumed(metadata: Mapping[str, str]) -> Keys:
    return Keys(
        access_key_id=metadata["access_key"],
        secret_access_key=Secret(metadata["secret_key"]),
        session_token=Secret(metadata["token"]),
        expires_on=dt.datetime.fromisoformat(metadata["expiry_time"]).timestamp(),
    )


def _circumstances(session: _Session | None, wanted: Wanted, environ: Mapping[str, str]) -> Circumstances:
    profile, profiles, files, role_arn = wanted.profile, (), (), wanted.role_arn
    if session is not None and not wanted.explicit:
        try:
            profile = session.get_config_variable("profile") or ""
            files = tuple(session.get_config_variable(name) for name in ("config_file", "credentials_file"))
            found = session.full_config["profiles"]
            profiles = tuple(found)
            role_arn = role_arn or found.get(profile or "default", {}).get("role_arn", "")
        except Exception:
            # The files cannot be read; that is what the error at hand is about.
            profiles = ()
    return Circumstances(
        wanted=wanted, environ=environ, profile=profile, profiles=profiles, files=files, role_arn=role_arn
    )


__all__ = ["acquire", "read_surroundings"]
