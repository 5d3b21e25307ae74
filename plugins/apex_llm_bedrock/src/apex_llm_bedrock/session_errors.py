"""Why there are no AWS credentials: botocore's exceptions in the taxonomy, with what was looked at and what to do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
from botocore import exceptions as aws  # type: ignore[import-untyped]

from apex_llm_bedrock.surroundings import Wanted
from apex_llm_core.errors import AuthenticationError, LLMError, ServiceUnavailableError, UnknownError, nearest
from apex_llm_core.redaction import Redactor

_LONGEST = 300
_WRONG_KEYS = frozenset(
    {"InvalidClientTokenId", "SignatureDoesNotMatch", "UnrecognizedClientException", "InvalidAccessKeyId"}
)
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException"})
_BUSY = frozenset({"Throttling", "ThrottlingException", "TooManyRequestsException", "IDPCommunicationError"})
#: A server's own fault; a status, as HTTP counts them.
_SERVER_ERROR = 500


class NothingFoundError(Exception):
    """The chain came to its end."""


class SecondFactorError(Exception):
    """A profile needs a code that nobody can type here."""

    def __init__(self, profile: str) -> None:
        super().__init__(profile)
        self.profile = profile


@attrs.frozen(kw_only=True)
class Circumstances:
    """What is known about an attempt to get credentials."""

    wanted: Wanted
    environ: Mapping[str, str] = attrs.field(repr=False)
    #: The profile in use; "": the default one.
    profile: str = ""
    #: All there are.
    profiles: tuple[str, ...] = ()
    #: Configuration file and credentials file.
    files: tuple[str, ...] = ()
    #: The role to assume, whoever names it.
    role_arn: str = ""

    @property
    def option(self) -> str:
        """How the AWS CLI is told the profile."""
        return f" --profile {self.profile}" if self.profile else ""

    @property
    def named(self) -> str:
        """The profile in words."""
        return f"profile {self.profile!r}" if self.profile else "the default profile"


def explained(error: Exception, at: Circumstances) -> LLMError:
    """Return *error* as one that says what was looked at and what to do; no secret stands in it."""
    redactor = Redactor()
    if at.wanted.keys is not None:
        for secret in (at.wanted.keys.secret_access_key, at.wanted.keys.session_token):
            if secret is not None:
                redactor.learn(secret)
    failure = _explained(error, at)
    failure.restate(redactor.scrub)
    if not isinstance(error, ValueError):
        failure.original_error = error
    return failure


def _explained(error: Exception, at: Circumstances) -> LLMError:
    if isinstance(error, LLMError):
        return error
    if isinstance(error, NothingFoundError):
        return AuthenticationError(_nothing_found(at))
    if isinstance(error, SecondFactorError):
        return AuthenticationError(
            f"profile {error.profile!r} needs an MFA code (mfa_serial), which nobody can type here; use a profile without"
            " it, or one whose credential_process asks for it"
        )
    if isinstance(error, aws.ClientError):
        return _refused(error, at)
    if isinstance(error, (aws.SSOError, aws.TokenRetrievalError)):
        return AuthenticationError(
            f"the SSO session of {at.named} has expired or was not begun; run 'aws sso login{at.option}'"
        )
    if isinstance(error, aws.LoginError):
        return AuthenticationError(f"the sign-in of {at.named} has expired or lacks; run 'aws login{at.option}'")
    if isinstance(error, aws.ProfileNotFound):
        return AuthenticationError(_no_such_profile(at))
    if isinstance(error, aws.SSLError):
        return ServiceUnavailableError(
            f"{_asked(error)} shows a certificate that is not trusted; name its authority in options.ca_file or"
            " AWS_CA_BUNDLE",
            retryable=False,
        )
    if isinstance(error, (aws.ConnectionError, aws.HTTPClientError)):
        return ServiceUnavailableError(f"{_asked(error)} cannot be asked for credentials: {type(error).__name__}")
    if isinstance(error, (aws.CredentialRetrievalError, aws.MetadataRetrievalError)):
        return _not_given(error, at)
    if isinstance(error, aws.PartialCredentialsError):
        return AuthenticationError(
            f"the AWS credentials of {_way(error, at)} are incomplete: {_fact(error, 'cred_var')} lacks"
        )
    if isinstance(error, aws.BotoCoreError):
        return AuthenticationError(f"the AWS configuration of {at.named} cannot be used: {_short(str(error))}")
    if isinstance(error, OSError):
        return _unreadable(error, at)
    if isinstance(error, json.JSONDecodeError):
        return AuthenticationError(f"the credential_process of {at.named} printed something that is no JSON")
    if isinstance(error, RuntimeError) and "expired" in str(error):
        return AuthenticationError(
            f"the AWS credentials of {at.named} have expired; renew them where they come from, or correct the clock of"
            " this machine"
        )
    return UnknownError(f"getting AWS credentials failed: {type(error).__name__}")


def _nothing_found(at: Circumstances) -> str:
    environ = at.environ
    looked = []
    if not at.wanted.profile:
        known = [name for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY") if environ.get(name)]
        missing = "only " + known[0] if known else "not set"
        looked.append(f"AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY ({missing})")
    files = " and ".join(f"{name} ({_state(name)})" for name in at.files)
    looked += [
        f"{at.named} in {files}",
        f"AWS_WEB_IDENTITY_TOKEN_FILE ({_set(environ, 'AWS_WEB_IDENTITY_TOKEN_FILE')})",
    ]
    container = ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI")
    looked.append(f"container credentials ({' and '.join(container)} not set)")
    switched_off = environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true"
    looked.append(
        "instance metadata (switched off by AWS_EC2_METADATA_DISABLED)"
        if switched_off
        else "instance metadata (the metadata service is unreachable, or the instance has no role)"
    )
    others = [name for name in at.profiles if name != (at.profile or "default")]
    choice = f"; there are {', '.join(sorted(others)[:8])}" if others else ""
    return (
        f"no AWS credentials found. Looked at: {'; '.join(looked)}. Run 'aws configure{at.option}' or"
        f" 'aws sso login{at.option}', name a profile in auth.credentials.profile or AWS_PROFILE{choice}, or give"
        " access_key_id and secret_access_key"
    )


def _no_such_profile(at: Circumstances) -> str:
    wanted = at.wanted.profile
    origin = "auth.credentials.profile" if wanted else "AWS_PROFILE or AWS_DEFAULT_PROFILE"
    files = " and ".join(f"{name} ({_state(name)})" for name in at.files)
    return f"{origin}: there is no profile {at.profile!r} in {files}{nearest(at.profile, at.profiles)}"


def _refused(error: Any, at: Circumstances) -> LLMError:
    """Explain an answer of STS, or of the SSO portal."""
    answer = error.response.get("Error", {})
    code, said = str(answer.get("Code", "")), _short(str(answer.get("Message", "")))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0
    operation = error.operation_name
    details = {"operation": operation, "identity_code": code}
    if code in _BUSY or status >= _SERVER_ERROR:
        return ServiceUnavailableError(f"{operation} failed: {code}: {said}", details=details)
    role = f"role {at.role_arn}" if at.role_arn else "the role"
    caller = "the access key" if at.wanted.keys is not None else at.named
    if operation == "GetRoleCredentials":
        advice = f"; check sso_account_id and sso_role_name of {at.named}, or run 'aws sso login{at.option}'"
    elif code in {"AccessDenied", "AccessDeniedException"}:
        advice = (
            f"; {role} must trust this caller in its trust policy (with this external id, if it asks for one), and the"
            " caller must be allowed sts:AssumeRole on it"
        )
    elif code in _EXPIRED and operation == "AssumeRoleWithWebIdentity":
        advice = "; the token in the web identity token file has expired: whoever writes the file must renew it"
    elif code in _EXPIRED:
        advice = f"; the credentials of {caller}, with which the role is assumed, have expired: renew them"
    elif code in _WRONG_KEYS:
        advice = f"; STS does not know the credentials of {caller}, with which the role is assumed"
    elif "DurationSeconds" in said or "MaxSessionDuration" in said:
        advice = "; lower options.role_duration, or let the role allow longer sessions"
    else:
        advice = ""
    return AuthenticationError(f"{role} cannot be assumed: {code}: {said}{advice}", details=details)


def _not_given(error: Any, at: Circumstances) -> LLMError:
    """Explain a process, a container's agent or an instance's metadata that gave nothing."""
    way = str(_fact(error, "provider"))
    said = _short(str(_fact(error, "error_msg")))
    if way == "custom-process":
        return AuthenticationError(f"the credential_process of {at.named} failed: {said or 'it said nothing'}")
    if way == "container-role":
        return ServiceUnavailableError(
            f"the container's credentials endpoint gave none: {said}; check AWS_CONTAINER_CREDENTIALS_FULL_URI,"
            " AWS_CONTAINER_AUTHORIZATION_TOKEN and the role of the task or pod"
        )
    if way in {"iam-role", "Ec2InstanceMetadata"} or isinstance(error, aws.MetadataRetrievalError):
        return ServiceUnavailableError(
            f"the instance's metadata service is unreachable or gave no credentials: {said}; check that the instance has"
            " a role and that its hop limit lets containers ask"
        )
    return AuthenticationError(f"{way} gave no AWS credentials: {said}")


def _unreadable(error: OSError, at: Circumstances) -> LLMError:
    path = str(error.filename or "")
    reason = error.strerror or type(error).__name__
    token_file = at.wanted.web_identity_token_file or at.environ.get("AWS_WEB_IDENTITY_TOKEN_FILE", "")
    if path and path == token_file:
        return AuthenticationError(
            f"the web identity token file {path} cannot be read: {reason}; it is written by whoever runs this process,"
            " check that the token is mounted there"
        )
    return AuthenticationError(f"getting the AWS credentials of {at.named} failed: {path or 'a file'}: {reason}")


def _way(error: Any, at: Circumstances) -> str:
    return "the environment" if _fact(error, "provider") == "env" else at.named


def _asked(error: Any) -> str:
    return str(_fact(error, "endpoint_url") or "the service")


def _fact(error: Any, name: str) -> Any:
    return error.kwargs.get(name, "")


def _set(environ: Mapping[str, str], name: str) -> str:
    return "set" if environ.get(name) else "not set"


def _state(name: str) -> str:
    return "read" if Path(name).expanduser().is_file() else "no such file"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"


__all__ = ["Circumstances", "NothingFoundError", "SecondFactorError", "explained"]
