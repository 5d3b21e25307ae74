"""A stream of Claude's own events, as InvokeModel gives it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apex_llm_bedrock.answers import count_of, text_of
from apex_llm_bedrock.invoke_forms import usage_from
from apex_llm_bedrock.tool_names import ToolNames
from apex_llm_core.models import ChatGenerationChunk, ReasoningPart, ToolCallDelta, Usage, text_chunk


def claude_usage(told: object) -> Usage | None:
    """Return the token counts in Claude's *told*; its input tokens are those beside the cache."""
    if not isinstance(told, dict):
        return None
    return usage_from(
        told.get("input_tokens"),
        told.get("output_tokens"),
        read=told.get("cache_read_input_tokens"),
        written=told.get("cache_creation_input_tokens"),
        fresh=True,
    )


class ClaudeReader:
    """Reads the events of one stream of Messages."""

    def __init__(self, names: ToolNames) -> None:
        self._names = names
        self._told: dict[str, Any] = {}
        #: By content block: the index of its call.
        self._calls: dict[int, int] = {}
        #: Content blocks of calls without arguments so far.
        self._bare: set[int] = set()
        self._thoughts: dict[int, dict[str, str]] = {}
        self.ended: dict[int, str] = {}

    @property
    def usage(self) -> Usage | None:
        """What the events told of tokens."""
        return claude_usage(self._told)

    def read(self, document: Mapping[str, Any]) -> list[ChatGenerationChunk]:
        """Return the chunks in the event *document*."""
        match document.get("type"):
            case "content_block_delta":
                return self._delta(count_of(document["index"]), document["delta"])
            case "content_block_start":
                return self._start(count_of(document["index"]), document["content_block"])
            case "content_block_stop":
                return self._stop(count_of(document["index"]))
            case "message_start":
                self._told.update(document["message"].get("usage") or {})
            case "message_delta":
                self._told.update(document.get("usage") or {})
                reason = document["delta"].get("stop_reason")
                if reason:
                    self.ended[0] = text_of(reason)
        return []

    def close(self) -> list[ChatGenerationChunk]:
        """Return what was held back until the end was sure."""
        return [chunk for block in sorted(self._bare | self._thoughts.keys()) for chunk in self._stop(block)]

    def _start(self, block: int, content: Mapping[str, Any]) -> list[ChatGenerationChunk]:
        match content.get("type"):
            case "tool_use":
                index = self._calls[block] = len(self._calls)
                self._bare.add(block)
                name = self._names.original(text_of(content["name"]))
                call = ToolCallDelta(index=index, id=text_of(content["id"]), name=name)
                return [ChatGenerationChunk(tool_calls=(call,))]
            case "redacted_thinking":
                self._thoughts[block] = {"data": text_of(content["data"])}
            case "thinking":
                self._thoughts[block] = {}
        return []

    def _delta(self, block: int, delta: Mapping[str, Any]) -> list[ChatGenerationChunk]:
        match delta.get("type"):
            case "text_delta":
                text = text_of(delta["text"])
                return [text_chunk(text, 0)] if text else []
            case "input_json_delta":
                arguments = text_of(delta["partial_json"])
                if not arguments or block not in self._calls:
                    return []
                self._bare.discard(block)
                call = ToolCallDelta(index=self._calls[block], arguments=arguments)
                return [ChatGenerationChunk(tool_calls=(call,))]
            case "thinking_delta" | "signature_delta" as kind:
                member = "text" if kind == "thinking_delta" else "signature"
                said = text_of(delta["thinking" if member == "text" else "signature"])
                so_far = self._thoughts.setdefault(block, {})
                so_far[member] = so_far.get(member, "") + said
                return [ChatGenerationChunk(reasoning=said)] if member == "text" and said else []
        return []

    def _stop(self, block: int) -> list[ChatGenerationChunk]:
        chunks = []
        if block in self._bare:
            self._bare.discard(block)
            call = ToolCallDelta(index=self._calls[block], arguments="{}")
            chunks.append(ChatGenerationChunk(tool_calls=(call,)))
        thought = self._thoughts.pop(block, None)
        if thought:
            chunks.append(ChatGenerationChunk(reasoning_part=_reasoning_part(thought)))
        return chunks


def _reasoning_part(thought: Mapping[str, str]) -> ReasoningPart:
    return ReasoningPart(text=thought.get("text", ""), signature=thought.get("signature"), data=thought.get("data"))


__all__ = ["ClaudeReader", "claude_usage"]
