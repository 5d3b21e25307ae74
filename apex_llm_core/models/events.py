"""What observers are told. Events never carry prompts, answers, headers or credentials."""

from __future__ import annotations

import attrs

from apex_llm_core.errors import Attempt, LLMErrorType
from apex_llm_core.models.results import Usage


@attrs.frozen(kw_only=True, eq=False)
class Event:
    """Root of all events; `request_id` is empty for those outside a request."""

    request_id: str = ""


@attrs.frozen(kw_only=True, eq=False)
class RequestFinished(Event):
    """A request ended: the last event of every request. Durations in seconds.

    `outcome` is "ok", "cancelled" (the caller left, or closed a stream early) or the error's type; `provider` and `model`
    are those that answered, or were tried last.
    """

    operation: str
    model: str
    provider: str | None
    outcome: str
    duration: float
    time_to_first_chunk: float | None = None
    usage: Usage | None = None
    cost: float | None = None
    attempts: int = 0
    stream: bool = False
    cached: bool = False
    user: str | None = None
    #: The step of degradation that answered, "" when none was needed.
    degraded: str = ""


@attrs.frozen(kw_only=True, eq=False)
class AttemptFinished(Event):
    """One upstream call ended, for a stream when the stream ended; `outcome` as in `RequestFinished`."""

    operation: str
    outcome: str
    attempt: Attempt
    #: Seconds.
    time_to_first_chunk: float | None = None


@attrs.frozen(kw_only=True, eq=False)
class RetryScheduled(Event):
    """The same provider is tried again after `delay` seconds."""

    provider: str
    model: str
    number: int
    delay: float
    error_type: LLMErrorType


@attrs.frozen(kw_only=True, eq=False)
class FellBack(Event):
    """A request went on to another candidate."""

    from_provider: str
    from_model: str
    to_provider: str
    to_model: str
    error_type: LLMErrorType


@attrs.frozen(kw_only=True, eq=False)
class BreakerChanged(Event):
    """A circuit breaker changed its state."""

    provider: str
    model: str
    previous: str
    current: str
    reason: str = ""


@attrs.frozen(kw_only=True, eq=False)
class LimitRejected(Event):
    """A configured limit refused a request or a candidate; `retry_after` in seconds."""

    limit: str
    subject: str
    retry_after: float | None
    #: The limit only watches: nobody was refused.
    shadow: bool = False


@attrs.frozen(kw_only=True, eq=False)
class Hedged(Event):
    """A further attempt was started beside a slow one; `delay` in seconds since that began."""

    from_provider: str
    from_model: str
    to_provider: str
    to_model: str
    delay: float


@attrs.frozen(kw_only=True, eq=False)
class HedgeFinished(Event):
    """A hedged request was decided: whether the further attempt won."""

    provider: str
    model: str
    won: bool


@attrs.frozen(kw_only=True, eq=False)
class RequestAdapted(Event):
    """A request was changed for a fallback; `changes` as in `Attempt.adapted`."""

    provider: str
    model: str
    changes: tuple[str, ...]


@attrs.frozen(kw_only=True, eq=False)
class Degraded(Event):
    """Every candidate failed and a step of degradation is taken."""

    step: str
    model: str
    error_type: LLMErrorType


@attrs.frozen(kw_only=True, eq=False)
class ShadowFinished(Event):
    """The copy of a request that shadow traffic asked for ended; `outcome` as in `RequestFinished`, durations in seconds."""

    provider: str | None
    model: str
    outcome: str
    duration: float
    usage: Usage | None = None
    cost: float | None = None


@attrs.frozen(kw_only=True, eq=False)
class ProviderRegistered(Event):
    """A provider was registered at run time."""

    provider: str
    provider_type: str


@attrs.frozen(kw_only=True, eq=False)
class ProviderDeregistered(Event):
    """A provider was deregistered at run time."""

    provider: str


@attrs.frozen(kw_only=True, eq=False)
class ConfigurationReloaded(Event):
    """A new configuration is in force."""

    providers: tuple[str, ...]


@attrs.frozen(kw_only=True, eq=False)
class ConfigurationRejected(Event):
    """A changed configuration cannot be used; the old one stays in force."""

    message: str


@attrs.frozen(kw_only=True, eq=False)
class PluginFailed(Event):
    """A plugin could not be used, or an observer raised; the others go on."""

    plugin: str
    message: str
    distribution: str | None = None
    version: str | None = None


__all__ = [
    "AttemptFinished",
    "BreakerChanged",
    "ConfigurationRejected",
    "ConfigurationReloaded",
    "Degraded",
    "Event",
    "FellBack",
    "HedgeFinished",
    "Hedged",
    "LimitRejected",
    "PluginFailed",
    "ProviderDeregistered",
    "ProviderRegistered",
    "RequestAdapted",
    "RequestFinished",
    "RetryScheduled",
    "ShadowFinished",
]
