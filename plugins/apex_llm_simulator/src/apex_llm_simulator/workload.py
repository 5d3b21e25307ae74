"""Who asks for what, and how often: the ``[[workload]]`` tables of a scenario."""

from __future__ import annotations

from functools import cached_property
from math import prod

import attrs

from apex_llm_core.config import setting
from apex_llm_simulator.distributions import Distribution
from apex_llm_simulator.durations import Span, is_within, spans, windows

_HOUR = 3_600.0


@attrs.frozen(kw_only=True)
class Burst:
    """A time with more requests, or fewer."""

    windows: tuple[str, ...] = windows(doc="When, as spans since the start.")
    factor: float = setting(doc="So many times as many.", low=0)


@attrs.frozen(kw_only=True)
class Workload:
    """A stream of requests: an open loop (arrivals at random, whatever becomes of them) or a closed one (waiting clients)."""

    name: str = setting("", doc="For errors; users and sessions are named after it.")
    model: str = setting("", doc="The model that is asked for; empty: the configured default.")
    requests_per_second: float | None = setting(
        None, above=0, doc="Open loop: arrivals per second, a Poisson process. Either this or 'concurrency'."
    )
    by_hour: tuple[float, ...] = setting(
        (),
        doc="24 factors to it, one for each full hour of the day, straight lines between; the start is midnight.",
        converter=tuple,
    )
    bursts: tuple[Burst, ...] = setting((), doc="Times with more or fewer arrivals.")
    concurrency: int | None = setting(
        None, low=1, doc="Closed loop: so many clients, each of which waits for its answer."
    )
    pause: float = setting(0.1, above=0, doc="Closed loop: seconds between an answer and the next request.")
    windows: tuple[str, ...] = windows(doc="When it asks at all, as spans since the start; empty: always.")
    stream_share: float = setting(0.0, low=0, high=1, doc="Share of the requests that want a stream.")
    prompt_tokens: Distribution = setting(
        factory=lambda: Distribution(median=300.0, p95=2_000.0), doc="Sizes of the prompts."
    )
    answer_tokens: Distribution = setting(
        factory=lambda: Distribution(median=150.0, p95=600.0, most=2_000.0), doc="Sizes of the answers."
    )
    max_tokens: int | None = setting(None, low=1, doc="What requests say about the longest answer; absent: nothing.")
    distinct_prompts: int = setting(
        0, low=0, doc="So many different prompts, as a cache would see them; 0: no two are the same."
    )
    users: int = setting(0, low=0, doc="Callers are so many different users; 0: anonymous.")
    sessions: int = setting(0, low=0, doc="Callers belong to so many sessions; 0: none.")
    tier: str | None = setting(None, doc="The tier of the callers.")

    def __attrs_post_init__(self) -> None:
        if (self.requests_per_second is None) == (self.concurrency is None):
            raise ValueError("give either 'requests_per_second' or 'concurrency'")
        if self.concurrency is not None and (self.by_hour or self.bursts):
            raise ValueError("'by_hour' and 'bursts' belong to 'requests_per_second'")
        if self.by_hour and (len(self.by_hour) != 24 or min(self.by_hour) < 0 or not any(self.by_hour)):
            raise ValueError("'by_hour' must be 24 factors of at least 0, not all of them 0")

    @cached_property
    def times(self) -> tuple[Span, ...]:
        """When it asks; empty: always."""
        return spans(self.windows)

    @cached_property
    def highest_rate(self) -> float:
        """A bound of `rate`, in requests per second."""
        bursts = prod(max(1.0, burst.factor) for burst in self.bursts)
        return (self.requests_per_second or 0.0) * max(self.by_hour, default=1.0) * bursts

    def rate(self, at: float) -> float:
        """Return the arrivals per second at *at* seconds since the start."""
        if not is_within(at, self.times):
            return 0.0
        rate = self.requests_per_second or 0.0
        if self.by_hour:
            hour, part = divmod(at / _HOUR, 1.0)
            before, after = self.by_hour[int(hour) % 24], self.by_hour[(int(hour) + 1) % 24]
            rate *= before + (after - before) * part
        for burst in self.bursts:
            if is_within(at, spans(burst.windows)):
                rate *= burst.factor
        return rate


__all__ = ["Burst", "Workload"]
