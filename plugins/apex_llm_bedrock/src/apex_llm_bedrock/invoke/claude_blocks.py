"""Content in Claude's own words: from the blocks of Converse, and from Claude's to the core's parts."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterable, Mapping
from typing import Any

from apex_llm_bedrock.answers import Reading, text_of, word_of
from apex_llm_bedrock.tool_names import ToolNames
from apex_llm_core.converters import encode
from apex_llm_core.errors import UnsupportedParameterError
from apex_llm_core.models import ContentPart, ReasoningPart, TextPart, ToolCallPart

Block = dict[str, Any]
_TEXT_DOCUMENTS = frozenset({"txt", "md", "csv", "html"})
#: Blocks that take no ``cache_control``.
_UNCACHED = frozenset({"thinking", "redacted_thinking"})


def claude_blocks(blocks: Iterable[Block]) -> list[Block]:
    """Return content blocks of Converse in Claude's words; a cache point belongs to the last block that takes one."""
    written: list[Block] = []
    for block in blocks:
        if "cachePoint" not in block:
            written.append(_block(block))
            continue
        point = {"type": "ephemeral"}
        if "ttl" in block["cachePoint"]:
            point["ttl"] = block["cachePoint"]["ttl"]
        place = next((at for at in reversed(range(len(written))) if written[at]["type"] not in _UNCACHED), None)
        if place is not None:
            written[place] = {**written[place], "cache_control": point}
    return written


def _block(block: Block) -> Block:
    for kind, content in block.items():
        match kind:
            case "text":
                return {"type": "text", "text": content}
            case "image":
                return {"type": "image", "source": _source(content, f"image/{content['format']}")}
            case "document":
                return _document(content)
            case "toolUse":
                return {
                    "type": "tool_use",
                    "id": content["toolUseId"],
                    "name": content["name"],
                    "input": content["input"],
                }
            case "toolResult":
                result: Block = {"type": "tool_result", "tool_use_id": content["toolUseId"]}
                texts = [{"type": "text", "text": each["text"]} for each in content["content"] if "text" in each]
                if texts:
                    result["content"] = texts
                if content.get("status") == "error":
                    result["is_error"] = True
                return result
            case "reasoningContent":
                if "redactedContent" in content:
                    return {"type": "redacted_thinking", "data": content["redactedContent"]}
                said = content["reasoningText"]
                return {"type": "thinking", "thinking": said["text"], "signature": said["signature"]}
    raise UnsupportedParameterError(f"Claude takes no {', '.join(block)} by InvokeModel")


def _source(content: Mapping[str, Any], media_type: str) -> Block:
    return {"type": "base64", "media_type": media_type, "data": content["source"]["bytes"]}


def _document(content: Mapping[str, Any]) -> Block:
    kind = content["format"]
    if kind in _TEXT_DOCUMENTS:
        # Texts go as texts; they are small beside pictures.
        text = b64decode(content["source"]["bytes"]).decode("utf-8", "replace")
        source: Block = {"type": "text", "media_type": "text/plain", "data": text}
    elif kind == "pdf":
        source = _source(content, "application/pdf")
    else:
        raise UnsupportedParameterError(
            f"Claude takes no {kind} documents by InvokeModel; pass a PDF, or the document's text",
            parameters=["documents"],
        )
    return {"type": "document", "source": source, "title": content["name"]}


def claude_tools(specs: Iterable[Block]) -> list[Block]:
    """Return specifications of tools in Claude's words."""
    tools = []
    for spec in (each["toolSpec"] for each in specs):
        tool = {name: spec[name] for name in ("name", "description", "strict") if name in spec}
        tools.append({**tool, "input_schema": spec["inputSchema"]["json"]})
    return tools


def content_parts(content: Iterable[Mapping[str, Any]], reading: Reading) -> tuple[list[ContentPart], bool]:
    """Return the parts that Claude's *content* is, and whether the tool that stands for the answer was called.

    Raises:
        AttributeError, KeyError, TypeError: it has another form.
    """
    parts = [part for block in content if (part := _part(block, reading.names)) is not None]
    answers = [part for part in parts if isinstance(part, ToolCallPart) and part.name == reading.json_tool]
    if not answers:
        return parts, False
    # What the model said beside the answer would spoil its form, and one answer is wanted.
    spoken = TextPart(text=answers[0].arguments)
    kept = [part for part in parts if part is answers[0] or not (isinstance(part, TextPart) or part in answers)]
    return [spoken if part is answers[0] else part for part in kept], True


def stop_reason(reason: str, *, calls: bool, answered: bool) -> str:
    """Return Claude's *reason*, as it would be if the tool that stands for the answer were none.

    Args:
        reason: Claude's word.
        calls: tools of the caller were called.
        answered: the tool that stands for the answer was called.
    """
    return "end_turn" if reason == "tool_use" and answered and not calls else reason


def _part(block: Mapping[str, Any], names: ToolNames) -> ContentPart | None:
    match block["type"]:
        case "text":
            return TextPart(text=text_of(block["text"]))
        case "tool_use":
            arguments = encode(block.get("input") or {}).decode()
            return ToolCallPart(
                id=word_of(block["id"]), name=names.original(word_of(block["name"])), arguments=arguments
            )
        case "thinking":
            signature = block.get("signature")
            return ReasoningPart(
                text=text_of(block["thinking"]), signature=None if signature is None else text_of(signature)
            )
        case "redacted_thinking":
            return ReasoningPart(data=text_of(block["data"]))
    # What Claude's own tools did.
    return None


__all__ = ["claude_blocks", "claude_tools", "content_parts", "stop_reason"]
