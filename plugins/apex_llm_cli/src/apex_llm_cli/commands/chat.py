"""``apex-llm chat``: one question, answered as it arrives."""

from __future__ import annotations

from typing import Any

import click

from apex_llm_cli.options import Invocation, generation_options, given
from apex_llm_cli.prompts import read_prompt


@click.command("chat")
@click.argument("prompt", nargs=-1)
@click.option("--system", metavar="TEXT", help="Instructions that stand before the prompt.")
@generation_options
@click.pass_obj
def command(
    invocation: Invocation, /, prompt: tuple[str, ...], system: str | None, no_stream: bool, **options: Any
) -> None:
    """Ask a chat model; its answer streams.

    PROMPT may be several words. What is piped in follows it after a blank line; without PROMPT, or with '-', what is
    piped in is the prompt.
    """
    text = read_prompt(prompt)
    from apex_llm_cli.answering import print_stream, print_whole
    from apex_llm_cli.running import with_manager
    from apex_llm_core.models import ChatMessage

    messages = [ChatMessage(role="user", content=text)]
    if system is not None:
        messages.insert(0, ChatMessage(role="system", content=system))
    keywords = given(options)

    if no_stream:
        with_manager(
            invocation,
            lambda manager: print_whole(
                manager.generate_chat(messages, **keywords), lambda result: result.message.text, invocation
            ),
        )
    else:
        with_manager(
            invocation,
            lambda manager: print_stream(manager.generate_chat_stream(messages, **keywords), invocation),
        )


__all__ = ["command"]
