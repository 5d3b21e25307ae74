"""HTTP under msal, blocking: bounded waits, no redirects, and typed errors that carry no credentials.

As `msal_flows`, only worker threads import it: it brings requests.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import requests
from msal.exceptions import MsalServiceError  # type: ignore[import-untyped]

from apex_llm_azure.entra_errors import shortened
from apex_llm_core.errors import AuthenticationError, LLMError, LLMTimeoutError, ServiceUnavailableError


class TokenSession(requests.Session):
    """A session of one acquisition; remembers the last answer.

    Args:
        connect: seconds to connect.
        silence: seconds without a byte.
        ca_file: certificate authorities to trust instead of the usual ones, in PEM.
    """

    def __init__(self, *, connect: float, silence: float, ca_file: str = "") -> None:
        super().__init__()
        self._timeout = (connect, silence)
        self._ca_file = ca_file
        self.last: requests.Response | None = None

    def request(self, method: str, url: str, **options: Any) -> requests.Response:  # type: ignore[override]
        """Send one request, as msal asks for it."""
        options["timeout"] = self._timeout
        # The credentials in the body are for this address and no other.
        options["allow_redirects"] = False
        if self._ca_file:
            # As a setting of the session, REQUESTS_CA_BUNDLE would override it.
            options["verify"] = self._ca_file
        self.last = None
        self.last = super().request(method, url, **options)
        return self.last

    @property
    def status(self) -> int | None:
        """The HTTP status of the last answer."""
        return None if self.last is None else self.last.status_code

    @property
    def retry_after(self) -> float | None:
        """The seconds that the last answer asked to wait."""
        value = "" if self.last is None else self.last.headers.get("Retry-After", "").strip()
        return float(value) if value.isascii() and value.isdecimal() else None

    def said(self) -> dict[str, Any]:
        """Return the JSON object of the last answer, empty when it was something else."""
        try:
            said = {} if self.last is None else json.loads(self.last.text)
        except ValueError:
            return {}
        return said if isinstance(said, dict) else {}


@contextmanager
def asking(session: TokenSession, where: str, hint: str, refused: Callable[..., LLMError]) -> Iterator[None]:
    """Run calls of msal on *session*: close it in the end, turn what they raise into typed errors.

    Args:
        session: what they send with.
        where: who is asked, for messages.
        hint: what to check when nobody answers.
        refused: makes the error of an answer that msal did not understand; `refusal` or its like.
    Raises:
        LLMError: anything went wrong; no request, whose body is the credentials, hangs on it.
    """
    try:
        yield
    except LLMError:
        raise
    except Exception as error:
        for part in _chain(error):
            if isinstance(part, requests.RequestException):
                part.request = part.response = None
        raise _failure(error, session, where, hint, refused) from error
    finally:
        session.close()


def _failure(
    error: Exception, session: TokenSession, where: str, hint: str, refused: Callable[..., LLMError]
) -> LLMError:
    status = session.status
    if isinstance(error, requests.exceptions.SSLError):
        return ServiceUnavailableError(
            f"the certificate of {where} is not trusted; the option 'ca_file' names a file with its authority",
            retryable=False,
            original_error=error,
        )
    if isinstance(error, requests.Timeout):
        return LLMTimeoutError(f"{where} did not answer in time; {hint}", original_error=error)
    if isinstance(error, requests.RequestException):
        return ServiceUnavailableError(f"{where} cannot be asked: {_reason(error)}; {hint}", original_error=error)
    if status is not None and (isinstance(error, MsalServiceError) or status >= 300):
        failure = refused(session.said(), status=status, retry_after=session.retry_after)
        failure.original_error = error
        return failure
    if isinstance(error, json.JSONDecodeError):
        return ServiceUnavailableError(f"{where} answered with something that is no JSON; {hint}", original_error=error)
    # What is left happened before anything was sent: a key or a file that cannot be used.
    return AuthenticationError(
        f"the credentials cannot be used: {type(error).__name__}: {shortened(str(error))}", original_error=error
    )


def _reason(error: BaseException) -> str:
    """Return what the operating system said, deep in the chain; requests wraps it in three sentences."""
    for part in reversed(list(_chain(error))):
        if isinstance(part, OSError) and not isinstance(part, requests.RequestException) and part.strerror:
            return part.strerror
    return type(error).__name__


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


__all__ = ["TokenSession", "asking"]
