"""Log lines through loguru, as a library should: silent until the application asks.

The application switches lines on with `loguru.logger.enable("apex_llm_core")` (or a plugin's package name) before the
manager starts, or with ``[logging] enabled = true``. Sinks are the application's; none is added here.

loguru's switch is one for the process, so what a configuration switches on stays apart from what the application decides:
for events it is this module alone, in which nothing but an `EventLog` speaks; a plugin's package is switched off again by
the generation that switched it on.
"""

from __future__ import annotations

import attrs
from loguru import logger

from apex_llm_core.models.events import (
    AttemptFinished,
    BreakerChanged,
    ConfigurationRejected,
    ConfigurationReloaded,
    Degraded,
    Event,
    FellBack,
    Hedged,
    HedgeFinished,
    LimitRejected,
    PluginFailed,
    ProviderDeregistered,
    ProviderRegistered,
    RequestAdapted,
    RequestFinished,
    RetryScheduled,
    ShadowFinished,
)
from apex_llm_core.redaction import Redactor

_CORE = "apex_llm_core"
_LEVELS: dict[type[Event], str] = {
    AttemptFinished: "DEBUG",
    BreakerChanged: "WARNING",
    ConfigurationRejected: "ERROR",
    ConfigurationReloaded: "INFO",
    Degraded: "WARNING",
    FellBack: "WARNING",
    HedgeFinished: "INFO",
    Hedged: "INFO",
    LimitRejected: "WARNING",
    PluginFailed: "ERROR",
    ProviderDeregistered: "INFO",
    ProviderRegistered: "INFO",
    RequestAdapted: "WARNING",
    RequestFinished: "INFO",
    RetryScheduled: "INFO",
    ShadowFinished: "DEBUG",
}


def silence(package: str) -> bool:
    """Keep *package* from logging, unless the application has already decided about it; return whether it is silent now.

    loguru has no public question for that decision, so its list is read if it is where it has always been; without it,
    silence comes first.
    """
    decided = getattr(getattr(logger, "_core", None), "activation_list", ())
    for name, enabled in decided:
        if name and (package + ".").startswith(name):
            return not enabled
    logger.disable(package)
    return True


def speak(package: str) -> bool:
    """Let *package* log; return whether it was silent before, so that whoever asked may take it back with `hush`."""
    was_silent = silence(package)
    logger.enable(package)
    return was_silent


def hush(package: str) -> None:
    """Take back what `speak` did."""
    logger.disable(package)


def events_are_wanted(configured: bool) -> bool:
    """Return whether an `EventLog` has readers: the configuration switches it on, or the application has done so."""
    silent = silence(_CORE)
    if configured:
        logger.enable(__name__)
    return configured or not silent


class EventLog:
    """An observer that writes one line per event, with the event's fields beside it and every secret scrubbed."""

    def __init__(self, redactor: Redactor, level: str) -> None:
        self._redactor = redactor
        least = logger.level(level).no
        self._levels = {kind: name for kind, name in _LEVELS.items() if logger.level(name).no >= least}
        # Lazy: while nobody listens, an event costs a look-up and nothing is formatted.
        self._logger = logger.opt(lazy=True)

    def observe(self, event: Event) -> None:
        """Write *event*."""
        level = self._levels.get(type(event))
        if level is not None:
            self._logger.log(level, "{event}", event=lambda: self._line(event), fields=lambda: self._fields(event))

    def _line(self, event: Event) -> str:
        fields = " ".join(f"{name}={_in_line(value)}" for name, value in self._fields(event).items())
        return f"{type(event).__name__} {fields}"

    def _fields(self, event: Event) -> dict[str, str]:
        return {
            name: self._redactor.scrub(str(value))
            for name, value in attrs.asdict(event, recurse=False).items()
            if value is not None and value != ""
        }


def _in_line(text: str) -> str:
    """Return *text* with line ends and control characters escaped: callers name models, and must not forge lines."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


__all__ = ["EventLog", "events_are_wanted", "hush", "silence", "speak"]
