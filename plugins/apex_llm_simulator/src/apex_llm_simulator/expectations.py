"""What a scenario promises: the ``[expect]`` table, or several of them, each over a span of time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import attrs

from apex_llm_core.config import setting
from apex_llm_simulator.durations import Span, span, window

if TYPE_CHECKING:
    from apex_llm_simulator.figures import Figures


def _nobody() -> Mapping[str, float]:
    return MappingProxyType({})


@attrs.frozen(kw_only=True)
class Expect:
    """Bounds on the figures of the requests that began within a window. Every key but `window` is such a bound."""

    window: str = window(doc="The span it is about, for example '2m-30m'; empty: the whole time.")
    min_requests: float | None = setting(None, low=0, doc="Requests.")
    min_success_rate: float | None = setting(None, low=0, high=1, doc="Answered requests of all.")
    max_success_rate: float | None = setting(None, low=0, high=1, doc="Answered requests of all.")
    max_failed: float | None = setting(None, low=0, doc="Requests without an answer.")
    max_amplification: float | None = setting(None, low=0, doc="Upstream calls per request.")
    max_p50: float | None = setting(None, low=0, doc="Seconds until half of the answers were there.")
    max_p90: float | None = setting(None, low=0, doc="The like for 90 of 100.")
    max_p95: float | None = setting(None, low=0, doc="The like for 95 of 100.")
    max_p99: float | None = setting(None, low=0, doc="The like for 99 of 100.")
    max_latency: float | None = setting(None, low=0, doc="The like for all.")
    max_first_chunk_p50: float | None = setting(None, low=0, doc="Seconds until half of the streams began.")
    max_first_chunk_p95: float | None = setting(None, low=0, doc="The like for 95 of 100.")
    max_seconds_to_fail: float | None = setting(None, low=0, doc="Seconds until 95 of 100 failed requests had failed.")
    min_share: Mapping[str, float] = setting(factory=_nobody, doc="By provider: share of the answers that are its.")
    max_share: Mapping[str, float] = setting(factory=_nobody, doc="By provider: share of the answers that are its.")
    min_openings: Mapping[str, float] = setting(factory=_nobody, doc="By provider: openings of its circuit breakers.")
    max_openings: Mapping[str, float] = setting(factory=_nobody, doc="By provider: openings of its circuit breakers.")

    @property
    def times(self) -> Span | None:
        """The span in seconds since the start, None for the whole time."""
        return span(self.window) if self.window else None

    @property
    def providers(self) -> Iterator[tuple[str, str]]:
        """The key and the name wherever a provider is named."""
        for key in _BY_PROVIDER:
            for name in getattr(self, key):
                yield key, name


@attrs.frozen(kw_only=True)
class Verdict:
    """Whether one bound held. `met` is None when the simulation was too short to tell; `found` when there was nothing."""

    window: str
    bound: str
    wanted: float
    found: float | None
    met: bool | None


def _percentile(of: str, name: str) -> Callable[[Figures], float | None]:
    def measure(figures: Figures) -> float | None:
        found: float | None = getattr(getattr(figures, of), name, None)
        return found

    return measure


def _seconds_to_fail(figures: Figures) -> float:
    return 0.0 if figures.until_failed is None else figures.until_failed.p95


_SINGLE: Mapping[str, Callable[[Figures], float | None]] = {
    "min_requests": lambda figures: figures.requests,
    "min_success_rate": lambda figures: figures.success_rate,
    "max_success_rate": lambda figures: figures.success_rate,
    "max_failed": lambda figures: figures.failed,
    "max_amplification": lambda figures: figures.amplification,
    "max_p50": _percentile("latency", "p50"),
    "max_p90": _percentile("latency", "p90"),
    "max_p95": _percentile("latency", "p95"),
    "max_p99": _percentile("latency", "p99"),
    "max_latency": _percentile("latency", "max"),
    "max_first_chunk_p50": _percentile("first_chunk", "p50"),
    "max_first_chunk_p95": _percentile("first_chunk", "p95"),
    "max_seconds_to_fail": _seconds_to_fail,
}
_BY_PROVIDER: Mapping[str, Callable[[Figures, str], float | None]] = {
    "min_share": lambda figures, name: figures.shares.get(name),
    "max_share": lambda figures, name: figures.shares.get(name),
    "min_openings": lambda figures, name: figures.openings.get(name, 0),
    "max_openings": lambda figures, name: figures.openings.get(name, 0),
}


def judge(expect: Expect, figures: Figures | None) -> Iterator[Verdict]:
    """Yield a verdict for every bound of *expect*; *figures* None: its window lies beyond the simulated time."""

    def verdict(bound: str, wanted: float, found: float | None) -> Verdict:
        met: bool | None = None
        if figures is not None:
            low = bound.startswith("min_")
            met = found is not None and (found >= wanted if low else found <= wanted)
        return Verdict(window=expect.window, bound=bound, wanted=wanted, found=found, met=met)

    for bound, measure in _SINGLE.items():
        wanted = getattr(expect, bound)
        if wanted is not None:
            yield verdict(bound, wanted, None if figures is None else measure(figures))
    for bound, measure_of in _BY_PROVIDER.items():
        for name, wanted in getattr(expect, bound).items():
            yield verdict(f"{bound}.{name}", wanted, None if figures is None else measure_of(figures, name))


__all__ = ["Expect", "Verdict", "judge"]
