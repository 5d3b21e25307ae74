"""A streamed answer of InvokeModel: frames that carry pieces in the model's own form. A pure state machine, no I/O.

After `feed` or `close` returned, look at `failure` and `done`. Only the end of the bytes ends such a stream: models have
no last event in common, so that `InvokeStream.finish` sees whether the answer is whole.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable

from apex_llm_bedrock.event_stream import EventStreamDecoder, Message
from apex_llm_bedrock.invoke.text import InvokeStream
from apex_llm_core.converters import decode
from apex_llm_core.errors import LLMError, ServiceUnavailableError
from apex_llm_core.models import ChatGenerationChunk


class InvokeStreamDecoder:
    """Feed it what each network read brought.

    Args:
        failure_of: makes the error of an exception or error in the stream.
        stream: reads the pieces.
    """

    def __init__(self, failure_of: Callable[[Message], LLMError], stream: InvokeStream) -> None:
        self._failure_of = failure_of
        self._stream = stream
        self._frames = EventStreamDecoder()
        #: Nothing that comes now counts.
        self.done = False
        #: Why the stream cannot go on; to be raised once the chunks returned with it are handed out.
        self.failure: LLMError | None = None
        #: Bytes seen so far.
        self.received = 0

    def feed(self, data: bytes) -> list[ChatGenerationChunk]:
        """Return the chunks that *data* completes."""
        self.received += len(data)
        chunks: list[ChatGenerationChunk] = []
        if self._over():
            return chunks
        for message in self._frames.feed(data):
            self._take(message, chunks)
            if self._over():
                return chunks
        if self._frames.failure:
            self._fail(f"the stream is broken after {self.received} bytes: {self._frames.failure}")
        return chunks

    def close(self) -> list[ChatGenerationChunk]:
        """Return what the end of the stream completes; without a stop reason there is a `failure`."""
        if self._over():
            return []
        self._frames.close()
        if self._frames.failure:
            self._fail(f"the stream broke off: {self._frames.failure}; the answer is incomplete")
            return []
        try:
            chunks = self._stream.finish()
        except LLMError as error:
            self.failure = error
            return []
        self.done = True
        return chunks

    def broken(self, error: LLMError) -> list[ChatGenerationChunk]:  # noqa: ARG002 - as Converse's decoder has it
        """Return nothing: only its end says that such an answer is whole."""
        return []

    def _over(self) -> bool:
        return self.done or self.failure is not None

    def _take(self, message: Message, chunks: list[ChatGenerationChunk]) -> None:
        if message.is_failure:
            self.failure = self._failure_of(message)
        elif message.name == "chunk":
            try:
                document = decode(b64decode(decode(message.payload)["bytes"], validate=True))
                if not isinstance(document, dict):
                    raise TypeError
            except (KeyError, TypeError, ValueError) as error:
                self._fail("a piece of the stream has an unknown form", error)
                return
            try:
                chunks += self._stream.take(document)
            except LLMError as error:
                self.failure = error

    def _fail(self, message: str, error: Exception | None = None) -> None:
        self.failure = ServiceUnavailableError(message, status_code=200, original_error=error)
        self.failure.__cause__ = error


__all__ = ["InvokeStreamDecoder"]
