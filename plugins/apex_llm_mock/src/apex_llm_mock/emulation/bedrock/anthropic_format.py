"""Anthropic's Messages through InvokeModel."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import blake2b
from itertools import count
from typing import Any

from apex_llm_mock.emulation.answers import RefusedError
from apex_llm_mock.emulation.bedrock.anthropic_wire import asked
from apex_llm_mock.emulation.bedrock.base_model import BaseModel
from apex_llm_mock.emulation.bedrock.errors import invalid
from apex_llm_mock.emulation.bedrock.spoken import Document, Spoken, TextFormat


def _document(spoken: Spoken) -> Document:
    return {
        **_envelope(spoken),
        "content": _content(spoken),
        "stop_reason": _reason(spoken),
        "stop_sequence": spoken.stopped_by,
        "usage": {**_input_usage(spoken), "output_tokens": spoken.output_tokens},
    }


def _envelope(spoken: Spoken) -> Document:
    return {
        "model": spoken.model.id.removeprefix("anthropic.").partition("-v")[0],
        "id": f"msg_bdrk_{_hex(spoken.key)}",
        "type": "message",
        "role": "assistant",
    }


def _hex(key: str) -> str:
    return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def _input_usage(spoken: Spoken) -> Document:
    return {
        "input_tokens": spoken.input_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
    }


def _content(spoken: Spoken) -> list[Document]:
    answer = spoken.answer
    content: list[Document] = []
    if answer.reasoning:
        content.append({"type": "thinking", "thinking": answer.reasoning, "signature": _signature(answer.reasoning)})
    if answer.text or not answer.tool_calls:
        content.append({"type": "text", "text": answer.text})
    calls = answer.tool_calls
    return content + [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": _input(call.arguments)} for call in calls
    ]


def _input(arguments: str) -> Any:
    try:
        return json.loads(arguments or "{}")
    except ValueError:
        # What the model could not finish comes as an empty object.
        return {}


def _signature(reasoning: str) -> str:
    return _hex(f"signature/{reasoning}")


def _reason(spoken: Spoken) -> str:
    if spoken.stopped_by is not None:
        return "stop_sequence"
    known = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
    return known.get(spoken.finish, spoken.finish)


def _events(spoken: Spoken, size: int) -> Iterator[Document]:
    message = {
        **_envelope(spoken),
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**_input_usage(spoken), "output_tokens": 1},
    }
    yield {"type": "message_start", "message": message}
    indices = count()
    answer = spoken.answer
    if answer.reasoning:
        deltas = [{"type": "thinking_delta", "thinking": piece} for piece in _pieces(answer.reasoning, size)]
        signature = {"type": "signature_delta", "signature": _signature(answer.reasoning)}
        yield from _block(next(indices), {"type": "thinking", "thinking": "", "signature": ""}, [*deltas, signature])
    if answer.text or not answer.tool_calls:
        texts = [{"type": "text_delta", "text": piece} for piece in spoken.texts(size)]
        yield from _block(next(indices), {"type": "text", "text": ""}, texts)
    for call in answer.tool_calls:
        begun = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}
        pieces = [{"type": "input_json_delta", "partial_json": piece} for piece in ["", *_pieces(call.arguments, size)]]
        yield from _block(next(indices), begun, pieces)
    yield {
        "type": "message_delta",
        "delta": {"stop_reason": _reason(spoken), "stop_sequence": spoken.stopped_by},
        "usage": {"output_tokens": spoken.output_tokens},
    }
    yield {"type": "message_stop"}


def _block(index: int, begun: Document, deltas: list[Document]) -> Iterator[Document]:
    yield {"type": "content_block_start", "index": index, "content_block": begun}
    for delta in deltas:
        yield {"type": "content_block_delta", "index": index, "delta": delta}
    yield {"type": "content_block_stop", "index": index}


def _pieces(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


def _too_long(tokens: int, model: BaseModel) -> RefusedError:
    return invalid(f"prompt is too long: {tokens} tokens > {model.window} maximum")


ANTHROPIC = TextFormat(asked=asked, document=_document, events=_events, too_long=_too_long)

__all__ = ["ANTHROPIC"]
