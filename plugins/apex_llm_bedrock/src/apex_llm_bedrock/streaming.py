"""A streamed answer of Converse: bytes of the event stream in, chunks out. A pure state machine, no I/O.

========================================  =============================================================================
what comes                                what becomes of it
========================================  =============================================================================
``contentBlockStart`` of a tool call      the call's id and name; text has no such event
``contentBlockDelta``                     text, a piece of reasoning, a piece of a call's arguments; where a tool stands
                                          for the answer, its arguments are the text, and text comes last or never
``contentBlockStop``                      of reasoning: the whole block with its signature, to be sent back unchanged;
                                          of a call without arguments: ``{}``
``messageStop``                           the finish reason
``metadata``, before or after that        usage; traces and the like go to `details`
event, or kind of content, nobody knows   kept in `details`
exception or error                        the chunks before it are handed out, then it is raised
end without ``messageStop``               an error: the answer is incomplete
broken frame                              an error
========================================  =============================================================================

After `feed` or `close` returned, look at `failure` and `done`.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from apex_llm_bedrock.answers import (
    SERVICES_OWN,
    Reading,
    count_of,
    finish_reason,
    reasoning_part,
    text_of,
    told_of_end,
    usage_of,
    word_of,
)
from apex_llm_bedrock.event_stream import EventStreamDecoder, Message
from apex_llm_core.converters import decode
from apex_llm_core.errors import LLMError, ServiceUnavailableError
from apex_llm_core.models import ChatGenerationChunk, ToolCallDelta, Usage, text_chunk

#: Events parsed at a time.
_PORTION = 32
#: In place of the index of a call: of the tool that stands for the answer, and of what nobody is told.
_ANSWER, _NOBODYS = -1, -2
#: A member of events that only makes them longer.
_PADDING = "p"
#: Events nobody knows that are kept.
_MOST_UNKNOWN = 32


class ConverseStreamDecoder:
    """Feed it what each network read brought.

    Args:
        failure_of: makes the error of an exception or error in the stream.
        reading: what the request says of its answer.
    """

    def __init__(self, failure_of: Callable[[Message], LLMError], reading: Reading) -> None:
        self._failure_of = failure_of
        self._reading = reading
        self._frames = EventStreamDecoder()
        #: By content block: the index of its call.
        self._tools: dict[int, int] = {}
        #: Content blocks of calls that have no arguments so far.
        self._bare: set[int] = set()
        self._calls = 0
        #: What was said where a tool stands for the answer: it counts only if that is not called.
        self._said: list[str] = []
        self._reasoning: dict[int, dict[str, str]] = {}
        self._finish: str | None = None
        self._usage: Usage | None = None
        self._told: dict[str, Any] = {}
        self._metadata = False
        #: The message and its metadata were there; nothing after them counts.
        self.done = False
        #: Why the stream cannot go on; to be raised once the chunks returned with it are handed out.
        self.failure: LLMError | None = None
        #: Bytes seen so far.
        self.received = 0

    def feed(self, data: bytes) -> list[ChatGenerationChunk]:
        """Return the chunks that *data* completes."""
        self.received += len(data)
        if self._over():
            return []
        messages = self._frames.feed(data)
        chunks: list[ChatGenerationChunk] = []
        if messages:
            # In portions that stay in the processor's cache.
            for start in range(0, len(messages), _PORTION):
                self._take_all(messages[start : start + _PORTION], chunks)
                if self._over():
                    return chunks
        if self._frames.failure:
            self._fail(f"the stream is broken after {self.received} bytes: {self._frames.failure}")
        return chunks

    def close(self) -> list[ChatGenerationChunk]:
        """Return what the end of the stream completes; without ``messageStop`` there is a `failure`."""
        if self._over():
            return []
        chunks: list[ChatGenerationChunk] = []
        self._frames.close()
        if self._frames.failure:
            self._fail(f"the stream broke off: {self._frames.failure}; the answer is incomplete")
        elif self._finish is None:
            self._fail(f"the stream ended without messageStop after {self.received} bytes: the answer is incomplete")
        else:
            self._end(self._finish, chunks)
        return chunks

    def _over(self) -> bool:
        return self.done or self.failure is not None

    def _take_all(self, messages: Sequence[Message], chunks: list[ChatGenerationChunk]) -> None:
        holds = bool(self._reading.json_tool)
        for message, document in zip(messages, _documents(messages), strict=True):
            if message.is_failure:
                self.failure = self._failure_of(message)
                return
            if type(document) is not dict:
                self._fail(f"the event {message.name!r} of the stream is no JSON object", document)
                return
            try:
                if message.name == "contentBlockDelta":
                    delta = document["delta"]
                    if type(text := delta.get("text")) is str and not holds:
                        # What nearly every event is.
                        if text:
                            chunks.append(text_chunk(text, 0))
                    else:
                        self._take_delta(count_of(document["contentBlockIndex"]), delta, chunks)
                else:
                    self._take_rare(message.name, document, chunks)
                    if self.done:
                        return
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                self._fail(f"the event {message.name!r} of the stream has an unknown form", error)
                return

    def _take_delta(self, block: int, delta: Mapping[str, Any], chunks: list[ChatGenerationChunk]) -> None:
        if "toolUse" in delta:
            arguments = text_of(delta["toolUse"].get("input") or "")
            index = self._tools[block]
            if arguments:
                self._bare.discard(block)
                _argue(index, arguments, chunks)
        elif "reasoningContent" in delta:
            self._take_reasoning(block, delta["reasoningContent"], chunks)
        elif "citation" in delta:
            self._told.setdefault("citations", []).append(delta["citation"])
        elif "text" in delta:
            self._said.append(text_of(delta["text"]))
        elif delta:
            self._keep("other_content", dict(delta))

    def _take_reasoning(self, block: int, delta: Mapping[str, Any], chunks: list[ChatGenerationChunk]) -> None:
        so_far = self._reasoning.setdefault(block, {})
        for member in ("text", "signature", "redactedContent"):
            if delta.get(member):
                so_far[member] = _joined(so_far.get(member, ""), text_of(delta[member]), member)
        if delta.get("text"):
            chunks.append(ChatGenerationChunk(reasoning=text_of(delta["text"])))

    def _take_rare(self, name: str, document: Mapping[str, Any], chunks: list[ChatGenerationChunk]) -> None:
        match name:
            case "contentBlockStart":
                self._start_block(count_of(document["contentBlockIndex"]), document.get("start") or {}, chunks)
            case "contentBlockStop":
                self._stop_block(document["contentBlockIndex"], chunks)
            case "messageStop":
                self._finish = word_of(document["stopReason"])
                self._told.update(told_of_end(self._finish, document))
            case "metadata":
                self._metadata = True
                self._usage, more = usage_of(document.get("usage"))
                self._told.update(told_of_end("end_turn", document) | more)
            case "messageStart" | "initial-response":
                pass
            case _:
                self._keep("unknown_events", {name: {key: document[key] for key in document if key != _PADDING}})
        if self._metadata and self._finish is not None:
            self._end(self._finish, chunks)

    def _start_block(self, block: int, start: Mapping[str, Any], chunks: list[ChatGenerationChunk]) -> None:
        use = start.get("toolUse")
        if use is None:
            if start and "reasoningContent" not in start and "text" not in start:
                self._keep("other_content", dict(start))
            return
        name = word_of(use["name"])
        if use.get("type") == SERVICES_OWN:
            self._keep("other_content", dict(start))
            self._tools[block] = _NOBODYS
            return
        if self._reading.json_tool and name == self._reading.json_tool:
            # One answer is wanted.
            self._tools[block] = _NOBODYS if _ANSWER in self._tools.values() else _ANSWER
        else:
            self._tools[block] = self._calls
            name = self._reading.names.original(name)
            call = ToolCallDelta(index=self._calls, id=word_of(use["toolUseId"]), name=name)
            chunks.append(ChatGenerationChunk(tool_calls=(call,)))
            self._calls += 1
        self._bare.add(block)

    def _stop_block(self, block: int, chunks: list[ChatGenerationChunk]) -> None:
        if block in self._bare:
            self._bare.discard(block)
            _argue(self._tools[block], "{}", chunks)
        said = self._reasoning.pop(block, None)
        if said:
            wire = said if "redactedContent" in said else {"reasoningText": {"text": "", **said}}
            chunks.append(ChatGenerationChunk(reasoning_part=reasoning_part(wire)))

    def _end(self, stop_reason: str, chunks: list[ChatGenerationChunk]) -> None:
        """Hand out the finish reason, usage and what was told beside."""
        self.done = True
        for block in sorted(self._bare | self._reasoning.keys()):
            self._stop_block(block, chunks)
        answered = _ANSWER in self._tools.values()
        if self._said and not answered and (text := "".join(self._said)):
            chunks.append(text_chunk(text, 0))
        reason = finish_reason(stop_reason, calls=self._calls > 0, answered=answered)
        self._told.update(self._reading.told())
        chunks.append(ChatGenerationChunk(finish_reason=reason, usage=self._usage, details=self._told or None))

    def _keep(self, name: str, what: dict[str, Any]) -> None:
        kept = self._told.setdefault(name, [])
        if len(kept) < _MOST_UNKNOWN:
            kept.append(what)

    def _fail(self, message: str, error: object = None) -> None:
        cause = error if isinstance(error, Exception) else None
        self.failure = ServiceUnavailableError(message, status_code=200, original_error=cause)
        self.failure.__cause__ = cause


def _argue(index: int, arguments: str, chunks: list[ChatGenerationChunk]) -> None:
    """Hand out *arguments* of the call *index*."""
    if index == _ANSWER:
        chunks.append(text_chunk(arguments, 0))
    elif index != _NOBODYS:
        chunks.append(ChatGenerationChunk(tool_calls=(ToolCallDelta(index=index, arguments=arguments),)))


def _joined(first: str, second: str, member: str) -> str:
    """Return two pieces of a block of reasoning as one; encrypted ones are base64, and each may end with its own padding.

    Raises:
        ValueError: an encrypted piece is no base64.
    """
    if member == "redactedContent" and first.endswith("="):
        return b64encode(b64decode(first, validate=True) + b64decode(second, validate=True)).decode()
    return first + second


def _documents(messages: Sequence[Message]) -> Sequence[Any]:
    """Return what the payloads say; in place of one that is no JSON, its error."""
    if len(messages) > 1:
        try:
            # One pass over all that a read brought costs a third less than one for each event.
            documents: list[Any] = decode(b"[%b]" % b",".join([message.payload for message in messages]))
            if len(documents) == len(messages):
                return documents
        except ValueError:
            pass
    found: list[Any] = []
    for message in messages:
        try:
            found.append(decode(message.payload) if message.payload else {})
        except ValueError as error:
            found.append(error)
    return found


__all__ = ["ConverseStreamDecoder"]
