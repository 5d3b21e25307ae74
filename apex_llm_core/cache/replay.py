"""A stream as a whole answer, and a whole answer as a stream.

What was streamed may answer a request for the whole, and the reverse; a provider that cannot stream is heard in one piece.
A stream says less than a whole answer may hold, and may say what no whole answer holds: then there is no recording.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from apex_llm_core.models.messages import ChatMessage, ContentPart, ReasoningPart, TextPart, ToolCallPart
from apex_llm_core.models.requests import GenerateRequest
from apex_llm_core.models.results import ChatGenerationChunk, ChatGenerationResult, Choice, ToolCallDelta, Usage


class Recorder:
    """Puts a stream together while it passes; knows only what it was given, so it may be dropped at any time."""

    __slots__ = ("_answers", "_broken", "_details", "_usage")

    def __init__(self) -> None:
        self._answers: dict[int, _Answer] = {}
        self._usage: Usage | None = None
        self._details: dict[str, Any] | None = None
        #: The stream cannot be told as a whole answer.
        self._broken = False

    def add(self, batch: Sequence[ChatGenerationChunk]) -> None:
        """Take what one read of the stream brought."""
        answers = self._answers
        for chunk in batch:
            answer = answers.get(chunk.index)
            if answer is None:
                answer = answers[chunk.index] = _Answer()
            answer.add(chunk)
            if chunk.usage is not None:
                self._usage = chunk.usage
            if chunk.details is not None:
                self._take(chunk.details)

    def result(
        self, provider: str, model: str, cost: float | None, request: GenerateRequest
    ) -> ChatGenerationResult | None:
        """Return the whole answer.

        Args:
            provider: the name of the provider that streamed.
            model: the generic id of its model.
            cost: what the stream cost, None when unknown.
            request: what was asked for.

        Returns:
            None when the stream is incomplete, broke the rules of streams, or does not tell all that a whole answer would:
            details of its choices that differ, log probabilities in pieces of an unknown form, calls without an id or
            without arguments, calls in the older spelling of functions.
        """
        answers = [answer for _, answer in sorted(self._answers.items())]
        expected = max(request.options.n or 1, len(answers))
        if self._broken or self._answers.keys() != set(range(expected)):
            return None
        if getattr(request.options, "functions", None) and any(answer.calls for answer in answers):
            # Their calls are not parts of a message, and the chunks are the same.
            return None
        choices = [answer.choice(index) for index, answer in enumerate(answers)]
        whole = [choice for choice in choices if choice is not None]
        if len(whole) < len(choices):
            return None
        return ChatGenerationResult.of(
            whole, model=model, provider=provider, usage=self._usage, cost=cost, details=self._details
        )

    def _take(self, details: Mapping[str, Any]) -> None:
        known = self._details
        if known is None:
            self._details = dict(details)
            return
        for name, value in details.items():
            # Pieces of one value and values of two choices look alike; a whole answer has room for one value.
            if known.setdefault(name, value) != value:
                self._broken = True


@attrs.define(eq=False)
class _Thought:
    """A block of reasoning; `part` is set when its provider gave it whole."""

    pieces: list[str]
    part: ReasoningPart | None = None


@attrs.define(eq=False)
class _Call:
    id: str
    name: str
    pieces: list[str]


class _Answer:
    """One choice so far: the parts of its message in the order in which they began."""

    __slots__ = ("_finish_reason", "_last", "_logprobs", "_parts", "_thought", "broken", "calls")

    def __init__(self) -> None:
        #: Text is a list of pieces.
        self._parts: list[list[str] | _Thought | _Call] = []
        self._last: list[str] | _Thought | _Call | None = None
        #: The block of reasoning that is not whole yet.
        self._thought: _Thought | None = None
        self.calls: dict[int, _Call] = {}
        self._logprobs: list[Any] = []
        self._finish_reason: str | None = None
        self.broken = False

    def add(self, chunk: ChatGenerationChunk) -> None:
        """Take the next chunk of this choice."""
        finished = self._finish_reason is not None
        if chunk.reasoning:
            self.broken |= finished
            self._reason(chunk.reasoning)
        if chunk.reasoning_part is not None:
            self.broken |= finished
            self._complete(chunk.reasoning_part)
        if chunk.text:
            self.broken |= finished
            if type(self._last) is list:
                self._last.append(chunk.text)
            else:
                self._begin([chunk.text])
        if chunk.tool_calls:
            self.broken |= finished
            for delta in chunk.tool_calls:
                self._call(delta)
        if chunk.logprobs is not None:
            self._logprobs.append(chunk.logprobs)
        if chunk.finish_reason is not None:
            self.broken |= finished or not chunk.finish_reason
            self._finish_reason = chunk.finish_reason

    def choice(self, index: int) -> Choice | None:
        """Return the whole choice, None when there is none."""
        # An empty text of arguments is no JSON; whoever answers as a whole tells "{}".
        silent = any(not any(call.pieces) for call in self.calls.values())
        try:
            logprobs = _joined(self._logprobs)
        except ValueError:
            return None
        if self.broken or silent or self._finish_reason is None:
            return None
        return Choice(
            index=index,
            message=ChatMessage(role="assistant", content=self._content()),
            finish_reason=self._finish_reason,
            logprobs=logprobs,
        )

    def _content(self) -> str | list[ContentPart]:
        if not self._parts:
            return ""
        if len(self._parts) == 1 and type(self._parts[0]) is list:
            return "".join(self._parts[0])
        # Calls stand where calls began, in the order of their indexes.
        calls = iter([call for _, call in sorted(self.calls.items())])
        content: list[ContentPart] = []
        for part in self._parts:
            if isinstance(part, _Thought):
                content.append(part.part or ReasoningPart(text="".join(part.pieces)))
            elif isinstance(part, _Call):
                call = next(calls)
                content.append(ToolCallPart(id=call.id, name=call.name, arguments="".join(call.pieces)))
            else:
                content.append(TextPart(text="".join(part)))
        return content

    def _begin(self, part: list[str] | _Thought | _Call) -> None:
        self._parts.append(part)
        self._last = part

    def _reason(self, piece: str) -> None:
        if self._thought is not None and self._last is self._thought:
            self._thought.pieces.append(piece)
        else:
            self._thought = _Thought([piece])
            self._begin(self._thought)

    def _complete(self, part: ReasoningPart) -> None:
        thought = self._thought
        if not part.text:
            self._begin(_Thought([], part))
        elif thought is not None and "".join(thought.pieces) == part.text:
            thought.part = part
            self._thought = None
        else:
            self.broken = True

    def _call(self, delta: ToolCallDelta) -> None:
        call = self.calls.get(delta.index)
        if call is None:
            if not (delta.id and delta.name):
                self.broken = True
                return
            call = self.calls[delta.index] = _Call(delta.id, delta.name, [])
            self._begin(call)
        if (delta.id or call.id) != call.id or (delta.name or call.name) != call.name:
            self.broken = True
        call.pieces.append(delta.arguments)


def _joined(pieces: list[Any]) -> Any:
    """Return log probabilities that came in pieces as one value.

    Raises:
        ValueError: their form is unknown, so there is no telling how they belong together.
    """
    if len(pieces) < 2:
        return pieces[0] if pieces else None
    if all(isinstance(piece, list) for piece in pieces):
        return [entry for piece in pieces for entry in piece]
    if not all(isinstance(piece, Mapping) for piece in pieces):
        raise ValueError("log probabilities are neither lists nor objects of lists")
    names = dict.fromkeys(name for piece in pieces for name in piece)
    return {name: _joined([piece[name] for piece in pieces if piece.get(name) is not None]) for name in names}


def replayed(result: ChatGenerationResult) -> list[list[ChatGenerationChunk]]:
    """Return *result* as the reads of a stream, one for each choice; usage and details come with the last finish reason.

    Reasoning, text and calls keep their order. A call in the older spelling, or without an id, gets a made-up id, which every
    streamed call must have. Kinds of parts that no stream carries are left out and named in the details as ``left_out``.
    """
    choices = result.choices or (Choice(message=result.message, finish_reason=result.finish_reason),)
    left_out: set[str] = set()
    batches = [_chunks(choice, index, left_out) for index, choice in enumerate(choices)]
    details = result.details
    if left_out:
        details = {**(details or {}), "left_out": sorted(left_out)}
    batches[-1][-1] = attrs.evolve(batches[-1][-1], usage=result.usage, details=details)
    return batches


def _chunks(choice: Choice, index: int, left_out: set[str]) -> list[ChatGenerationChunk]:
    """Return one choice up to its finish reason; add to *left_out* what has no place in a stream."""
    chunks: list[ChatGenerationChunk] = []
    message = choice.message
    content = message.content
    calls = 0

    def call(call_id: str, name: str, arguments: str) -> None:
        nonlocal calls
        delta = ToolCallDelta(index=calls, id=call_id or f"call_{calls}", name=name, arguments=arguments)
        chunks.append(ChatGenerationChunk(tool_calls=(delta,), index=index))
        calls += 1

    for part in (TextPart(text=content),) if isinstance(content, str) else content:
        if isinstance(part, TextPart):
            if part.text:
                chunks.append(ChatGenerationChunk(text=part.text, index=index))
        elif isinstance(part, ReasoningPart):
            chunks.append(ChatGenerationChunk(reasoning=part.text, reasoning_part=part, index=index))
        elif isinstance(part, ToolCallPart):
            call(part.id, part.name, part.arguments)
        else:
            left_out.add(part.type)
    if message.function_call is not None:
        call("", message.function_call.name, message.function_call.arguments)
    chunks.append(ChatGenerationChunk(finish_reason=choice.finish_reason, index=index))
    if choice.logprobs is not None:
        first_text = next((number for number, chunk in enumerate(chunks) if chunk.text), -1)
        chunks[first_text] = attrs.evolve(chunks[first_text], logprobs=choice.logprobs)
    return chunks


__all__ = ["Recorder", "replayed"]
