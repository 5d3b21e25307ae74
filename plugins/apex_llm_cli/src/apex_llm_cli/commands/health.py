"""``apex-llm health``: whether the providers can serve now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from apex_llm_cli.options import Invocation

if TYPE_CHECKING:
    from apex_llm_core.manager import LLMProviderManager
    from apex_llm_core.models import HealthStatus

_STYLES = {"healthy": "green", "degraded": "yellow", "unavailable": "red", "unknown": "dim"}


@click.command("health")
@click.pass_context
def command(context: click.Context) -> None:
    """Check whether the providers can serve now.

    Each is asked with its credentials and without spending tokens. Exits with 1 when an enabled one is unavailable.
    """
    from apex_llm_cli.failures import PROVIDER_FAILED
    from apex_llm_cli.output import print_document, print_table
    from apex_llm_cli.running import with_manager
    from apex_llm_core.converters import unstructure
    from apex_llm_core.models import HealthState

    invocation: Invocation = context.obj

    async def check(manager: LLMProviderManager) -> dict[str, HealthStatus]:
        return await manager.get_health()

    # Enabled ones only, those among them whose plugin is broken too.
    statuses = with_manager(invocation, check)
    if invocation.json:
        print_document({"health": [{"provider": name} | unstructure(status) for name, status in statuses.items()]})
    else:
        print_table(
            ("provider", "status", "milliseconds", "message"),
            [
                (
                    name,
                    status.status.value,
                    "" if status.latency is None else f"{status.latency * 1000:.0f}",
                    status.message,
                )
                for name, status in statuses.items()
            ],
            numbers=("milliseconds",),
            styles=_STYLES,
        )
    if any(status.status is HealthState.UNAVAILABLE for status in statuses.values()):
        context.exit(PROVIDER_FAILED)


__all__ = ["command"]
