"""What happened in a simulation, request by request, in columns: from these all figures and pictures are made."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable
from math import nan

import attrs

from apex_llm_core.models.events import (
    BreakerChanged,
    Degraded,
    Event,
    FellBack,
    Hedged,
    LimitRejected,
    RequestFinished,
    RetryScheduled,
)
from apex_llm_simulator.ledger import Ledger
from apex_llm_simulator.scenario import Scenario

OK = "ok"


@attrs.frozen(kw_only=True)
class BreakerStep:
    """A circuit breaker changed its state, *at* seconds after the start."""

    at: float
    provider: str
    model: str
    state: str


class Requests:
    """One row per request. Times and durations in seconds, NaN where there is none."""

    __slots__ = ("began", "cached", "duration", "first_chunk", "outcome", "provider")

    def __init__(self) -> None:
        self.began = array("d")
        self.duration = array("d")
        self.first_chunk = array("d")
        self.outcome: list[str] = []
        self.provider: list[str | None] = []
        self.cached = array("b")

    def __len__(self) -> int:
        return len(self.began)

    def add(self, event: RequestFinished, now: float) -> None:
        """Add a request that ended at *now*."""
        self.began.append(now - event.duration)
        self.duration.append(event.duration)
        first = event.time_to_first_chunk
        self.first_chunk.append(nan if first is None or not event.stream else first)
        self.outcome.append(event.outcome)
        self.provider.append(event.provider)
        self.cached.append(event.cached)


class Recording:
    """What happened.

    Args:
        scenario: what was simulated.
        clock: seconds since the start.
    """

    def __init__(self, scenario: Scenario, clock: Callable[[], float]) -> None:
        self.scenario = scenario
        self.requests = Requests()
        self.ledgers = {provider.name: Ledger() for provider in scenario.config.providers}
        self.breakers: list[BreakerStep] = []
        #: How often each happened: retries, fallbacks, hedges, refusals by limits, steps of degradation.
        self.counts: Counter[str] = Counter(dict.fromkeys(_COUNTED.values(), 0))
        #: What the manager says it all cost; None once it does not know.
        self.cost: float | None = 0.0
        self._clock = clock

    def observe(self, event: Event) -> None:
        """Take note of an event of the manager."""
        if type(event) is RequestFinished:
            self.requests.add(event, self._clock())
            if event.outcome == OK and self.cost is not None:
                self.cost = None if event.cost is None else self.cost + event.cost
        elif type(event) is BreakerChanged:
            step = BreakerStep(at=self._clock(), provider=event.provider, model=event.model, state=event.current)
            self.breakers.append(step)
        else:
            what = _COUNTED.get(type(event))
            if what is not None:
                self.counts[what] += 1

    def openings(self, provider: str) -> Iterable[float]:
        """Yield when circuit breakers of *provider* opened."""
        return (step.at for step in self.breakers if step.provider == provider and step.state == "open")


_COUNTED: dict[type[Event], str] = {
    RetryScheduled: "retries",
    FellBack: "fallbacks",
    Hedged: "hedges",
    LimitRejected: "limited",
    Degraded: "degraded",
}


__all__ = ["OK", "BreakerStep", "Recording", "Requests"]
