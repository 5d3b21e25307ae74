"""Every call of msal, each blocking: only worker threads import this module, and only when a token is needed.

msal keeps tokens, errors (60 s) and throttling to itself. All of it stands in the way of a source that keeps its own token:
a corrected secret would fail for a minute, a rejected token come back. So each acquisition makes an application of its own;
that costs one more request per token, of which there is one an hour.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
import msal  # type: ignore[import-untyped]

from apex_llm_azure.authority import Directory
from apex_llm_azure.entra_errors import identity_refusal, refusal
from apex_llm_azure.token_session import TokenSession, asking
from apex_llm_core.errors import AuthenticationError, ServiceUnavailableError

_IDENTITY = "the managed identity endpoint"


@attrs.frozen(kw_only=True)
class Grant:
    """A token as it was given; seconds count from now."""

    access_token: str = attrs.field(repr=False)
    expires_in: float
    #: When the authority wishes it to be renewed; None: it said nothing.
    refresh_in: float | None


def by_secret(directory: Directory, scope: str, secret: str) -> Grant:
    """Return a token for an application with a secret.

    Raises:
        LLMError: there is none; says why.
    """
    return _for_client(directory, scope, secret)


def by_certificate(directory: Directory, scope: str, path: str, password: str | None) -> Grant:
    """Return a token for an application with a certificate, which is read from *path*; otherwise as `by_secret`."""
    content = _read(path, "the certificate")
    credential: dict[str, Any]
    if b"-----BEGIN" in content:
        text = content.decode("latin-1")
        credential = {"private_key": text, "public_certificate": text}
    else:
        credential = {"private_key_pfx_path": str(Path(path).expanduser()), "public_certificate": True}
    if password is not None:
        credential["passphrase"] = password
    return _for_client(directory, scope, credential)


def by_federated_token(directory: Directory, scope: str, path: str) -> Grant:
    """Return a token for an application that presents what is in the file *path* now; otherwise as `by_secret`."""
    assertion = _read(path, "the federated token").decode("latin-1").strip()
    if not assertion:
        raise AuthenticationError(f"the federated token file {path} is empty")
    return _for_client(directory, scope, {"client_assertion": lambda: assertion})


def by_managed_identity(resource: str, identity: Mapping[str, str], *, connect: float, silence: float) -> Grant:
    """Return a token for the identity of this machine.

    Args:
        resource: what the token is for; no scope.
        identity: empty for the system's, else the one of client_id, resource_id, object_id.
        connect: seconds to connect; few, since nothing answers where there is no such endpoint.
        silence: seconds without a byte.
    Raises:
        LLMError: there is none; says why.
    """
    chosen = msal.UserAssignedManagedIdentity(**identity) if identity else msal.SystemAssignedManagedIdentity()
    session = TokenSession(connect=connect, silence=silence)
    # The endpoint is this machine's own; a proxy of the environment does not lead there.
    session.trust_env = False
    with asking(session, _IDENTITY, "does this program run on Azure, with a managed identity?", identity_refusal):
        client = msal.ManagedIdentityClient(chosen, http_client=session)
        answer = client.acquire_token_for_client(resource=resource)
        if not answer or "access_token" not in answer:
            raise identity_refusal(answer or {}, status=session.status, retry_after=session.retry_after)
        return _checked(answer)


@attrs.define(eq=False)
class DeviceFlow:
    """A sign-in with a browser: begin, show `message`, poll until it is granted; later tokens come without a human."""

    directory: Directory
    scope: str
    message: str = ""
    #: Seconds to wait before the next poll.
    interval: float = 5.0
    _flow: dict[str, Any] = attrs.field(factory=dict, repr=False)
    #: Holds the refresh token from one acquisition to the next.
    _cache: Any = attrs.field(factory=msal.TokenCache, repr=False)

    def silently(self) -> Grant | None:
        """Return a new token by the refresh token, None when a human has to sign in.

        Raises:
            LLMError: the authority does not answer, or is too busy.
        """
        if not self._flow:
            return None
        with self._application() as (app, session):
            for account in app.get_accounts():
                answer = app.acquire_token_silent_with_error([self.scope], account, force_refresh=True)
                if answer and ("access_token" in answer or session.status == 429):
                    return _granted(answer, session)
        return None

    def begin(self) -> None:
        """Get a code for the human; `message` says what to do with it."""
        with self._application() as (app, session):
            flow = app.initiate_device_flow([self.scope])
            if "user_code" not in flow:
                raise refusal(flow, status=session.status, retry_after=session.retry_after)
        self._flow = flow
        self.message = str(flow.get("message") or f"Open {flow.get('verification_uri')}, code {flow['user_code']}")
        self.interval = float(flow["interval"])

    def poll(self) -> Grant | None:
        """Return the token, None while the human has not finished."""
        with self._application() as (app, session):
            answer = app.acquire_token_by_device_flow(self._flow, exit_condition=lambda _flow: True)
            if answer.get("error") in {"authorization_pending", "slow_down"}:
                self.interval = float(self._flow["interval"])
                return None
            return _granted(answer, session)

    @contextmanager
    def _application(self) -> Iterator[tuple[Any, TokenSession]]:
        with _asking(self.directory) as session:
            app = msal.PublicClientApplication(
                self.directory.client_id,
                authority=self.directory.authority,
                instance_discovery=False,
                http_client=session,
                token_cache=self._cache,
            )
            yield app, session


def _for_client(directory: Directory, scope: str, credential: str | Mapping[str, Any]) -> Grant:
    with _asking(directory) as session:
        app = msal.ConfidentialClientApplication(
            directory.client_id,
            client_credential=credential,
            authority=directory.authority,
            # Otherwise Microsoft's public cloud is asked about unknown authorities, and after errors.
            instance_discovery=False,
            http_client=session,
        )
        return _granted(app.acquire_token_for_client([scope]), session)


@contextmanager
def _asking(directory: Directory) -> Iterator[TokenSession]:
    session = TokenSession(connect=directory.timeout, silence=directory.timeout, ca_file=directory.ca_file)
    where = f"the token authority {urlsplit(directory.authority).netloc}"
    with asking(session, where, "is 'authority' right, and may this machine reach it?", refusal):
        yield session


def _granted(answer: Mapping[str, Any], session: TokenSession) -> Grant:
    if "access_token" not in answer:
        raise refusal(answer, status=session.status, retry_after=session.retry_after)
    return _checked(answer)


def _checked(answer: Mapping[str, Any]) -> Grant:
    token = answer["access_token"]
    if not isinstance(token, str) or not token.isascii() or not token.isprintable():
        raise ServiceUnavailableError("the token authority gave something that is no token")
    # msal turns the wish into a time of its own clock.
    refresh_on = answer.get("refresh_on")
    return Grant(
        access_token=token,
        expires_in=float(answer.get("expires_in", 3600)),
        refresh_in=None if refresh_on is None else float(refresh_on) - time.time(),
    )


def _read(path: str, what: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise AuthenticationError(f"{what} cannot be read from {path}: {reason}", original_error=error) from error


__all__ = [
    "DeviceFlow",
    "Grant",
    "by_certificate",
    "by_federated_token",
    "by_managed_identity",
    "by_secret",
]
