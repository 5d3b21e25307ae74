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
broken frame                              an error; after ``messageStop`` only usage is missing, and the stream ends well
========================================  =============================================================================

After `feed` or `close` returned, look at `failure` and `done`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from apex_llm_bedrock.answers import (
    SERVICES_OWN,
    Reading,
    count_of,
    finish_reason,
    text_of,
    told_of_end,
    usage_of,
    word_of,
)
from apex_llm_bedrock.content_blocks import ContentBlocks, ThoughtMember
from apex_llm_bedrock.event_stream import EventStreamDecoder, Message
from apex_llm_core.converters import decode
from apex_llm_core.errors import LLMError, ServiceUnavailableError
from apex_llm_core.models import ChatGenerationChunk, Usage, text_chunk

#: Events parsed at a time.
_PORTION = 32
#: What a block of reasoning has, and what that is.
_THOUGHTS: tuple[tuple[str, ThoughtMember], ...] = (
    ("text", "text"),
    ("signature", "signature"),
    ("redactedContent", "data"),
)
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
        self._blocks = ContentBlocks(reading)
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

    def broken(self, error: LLMError) -> list[ChatGenerationChunk]:
        """Return the last chunks if the answer was whole when *error* broke the stream: only its metadata is missing."""
        if self.done or self._finish is None:
            return []
        chunks: list[ChatGenerationChunk] = []
        self._told["broken_after_the_answer"] = error.message
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
            chunks += self._blocks.argue(block, text_of(delta["toolUse"].get("input") or ""))
        elif "reasoningContent" in delta:
            thought = delta["reasoningContent"]
            for name, member in _THOUGHTS:
                if thought.get(name):
                    chunks += self._blocks.think(block, member, text_of(thought[name]))
        elif "citation" in delta:
            self._told.setdefault("citations", []).append(delta["citation"])
        elif "text" in delta:
            chunks += self._blocks.say(text_of(delta["text"]))
        elif delta:
            self._keep("other_content", dict(delta))

    def _take_rare(self, name: str, document: Mapping[str, Any], chunks: list[ChatGenerationChunk]) -> None:
        match name:
            case "contentBlockStart":
                self._start_block(count_of(document["contentBlockIndex"]), document.get("start") or {}, chunks)
            case "contentBlockStop":
                chunks += self._blocks.stop(count_of(document["contentBlockIndex"]))
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
            self._blocks.ignore(block)
        else:
            chunks += self._blocks.call(block, word_of(use["toolUseId"]), name)

    def _end(self, stop_reason: str, chunks: list[ChatGenerationChunk]) -> None:
        """Hand out the finish reason, usage and what was told beside."""
        self.done = True
        chunks += self._blocks.close()
        calls, answered = self._blocks.calls > 0, self._blocks.answered
        reason = finish_reason(stop_reason, calls=calls, answered=answered)
        self._told.update(self._reading.told(answered=answered or calls))
        chunks.append(ChatGenerationChunk(finish_reason=reason, usage=self._usage, details=self._told or None))

    def _keep(self, name: str, what: dict[str, Any]) -> None:
        kept = self._told.setdefault(name, [])
        if len(kept) < _MOST_UNKNOWN:
            kept.append(what)

    def _fail(self, message: str, error: object = None) -> None:
        cause = error if isinstance(error, Exception) else None
        self.failure = ServiceUnavailableError(message, status_code=200, original_error=cause)
        self.failure.__cause__ = cause


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
