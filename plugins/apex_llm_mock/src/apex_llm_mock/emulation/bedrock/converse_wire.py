"""Converse requests, from JSON that passed its checks to the core's `GenerateRequest`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from apex_llm_core.errors import InvalidRequestError
from apex_llm_core.models import (
    ChatGenerationOptions,
    ChatMessage,
    ContentPart,
    DocumentPart,
    FunctionChoice,
    FunctionDefinition,
    GenerateRequest,
    ImagePart,
    ReasoningPart,
    ResponseFormat,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from apex_llm_mock import tokens
from apex_llm_mock.emulation.bedrock.conversation_rules import Json
from apex_llm_mock.emulation.bedrock.errors import invalid

#: How models are told in words to answer in JSON; all of them obey.
_JSON_ONLY = re.compile(r"\bJSON\b[^.]*\bonly\b|\bonly\b[^.]*\bJSON\b")


def generate_request(body: Json, model: str, *, effort: str | None = None, streamed: bool = False) -> GenerateRequest:
    """Return what *body* asks of *model*; stop sequences are left to whoever cuts the answer.

    Raises:
        RefusedError: its values exclude each other.
    """
    config = body.get("inferenceConfig") or {}
    own = _own_choice(body.get("additionalModelRequestFields"))
    tools = [tool["toolSpec"] for tool in (body.get("toolConfig") or {}).get("tools") or () if tool.get("toolSpec")]
    try:
        return GenerateRequest(
            kind="chat",
            messages=tuple(_messages(body)),
            model=model,
            stream=streamed,
            options=ChatGenerationOptions(
                model=model,
                max_tokens=config.get("maxTokens"),
                temperature=config.get("temperature"),
                top_p=config.get("topP"),
                tools=[_tool(spec) for spec in tools] or None,
                tool_choice=_choice((body.get("toolConfig") or {}).get("toolChoice"), own) if tools else None,
                parallel_tool_calls=False if tools and own.get("disable_parallel_tool_use") is True else None,
                response_format=_format((body.get("outputConfig") or {}).get("textFormat"), body),
                reasoning_effort=effort,
            ),
        )
    except InvalidRequestError as error:
        raise invalid(error.message) from error


def count_tokens(body: Json) -> int:
    """Return the tokens of everything that goes in: messages, system, tools; also of a part of a request."""
    if body["messages"]:
        return tokens.count_prompt(generate_request(body, ""))
    # A request has at least one message, of which nothing may be left in the count.
    blank = {**body, "messages": [{"role": "user", "content": [{"text": ""}]}]}
    return tokens.count_prompt(generate_request(blank, "")) - tokens.TOKENS_PER_MESSAGE


def _messages(body: Json) -> Iterable[ChatMessage]:
    system = [words for block in body.get("system") or () if (words := _words(block))]
    if system:
        yield ChatMessage(role="system", content="\n\n".join(system))
    for message in body["messages"]:
        results: list[ContentPart] = []
        parts: list[ContentPart] = []
        for block in message["content"]:
            part = _part(block)
            if isinstance(part, ToolResultPart):
                results.append(part)
            elif part is not None:
                parts.append(part)
        if results:
            yield ChatMessage(role="tool", content=results)
        if parts or not results:
            yield ChatMessage(role=message["role"], content=_plain(parts))


def _plain(parts: Sequence[ContentPart]) -> str | Sequence[ContentPart]:
    if len(parts) == 1 and isinstance(parts[0], TextPart):
        return parts[0].text
    return parts


def _words(block: Json) -> str:
    guarded = (block.get("guardContent") or {}).get("text")
    return str(block.get("text") or (guarded or {}).get("text") or "")


def _part(block: Json) -> ContentPart | None:
    kind, value = next((name, value) for name, value in block.items() if value is not None)
    match kind:
        case "text":
            return TextPart(text=value)
        case "guardContent":
            return TextPart(text=_words(block))
        case "image":
            return _image(value)
        case "document":
            return _document(value)
        case "toolUse":
            return ToolCallPart(id=value["toolUseId"], name=value["name"], arguments=json.dumps(value["input"]))
        case "toolResult":
            return ToolResultPart(
                tool_call_id=value["toolUseId"],
                content="\n".join(map(_result_text, value["content"])),
                is_error=value.get("status") == "error",
            )
        case "reasoningContent":
            words = value.get("reasoningText") or {}
            return ReasoningPart(
                text=words.get("text", ""), signature=words.get("signature"), data=value.get("redactedContent")
            )
        case "citationsContent":
            return TextPart(text="".join(part["text"] for part in value.get("content") or ()))
        case "searchResult":
            return TextPart(text="\n".join(part["text"] for part in value["content"]))
    return None


def _image(value: Json) -> ContentPart:
    data = value["source"].get("bytes")
    if data is None:
        return ImagePart(url=value["source"]["s3Location"]["uri"])
    return ImagePart(data=data, media_type=f"image/{value['format']}")


def _document(value: Json) -> ContentPart:
    source = value["source"]
    if source.get("bytes") is not None:
        return DocumentPart(data=source["bytes"], media_type=value.get("format") or "txt", name=value["name"])
    if source.get("s3Location") is not None:
        return DocumentPart(text=source["s3Location"]["uri"], name=value["name"])
    words = source.get("text")
    return DocumentPart(
        text=words if words is not None else "\n".join(part["text"] for part in source["content"]), name=value["name"]
    )


def _result_text(part: Json) -> str:
    if part.get("text") is not None:
        return str(part["text"])
    if part.get("json") is not None:
        return json.dumps(part["json"], ensure_ascii=False)
    kind = next(name for name, value in part.items() if value is not None)
    return f"[{kind}]"


def _tool(spec: Json) -> FunctionDefinition:
    return FunctionDefinition(
        name=spec["name"],
        description=spec.get("description"),
        parameters=spec["inputSchema"]["json"],
        strict=spec.get("strict"),
    )


def _own_choice(fields: Any) -> Json:
    """Return Claude's own choice of tools in *fields*, which can say more than that of Converse; empty without one."""
    choice = fields.get("tool_choice") if isinstance(fields, dict) else None
    return choice if isinstance(choice, dict) else {}


def _choice(choice: Json | None, own: Json) -> str | FunctionChoice | None:
    if choice is None:
        if own.get("type") == "tool":
            return FunctionChoice(name=str(own.get("name")))
        return {"any": "required", "auto": "auto"}.get(str(own.get("type")))
    if choice.get("tool") is not None:
        return FunctionChoice(name=choice["tool"]["name"])
    return "required" if choice.get("any") is not None else "auto"


def _format(wanted: Any, body: Json) -> ResponseFormat | None:
    if wanted is None:
        told = any(_JSON_ONLY.search(_words(block)) for block in body.get("system") or ())
        return ResponseFormat(type="json") if told else None
    shape = wanted["structure"]["jsonSchema"]
    return ResponseFormat(type="json_schema", name=shape.get("name") or "answer", schema=json.loads(shape["schema"]))


__all__ = ["count_tokens", "generate_request"]
