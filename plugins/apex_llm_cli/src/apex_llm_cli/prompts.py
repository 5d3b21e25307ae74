"""The text a request is about: arguments, standard input, or both."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Sequence

import click

from apex_llm_cli.output import is_terminal

FROM_STDIN = ("-",)


def read_prompt(words: Sequence[str]) -> str:
    """Return the prompt: *words* joined, and what is piped in after a blank line; ``-`` alone is standard input.

    Raises:
        click.UsageError: there is no prompt, or it is not text.
    """
    if tuple(words) == FROM_STDIN:
        parts = [_read_stdin()]
    elif words:
        parts = [_checked(" ".join(words)), _read_stdin().rstrip("\n") if _is_piped() else ""]
    elif is_terminal(sys.stdin):
        raise click.UsageError("no prompt; give it as an argument or pipe it in", click.get_current_context())
    else:
        parts = [_read_stdin()]
    prompt = "\n\n".join(part for part in parts if part.strip())
    if not prompt:
        raise click.UsageError("the prompt is empty", click.get_current_context())
    return prompt


def read_texts(texts: Sequence[str], *, lines: bool = False) -> list[str]:
    """Return *texts*, or standard input as one text or, with *lines*, one per line that is not blank.

    Raises:
        click.UsageError: there is none, or it is not text.
    """
    if texts and tuple(texts) != FROM_STDIN:
        found = [_checked(text) for text in texts]
    elif not texts and is_terminal(sys.stdin):
        raise click.UsageError("no text; give it as an argument or pipe it in", click.get_current_context())
    else:
        piped = _read_stdin()
        found = [line for line in piped.splitlines() if line.strip()] if lines else [piped.rstrip("\n")]
    if not found or not all(text.strip() for text in found):
        raise click.UsageError("a text to embed is empty", click.get_current_context())
    return found


def _is_piped() -> bool:
    """Return whether standard input is a pipe or a file; beside an argument nothing else is waited for.

    Supervisors and editors leave sockets or devices open there that never end.
    """
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError, AttributeError):
        # Replaced or closed by whoever embeds the command line.
        return sys.stdin is not None and not is_terminal(sys.stdin)
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode)


def _read_stdin() -> str:
    if sys.stdin is None:
        return ""
    try:
        content: bytes = sys.stdin.buffer.read()
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise click.UsageError(
            f"standard input is not UTF-8 text (byte {error.start})", click.get_current_context()
        ) from error


def _checked(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise click.UsageError("an argument is not UTF-8 text", click.get_current_context()) from error
    return text


__all__ = ["read_prompt", "read_texts"]
