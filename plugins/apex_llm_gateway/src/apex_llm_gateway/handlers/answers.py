"""Whole answers: chat, completions, embeddings, images."""

from __future__ import annotations

from apex_llm_gateway.calls import Call
from apex_llm_gateway.handlers.streams import stream_reply
from apex_llm_gateway.handlers.view import GatewayView
from apex_llm_gateway.http import Reply, StreamReply
from apex_llm_gateway.operations import OPERATIONS


async def generate(gateway: GatewayView, call: Call) -> Reply | StreamReply:
    """Answer a request for the operation at its path, whole or streamed as it asks."""
    operation = OPERATIONS[call.request.path]
    rules = gateway.rules
    asked = await call.read(lambda document: operation.read(document, rules))
    options = asked.options
    gateway.permit(call.key, options.model, options.provider)
    stream = getattr(asked, "stream", False)
    key = call.key
    reply = stream_reply(gateway, call, asked) if stream else None
    gateway.activity.begin(call.id, operation.name, options.model, key.user, key.name, stream)
    if reply is not None:
        return reply
    try:
        return await operation.answer(gateway.manager, asked, call.caller(), call.id)
    finally:
        gateway.activity.end(call.id)


__all__ = ["generate"]
