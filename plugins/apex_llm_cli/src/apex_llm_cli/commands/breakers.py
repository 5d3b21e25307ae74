"""``apex-llm breakers``: the circuit breakers of a running gateway, and the hands on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from apex_llm_cli.gateway_client import ask_gateway, gateway_options
from apex_llm_cli.options import Invocation

_ACTIONS = ("isolate", "open", "close", "watch", "disable")
#: States in words where they are not words already.
STATES = {"half_open": "half open", "forced_open": "isolated", "metrics_only": "only watching"}
STYLES = {"closed": "green", "half open": "yellow", "open": "red", "isolated": "red"}


@click.command("breakers")
@click.argument("action", required=False, type=click.Choice(_ACTIONS), metavar="[ACTION]")
@click.argument("provider", required=False)
@click.argument("model", required=False)
@gateway_options
@click.pass_obj
def command(
    invocation: Invocation, action: str | None, provider: str | None, model: str | None, url: str, key: str | None
) -> None:
    """List the circuit breakers of a running gateway, or move some.

    \b
    breakers                            lists them all
    breakers isolate PROVIDER [MODEL]   lets nobody through until they are moved again
    breakers open PROVIDER [MODEL]      lets nobody through for the usual time
    breakers close PROVIDER [MODEL]     lets everybody through and begins to count anew
    breakers watch PROVIDER [MODEL]     lets everybody through and goes on counting
    breakers disable PROVIDER [MODEL]   lets everybody through and counts nothing

    Without MODEL all of the provider's are moved, in every worker of the gateway.
    """  # noqa: D301 - to click this character says that lines stay as they are
    from apex_llm_cli.output import print_document, print_table, write

    if action is None:
        document = ask_gateway(url, key, "/admin/breakers")
        if invocation.json:
            print_document(document)
            return
        print_table(
            ("provider", "model", "state", "failure rate", "retry in", "reason"),
            [_row(breaker) for breaker in document["breakers"]],
            numbers=("failure rate", "retry in"),
            styles=STYLES,
        )
        return
    if provider is None:
        raise click.UsageError(f"which provider? breakers {action} PROVIDER [MODEL]")
    order = {"provider": provider, "action": action} | ({} if model is None else {"model": model})
    document = ask_gateway(url, key, "/admin/breakers", order)
    if invocation.json:
        print_document(document)
        return
    moved = document["moved"]
    write(f"{moved} breaker{'' if moved == 1 else 's'} moved\n")


def _row(breaker: Mapping[str, Any]) -> tuple[str, ...]:
    rate, wait = breaker["failure_rate"], breaker["retry_after"]
    return (
        breaker["provider"],
        breaker["model"],
        state_of(breaker),
        "" if rate is None else f"{rate:.0%}",
        f"{wait:.0f} s" if wait else "",
        ", ".join(filter(None, (breaker["reason"], workers_of(breaker)))),
    )


def state_of(breaker: Mapping[str, Any]) -> str:
    """Return the state of a breaker as a word."""
    state: str = breaker["state"]
    return STATES.get(state, state)


def workers_of(breaker: Mapping[str, Any]) -> str:
    """Return how many workers are in which state, empty where all are in the same."""
    states: Mapping[str, int] = breaker.get("states") or {}
    return ", ".join(f"{STATES.get(state, state)} in {workers}" for state, workers in states.items())


__all__ = ["STYLES", "command", "state_of", "workers_of"]
