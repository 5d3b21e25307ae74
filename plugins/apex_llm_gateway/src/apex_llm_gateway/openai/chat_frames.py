"""The frames of a streamed chat.

::

    of a choice           frames
    its beginning         role "assistant"; content "" (null where a tool call comes first, as OpenAI has it)
    each chunk            content, refusal, reasoning_content, reasoning_details, tool_calls or function_call, logprobs
    its end               an empty delta, the finish reason

Choices begin in their order and tool calls are counted without gaps, whatever comes first: the official clients put what
they receive into lists. A frame is made of a template into which only the text is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

from apex_llm_core.converters import encode
from apex_llm_core.models import ChatGenerationChunk, ReasoningPart, ToolCallDelta, Usage
from apex_llm_gateway.openai.chat_response import BESIDE, is_opaque, thoughts_of
from apex_llm_gateway.openai.endings import CHAT_FINISHES, finish_of
from apex_llm_gateway.openai.frames import Envelope
from apex_llm_gateway.openai.jsontext import member, quote
from apex_llm_gateway.openai.logprobs import chat_logprobs

#: As many as OpenAI's API gives; no provider's slip makes more begin by itself.
_MOST_CHOICES = 128
#: From so many chunks on it pays to look at them together.
_MANY = 3
_text: Callable[[ChatGenerationChunk], str] = attrgetter("text")
#: Alike for chunks that have only text, and belong to the same choice.
_all_but_text: Callable[[ChatGenerationChunk], tuple[Any, ...]] = attrgetter(
    "index", "finish_reason", "logprobs", "details", "tool_calls", "reasoning", "reasoning_part"
)
_NOTHING = _all_but_text(ChatGenerationChunk())[1:]
#: Hardly in any text; if it is, in whatever form, there is more of it than expected.
_BETWEEN = "\0"
_WRITTEN_BETWEEN = b"\\u0000"


class ChatFrames:
    """Writes the frames of one stream.

    Args:
        request_id: of the gateway's request.
        created: in unix seconds.
        model: which answers.
        include_usage: the last frame tells the usage and where the answer came from.
        functions: the request spelt its tools `functions`, and its answer spells the call `function_call`.
    """

    def __init__(
        self, *, request_id: str, created: int, model: str, include_usage: bool, functions: bool = False
    ) -> None:
        self._model = model
        self._functions = functions
        self._choices: dict[int, _Choice] = {}
        self._envelope = Envelope(
            id=f"chatcmpl-{request_id}",
            object="chat.completion.chunk",
            created=created,
            model=model,
            include_usage=include_usage,
        )
        #: Of a frame that has only text: all before it, by choice, and all behind it.
        self._before: dict[int, bytes] = {}
        self._behind = b'},"logprobs":null,"finish_reason":null}' + self._envelope.tail

    def feed(self, batch: Sequence[ChatGenerationChunk]) -> bytes:
        """Return the frames of *batch*; those that say nothing have none."""
        frames: list[bytes] = []
        if len(batch) < _MANY:
            before, behind = self._before, self._behind
            for chunk in batch:
                if chunk.text and chunk.index in before and _all_but_text(chunk)[1:] == _NOTHING:
                    frames += (before[chunk.index], quote(chunk.text), behind)
                else:
                    self._take(chunk, frames)
        else:
            for (index, *others), run in groupby(batch, _all_but_text):
                chunks = list(run)
                plain = tuple(others) == _NOTHING
                if not plain or index not in self._before:
                    taken = 1 if plain else len(chunks)
                    for chunk in chunks[:taken]:
                        self._take(chunk, frames)
                    del chunks[:taken]
                texts = [*filter(None, map(_text, chunks))]
                if texts:
                    frames.append(self._spoken(texts, index))
        return b"".join(frames)

    def finish(self, usage: Usage | None, *, cost: float | None, provider: str | None, attempts: int) -> bytes:
        """Return the end of the stream.

        Args:
            usage: of the whole answer; None: unknown.
            cost: in the currency of the configured prices; None: unknown.
            provider: which answered.
            attempts: made in all.
        """
        return self._envelope.finish(usage, cost=cost, provider=provider, model=self._model, attempts=attempts)

    def _spoken(self, texts: Sequence[str], index: int) -> bytes:
        """Return the frames of chunks that have only text, a frame for each of *texts*."""
        before, behind = self._before[index], self._behind
        if len(texts) > 1:
            # Escaped all at once; then what stands between two texts becomes the end of one frame and the beginning of the next.
            together = quote(_BETWEEN.join(texts))
            if together.count(_WRITTEN_BETWEEN) == len(texts) - 1:
                return b"%b%b%b" % (before, together.replace(_WRITTEN_BETWEEN, b'"%b%b"' % (behind, before)), behind)
        return b"".join([b"%b%b%b" % (before, quote(text), behind) for text in texts])

    def _take(self, chunk: ChatGenerationChunk, frames: list[bytes]) -> None:
        """Add the frames of a chunk that begins a choice, ends it, or has more than text."""
        details = chunk.details or {}
        if details:
            self._note(details)
        choice = self._open(chunk, frames)
        delta = self._delta(chunk, choice, details)
        logprobs = b"null" if chunk.logprobs is None else encode(chat_logprobs(chunk.logprobs))
        if delta or logprobs != b"null":
            frames.append(
                b'%b{"index":%d,"delta":{%b},"logprobs":%b,"finish_reason":null}%b'
                % (self._envelope.head, chunk.index, b",".join(delta), logprobs, self._envelope.tail)
            )
        if chunk.finish_reason is not None:
            reason = chunk.finish_reason
            if reason == "tool_calls" and choice.function is not None and not choice.calls:
                reason = "function_call"
            frames.append(
                b'%b{"index":%d,"delta":{},"logprobs":null,%b}%b'
                % (self._envelope.head, chunk.index, finish_of(reason, CHAT_FINISHES), self._envelope.tail)
            )

    def _note(self, details: Mapping[str, Any]) -> None:
        self._envelope.note(details)
        for index in self._before:
            self._before[index] = self._before_text(index)

    def _before_text(self, index: int) -> bytes:
        return b'%b{"index":%d,"delta":{"content":' % (self._envelope.head, index)

    def _open(self, chunk: ChatGenerationChunk, frames: list[bytes]) -> _Choice:
        """Return the choice of *chunk*; begin it, and those before it, if need be."""
        known = self._choices.get(chunk.index)
        if known is not None:
            return known
        for index in (*range(min(chunk.index, _MOST_CHOICES)), chunk.index):
            if index not in self._choices:
                calls_first = index == chunk.index and chunk.tool_calls and not chunk.text
                frames.append(
                    b'%b{"index":%d,"delta":{"role":"assistant","content":%b,"refusal":null},'
                    b'"logprobs":null,"finish_reason":null}%b'
                    % (self._envelope.head, index, b"null" if calls_first else b'""', self._envelope.tail)
                )
                self._before[index] = self._before_text(index)
                self._choices[index] = _Choice(functions=self._functions)
        return self._choices[chunk.index]

    def _delta(self, chunk: ChatGenerationChunk, choice: _Choice, details: Mapping[str, Any]) -> list[bytes]:
        members = []
        refusal = _own(details.get("refusal"), chunk.index)
        if isinstance(refusal, str) and refusal:
            members.append(b'"refusal":' + quote(refusal))
        # Providers repeat a refusal as the text, for those who look at nothing else.
        if chunk.text and chunk.text != refusal:
            members.append(b'"content":' + quote(chunk.text))
        if chunk.reasoning:
            members.append(b'"reasoning_content":' + quote(chunk.reasoning))
        if chunk.reasoning_part is not None:
            thoughts = choice.think(chunk.reasoning_part)
            if thoughts:
                members.append(member("reasoning_details", thoughts))
        if chunk.tool_calls:
            members += choice.call(chunk.tool_calls)
        if details:
            beside = {name: _own(details.get(name), chunk.index) for name in BESIDE}
            members += [member(name, value) for name, value in beside.items() if value]
        return members


def _own(detail: Any, index: int) -> Any:
    """Return what of *detail* is about the choice *index*: whole answers that are streamed all the same have it by choice."""
    if isinstance(detail, Mapping) and detail and all(map(str.isdigit, detail)):
        return detail.get(str(index))
    return detail


class _Choice:
    """What frames of one choice go by."""

    def __init__(self, *, functions: bool) -> None:
        self._functions = functions
        #: Index of the call that is spelt `function_call`.
        self.function: int | None = None
        #: Positions of the others as they are sent, by their index.
        self.calls: dict[int, int] = {}
        self._held_back: list[ReasoningPart] = []
        self._thoughts = 0

    def think(self, part: ReasoningPart) -> list[dict[str, Any]]:
        """Return the details to send now that *part* is whole: none before one of them has more than its text."""
        self._held_back.append(part)
        if not self._thoughts and not is_opaque(part):
            return []
        thoughts = thoughts_of(self._held_back, self._thoughts)
        self._thoughts += len(thoughts)
        self._held_back.clear()
        return thoughts

    def call(self, deltas: Sequence[ToolCallDelta]) -> list[bytes]:
        """Return the members of a delta that tell of *deltas*."""
        members, calls = [], []
        for delta in deltas:
            if self._functions and self.function is None:
                self.function = delta.index
            if delta.index == self.function:
                members.append(b'"function_call":{%b}' % _function(delta))
                continue
            position = self.calls.get(delta.index)
            if position is None:
                position = self.calls[delta.index] = len(self.calls)
                kind = b',"type":"function"'
            else:
                kind = b""
            call_id = b"" if delta.id is None else b',"id":' + quote(delta.id)
            calls.append(b'{"index":%d%b%b,"function":{%b}}' % (position, call_id, kind, _function(delta)))
        if calls:
            members.append(b'"tool_calls":[%b]' % b",".join(calls))
        return members


def _function(delta: ToolCallDelta) -> bytes:
    arguments = b'"arguments":' + quote(delta.arguments)
    return arguments if delta.name is None else b'"name":%b,%b' % (quote(delta.name), arguments)


__all__ = ["ChatFrames"]
