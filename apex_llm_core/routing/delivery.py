"""A stream from its first list of chunks to its end, which decides how its attempt ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from operator import attrgetter

import attrs

from apex_llm_core.context import CallContext
from apex_llm_core.errors import LLMError, ServiceUnavailableError
from apex_llm_core.hookspecs import ChunkBatch
from apex_llm_core.models.candidates import Candidate
from apex_llm_core.models.results import ChatGenerationChunk
from apex_llm_core.routing.flight import Flight, being_cancelled, cost_of

#: From so many chunks on it pays to look at them together.
_MANY = 3
#: What of a chunk is looked at here, and what nearly every chunk has there.
_news: Callable[[ChatGenerationChunk], tuple[object, ...]] = attrgetter("finish_reason", "usage", "index")
_NO_NEWS = _news(ChatGenerationChunk())


@attrs.frozen(kw_only=True, eq=False)
class Opened:
    """A stream whose first list of chunks is there."""

    flight: Flight
    first: ChunkBatch
    rest: AsyncGenerator[ChunkBatch, None]
    #: How many answers were asked for; each must end.
    choices: int
    #: Size of the prompt, estimated; for streams that are thrown away.
    prompt_tokens: int


async def delivered(opened: Opened, context: CallContext) -> AsyncGenerator[ChunkBatch, None]:
    """Yield all of an opened stream and end its flight by how the stream ends."""
    flight, rest, watch = opened.flight, opened.rest, opened.flight.watch
    batch = opened.first
    choices = opened.choices
    ended: set[int] = set()
    delivery = context.delivery
    delivery.provider, delivery.model = flight.candidate.provider, flight.candidate.model
    try:
        async with aclosing(rest):
            with watch:
                while True:
                    if len(batch) < _MANY or [*map(_news, batch)].count(_NO_NEWS) < len(batch):
                        for chunk in batch:
                            if chunk.index >= choices:
                                choices = chunk.index + 1
                            if chunk.finish_reason is not None:
                                ended.add(chunk.index)
                            if chunk.usage is not None:
                                delivery.usage = chunk.usage
                                delivery.cost = cost_of(flight.candidate, chunk.usage)
                    delivery.finished = len(ended) >= choices
                    watch.pause()
                    yield batch
                    watch.resume()
                    try:
                        batch = await rest.__anext__()
                    except StopAsyncIteration:
                        break
        if not delivery.finished:
            raise truncated(flight.candidate)
    except (asyncio.CancelledError, GeneratorExit) as left:
        if isinstance(left, asyncio.CancelledError) and not being_cancelled():
            raise _failed(flight, left, context) from left
        # Who leaves after the finish reason has had everything.
        if delivery.finished:
            flight.succeed(delivery.usage)
        else:
            flight.abandon()
        raise
    except Exception as raised:
        error = _failed(flight, raised, context)
        raise error from error.__cause__
    else:
        flight.succeed(delivery.usage)
    finally:
        if delivery.cost is not None:
            # Losers of a hedge, and whatever was charged before, are paid, too.
            delivery.cost = context.bill.cost


async def discard(opened: Opened) -> None:
    """Close a stream that nobody will read: another attempt was faster."""
    try:
        await opened.rest.aclose()
    finally:
        opened.flight.lose(opened.prompt_tokens)


def truncated(candidate: Candidate) -> ServiceUnavailableError:
    """Return the error of a stream that ended before its terminal chunk: an incomplete answer is no success."""
    return ServiceUnavailableError(
        f"the stream of provider {candidate.provider!r} ended without a finish reason: the answer is incomplete",
        provider=candidate.provider,
        model=candidate.model,
    )


def _failed(flight: Flight, raised: BaseException, context: CallContext) -> LLMError:
    error = flight.fail(raised)
    error.attempts = tuple(context.attempts)
    return error


__all__ = ["Opened", "delivered", "discard", "truncated"]
