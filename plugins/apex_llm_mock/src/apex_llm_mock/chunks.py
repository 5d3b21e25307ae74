"""Cuts answers into the chunks of a stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice, zip_longest
from typing import TypeVar

from apex_llm_core.models import ChatGenerationChunk, ToolCallDelta, Usage
from apex_llm_mock.replies import Answer

T = TypeVar("T")


def chunks_of(answers: list[Answer], usage: Usage, size: int) -> Iterator[ChatGenerationChunk]:
    """Return the chunks of all *answers*, several taking turns; *usage* is on the very last. *size* in characters."""
    if len(answers) == 1:
        content = _content(answers[0], size, 0)
    else:
        turns = zip_longest(*(_content(answer, size, index) for index, answer in enumerate(answers)))
        content = (chunk for chunk in chain.from_iterable(turns) if chunk is not None)
    return chain(content, _ends(answers, usage))


def _ends(answers: list[Answer], usage: Usage) -> Iterator[ChatGenerationChunk]:
    last = len(answers) - 1
    for index, answer in enumerate(answers):
        yield ChatGenerationChunk(
            finish_reason=answer.finish_reason, usage=usage if index == last else None, index=index
        )


def _content(answer: Answer, size: int, index: int) -> Iterator[ChatGenerationChunk]:
    text = answer.text
    pieces = (ChatGenerationChunk(text=text[start : start + size], index=index) for start in range(0, len(text), size))
    if not answer.reasoning and not answer.tool_calls:
        return pieces
    reasoning = (ChatGenerationChunk(reasoning=piece, index=index) for piece in _pieces(answer.reasoning, size))
    return chain(reasoning, pieces, _tool_calls(answer, size, index))


def _tool_calls(answer: Answer, size: int, index: int) -> Iterator[ChatGenerationChunk]:
    for position, call in enumerate(answer.tool_calls):
        yield ChatGenerationChunk(tool_calls=(ToolCallDelta(index=position, id=call.id, name=call.name),), index=index)
        for piece in _pieces(call.arguments, size):
            yield ChatGenerationChunk(tool_calls=(ToolCallDelta(index=position, arguments=piece),), index=index)


def _pieces(text: str, size: int) -> Iterator[str]:
    return (text[start : start + size] for start in range(0, len(text), size))


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield *items* in lists of *size*, the last one as short as it must be."""
    if size == 1:
        for item in items:
            yield [item]
        return
    remaining = iter(items)
    while batch := list(islice(remaining, size)):
        yield batch


__all__ = ["batched", "chunks_of"]
