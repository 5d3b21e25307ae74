"""A report in words and tables, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from apex_llm_simulator.durations import in_words
from apex_llm_simulator.expectations import Verdict
from apex_llm_simulator.figures import Percentiles
from apex_llm_simulator.reporting import Report

PROVIDER_COLUMNS = ("provider", "share", "calls", "answered", "failed", "opened", "cost")
PROVIDER_NUMBERS = PROVIDER_COLUMNS[1:]
EXPECTATION_COLUMNS = ("expected", "window", "bound", "found", "verdict")
EXPECTATION_NUMBERS = ("bound", "found")
#: The styles of verdicts on a terminal.
STYLES = {"met": "green", "missed": "red", "not reached": "dim"}
_SHOWN_OPENINGS = 4


def lines(report: Report) -> Iterator[str]:
    """Yield what can be said in a line each."""
    found = report.figures
    yield f"{report.scenario}: {in_words(report.seconds)}, seed {report.seed}"
    if report.description:
        yield report.description
    yield ""
    rate = "" if found.success_rate is None else f", {share(found.success_rate)} answered"
    yield f"requests            {found.requests:,}{rate}"
    failures = {kind: count for kind, count in found.outcomes.items() if kind != "ok"}
    if failures:
        yield f"failed              {_counts(failures)}"
    if found.cached:
        yield f"from the cache      {found.cached:,}"
    amplification = "" if found.amplification is None else f", {found.amplification:.4f} per request"
    yield f"upstream calls      {found.upstream_calls:,}{amplification}"
    yield f"on the way          {_counts(report.counts, zeros=True)}"
    for title, percentiles in (
        ("latency", found.latency),
        ("first chunk", found.first_chunk),
        ("until failed", found.until_failed),
    ):
        if percentiles is not None:
            yield f"{title:<20}{_percentiles(percentiles)}"
    yield f"cost                {cost(report.cost)} billed, {cost(report.cost_told)} by the manager's account"


def provider_rows(report: Report) -> list[Sequence[str]]:
    """Return the cells of the table of providers."""
    return [
        (
            provider.name,
            share(provider.share),
            f"{provider.calls:,}",
            f"{provider.answered:,}",
            f"{sum(provider.failures.values()):,}",
            f"{len(provider.opened_at):,}",
            cost(provider.cost),
        )
        for provider in report.providers
    ]


def provider_lines(report: Report) -> Iterator[str]:
    """Yield how calls of the providers failed, and when their circuit breakers opened."""
    for provider in report.providers:
        parts = []
        if provider.failures:
            parts.append(f"failed: {_counts(provider.failures)}")
        if provider.opened_at:
            shown = [clock_time(at) for at in provider.opened_at[:_SHOWN_OPENINGS]]
            more = ", …" if len(provider.opened_at) > _SHOWN_OPENINGS else ""
            parts.append(f"opened at {', '.join(shown)}{more}")
        if parts:
            yield f"{provider.name}: {'; '.join(parts)}"


def expectation_rows(report: Report) -> list[Sequence[str]]:
    """Return the cells of the table of expectations."""
    return [
        (
            verdict.bound,
            verdict.window or "all",
            f"{verdict.wanted:g}",
            "-" if verdict.found is None else f"{verdict.found:g}",
            outcome(verdict),
        )
        for verdict in report.expectations
    ]


def outcome(verdict: Verdict) -> str:
    """Return one of the keys of `STYLES`."""
    if verdict.met is None:
        return "not reached"
    return "met" if verdict.met else "missed"


def share(value: float) -> str:
    """Return a share as a percentage that says 100 only when it is all, and 0 only when it is nothing."""
    text = f"{value * 100:.1f}"
    if text == "100.0" and value < 1.0:
        text = "99.9"
    elif text == "0.0" and value > 0.0:
        text = "0.1"
    return f"{text.removesuffix('.0')} %"


def clock_time(at: float) -> str:
    """Return a time since the start as hours, minutes and whole seconds."""
    whole = int(at)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def cost(value: float | None) -> str:
    """Return an amount of money in the currency of the prices."""
    return "unknown" if value is None else f"{value:.4f}"


def _counts(counts: Mapping[str, int], *, zeros: bool = False) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count or zeros)


def _percentiles(found: Percentiles) -> str:
    values = (("p50", found.p50), ("p90", found.p90), ("p95", found.p95), ("p99", found.p99), ("max", found.max))
    return ", ".join(f"{name} {value:.3g} s" for name, value in values)


__all__ = [
    "EXPECTATION_COLUMNS",
    "EXPECTATION_NUMBERS",
    "PROVIDER_COLUMNS",
    "PROVIDER_NUMBERS",
    "STYLES",
    "clock_time",
    "cost",
    "expectation_rows",
    "lines",
    "outcome",
    "provider_lines",
    "provider_rows",
    "share",
]
