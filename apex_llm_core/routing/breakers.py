"""The circuit breakers of all candidates: made when first needed, kept over reloads, moved by hand."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Literal

from apex_llm_core.config.schema import Config
from apex_llm_core.errors import InvalidRequestError, ModelNotFoundError, nearest
from apex_llm_core.models.candidates import BreakerState
from apex_llm_core.models.events import BreakerChanged, Event
from apex_llm_core.policies.breaker import BreakerRules, BreakerStatus, CircuitBreaker

Key = tuple[str, str]
#: What can be done by hand: let nobody through, open for the usual time, close, watch only, let everybody through.
BreakerAction = Literal["isolate", "open", "close", "watch", "disable"]
_ACTIONS = ("isolate", "open", "close", "watch", "disable")


def _ignore(previous: BreakerState, current: BreakerState, reason: str) -> None:
    """Stand in for `on_change` of a breaker that concerns nobody any more."""


class Breakers:
    """One breaker for each (provider, model).

    Args:
        config: the whole configuration.
        clock: monotonic seconds.
        emit: where `BreakerChanged` goes.
        changed: told which breaker changed its state, and what that was before.
    """

    def __init__(
        self,
        config: Config,
        *,
        clock: Callable[[], float],
        emit: Callable[[Event], None],
        changed: Callable[[Key, CircuitBreaker, BreakerState], None],
    ) -> None:
        self._rules = BreakerRules.of(config.manager, config.circuit_breaker)
        self._clock = clock
        self._emit = emit
        self._told = changed
        self._breakers: dict[Key, CircuitBreaker] = {}

    def get(self, key: Key) -> CircuitBreaker:
        """Return the breaker of a pair, a new one at its first mention."""
        breaker = self._breakers.get(key)
        if breaker is None:
            breaker = self._breakers[key] = CircuitBreaker(
                self._rules, clock=self._clock, on_change=partial(self._changed, key)
            )
        return breaker

    def shut(self) -> CircuitBreaker:
        """Return a breaker of nobody that lets nobody through."""
        breaker = CircuitBreaker(self._rules, clock=self._clock, on_change=_ignore)
        breaker.isolate()
        return breaker

    def take_over(self, earlier: Breakers, keys: Collection[Key], same: Collection[str]) -> None:
        """Go on with the breakers of *earlier* for *keys* whose provider is among *same*.

        Calls under way settle the breaker that gave them their permit, so the objects themselves are taken.
        """
        for key, breaker in earlier._breakers.items():
            if key in keys and key[0] in same:
                breaker.on_change = partial(self._changed, key)
                self._breakers[key] = breaker
                breaker.adopt(self._rules)
            else:
                breaker.on_change = _ignore

    def forget(self, provider: str, model: str | None = None) -> None:
        """Drop the breakers of *provider*, or of one of its models."""
        for key in [key for key in self._breakers if key[0] == provider and model in (None, key[1])]:
            self._breakers.pop(key).on_change = _ignore

    def move(self, provider: str, model: str | None, action: str) -> int:
        """Move the breaker of a pair, or of all models of *provider*, by hand; return how many were moved.

        Raises:
            InvalidRequestError: an unknown action.
            ModelNotFoundError: there is no such breaker.
        """
        if action not in _ACTIONS:
            raise InvalidRequestError(f"unknown breaker action {action!r}{nearest(action, _ACTIONS)}")
        chosen = [self._breakers[key] for key in self._breakers if key[0] == provider and model in (None, key[1])]
        if not chosen:
            known = [f"{name}/{of}" for name, of in self._breakers]
            asked = f"{provider}/{model}" if model else provider
            raise ModelNotFoundError(f"there is no circuit breaker for {asked!r}{nearest(asked, known)}")
        for breaker in chosen:
            getattr(breaker, action)()
        return len(chosen)

    def statuses(self) -> Iterator[tuple[Key, BreakerStatus]]:
        """Yield every breaker's status."""
        for key, breaker in self._breakers.items():
            yield key, breaker.status()

    def _changed(self, key: Key, previous: BreakerState, current: BreakerState, reason: str) -> None:
        self._told(key, self._breakers[key], previous)
        self._emit(BreakerChanged(provider=key[0], model=key[1], previous=previous, current=current, reason=reason))


__all__ = ["BreakerAction", "Breakers"]
