"""Streamed answers: one piece for each batch of chunks, that is, for each read from upstream."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from functools import partial

from apex_llm_core import ChatStream
from apex_llm_gateway.calls import Call
from apex_llm_gateway.handlers.view import GatewayView
from apex_llm_gateway.http import StreamReply
from apex_llm_gateway.openai.chat_frames import ChatFrames
from apex_llm_gateway.openai.chat_request import ChatRequest
from apex_llm_gateway.openai.completions_request import CompletionRequest
from apex_llm_gateway.openai.completions_response import CompletionFrames
from apex_llm_gateway.openai.endings import sum_of
from apex_llm_gateway.openai.errors import event_bytes
from apex_llm_gateway.replies import error_reply, origin_headers


def stream_reply(gateway: GatewayView, call: Call, asked: ChatRequest | CompletionRequest) -> StreamReply:
    """Return the streamed answer to *asked*; nothing is sent upstream before its first piece is asked for."""
    caller = call.caller()
    if isinstance(asked, ChatRequest):
        streams = [gateway.manager.generate_chat_stream(asked.messages, asked.options, caller=caller)]
        pieces = _chat(gateway, streams[0], call.id, asked)
    else:
        streams = [
            gateway.manager.generate_text_stream(prompt, asked.options, caller=caller) for prompt in asked.prompts
        ]
        pieces = _completions(gateway, streams, call.id, asked)
    return StreamReply(
        pieces=pieces,
        headers=partial(_headers, streams[0], call.id),
        refuse=partial(error_reply, request_id=call.id),
        farewell=partial(event_bytes, request_id=call.id),
        ended=lambda _left: gateway.activity.end(call.id),
    )


async def _chat(
    gateway: GatewayView, stream: ChatStream, request_id: str, asked: ChatRequest
) -> AsyncGenerator[bytes, None]:
    frames: ChatFrames | None = None
    async with stream, aclosing(stream.batches()) as batches:
        async for batch in batches:
            if frames is None:
                # Who answers is known from the first batch on.
                gateway.activity.note(request_id, stream.provider, stream.model)
                frames = ChatFrames(
                    request_id=request_id,
                    created=int(time.time()),
                    model=stream.model or asked.options.model,
                    include_usage=asked.include_usage,
                    functions=asked.functions,
                )
            piece = frames.feed(batch)
            if piece:
                yield piece
    if frames is not None:
        yield frames.finish(
            stream.usage, cost=stream.cost, provider=stream.provider, attempts=max(1, len(stream.attempts))
        )


async def _completions(
    gateway: GatewayView, streams: list[ChatStream], request_id: str, asked: CompletionRequest
) -> AsyncGenerator[bytes, None]:
    """Stream one prompt after the other; the choices of each are numbered on from those before."""
    frames: CompletionFrames | None = None
    for position, stream in enumerate(streams):
        choices = asked.options.n or 1
        offset = position * choices
        echoed = not asked.echo
        async with stream, aclosing(stream.batches()) as batches:
            async for batch in batches:
                if frames is None:
                    gateway.activity.note(request_id, stream.provider, stream.model)
                    frames = CompletionFrames(
                        request_id=request_id,
                        created=int(time.time()),
                        model=stream.model or asked.options.model,
                        include_usage=asked.include_usage,
                    )
                before = b""
                if not echoed:
                    echoed = True
                    before = frames.echo(asked.prompts[position], range(offset, offset + choices))
                piece = before + frames.feed(batch, offset)
                if piece:
                    yield piece
    if frames is not None:
        costs = [stream.cost for stream in streams]
        yield frames.finish(
            sum_of([stream.usage for stream in streams]),
            cost=None if None in costs else sum(cost for cost in costs if cost is not None),
            provider=streams[0].provider,
            attempts=sum(max(1, len(stream.attempts)) for stream in streams),
        )


def _headers(stream: ChatStream, request_id: str) -> Mapping[str, str]:
    """Return what is known when the head is sent: the attempt under way counts, its cost is not known yet."""
    attempts = len(stream.attempts) + (not stream.cached)
    headers = origin_headers(request_id, stream.provider, stream.model, attempts, cached=stream.cached)
    return {**headers, "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


__all__ = ["stream_reply"]
