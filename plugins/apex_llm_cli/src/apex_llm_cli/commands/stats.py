"""``apex-llm stats``: what a running gateway has done so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import click

from apex_llm_cli.commands.breakers import STYLES, state_of
from apex_llm_cli.gateway_client import ask_gateway, gateway_options
from apex_llm_cli.options import Invocation

_COUNTS = ("requests", "errors", "tokens in", "tokens out", "cost")
_AMOUNTS = ("requests", "tokens", "cost", "concurrent")
_HEALTH_STYLES = {"healthy": "green", "degraded": "yellow", "unavailable": "red", "unknown": "dim"}


@click.command("stats")
@gateway_options
@click.pass_obj
def command(invocation: Invocation, url: str, key: str | None) -> None:
    """Tell what a running gateway has done so far.

    Requests, tokens and cost by model and by user, what is known of every candidate, and how the limits stand, over all workers
    of the gateway. Costs are in the currency of the configured prices.
    """
    from apex_llm_cli.output import print_document, print_table, write

    state = ask_gateway(url, key, "/admin/state")
    if invocation.json:
        print_document(state)
        return
    write(_summary(state))
    for title, heads, rows, numbers, styles in _tables(state):
        if rows:
            write(f"\n{title}\n")
            print_table(heads, rows, numbers=numbers, styles=styles)


_Table = tuple[str, Sequence[str], list[tuple[str, ...]], Sequence[str], Mapping[str, str]]


def _tables(state: Mapping[str, Any]) -> list[_Table]:
    usage = state["usage"]
    facts = ("success", "seconds", "first chunk", "in flight", "attempts")
    return [
        (
            "by model",
            ("provider", "model", *_COUNTS),
            [(row["provider"] or "", row["model"], *_counts(row)) for row in usage["by_model"]],
            _COUNTS,
            {},
        ),
        (
            "by user",
            ("user", *_COUNTS),
            [(row["user"] or "nobody named", *_counts(row)) for row in usage["by_user"]],
            _COUNTS,
            {},
        ),
        (
            "candidates",
            ("provider", "model", "health", "breaker", *facts),
            [
                (provider["name"], model["model"], provider["health"], *_facts(model))
                for provider in state["providers"]
                if provider["enabled"]
                for model in provider["models"]
            ],
            facts,
            {**STYLES, **_HEALTH_STYLES},
        ),
        (
            "limits",
            ("limit", "scope", "subject", "counts", "used", "of", "seconds"),
            [row for standing in state["limits"] for row in _standing(standing)],
            ("used", "of", "seconds"),
            {},
        ),
    ]


def _summary(state: Mapping[str, Any]) -> str:
    gateway, totals = state["gateway"], state["totals"]
    workers = len(gateway["workers"])
    amplification = totals["amplification"]
    lines = {
        "gateway": f"{gateway['version']}, {workers} worker{'' if workers == 1 else 's'}, up {_span(gateway['uptime'])}"
        f"{', stopping' if gateway['draining'] else ''}",
        "requests": f"{totals['requests']}, {totals['errors']} failed, {totals['cancelled']} cancelled,"
        f" {state['live_count']} under way",
        "tokens": f"{totals['prompt_tokens']} in, {totals['completion_tokens']} out",
        "cost": _cost(totals["cost"], totals["cost_unknown"]),
        "routing": f"{totals['retries']} retries, {totals['fallbacks']} fallbacks, {totals['hedges']} hedges,"
        f" {totals['cached']} answers from the cache",
        "refused": f"{totals['limit_rejections']} over limits",
        "upstream": "no calls" if amplification is None else f"{amplification:.2f} calls per request",
    }
    return "".join(f"{name:<10}{text}\n" for name, text in lines.items())


def _counts(row: Mapping[str, Any]) -> tuple[str, ...]:
    numbers = (row["requests"], row["errors"], row["prompt_tokens"], row["completion_tokens"])
    return (*map(str, numbers), _cost(row["cost"], row["cost_unknown"]))


def _facts(model: Mapping[str, Any]) -> tuple[str, ...]:
    rate, breaker = model["success_rate"], model["breaker"]
    return (
        "" if breaker is None else state_of(breaker),
        "" if rate is None else f"{rate:.1%}",
        _seconds(model["latency"]),
        _seconds(model["time_to_first_chunk"]),
        str(model["in_flight"]),
        str(model["attempts"]),
    )


def _standing(standing: Mapping[str, Any]) -> list[tuple[str, ...]]:
    subject = "" if standing["scope"] == "all" else standing["subject"]
    return [
        (
            standing["limit"],
            standing["scope"],
            subject,
            kind,
            _plain(standing[kind]["used"]),
            _plain(standing[kind]["limit"]),
            "" if kind == "concurrent" else _plain(standing["per"]),
        )
        for kind in _AMOUNTS
        if standing[kind] is not None
    ]


def _cost(known: float, unknown: int) -> str:
    """Return what is known of a cost; what is not is told as such, and never a zero."""
    if not unknown:
        return _plain(known)
    return f"{_plain(known)} + {unknown} unknown" if known else "unknown"


def _plain(number: float) -> str:
    """Return *number* with six digits that count, or all those before the point, and without an exponent."""
    return f"{number:.0f}" if abs(number) >= 1e6 else f"{Decimal(f'{number:.6g}'):f}"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _span(seconds: float) -> str:
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"


__all__ = ["command"]
