"""The load balancer's eyes: keeps the live facts of every candidate true, so that strategies can spread load by them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from apex_llm_core.config.schema import Config
from apex_llm_core.models.candidates import BreakerState, Candidate, LiveFacts
from apex_llm_core.models.events import BreakerChanged, Event
from apex_llm_core.policies.breaker import CircuitBreaker

#: Weight of the newest observation in a moving average.
_NEWEST = 0.2
#: Seconds. A provider may ask to be left alone for a day; within an hour somebody may have raised the quota.
_LONGEST_COOLING = 3600.0


def _ignore(previous: BreakerState, current: BreakerState) -> None:
    """Stand in for `on_change` of a breaker that was replaced."""


class LoadBalancer:
    """Live facts and circuit breakers by (provider, model).

    They outlive a reload: a new generation takes over what the old one has learned about pairs that still exist.
    """

    def __init__(
        self,
        config: Config,
        *,
        clock: Callable[[], float],
        emit: Callable[[Event], None],
        earlier: LoadBalancer | None = None,
    ) -> None:
        self._rules = (
            config.manager.circuit_breaker_threshold,
            config.manager.circuit_breaker_reset_timeout,
            config.circuit_breaker.half_open_permits,
        )
        self._breakers_enabled = config.manager.circuit_breaker_enabled
        self._configs = {provider.name: provider for provider in config.providers}
        self._clock = clock
        self._emit = emit
        self._live: dict[tuple[str, str], LiveFacts] = {}
        self._breakers: dict[tuple[str, str], CircuitBreaker] = {}
        self._earlier = earlier

    def live(self, provider: str, model: str) -> LiveFacts:
        """Return the live facts of a pair, new ones at its first mention."""
        key = (provider, model)
        facts = self._live.get(key)
        if facts is None:
            earlier = self._earlier._live.get(key) if self._earlier is not None else None  # noqa: SLF001 - same class
            facts = self._live[key] = earlier if earlier is not None else LiveFacts()
            if self._earlier is not None and self._earlier._configs.get(provider) != self._configs.get(provider):  # noqa: SLF001 - same class
                # Another address, or another account, may have room.
                facts.cooling_until = 0.0
        return facts

    def breaker(self, candidate: Candidate) -> CircuitBreaker | None:
        """Return the circuit breaker of *candidate*, None when breakers are disabled."""
        if not self._breakers_enabled:
            return None
        key = (candidate.provider, candidate.model)
        breaker = self._breakers.get(key)
        if breaker is None:
            threshold, reset_timeout, half_open_permits = self._rules
            breaker = self._breakers[key] = CircuitBreaker(
                threshold=threshold,
                reset_timeout=reset_timeout,
                half_open_permits=half_open_permits,
                clock=self._clock,
                on_change=partial(self._changed, key),
            )
        return breaker

    def settle(self) -> None:
        """Take over the breakers of pairs that still exist, then let go of the earlier generation."""
        earlier, self._earlier = self._earlier, None
        if earlier is None:
            return
        if not self._breakers_enabled or earlier._rules != self._rules:  # noqa: SLF001 - same class
            # Requests under way still settle the old ones, which have nothing to tell any more.
            for old in earlier._breakers.values():  # noqa: SLF001 - same class
                old.on_change = _ignore
            for facts in self._live.values():
                facts.breaker = "closed"
            return
        for key in self._live:
            breaker = earlier._breakers.get(key)  # noqa: SLF001 - same class
            if breaker is not None:
                breaker.on_change = partial(self._changed, key)
                self._breakers[key] = breaker

    def forget(self, provider: str) -> None:
        """Drop everything about *provider*."""
        for known in (self._live, self._breakers):
            for key in [key for key in known if key[0] == provider]:
                del known[key]

    def forget_model(self, provider: str, model: str) -> None:
        """Drop everything about one pair."""
        self._live.pop((provider, model), None)
        self._breakers.pop((provider, model), None)

    @staticmethod
    def begin(candidate: Candidate) -> None:
        """Note that an attempt begins."""
        live = candidate.live
        live.in_flight += 1
        live.attempts += 1

    @staticmethod
    def cool(candidate: Candidate, seconds: float, now: float) -> None:
        """Note that the provider asked for *seconds* without requests; a shorter wish never ends a longer one."""
        live = candidate.live
        live.cooling_until = max(live.cooling_until, now + min(seconds, _LONGEST_COOLING))

    @staticmethod
    def end(
        candidate: Candidate,
        *,
        succeeded: bool | None,
        latency: float | None = None,
        time_to_first_chunk: float | None = None,
    ) -> None:
        """Note how an attempt ended; *succeeded* None says nothing about the provider. Times in seconds."""
        live = candidate.live
        live.in_flight -= 1
        if succeeded is None:
            return
        rate = live.success_rate
        outcome = 1.0 if succeeded else 0.0
        live.success_rate = outcome if rate is None else rate + _NEWEST * (outcome - rate)
        if succeeded:
            if latency is not None:
                known = live.latency
                live.latency = latency if known is None else known + _NEWEST * (latency - known)
            if time_to_first_chunk is not None:
                known = live.time_to_first_chunk
                live.time_to_first_chunk = (
                    time_to_first_chunk if known is None else known + _NEWEST * (time_to_first_chunk - known)
                )

    def _changed(self, key: tuple[str, str], previous: BreakerState, current: BreakerState) -> None:
        self.live(*key).breaker = current
        self._emit(BreakerChanged(provider=key[0], model=key[1], previous=previous, current=current))


__all__ = ["LoadBalancer"]
