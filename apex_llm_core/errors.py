"""One error taxonomy; whose mistake it was is told by the class.

::

    ApexLLMError
    ├── ConfigurationError            the operator's mistake: file, key path, nearest valid name
    ├── PluginError                   a plugin's mistake: plugin, distribution, version
    └── LLMError                      one request failed; `type` is an `LLMErrorType`
        ├── AuthenticationError             the provider does not know our credentials
        ├── AuthorizationError              it knows them and says no
        ├── RateLimitError                  too many requests or tokens for now           retryable
        ├── QuotaExceededError              the budget is used up; waiting seconds will not help
        ├── InvalidRequestError             the caller's mistake
        │   └── UnsupportedParameterError         not taken by this candidate; another may
        ├── ModelNotFoundError              the caller's mistake: no such model or provider
        ├── ContextLengthExceededError      the request does not fit the model's window
        ├── ContentFilterError              refused by a content policy
        ├── ServiceUnavailableError         outage, bad gateway, broken or truncated answer  retryable
        ├── LLMTimeoutError                 silence or deadline                            retryable
        └── UnknownError                    nothing above; the cause is kept

An `InvalidRequestError` or `ModelNotFoundError` without `attempts` was found before any provider was called.
"""

from __future__ import annotations

import builtins
import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, ClassVar, Literal

import attrs


class LLMErrorType(StrEnum):
    """The eleven kinds of failure (section 3.5.3 of the specification); the values are the wire names."""

    AUTHENTICATION_ERROR = "authentication_error"
    AUTHORIZATION_ERROR = "authorization_error"
    RATE_LIMIT_ERROR = "rate_limit_error"
    QUOTA_EXCEEDED_ERROR = "quota_exceeded_error"
    INVALID_REQUEST_ERROR = "invalid_request_error"
    MODEL_NOT_FOUND_ERROR = "model_not_found_error"
    CONTEXT_LENGTH_EXCEEDED_ERROR = "context_length_exceeded_error"
    CONTENT_FILTER_ERROR = "content_filter_error"
    SERVICE_UNAVAILABLE_ERROR = "service_unavailable_error"
    TIMEOUT_ERROR = "timeout_error"
    UNKNOWN_ERROR = "unknown_error"


AttemptReason = Literal["first", "retry", "fallback", "hedge", "degradation", "shadow"]


@attrs.frozen(kw_only=True)
class Attempt:
    """One upstream call of a request: what was tried and how it ended. Durations in seconds."""

    number: int
    provider: str
    model: str
    duration: float
    #: None when the attempt succeeded.
    error_type: LLMErrorType | None = None
    message: str = ""
    status_code: int | None = None
    retry_after: float | None = None
    request_id: str | None = None
    #: Why it was made.
    reason: AttemptReason = "first"
    #: What was changed in the request for this candidate, for example "response_format: emulated".
    adapted: tuple[str, ...] = ()
    #: What it cost, None when usage or a price is unknown.
    cost: float | None = None


class ApexLLMError(Exception):
    """Root of everything this framework raises on purpose."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def restate(self, change: Callable[[str], str]) -> None:
        """Pass what this error says through *change*, for example to remove secrets."""
        self.message = change(self.message)
        self.args = (self.message,)
        if isinstance(self, (ConfigurationError, PluginError)):
            self.reason = change(self.reason)


def _changed(value: Any, change: Callable[[str], str]) -> Any:
    """Return *value* with every text in it, keys left alone, passed through *change*."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _changed(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_changed(item, change) for item in value]
    return value


class ConfigurationError(ApexLLMError):
    """The configuration cannot be used.

    *file* is the path of the offending file (None for a dict in code), *key* the dotted path of the offending key,
    for example ``providers[0].auth.type``.
    """

    def __init__(self, message: str, *, file: str | None = None, key: str | None = None) -> None:
        place = ": ".join(part for part in (file, key) if part)
        super().__init__(f"{place}: {message}" if place else message)
        self.reason: str = message
        self.file = file
        self.key = key


class ConfigurationWarning(UserWarning):
    """The configuration can be used, but something in it deserves attention."""


class PluginError(ApexLLMError):
    """A plugin cannot be loaded or breaks the hook contract; names the plugin, its distribution and version."""

    def __init__(
        self, message: str, *, plugin: str, distribution: str | None = None, version: str | None = None
    ) -> None:
        origin = f" (from {distribution} {version or 'of unknown version'})" if distribution else ""
        super().__init__(f"plugin {plugin!r}{origin}: {message}")
        self.reason: str = message
        self.plugin = plugin
        self.distribution = distribution
        self.version = version


class LLMError(ApexLLMError):
    """A request to a provider failed.

    *provider* and *model* are the configured names, None where none was involved yet; *retryable* says whether the same
    request may succeed at the same provider later; *retry_after* is the provider's own advice in seconds; *attempts* is
    everything that was tried before this error reached the caller, oldest first; *details* is what the provider told
    beyond that, for example which content filter refused.
    """

    default_type: ClassVar[LLMErrorType] = LLMErrorType.UNKNOWN_ERROR
    default_retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        type: LLMErrorType | None = None,  # noqa: A002 - the specification's name
        provider: str | None = None,
        retryable: bool | None = None,
        original_error: BaseException | None = None,
        model: str | None = None,
        status_code: int | None = None,
        retry_after: float | None = None,
        request_id: str | None = None,
        attempts: Sequence[Attempt] = (),
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.type = LLMErrorType(type) if type is not None else self.default_type
        self.provider = provider
        self.retryable = self.default_retryable if retryable is None else retryable
        self.original_error = original_error
        self.model = model
        self.status_code = status_code
        self.retry_after = retry_after
        self.request_id = request_id
        self.attempts: tuple[Attempt, ...] = tuple(attempts)
        self.details = details

    def restate(self, change: Callable[[str], str]) -> None:
        """Pass what this error says, its details included, through *change*."""
        super().restate(change)
        self.request_id = _changed(self.request_id, change)
        self.details = _changed(self.details, change)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.message!r}, provider={self.provider!r}, model={self.model!r})"


class AuthenticationError(LLMError):
    """The provider does not accept the credentials (HTTP 401)."""

    default_type = LLMErrorType.AUTHENTICATION_ERROR


class AuthorizationError(LLMError):
    """The credentials are known but not allowed to do this (HTTP 403)."""

    default_type = LLMErrorType.AUTHORIZATION_ERROR


class RateLimitError(LLMError):
    """Too many requests or tokens for the moment (HTTP 429)."""

    default_type = LLMErrorType.RATE_LIMIT_ERROR
    default_retryable = True


class QuotaExceededError(LLMError):
    """A budget is used up; only a human or a new billing period helps."""

    default_type = LLMErrorType.QUOTA_EXCEEDED_ERROR


class InvalidRequestError(LLMError):
    """The request is wrong; the same request will fail everywhere."""

    default_type = LLMErrorType.INVALID_REQUEST_ERROR


class UnsupportedParameterError(InvalidRequestError):
    """This candidate does not take something that the request asks for; another one may. Raised before anything is sent."""

    def __init__(self, message: str, *, parameters: Sequence[str] = (), **more: Any) -> None:
        super().__init__(message, **more)
        #: The options it does not take.
        self.parameters = tuple(parameters)


class ModelNotFoundError(LLMError):
    """No such model or provider, or the operation is not offered for it."""

    default_type = LLMErrorType.MODEL_NOT_FOUND_ERROR


class ContextLengthExceededError(LLMError):
    """The request does not fit the model's context window."""

    default_type = LLMErrorType.CONTEXT_LENGTH_EXCEEDED_ERROR


class ContentFilterError(LLMError):
    """The prompt or the answer was refused by a content policy."""

    default_type = LLMErrorType.CONTENT_FILTER_ERROR


class ServiceUnavailableError(LLMError):
    """Outage, overload, refused connection, or an answer that is broken or incomplete."""

    default_type = LLMErrorType.SERVICE_UNAVAILABLE_ERROR
    default_retryable = True


class LLMTimeoutError(LLMError, builtins.TimeoutError):
    """The provider was silent for too long, or the deadline of the whole request passed."""

    default_type = LLMErrorType.TIMEOUT_ERROR
    default_retryable = True


class UnknownError(LLMError):
    """A failure no other type describes; `original_error` has the cause."""


#: The subclass of each type.
ERROR_CLASSES: dict[LLMErrorType, builtins.type[LLMError]] = {
    cls.default_type: cls
    for cls in (
        AuthenticationError,
        AuthorizationError,
        RateLimitError,
        QuotaExceededError,
        InvalidRequestError,
        ModelNotFoundError,
        ContextLengthExceededError,
        ContentFilterError,
        ServiceUnavailableError,
        LLMTimeoutError,
        UnknownError,
    )
}


def nearest(name: str, choices: Iterable[str]) -> str:
    """Return the end of a sentence that names the nearest valid choice, or all of them when none is near."""
    known = sorted(set(choices))
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.63)
    if close:
        return f"; did you mean {close[0]!r}?"
    if not known:
        return "; there is none to choose from"
    shown = ", ".join(known[:8]) + (", …" if len(known) > 8 else "")
    return f"; valid: {shown}"


__all__ = [
    "ERROR_CLASSES",
    "ApexLLMError",
    "Attempt",
    "AuthenticationError",
    "AuthorizationError",
    "ConfigurationError",
    "ConfigurationWarning",
    "ContentFilterError",
    "ContextLengthExceededError",
    "InvalidRequestError",
    "LLMError",
    "LLMErrorType",
    "LLMTimeoutError",
    "ModelNotFoundError",
    "PluginError",
    "QuotaExceededError",
    "RateLimitError",
    "ServiceUnavailableError",
    "UnknownError",
    "UnsupportedParameterError",
    "nearest",
]
