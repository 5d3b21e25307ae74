"""What a caller holds of a streamed answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import Self

from apex_llm_core.context import CallContext
from apex_llm_core.errors import Attempt
from apex_llm_core.hookspecs import ChunkBatch
from apex_llm_core.models.results import ChatGenerationChunk, Usage


class ChatStream:
    """Chunks of one answer: ``async for chunk in stream``.

    Nothing is sent before the first chunk is asked for. Leave early by ``async with stream:`` or `aclose()`, which close
    the upstream at once.
    """

    def __init__(self, begin: Callable[[], AsyncGenerator[ChunkBatch, None]], context: CallContext) -> None:
        self._begin = begin
        self._context = context
        self._batches: AsyncGenerator[ChunkBatch, None] | None = None
        self._closed = False
        self._pending: Iterator[ChatGenerationChunk] = iter(())

    @property
    def request_id(self) -> str:
        """The correlation id of the request."""
        return self._context.request_id

    @property
    def provider(self) -> str | None:
        """The provider that answers, None before the first chunk."""
        return self._context.delivery.provider

    @property
    def model(self) -> str | None:
        """The model that answers, None before the first chunk."""
        return self._context.delivery.model

    @property
    def cost(self) -> float | None:
        """The cost of the answer once its usage is known, None while it is not or when a price is unknown."""
        return self._context.delivery.cost

    @property
    def cached(self) -> bool:
        """Whether the answer comes from the cache."""
        return self._context.delivery.cached

    @property
    def degraded(self) -> str:
        """The step of degradation that answers, empty when none was needed or before the first chunk."""
        return self._context.delivery.degraded

    @property
    def usage(self) -> Usage | None:
        """The token counts once the provider has told them."""
        return self._context.delivery.usage

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The attempts that have ended so far."""
        return tuple(self._context.attempts)

    def __aiter__(self) -> AsyncIterator[ChatGenerationChunk]:
        return self

    async def __anext__(self) -> ChatGenerationChunk:
        for chunk in self._pending:
            return chunk
        batches = self._batches or self._open()
        while True:
            self._pending = iter(await anext(batches))
            for chunk in self._pending:
                return chunk

    async def batches(self) -> AsyncGenerator[ChunkBatch, None]:
        """Yield lists of chunks: all that one network read brought. Who leaves early closes the stream itself."""
        left = list(self._pending)
        if left:
            yield left
        if self._batches is None and self._closed:
            return
        async for batch in self._batches or self._open():
            yield batch

    async def aclose(self) -> None:
        """Close the upstream; safe to call before the first chunk, and more than once."""
        self._closed = True
        self._pending = iter(())
        if self._batches is not None:
            await self._batches.aclose()

    def _open(self) -> AsyncGenerator[ChunkBatch, None]:
        if self._closed:
            raise StopAsyncIteration
        self._batches = self._begin()
        return self._batches

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


__all__ = ["ChatStream"]
