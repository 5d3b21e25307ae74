"""The report of a simulation: one JSON-safe document."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from apex_llm_simulator.expectations import Verdict, judge
from apex_llm_simulator.figures import Figures, figures
from apex_llm_simulator.recording import Recording

_DIGITS = 6


@attrs.frozen(kw_only=True)
class ProviderReport:
    """One provider, by its own books."""

    name: str
    calls: int
    answered: int
    #: Of all answers that a provider gave.
    share: float
    #: Failed calls by what they met.
    failures: Mapping[str, int]
    #: The most calls in flight at the same time.
    peak_in_flight: int
    prompt_tokens: int
    completion_tokens: int
    #: What it bills; None when a price is unknown.
    cost: float | None
    #: When a circuit breaker of it opened, in seconds since the start.
    opened_at: tuple[float, ...]


@attrs.frozen(kw_only=True)
class Report:
    """What happened in a simulation. Times and durations in seconds."""

    scenario: str
    description: str
    seed: int
    seconds: float
    figures: Figures
    #: Retries, fallbacks, hedges, refusals by limits, steps of degradation.
    counts: Mapping[str, int]
    #: What all providers bill, and what the manager told that its answers cost; None when a price is unknown.
    cost: float | None
    cost_told: float | None
    providers: tuple[ProviderReport, ...]
    expectations: tuple[Verdict, ...]

    @property
    def met(self) -> bool:
        """Whether no expectation was missed."""
        return all(verdict.met is not False for verdict in self.expectations)


def report(recording: Recording) -> Report:
    """Return the report of *recording*."""
    scenario = recording.scenario
    whole = figures(recording)
    providers = tuple(
        ProviderReport(
            name=name,
            calls=ledger.calls,
            answered=ledger.answered,
            share=whole.shares[name],
            failures=dict(sorted(ledger.failures.items())),
            peak_in_flight=ledger.peak,
            prompt_tokens=ledger.prompt_tokens,
            completion_tokens=ledger.completion_tokens,
            cost=_rounded(ledger.cost),
            opened_at=tuple(round(at, _DIGITS) for at in recording.openings(name)),
        )
        for name, ledger in recording.ledgers.items()
    )
    costs = [ledger.cost for ledger in recording.ledgers.values()]
    return Report(
        scenario=scenario.name,
        description=scenario.description,
        seed=scenario.seed,
        seconds=scenario.seconds,
        figures=whole,
        counts=dict(recording.counts),
        cost=None if None in costs else _rounded(sum(cost or 0.0 for cost in costs)),
        cost_told=_rounded(recording.cost),
        providers=providers,
        expectations=tuple(_verdicts(recording, whole)),
    )


def _verdicts(recording: Recording, whole: Figures) -> list[Verdict]:
    found: list[Verdict] = []
    for expect in recording.scenario.expect:
        times = expect.times
        if times is None:
            found += judge(expect, whole)
        elif times[0] < recording.scenario.seconds:
            found += judge(expect, figures(recording, times))
        else:
            found += judge(expect, None)
    return found


def _rounded(cost: float | None) -> float | None:
    # The order of additions must not show.
    return None if cost is None else round(cost, _DIGITS)


__all__ = ["ProviderReport", "Report", "report"]
