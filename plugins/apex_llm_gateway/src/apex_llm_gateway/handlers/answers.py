"""Whole answers: chat, completions, embeddings, images."""

from __future__ import annotations

from apex_llm_gateway.calls import Call
from apex_llm_gateway.handlers.house import House
from apex_llm_gateway.handlers.streams import stream_reply
from apex_llm_gateway.http import Reply, StreamReply
from apex_llm_gateway.operations import OPERATIONS


async def generate(house: House, call: Call) -> Reply | StreamReply:
    """Answer a request for the operation at its path, whole or streamed as it asks."""
    operation = OPERATIONS[call.request.path]
    rules = house.rules
    asked = await call.read(lambda document: operation.read(document, rules))
    options = asked.options
    house.permit(call.key, options.model, options.provider)
    stream = getattr(asked, "stream", False)
    key = call.key
    reply = stream_reply(house, call, asked) if stream else None
    house.activity.begin(call.id, operation.name, options.model, key.user, key.name, stream)
    if reply is not None:
        return reply
    try:
        return await operation.answer(house.manager, asked, call.caller(), call.id)
    finally:
        house.activity.end(call.id)


__all__ = ["generate"]
