"""Answers of models as they are printed: chunk by chunk or whole, and a line about them beside."""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from apex_llm_cli.failures import warn
from apex_llm_cli.options import Invocation
from apex_llm_cli.output import is_terminal, print_dim, print_document, to_json, write

if TYPE_CHECKING:
    from apex_llm_core import ChatStream
    from apex_llm_core.models import ChatGenerationChunk, ChatGenerationResult, TextGenerationResult, Usage

Answer = TypeVar("Answer", "ChatGenerationResult", "TextGenerationResult")


async def print_whole(answer: Awaitable[Answer], text_of: Callable[[Answer], str], invocation: Invocation) -> None:
    """Await *answer* and print its text, or the result object as one document."""
    started = time.monotonic()
    result = await answer
    if invocation.json:
        print_document(result)
        return
    text = text_of(result)
    write(text if text.endswith("\n") else text + "\n")
    _print_footer(
        describe_answer(
            provider=result.provider,
            model=result.model,
            usage=result.usage,
            cost=result.cost,
            seconds=time.monotonic() - started,
            attempts=len(result.attempts),
            finish_reason=result.finish_reason,
        ),
        result.finish_reason,
    )


async def print_stream(stream: ChatStream, invocation: Invocation) -> None:
    """Print *stream* as it arrives: text, or one chunk object a line."""
    started = time.monotonic()
    finish_reason: str | None = None
    printer = _TextPrinter()
    async with stream:
        try:
            async for batch in stream.batches():
                for chunk in batch:
                    finish_reason = chunk.finish_reason or finish_reason
                if invocation.json:
                    write("".join(f"{to_json(chunk)}\n" for chunk in batch))
                else:
                    printer.print(batch)
        except Exception:
            # The error's line must not stand behind half an answer.
            printer.end_line()
            raise
    if invocation.json:
        return
    printer.end_line(always=True)
    _print_footer(
        describe_answer(
            provider=stream.provider,
            model=stream.model,
            usage=stream.usage,
            cost=stream.cost,
            seconds=time.monotonic() - started,
            attempts=len(stream.attempts),
            finish_reason=finish_reason,
        ),
        finish_reason,
    )


class _TextPrinter:
    """Prints the text of the first choice and knows whether a line is open."""

    def __init__(self) -> None:
        self._last = ""

    def print(self, batch: list[ChatGenerationChunk]) -> None:
        text = "".join(chunk.text for chunk in batch if chunk.index == 0)
        if text:
            write(text)
            self._last = text[-1]

    def end_line(self, *, always: bool = False) -> None:
        if self._last != "\n" and (self._last or always):
            write("\n")
            self._last = "\n"


def describe_answer(
    *,
    provider: str | None,
    model: str | None,
    usage: Usage | None,
    cost: float | None,
    seconds: float,
    attempts: int,
    finish_reason: str | None,
) -> str:
    """Return one line about an answer; what nobody told is "unknown"."""
    facts = [f"{provider}/{model}"]
    if usage is None:
        facts.append("tokens unknown")
    else:
        about = "about " if usage.estimated else ""
        facts.append(f"{about}{usage.prompt_tokens} + {usage.completion_tokens} tokens")
    facts.append("cost unknown" if cost is None else f"cost {cost:.6f}")
    facts.append(f"{seconds:.2f} s")
    if attempts > 1:
        facts.append(f"{attempts} attempts")
    if finish_reason not in (None, "stop"):
        facts.append(f"ended by {finish_reason}")
    return ", ".join(facts)


#: Ends after which what was printed is not the answer.
_CUT = frozenset({"content_filter", "length"})


def _print_footer(line: str, finish_reason: str | None) -> None:
    if is_terminal(sys.stderr):
        print_dim(line)
    elif finish_reason in _CUT:
        warn(f"the answer was ended by {finish_reason}: it is not whole")


__all__ = ["describe_answer", "print_stream", "print_whole"]
