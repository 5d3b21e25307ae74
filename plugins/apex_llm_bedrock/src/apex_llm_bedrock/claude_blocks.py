"""Content in Claude's own words: from the blocks of Converse, and from Claude's to the core's parts."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterable, Mapping
from typing import Any

from apex_llm_bedrock.answers import text_of
from apex_llm_bedrock.tool_names import ToolNames
from apex_llm_core.converters import encode
from apex_llm_core.errors import InvalidRequestError
from apex_llm_core.models import ContentPart, ReasoningPart, TextPart, ToolCallPart

Block = dict[str, Any]
_TEXT_DOCUMENTS = frozenset({"txt", "md", "csv", "html"})


def claude_blocks(blocks: Iterable[Block]) -> list[Block]:
    """Return content blocks of Converse in Claude's words."""
    written: list[Block] = []
    for block in blocks:
        if "cachePoint" in block:
            point = {"type": "ephemeral"}
            if "ttl" in block["cachePoint"]:
                point["ttl"] = block["cachePoint"]["ttl"]
            if written:
                written[-1] = {**written[-1], "cache_control": point}
        else:
            written.append(_block(block))
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
                return {"type": "thinking", "thinking": said["text"], "signature": said.get("signature", "")}
    raise InvalidRequestError(f"Claude takes no {', '.join(block)} by InvokeModel")


def _source(content: Mapping[str, Any], media_type: str) -> Block:
    data = content["source"].get("bytes")
    if data is None:
        raise InvalidRequestError("Claude takes no pictures in S3 by InvokeModel; pass their data in base64")
    return {"type": "base64", "media_type": media_type, "data": data}


def _document(content: Mapping[str, Any]) -> Block:
    kind = content["format"]
    if kind in _TEXT_DOCUMENTS:
        # Texts go as texts; they are small beside pictures.
        text = b64decode(content["source"]["bytes"]).decode("utf-8", "replace")
        source: Block = {"type": "text", "media_type": "text/plain", "data": text}
    elif kind == "pdf":
        source = _source(content, "application/pdf")
    else:
        raise InvalidRequestError(
            f"Claude takes no {kind} documents by InvokeModel; pass a PDF, or the document's text"
        )
    return {"type": "document", "source": source, "title": content["name"]}


def claude_tools(specs: Iterable[Block]) -> list[Block]:
    """Return specifications of tools in Claude's words."""
    tools = []
    for spec in (each["toolSpec"] for each in specs):
        tool = {name: spec[name] for name in ("name", "description", "strict") if name in spec}
        tools.append({**tool, "input_schema": spec["inputSchema"]["json"]})
    return tools


def content_part(block: Mapping[str, Any], names: ToolNames) -> ContentPart | None:
    """Return the part that Claude's *block* is, None for one that is no part of the answer.

    Raises:
        KeyError, TypeError: it has another form.
    """
    match block["type"]:
        case "text":
            return TextPart(text=text_of(block["text"]))
        case "tool_use":
            arguments = encode(block.get("input") or {}).decode()
            return ToolCallPart(
                id=text_of(block["id"]), name=names.original(text_of(block["name"])), arguments=arguments
            )
        case "thinking":
            return ReasoningPart(text=text_of(block["thinking"]), signature=block.get("signature"))
        case "redacted_thinking":
            return ReasoningPart(data=text_of(block["data"]))
    # What Claude's own tools did.
    return None


__all__ = ["claude_blocks", "claude_tools", "content_part"]
