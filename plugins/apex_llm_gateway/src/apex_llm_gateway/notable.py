"""Events that are worth a look, in words."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from typing import Any, Literal

import attrs

from apex_llm_core.models.events import (
    BreakerChanged,
    ConfigurationRejected,
    ConfigurationReloaded,
    Degraded,
    Event,
    FellBack,
    Hedged,
    LimitRejected,
    PluginFailed,
    ProviderDeregistered,
    ProviderRegistered,
    RetryScheduled,
)

Severity = Literal["ok", "info", "warning", "error"]
#: Seconds in which what happens again is counted and not told again: in an outage the same happens a thousand times a second.
_AGAIN = 60.0
#: Kinds of happenings that are counted so, at most: callers name models, so their number is theirs to choose.
_MOST_RECENT = 1000


@attrs.define(kw_only=True, eq=False)
class Notable:
    """One thing that happened, perhaps several times."""

    #: Stays the same when it happens again; differs from those of other processes, too.
    id: str
    #: Unix seconds, of the first time.
    at: float
    type: str
    text: str
    severity: Severity
    provider: str | None = None
    model: str | None = None
    count: int = 1

    def document(self) -> dict[str, Any]:
        """Return the JSON form."""
        return attrs.asdict(self)


class RecentEvents:
    """The last notable events, the newest last.

    Args:
        wall: unix seconds.
        keep: how many.
    """

    def __init__(self, wall: Callable[[], float], keep: int = 50) -> None:
        self._wall = wall
        self._kept: deque[Notable] = deque(maxlen=keep)
        #: What may happen again, the oldest first.
        self._recent: dict[tuple[object, ...], Notable] = {}
        self._written = 0

    def write(self, event: Event) -> Notable | None:
        """Write *event* down; return it, or None when it is not notable, or not the first of its kind for a while."""
        describe = _WORDS.get(type(event))
        if describe is None:
            return None
        text, severity, provider, model = describe(event)
        at = self._wall()
        key = (type(event), text, provider, model)
        recent = self._recent.get(key)
        if recent is not None and 0.0 <= at - recent.at < _AGAIN:
            recent.count += 1
            return None
        self._written += 1
        notable = Notable(
            id=f"{at:.6f}-{self._written}",
            at=at,
            type=_snake(type(event).__name__),
            text=text,
            severity=severity,
            provider=provider,
            model=model,
        )
        self._kept.append(notable)
        self._recent.pop(key, None)
        self._recent[key] = notable
        self._forget(at)
        return notable

    def _forget(self, at: float) -> None:
        while self._recent:
            oldest = next(iter(self._recent))
            if len(self._recent) <= _MOST_RECENT and 0.0 <= at - self._recent[oldest].at < _AGAIN:
                break
            del self._recent[oldest]

    def documents(self) -> list[dict[str, Any]]:
        """Return the JSON forms, the newest first."""
        return [notable.document() for notable in reversed(self._kept)]


_Told = tuple[str, Severity, str | None, str | None]
_BREAKER_SEVERITY: dict[str, Severity] = {"closed": "ok", "half_open": "info", "open": "error", "forced_open": "error"}


def _breaker(event: BreakerChanged) -> _Told:
    reason = f" ({event.reason})" if event.reason else ""
    text = (
        f"{event.provider}, {event.model}: circuit breaker {_plain(event.previous)} → {_plain(event.current)}{reason}"
    )
    return text, _BREAKER_SEVERITY.get(event.current, "info"), event.provider, event.model


def _fell_back(event: FellBack) -> _Told:
    target = event.to_provider if event.from_model == event.to_model else f"{event.to_provider}, {event.to_model}"
    text = f"{event.from_provider}, {event.from_model}: went on to {target} after {_plain(event.error_type.value)}"
    return text, "warning", event.from_provider, event.from_model


def _retried(event: RetryScheduled) -> _Told:
    text = f"{event.provider}, {event.model}: tried again after {_plain(event.error_type.value)}"
    return text, "info", event.provider, event.model


def _limited(event: LimitRejected) -> _Told:
    subject = f" for {event.subject}" if event.subject else ""
    if event.shadow:
        return f"limit {event.limit}{subject} would have refused a request; it only watches", "info", None, None
    return f"limit {event.limit}{subject} refused a request", "warning", None, None


def _hedged(event: Hedged) -> _Told:
    text = f"{event.from_provider}, {event.from_model}: slow, {event.to_provider}, {event.to_model} was asked beside it"
    return text, "info", event.from_provider, event.from_model


def _degraded(event: Degraded) -> _Told:
    text = f"{event.model}: everybody failed ({_plain(event.error_type.value)}), degraded to {event.step}"
    return text, "error", None, event.model


def _reloaded(event: ConfigurationReloaded) -> _Told:
    return f"a new configuration is in force: {', '.join(event.providers) or 'no providers'}", "ok", None, None


def _rejected(event: ConfigurationRejected) -> _Told:
    return event.message, "error", None, None


def _plugin_failed(event: PluginFailed) -> _Told:
    return f"plugin {event.plugin}: {event.message}", "error", None, None


def _registered(event: ProviderRegistered) -> _Told:
    return f"{event.provider} ({event.provider_type}) was registered", "info", event.provider, None


def _deregistered(event: ProviderDeregistered) -> _Told:
    return f"{event.provider} was deregistered", "info", event.provider, None


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


_WORDS: dict[type[Event], Callable[[Any], _Told]] = {
    BreakerChanged: _breaker,
    FellBack: _fell_back,
    RetryScheduled: _retried,
    LimitRejected: _limited,
    Hedged: _hedged,
    Degraded: _degraded,
    ConfigurationReloaded: _reloaded,
    ConfigurationRejected: _rejected,
    PluginFailed: _plugin_failed,
    ProviderRegistered: _registered,
    ProviderDeregistered: _deregistered,
}


__all__ = ["Notable", "RecentEvents", "Severity"]
