"""Amazon Nova through InvokeModel: the members of Converse in the body, its events as documents of the stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from apex_llm_mock.emulation.bedrock.base_model import BaseModel
from apex_llm_mock.emulation.bedrock.conversation_rules import check_conversation
from apex_llm_mock.emulation.bedrock.converse import STOP_REASONS, Block, Completion
from apex_llm_mock.emulation.bedrock.converse_members import COUNT_TOKENS
from apex_llm_mock.emulation.bedrock.converse_wire import generate_request
from apex_llm_mock.emulation.bedrock.malformed import body_schema, check_body
from apex_llm_mock.emulation.bedrock.media_rules import check_media
from apex_llm_mock.emulation.bedrock.members import check_members
from apex_llm_mock.emulation.bedrock.spoken import Asked, Document, Spoken, TextFormat

_COUNTED = ("messages", "system", "toolConfig")


def _asked(body: Any, model: BaseModel) -> Asked:
    unit = {"type": "number", "minimum": 0, "maximum": 1}
    most = {"type": "integer", "minimum": 1, "maximum": model.max_output}
    schema = body_schema(
        ("messages",),
        schemaVersion={"type": "string", "enum": ("messages-v1",)},
        messages={"type": "array"},
        system={"type": "array"},
        inferenceConfig=body_schema(
            (),
            maxTokens=most,
            # The older spelling.
            max_new_tokens=most,
            temperature=unit,
            topP=unit,
            topK={"type": "integer", "minimum": 0, "maximum": 128},
            stopSequences={"type": "array", "maxItems": model.stop_limit, "items": {"type": "string"}},
        ),
        toolConfig={"type": "object"},
    )
    fields = check_body(body, schema)
    config = fields.get("inferenceConfig", {})
    conversation = {name: fields[name] for name in _COUNTED if name in fields}
    check_members(conversation, COUNT_TOKENS)
    check_conversation(conversation)
    check_media(conversation["messages"], model)
    inference = {"maxTokens": config.get("maxTokens", config.get("max_new_tokens"))}
    request = generate_request({**conversation, "inferenceConfig": inference}, model.id)
    return Asked(request=request, stops=tuple(config.get("stopSequences", ())), body=fields)


def _completion(spoken: Spoken) -> Completion:
    answer = spoken.answer
    blocks = [Block(kind="text", text=answer.text)] if answer.text or not answer.tool_calls else []
    usage: Mapping[str, Any] = {
        "inputTokens": spoken.input_tokens,
        "outputTokens": spoken.output_tokens,
        "totalTokens": spoken.input_tokens + spoken.output_tokens,
        "cacheReadInputTokenCount": 0,
        "cacheWriteInputTokenCount": 0,
    }
    reason = "stop_sequence" if spoken.stopped_by is not None else STOP_REASONS.get(spoken.finish, spoken.finish)
    return Completion(
        blocks=(*blocks, *(Block(kind="tool", call=call) for call in answer.tool_calls)),
        stop_reason=reason,
        usage=usage,
        extras={},
    )


def _document(spoken: Spoken) -> Document:
    document = _completion(spoken).document()
    # Latency is told by a header here.
    del document["metrics"]
    return document


def _events(spoken: Spoken, size: int) -> Iterator[Document]:
    for event in _completion(spoken).events(size):
        yield {event.name: dict(event.document)}


NOVA = TextFormat(asked=_asked, document=_document, events=_events)

__all__ = ["NOVA"]
