"""The rules of a stream of chunks, and the answers it amounts to."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from apex_llm_core.models import ChatGenerationChunk, ReasoningPart, ToolCallPart, Usage


@attrs.define(kw_only=True, eq=False)
class _Call:
    id: str
    name: str
    arguments: str = ""


@attrs.define(kw_only=True, eq=False)
class StreamedChoice:
    """One choice, put together from its chunks."""

    text: str = ""
    reasoning: str = ""
    reasoning_parts: list[ReasoningPart] = attrs.field(factory=list)
    finish_reason: str | None = None
    calls: dict[int, _Call] = attrs.field(factory=dict)

    @property
    def tool_calls(self) -> tuple[ToolCallPart, ...]:
        """The tool calls, by index."""
        return tuple(
            ToolCallPart(id=call.id, name=call.name, arguments=call.arguments) for _, call in sorted(self.calls.items())
        )


@attrs.frozen(kw_only=True)
class Streamed:
    """A whole stream, put together: its choices by index."""

    choices: tuple[StreamedChoice, ...]
    usage: Usage | None

    @property
    def text(self) -> str:
        """The text of the first choice."""
        return self.choices[0].text


def put_together(batches: Sequence[list[ChatGenerationChunk]]) -> Streamed:
    """Return what a complete stream amounts to.

    Raises:
        AssertionError: it breaks a rule; the message says which.
    """
    choices: dict[int, StreamedChoice] = {}
    usage: Usage | None = None
    for number, batch in enumerate(batches):
        assert type(batch) is list, f"read {number} is a {type(batch).__name__}; a stream yields lists of chunks"
        assert batch, f"read {number} is an empty list; leave it out and call context.touch()"
        for chunk in batch:
            assert type(chunk) is ChatGenerationChunk, f"read {number} holds a {type(chunk).__name__}"
            choice = choices.setdefault(chunk.index, StreamedChoice())
            if usage is not None:
                assert chunk.usage is None, "usage came twice; combine it into one"
                assert chunk.finish_reason is None, "usage came before the last finish reason"
            _add(choice, chunk)
            usage = usage or chunk.usage
    assert choices, "the stream was empty"
    assert sorted(choices) == list(range(len(choices))), f"choices have the indexes {sorted(choices)}"
    for index, choice in choices.items():
        assert choice.finish_reason is not None, f"choice {index} ended without a finish reason"
    return Streamed(choices=tuple(choice for _, choice in sorted(choices.items())), usage=usage)


def _add(choice: StreamedChoice, chunk: ChatGenerationChunk) -> None:
    content = chunk.text or chunk.tool_calls or chunk.reasoning or chunk.reasoning_part
    if choice.finish_reason is not None:
        assert not content, f"choice {chunk.index} goes on after its finish reason"
        assert chunk.finish_reason is None, f"choice {chunk.index} has a second finish reason"
    choice.text += chunk.text
    choice.reasoning += chunk.reasoning
    if chunk.reasoning_part is not None:
        choice.reasoning_parts.append(chunk.reasoning_part)
    for delta in chunk.tool_calls:
        call = choice.calls.get(delta.index)
        if call is None:
            assert delta.id and delta.name, f"tool call {delta.index} begins without its id and name"
            call = choice.calls[delta.index] = _Call(id=delta.id, name=delta.name)
        assert delta.id in (None, call.id), f"tool call {delta.index} changes its id"
        assert delta.name in (None, call.name), f"tool call {delta.index} changes its name"
        call.arguments += delta.arguments
    if chunk.finish_reason is not None:
        assert chunk.finish_reason, f"choice {chunk.index} has an empty finish reason"
        choice.finish_reason = chunk.finish_reason


__all__ = ["Streamed", "StreamedChoice", "put_together"]
