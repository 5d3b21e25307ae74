"""The inner end of the way that a middleware is tested on: answers, fails or hangs, and keeps what reached it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from typing import Any, NamedTuple

import attrs

from apex_llm_core.context import CallContext
from apex_llm_core.hookspecs import ChunkBatch
from apex_llm_core.models import (
    ChatGenerationChunk,
    ChatGenerationResult,
    ChatMessage,
    EmbeddingResult,
    EmbedRequest,
    GenerateRequest,
    ImageGenerationResult,
    ImageRequest,
    Usage,
)
from apex_llm_core.testing.clock import FakeClock


def words_of(request: Any) -> str:
    """Return the words of *request*, which are also the answer to it."""
    if isinstance(request, EmbedRequest):
        return " ".join(request.texts)
    if isinstance(request, ImageRequest):
        return request.prompt
    return " ".join(message.text for message in request.messages)


def _generated(request: GenerateRequest) -> ChatGenerationResult:
    message = ChatMessage(role="assistant", content=words_of(request))
    return ChatGenerationResult(message=message, model=request.model, provider="test", usage=Usage(prompt_tokens=1))


def _embedded(request: EmbedRequest) -> EmbeddingResult:
    vectors = tuple((float(len(text)), 1.0) for text in request.texts)
    return EmbeddingResult(embeddings=vectors, model=request.model, provider="test")


def _drawn(request: ImageRequest) -> ImageGenerationResult:
    return ImageGenerationResult(images=(request.prompt,), model=request.model, provider="test", media_type="image/png")


def batches_of(request: GenerateRequest) -> Iterator[ChunkBatch]:
    """Yield the answer word by word, the last two in one list, as networks do."""
    *words, last = [f"{word} " for word in words_of(request).split()]
    for word in words:
        yield [ChatGenerationChunk(text=word)]
    yield [ChatGenerationChunk(text=last), ChatGenerationChunk(finish_reason="stop", usage=Usage(prompt_tokens=1))]


class Whole(NamedTuple):
    """One hook around whole results: what it takes, how the inner end answers, and what it returns."""

    operation: str
    request: type
    answer: Callable[[Any], Any]
    result: type


#: The hooks around whole results.
WHOLE = {
    "apex_around_generate": Whole("chat", GenerateRequest, _generated, ChatGenerationResult),
    "apex_around_embed": Whole("embed", EmbedRequest, _embedded, EmbeddingResult),
    "apex_around_image": Whole("image", ImageRequest, _drawn, ImageGenerationResult),
}
#: The hook around streams.
STREAM = "apex_around_stream"


@attrs.define(eq=False)
class InnerEnd:
    """The rest of the way as a middleware sees it: answers after a moment, or fails; keeps what reached it.

    A negative *delay* waits for ever.
    """

    clock: FakeClock
    delay: float = 1.0
    error: Exception | None = None
    seen: list[tuple[Any, CallContext]] = attrs.field(factory=list)
    begun: int = 0
    #: Streams and calls that ended, however they ended.
    ended: int = 0

    def _see(self, request: Any, context: CallContext, expected: type) -> None:
        assert type(request) is expected, f"passed on a {type(request).__name__}; expected {expected.__name__}"
        self.seen.append((request, context))
        self.begun += 1

    async def _moment(self) -> None:
        if self.delay < 0:
            await asyncio.Event().wait()
        await asyncio.sleep(self.delay)

    def handler(self, hook: str) -> Callable[..., Awaitable[Any]]:
        """Return the `call_next` of *hook*."""

        async def call_next(request: Any, context: CallContext) -> Any:
            self._see(request, context, WHOLE[hook].request)
            try:
                await self._moment()
                if self.error is not None:
                    raise self.error
                return WHOLE[hook].answer(request)
            finally:
                self.ended += 1

        return call_next

    async def stream(self, request: GenerateRequest, context: CallContext) -> AsyncGenerator[ChunkBatch, None]:
        """Be the `call_next` of streams; fails after the first list."""
        self._see(request, context, GenerateRequest)
        try:
            for batch in batches_of(request):
                yield batch
                await self._moment()
                if self.error is not None:
                    raise self.error
        finally:
            self.ended += 1


__all__ = ["STREAM", "WHOLE", "InnerEnd", "Whole", "batches_of", "words_of"]
