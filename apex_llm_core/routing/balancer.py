"""The load balancer's eyes: keeps the live facts of every candidate true, so that load can be spread by them.

Spreading itself is the strategy's, which leaves equals to `Turn.shuffle`; what is kept here is what both go by.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp

import attrs

from apex_llm_core.config.schema import Config, ProviderConfig
from apex_llm_core.models.candidates import BreakerState, Candidate, LiveFacts
from apex_llm_core.models.events import Event
from apex_llm_core.policies.breaker import CircuitBreaker
from apex_llm_core.policies.latency import LatencyWindow
from apex_llm_core.routing.breakers import Breakers
from apex_llm_core.routing.bulkheads import Bulkhead, Bulkheads

#: Weight of the newest observation in a moving average of latencies.
_NEWEST = 0.2
#: The same for the share of successes: it decides about traffic, and a single failure says little.
_NEWEST_OUTCOME = 0.1
#: Seconds in which a peak of latency loses two thirds of its height.
_PEAK_FADES = 10.0
#: A candidate that fails one call in five keeps little more than half of its weight: the rest is better off elsewhere.
_WEIGHT_EXPONENT = 2.8
#: Nobody is forgotten: so much of its weight a candidate keeps whatever happens, to show that it is better.
_LEAST_FACTOR = 0.02
#: What a candidate is taken for whose very first call failed: that may have been bad luck.
_AFTER_FIRST_FAILURE = 0.5
#: What a candidate is taken for when its breaker closes: it has succeeded, and the failures before are over.
_AFTER_RECOVERY = 0.7
#: Seconds for which what a provider said of its rate limits holds, unless it says how long.
_RATE_LIMITS_HOLD = 60.0


@attrs.define(kw_only=True, eq=False)
class Standing:
    """All that is kept of one (provider, model) pair, in one place for the hot path."""

    live: LiveFacts
    breaker: CircuitBreaker
    bulkhead: Bulkhead
    clock: Callable[[], float]
    #: Seconds until the first chunk of streams, and until whole answers were there.
    first_chunks: LatencyWindow = attrs.field(factory=LatencyWindow)
    answers: LatencyWindow = attrs.field(factory=LatencyWindow)
    peak_at: float = 0.0
    #: Why its breaker opened last.
    opened_for: str = ""

    def note_rate_limits(
        self,
        *,
        remaining_requests: int | None = None,
        remaining_tokens: int | None = None,
        seconds: float | None = None,
    ) -> None:
        """Note what a provider said is left of its rate limits."""
        live = self.live
        live.remaining_requests = remaining_requests
        live.remaining_tokens = remaining_tokens
        live.remaining_until = self.clock() + (_RATE_LIMITS_HOLD if seconds is None else seconds)

    def typical(self, share: float, *, streamed: bool, minimum: int) -> float | None:
        """Return the seconds within which this *share* of the calls gave something, None with too few observations."""
        window = self.first_chunks if streamed else self.answers
        return window.quantile(share, minimum)


class LoadBalancer:
    """Standings by (provider, model).

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
        self._adaptive = config.load_balancer.adaptive
        self._configs = {provider.name: provider for provider in config.providers}
        self._clock = clock
        self._standings: dict[tuple[str, str], Standing] = {}
        #: Providers that were taken out; requests under way may still have them on their way.
        self._gone: set[str] = set()
        self._earlier = earlier
        self.breakers = Breakers(config, clock=clock, emit=emit, changed=self._breaker_changed)
        self.bulkheads = Bulkheads(config.concurrency)

    def live(self, provider: str, model: str) -> LiveFacts:
        """Return the live facts of a pair, new ones at its first mention."""
        self._gone.discard(provider)
        return self._standing((provider, model)).live

    def standing(self, candidate: Candidate) -> Standing:
        """Return what is kept of *candidate*."""
        key = (candidate.provider, candidate.model)
        found = self._standings.get(key)
        if found is None:
            if candidate.provider in self._gone:
                # Kept nowhere: it would come back as a ghost.
                return Standing(
                    live=candidate.live,
                    breaker=self.breakers.shut(),
                    bulkhead=self.bulkheads.unbounded(),
                    clock=self._clock,
                )
            found = self._standing(key)
            # The facts that the candidate shows are the ones that count.
            found.live = candidate.live
        return found

    def _standing(self, key: tuple[str, str]) -> Standing:
        found = self._standings.get(key)
        if found is not None:
            return found
        before = self._earlier._standings.get(key) if self._earlier is not None else None  # noqa: SLF001 - same class
        found = self._standings[key] = Standing(
            live=before.live if before is not None else LiveFacts(),
            breaker=self.breakers.get(key),
            bulkhead=self.bulkheads.get(*key),
            clock=self._clock,
        )
        if before is not None:
            found.first_chunks, found.answers = before.first_chunks, before.answers
            found.peak_at, found.opened_for = before.peak_at, before.opened_for
        else:
            found.live.breaker = found.breaker.state
        return found

    def settle(self) -> None:
        """Take over breakers and bulkheads of what still exists, then let go of the earlier generation.

        A provider that is somewhere else now begins with closed breakers: another address or account may have room.
        """
        earlier, self._earlier = self._earlier, None
        if earlier is None:
            return
        before = earlier._configs  # noqa: SLF001 - same class
        # Those that were registered at run time are in neither configuration.
        same = {key[0] for key in self._standings if _place(self._configs.get(key[0])) == _place(before.get(key[0]))}
        self.breakers.take_over(earlier.breakers, self._standings, same)
        self.bulkheads.take_over(earlier.bulkheads)
        for key, standing in self._standings.items():
            standing.breaker = self.breakers.get(key)
            standing.bulkhead = self.bulkheads.get(*key)
            standing.live.breaker = standing.breaker.state

    def forget(self, provider: str) -> None:
        """Drop everything about *provider*, which was taken out: nobody is admitted there any more."""
        self._gone.add(provider)
        for key in [key for key in self._standings if key[0] == provider]:
            del self._standings[key]
        self.breakers.forget(provider)
        self.bulkheads.forget(provider)

    def forget_model(self, provider: str, model: str) -> None:
        """Drop everything about one pair."""
        self._standings.pop((provider, model), None)
        self.breakers.forget(provider, model)
        self.bulkheads.forget(provider, model)

    @staticmethod
    def begin(standing: Standing) -> None:
        """Note that an attempt begins."""
        live = standing.live
        live.in_flight += 1
        live.attempts += 1

    def end(
        self,
        standing: Standing,
        *,
        succeeded: bool | None,
        latency: float | None = None,
        time_to_first_chunk: float | None = None,
        output_tokens: int = 0,
    ) -> None:
        """Note how an attempt ended; *succeeded* None says nothing about the provider. Times in seconds.

        Only successes feed latencies: fast failures would make a failing candidate look quick.
        """
        live = standing.live
        live.in_flight -= 1
        if succeeded is None:
            return
        rate = live.success_rate
        if succeeded:
            if rate is None:
                live.success_rate = 1.0
            elif rate != 1.0:
                self._rate(live, rate + _NEWEST_OUTCOME * (1.0 - rate))
            if latency is not None:
                self._observe(standing, latency, time_to_first_chunk, output_tokens)
        else:
            self._rate(live, _AFTER_FIRST_FAILURE if rate is None else rate * (1.0 - _NEWEST_OUTCOME))

    def _observe(self, standing: Standing, latency: float, first_chunk: float | None, output_tokens: int) -> None:
        live = standing.live
        known = live.latency
        live.latency = latency if known is None else known + _NEWEST * (latency - known)
        if output_tokens > 0:
            known = live.seconds_per_output_token
            each = latency / output_tokens
            live.seconds_per_output_token = each if known is None else known + _NEWEST * (each - known)
        if first_chunk is not None:
            known = live.time_to_first_chunk
            live.time_to_first_chunk = first_chunk if known is None else known + _NEWEST * (first_chunk - known)
            latency = first_chunk
        else:
            standing.answers.add(latency)
        peak = live.peak_latency
        now = self._clock()
        if peak is None or latency >= peak:
            live.peak_latency = latency
        else:
            live.peak_latency = latency + (peak - latency) * exp((standing.peak_at - now) / _PEAK_FADES)
        standing.peak_at = now

    def _rate(self, live: LiveFacts, rate: float) -> None:
        # So near to 1 that no ranking could tell: and the hot path has nothing more to do.
        live.success_rate = rate = 1.0 if rate > 0.999 else rate
        live.weight_factor = max(_LEAST_FACTOR, rate**_WEIGHT_EXPONENT) if self._adaptive else 1.0

    def _breaker_changed(self, key: tuple[str, str], breaker: CircuitBreaker, previous: BreakerState) -> None:
        standing = self._standings.get(key)
        if standing is None:
            return
        live = standing.live
        live.breaker = breaker.state
        if breaker.state == "open":
            standing.opened_for = breaker.reason
        # Who was only busy said itself when it would be free.
        if breaker.state == "closed" and previous in {"half_open", "open"} and standing.opened_for != "retry_after":
            standing.bulkhead.start_slowly()
        if breaker.state == "closed" and live.success_rate is not None and live.success_rate < _AFTER_RECOVERY:
            self._rate(live, _AFTER_RECOVERY)


def _place(config: ProviderConfig | None) -> tuple[object, ...] | None:
    """Return what tells where the calls of a provider go."""
    if config is None:
        return None
    return config.type, config.region, config.auth, config.options


__all__ = ["LoadBalancer", "Standing"]
