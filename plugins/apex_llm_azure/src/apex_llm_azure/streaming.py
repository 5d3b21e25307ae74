"""A streamed chat completion: server-sent events in, chunks out. A pure state machine, no I/O.

What Azure sends beyond the plain protocol, and what becomes of it:

========================================================  =============================================================
first event without choices, with the verdict on the      kept for `details`; never taken for an answer
prompt, and empty ``id`` and ``model``
annotation of the asynchronous filter: a choice without   merged into `details`, also after ``stop``
``delta``, long after the text it is about
verdict of that filter, before or after ``stop``:         overrides the finish reason; therefore a finish reason is held
``content_filter``, or ``filtered`` without any text      back until ``[DONE]``
``error`` event under status 200                          the chunks before it are handed out, then it is raised
end without ``[DONE]``, or a choice without finish reason  an error: the answer is incomplete
========================================================  =============================================================

After `feed` or `close` returned, look at `failure` and `done`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import methodcaller
from typing import Any

from apex_llm_azure.answers import FINISH_REASONS, count_of, text_of, usage_of
from apex_llm_azure.failure_shapes import is_failure
from apex_llm_azure.filters import filtered, merged, prompt_results
from apex_llm_azure.splicing import Splicer
from apex_llm_core.converters import decode
from apex_llm_core.errors import LLMError, ServiceUnavailableError
from apex_llm_core.models import ChatGenerationChunk, ToolCallDelta, Usage, text_chunk
from apex_llm_core.transport import SseDecoder, SseError

#: Whether an event ends the stream.
_is_end: Callable[[bytes], bool] = methodcaller("startswith", b"[DONE]")
#: Events parsed at a time: in the beginning, and at most.
_FIRST_PORTION = 3
_PORTION = 32
_NOTHING: Mapping[str, Any] = {}


class ChatStreamDecoder:
    """Feed it what each network read brought.

    Args:
        failure_of: makes the error of an ``error`` event.
        choices: how many answers were asked for.
        told: what goes into `details` beside that which the events tell.
    """

    def __init__(
        self,
        failure_of: Callable[[Mapping[str, Any]], LLMError],
        *,
        choices: int = 1,
        told: Mapping[str, Any] = _NOTHING,
    ) -> None:
        self._failure_of = failure_of
        self._sse = SseDecoder()
        self._splicer = Splicer()
        self._portion = _FIRST_PORTION
        self._choices = choices
        self._prompt: Any = None
        #: By choice: the annotations so far, and the finish reason that is held back.
        self._annotations: dict[int, Mapping[str, Any]] = {}
        self._finish: dict[int, str] = {}
        #: Choices of which a filter held something back after it was sent.
        self._taken_back: set[int] = set()
        self._usage: Usage | None = None
        self._told: dict[str, Any] = dict(told)
        #: No event has named the model yet.
        self._unnamed = True
        #: ``[DONE]`` was there; nothing after it counts.
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
        try:
            events = self._sse.feed_data(data)
        except SseError as error:
            self._fail(str(error), error)
            return []
        return self._read(events)

    def close(self) -> list[ChatGenerationChunk]:
        """Return what the end of the stream completes; without ``[DONE]`` there is a `failure`."""
        if self._over():
            return []
        chunks = self._read([event.data for event in self._sse.close()])
        if not self._over():
            self._fail(f"the stream ended without [DONE] after {self.received} bytes: the answer is incomplete")
        return chunks

    def _over(self) -> bool:
        return self.done or self.failure is not None

    def _read(self, texts: list[bytes]) -> list[ChatGenerationChunk]:
        ends = any(map(_is_end, texts))
        if ends:
            texts = texts[: list(map(_is_end, texts)).index(True)]
        chunks: list[ChatGenerationChunk] = []
        splicer = self._splicer
        position, count = 0, len(texts)
        while (position := splicer.run(texts, position, chunks)) < count:
            # In portions: small ones while something may be learnt from the next, at most what stays in the processor's cache.
            size = 1 if splicer.hopeful else self._portion
            self._portion = min(2 * size, _PORTION)
            portion = texts[position : position + size]
            documents = self._documents(portion)
            self._take_all(documents, chunks)
            if self.failure is not None:
                return chunks
            if not self._unnamed:
                splicer.learn(portion[-1], documents[-1])
            position += len(portion)
        if ends:
            self._finish_all(chunks)
        return chunks

    def _take_all(self, documents: Sequence[Mapping[str, Any]], chunks: list[ChatGenerationChunk]) -> None:
        for document in documents:
            try:
                choices = document.get("choices")
                if choices:
                    for choice in choices:
                        delta = choice.get("delta")
                        if (
                            delta
                            and len(delta) == 1
                            and (text := delta.get("content"))
                            and type(text) is str
                            and choice.get("finish_reason") is None
                            and choice.get("logprobs") is None
                            and type(index := choice.get("index", 0)) is int
                        ):
                            # What nearly every event is.
                            annotations = choice.get("content_filter_results")
                            if annotations and annotations != self._annotations.get(index):
                                self._annotate(index, annotations)
                            chunks.append(text_chunk(text, index))
                        else:
                            self._take_rare(choice, chunks)
                if not choices or self._unnamed or document.get("usage") is not None or "error" in document:
                    self._take_aside(document)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                self._fail(f"an event of the stream has an unknown form ({type(error).__name__})", error)
            if self.failure is not None:
                return

    def _documents(self, texts: list[bytes]) -> Sequence[Mapping[str, Any]]:
        """Return the JSON objects of all events; those before a broken one are kept."""
        if len(texts) > 1:
            # One pass over all that a read brought costs a third less than one for each event.
            try:
                joined = decode(b"[%b]" % b",".join(texts))
            except ValueError:
                joined = None
            if joined is not None and len(joined) == len(texts) and set(map(type, joined)) == {dict}:
                return joined  # type: ignore[no-any-return]
        documents: list[dict[Any, Any]] = []
        for text in texts:
            try:
                document = decode(text)
            except ValueError as error:
                self._broken(text, documents, error)
                break
            if type(document) is not dict:
                self._broken(text, documents, None)
                break
            documents.append(document)
        return documents

    def _broken(self, text: bytes, before: list[dict[Any, Any]], error: Exception | None) -> None:
        """Leave a document behind that fails when its turn has come, after those *before* it."""
        before.append(
            {"choices": (), _BROKEN: (f"an event of the stream is no JSON object ({len(text)} bytes)", error)}
        )

    def _take_rare(self, choice: Mapping[str, Any], chunks: list[ChatGenerationChunk]) -> None:
        index = choice.get("index", 0)
        if type(index) is not int:
            raise TypeError
        delta = choice.get("delta") or _NOTHING
        reason = choice.get("finish_reason")
        annotations = choice.get("content_filter_results")
        # Some gateways write "" where the service writes null.
        if reason and self._finish.get(index) != "content_filter":
            self._finish[index] = FINISH_REASONS.get(reason) or text_of(reason)
        logprobs = choice.get("logprobs")
        refusal = delta.get("refusal")
        text = text_of(delta.get("content") or refusal or "")
        reasoning = text_of(delta.get("reasoning_content") or "")
        calls = tuple(map(_tool_call, delta.get("tool_calls") or ()))
        function = delta.get("function_call")
        if function:
            calls = (_tool_call({"function": function}),)
        details = {name: delta[name] for name in ("context", "audio") if delta.get(name)}
        if refusal:
            details["refusal"] = refusal
        if annotations:
            self._annotate(index, annotations)
            if filtered(annotations) and not (text or calls):
                # A verdict on what the caller has already: it is to be taken back, whatever the model says of its end.
                self._taken_back.add(index)
        if text or reasoning or calls or details or logprobs:
            chunks.append(
                ChatGenerationChunk(
                    text=text,
                    reasoning=reasoning,
                    tool_calls=calls,
                    logprobs=logprobs,
                    details=details or None,
                    index=index,
                )
            )

    def _annotate(self, index: int, annotations: Mapping[str, Any]) -> None:
        known = self._annotations.get(index)
        self._annotations[index] = annotations if known is None else merged(known, annotations)

    def _take_aside(self, document: Mapping[str, Any]) -> None:
        """Take what stands beside the choices."""
        if is_failure(document):
            self.failure = self._failure_of(document)
            return
        if _BROKEN in document:
            self._fail(*document[_BROKEN])
            return
        verdict = prompt_results(document)
        if verdict:
            self._prompt = verdict
        usage = document.get("usage")
        if usage:
            self._usage = usage_of(usage)
        for member in ("model", "system_fingerprint", "service_tier"):
            if document.get(member):
                self._told["served_model" if member == "model" else member] = document[member]
        self._unnamed = "served_model" not in self._told

    def _finish_all(self, chunks: list[ChatGenerationChunk]) -> None:
        """Hand out the finish reasons; usage and what is known of all choices go with the last one."""
        unfinished = [index for index in range(self._choices) if index not in self._finish]
        if unfinished:
            self._fail(f"the stream ended without a finish reason of choice {unfinished[0]}: the answer is incomplete")
            return
        self.done = True
        last = max(self._finish)
        for index, reason in sorted(self._finish.items()):
            details: dict[str, Any] = {}
            if index in self._annotations:
                details["content_filter_results"] = self._annotations[index]
            if index == last:
                details.update(self._told)
                if self._prompt:
                    details["prompt_filter_results"] = self._prompt
            chunks.append(
                ChatGenerationChunk(
                    finish_reason="content_filter" if index in self._taken_back else reason,
                    usage=self._usage if index == last else None,
                    index=index,
                    details=details or None,
                )
            )

    def _fail(self, message: str, error: Exception | None = None) -> None:
        self.failure = ServiceUnavailableError(message, status_code=200, original_error=error)
        self.failure.__cause__ = error


#: A member no service can send: JSON has no keys that are not text.
_BROKEN: Any = object()


def _tool_call(wire: Mapping[str, Any]) -> ToolCallDelta:
    function = wire.get("function") or _NOTHING
    return ToolCallDelta(
        index=count_of(wire.get("index", 0)),
        # Only the first piece of a call has them.
        id=text_of(wire.get("id") or "") or None,
        name=text_of(function.get("name") or "") or None,
        arguments=text_of(function.get("arguments") or ""),
    )


__all__ = ["ChatStreamDecoder"]
