"""``apex-llm text``: one prompt, completed as it arrives."""

from __future__ import annotations

from typing import Any

import click

from apex_llm_cli.options import Invocation, generation_options, given
from apex_llm_cli.prompts import read_prompt


@click.command("text")
@click.argument("prompt", nargs=-1)
@generation_options
@click.pass_obj
def command(invocation: Invocation, /, prompt: tuple[str, ...], no_stream: bool, **options: Any) -> None:
    """Let a model go on from a prompt; its text streams.

    PROMPT may be several words. What is piped in follows it after a blank line; without PROMPT, or with '-', what is
    piped in is the prompt.
    """
    text = read_prompt(prompt)
    from apex_llm_cli.answering import print_stream, print_whole
    from apex_llm_cli.running import with_manager

    keywords = given(options)
    if no_stream:
        with_manager(
            invocation,
            lambda manager: print_whole(
                manager.generate_text(text, **keywords), lambda result: result.text, invocation
            ),
        )
    else:
        with_manager(
            invocation, lambda manager: print_stream(manager.generate_text_stream(text, **keywords), invocation)
        )


__all__ = ["command"]
