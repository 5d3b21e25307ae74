"""``apex-llm models``: what can be asked for, and what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from apex_llm_cli.options import Invocation

if TYPE_CHECKING:
    from apex_llm_core.manager import LLMProviderManager
    from apex_llm_core.models import ModelInfo

UNKNOWN = "unknown"
#: Prices are configured per token and read per million.
_MILLION = 1_000_000


@click.command("models")
@click.option("-p", "--provider", metavar="PROVIDER", help="Only the models of this provider.")
@click.option("--all", "everything", is_flag=True, help="Also what providers offer beyond their listed models.")
@click.pass_obj
def command(invocation: Invocation, provider: str | None, everything: bool) -> None:
    """List the models that requests may name.

    --all asks the providers for the rest of their catalogues, too. Models that are not listed serve only requests that
    name the provider as well. Prices are per million tokens, in the currency of the configuration; what is unknown says so.
    """
    from apex_llm_cli.output import print_document, print_table
    from apex_llm_cli.running import with_manager
    from apex_llm_core.converters import unstructure

    async def collect(manager: LLMProviderManager) -> tuple[list[tuple[ModelInfo, bool]], dict[str, str]]:
        types = {handle.get_name(): handle.get_type() for handle in manager.providers}
        if provider is not None and provider not in types:
            from apex_llm_core.errors import ModelNotFoundError, nearest

            raise ModelNotFoundError(f"no provider is called {provider!r}{nearest(provider, types)}", provider=provider)
        listed = [model for handle in manager.providers if handle.enabled for model in handle.models]
        models = await manager.get_models() if everything else listed
        return [(model, model in listed) for model in models if provider in (None, model.provider)], types

    models, types = with_manager(invocation, collect)
    if invocation.json:
        print_document({"models": [unstructure(model) | {"listed": listed} for model, listed in models]})
        return
    titles = ["model", "provider", "type", "capabilities", "context", "input per M", "output per M"]
    rows = [
        [
            model.id,
            model.provider,
            types.get(model.provider, UNKNOWN),
            UNKNOWN if model.capabilities is None else " ".join(sorted(model.capabilities)),
            UNKNOWN if model.max_tokens is None else str(model.max_tokens),
            price(model.cost_per_input_token),
            price(model.cost_per_output_token),
        ]
        for model, _ in models
    ]
    if everything:
        titles.append("listed")
        for row, (_, listed) in zip(rows, models, strict=True):
            row.append("yes" if listed else "no")
    print_table(titles, rows, numbers=("context", "input per M", "output per M"), styles={"no": "dim"})


def price(per_token: float | None) -> str:
    """Return the price of a million tokens; an unknown one is never zero."""
    return UNKNOWN if per_token is None else f"{per_token * _MILLION:g}"


__all__ = ["command", "price"]
