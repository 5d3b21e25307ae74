"""``apex-llm providers``: what is configured."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from apex_llm_cli.options import Invocation

if TYPE_CHECKING:
    from apex_llm_core.manager import LLMProviderManager
    from apex_llm_core.models import ModelInfo


@click.command("providers")
@click.pass_obj
def command(invocation: Invocation) -> None:
    """List the configured providers and what they offer."""
    from apex_llm_cli.output import print_document, print_table
    from apex_llm_cli.running import with_manager

    async def collect(manager: LLMProviderManager) -> list[dict[str, Any]]:
        return [
            {
                "name": handle.get_name(),
                "type": handle.get_type(),
                "enabled": handle.enabled,
                "priority": handle.config.priority,
                "weight": handle.config.weight,
                "region": handle.config.region,
                "models": [model.id for model in handle.models],
                "operations": sorted(served_operations(handle.operations, handle.models)),
            }
            for handle in manager.providers
        ]

    providers = with_manager(invocation, collect)
    if invocation.json:
        print_document({"providers": providers})
        return
    print_table(
        ("provider", "type", "enabled", "priority", "weight", "region", "models", "operations"),
        [
            (
                row["name"],
                row["type"],
                "yes" if row["enabled"] else "no",
                str(row["priority"]),
                f"{row['weight']:g}",
                row["region"] or "",
                " ".join(row["models"]),
                " ".join(row["operations"]),
            )
            for row in providers
        ],
        numbers=("priority", "weight"),
        styles={"no": "dim"},
    )


def served_operations(offered: frozenset[str], models: Iterable[ModelInfo]) -> frozenset[str]:
    """Return those of the *offered* operations that one of *models* serves; one that declares nothing may serve all."""
    return frozenset().union(
        *(offered if model.capabilities is None else offered & model.capabilities for model in models)
    )


__all__ = ["command", "served_operations"]
