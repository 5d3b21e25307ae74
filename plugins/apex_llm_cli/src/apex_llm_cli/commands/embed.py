"""``apex-llm embed``: texts to vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from apex_llm_cli.options import Invocation, given, request_options
from apex_llm_cli.prompts import read_texts

if TYPE_CHECKING:
    from apex_llm_core.manager import LLMProviderManager
    from apex_llm_core.models import EmbeddingResult

#: Characters of a text, and numbers of its vector, that the table shows.
_TEXT_SHOWN = 40
_NUMBERS_SHOWN = 4


@click.command("embed")
@click.argument("texts", metavar="[TEXT]...", nargs=-1)
@click.option("--lines", is_flag=True, help="Every line that is piped in is one text.")
@click.option("--dimensions", type=int, metavar="N", help="Length of the vectors, where the model can choose.")
@click.option("--no-cache", is_flag=True, help="Neither read nor fill the response cache.")
@request_options
@click.pass_obj
def command(invocation: Invocation, /, texts: tuple[str, ...], lines: bool, **options: Any) -> None:
    """Embed texts: each TEXT, or what is piped in.

    The table shows how each vector begins; --json prints them whole.
    """
    wanted = read_texts(texts, lines=lines)
    from apex_llm_cli.output import print_document, print_table
    from apex_llm_cli.running import with_manager

    async def embed(manager: LLMProviderManager) -> EmbeddingResult:
        return await manager.generate_embedding(wanted, **given(options))

    result = with_manager(invocation, embed)
    if invocation.json:
        print_document(result)
        return
    print_table(
        ("text", "dimensions", "first numbers"),
        [
            (_shortened(text), str(len(vector)), ", ".join(f"{number:.4f}" for number in vector[:_NUMBERS_SHOWN]))
            for text, vector in zip(wanted, result.embeddings, strict=True)
        ],
        numbers=("dimensions",),
    )


def _shortened(text: str) -> str:
    return text if len(text) <= _TEXT_SHOWN else text[: _TEXT_SHOWN - 1] + "…"


__all__ = ["command"]
