"""The event bus: calls every observer, synchronously, and survives each of them."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from apex_llm_core.models.events import Event, PluginFailed

Observe = Callable[[Event], None]


def _as_it_is(text: str) -> str:
    return text


class EventBus:
    """Hands events to observers in the order of their registration.

    Args:
        scrub: removes secrets from what failing plugins say, before any observer hears it.
    """

    def __init__(self, scrub: Callable[[str], str] = _as_it_is) -> None:
        self._scrub = scrub
        self._observers: tuple[tuple[str, Observe], ...] = ()
        self._failed: set[str] = set()

    def subscribe(self, name: str, observe: Observe) -> None:
        """Call *observe* with every event from now on; *name* is for reports."""
        self._observers = (*self._observers, (name, observe))

    def unsubscribe(self, name: str) -> None:
        """Stop calling the observer called *name*."""
        self._observers = tuple(pair for pair in self._observers if pair[0] != name)

    def emit(self, event: Event) -> None:
        """Tell all observers; one that raises is reported to the others once, and goes on being called."""
        if type(event) is PluginFailed:
            event = attrs.evolve(event, message=self._scrub(event.message))
        for name, observe in self._observers:
            try:
                observe(event)
            except Exception as error:
                if name not in self._failed:
                    self._failed.add(name)
                    self.emit(PluginFailed(plugin=name, message=f"observer raised {type(error).__name__}: {error}"))


__all__ = ["EventBus", "Observe"]
