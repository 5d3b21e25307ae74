"""A stream of Claude's own events, as InvokeModel gives it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apex_llm_bedrock.answers import Reading, count_of, text_of, word_of
from apex_llm_bedrock.content_blocks import ContentBlocks
from apex_llm_bedrock.invoke.claude_blocks import stop_reason
from apex_llm_bedrock.invoke.form import usage_from
from apex_llm_core.models import ChatGenerationChunk, Usage


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

    def __init__(self, reading: Reading) -> None:
        self._blocks = ContentBlocks(reading)
        self._told: dict[str, Any] = {}
        self._stopped = ""

    @property
    def ended(self) -> Mapping[int, str]:
        """How the answer ended, in Claude's words."""
        if not self._stopped:
            return {}
        return {0: stop_reason(self._stopped, calls=self._blocks.calls > 0, answered=self._blocks.answered)}

    @property
    def usage(self) -> Usage | None:
        """What the events told of tokens."""
        return claude_usage(self._told)

    @property
    def answered(self) -> bool:
        """Whether a tool was called: the one that stands for the answer, or one of the caller's."""
        return self._blocks.answered or self._blocks.calls > 0

    def read(self, document: Mapping[str, Any]) -> list[ChatGenerationChunk]:
        """Return the chunks in the event *document*."""
        match document.get("type"):
            case "content_block_delta":
                return self._delta(count_of(document["index"]), document["delta"])
            case "content_block_start":
                return self._start(count_of(document["index"]), document["content_block"])
            case "content_block_stop":
                return self._blocks.stop(count_of(document["index"]))
            case "message_start":
                self._count(document["message"].get("usage"))
            case "message_delta":
                self._count(document.get("usage"))
                self._stopped = text_of(document["delta"].get("stop_reason") or self._stopped)
        return []

    def close(self) -> list[ChatGenerationChunk]:
        """Return what was held back until the end was sure."""
        return self._blocks.close()

    def _count(self, usage: object) -> None:
        if isinstance(usage, dict):
            self._told.update(usage)

    def _start(self, block: int, content: Mapping[str, Any]) -> list[ChatGenerationChunk]:
        match content["type"]:
            case "tool_use":
                return self._blocks.call(block, word_of(content["id"]), word_of(content["name"]))
            case "redacted_thinking":
                return self._blocks.think(block, "data", text_of(content["data"]))
            case "text" | "thinking":
                return []
        # What Claude's own tools do.
        self._blocks.ignore(block)
        return []

    def _delta(self, block: int, delta: Mapping[str, Any]) -> list[ChatGenerationChunk]:
        match delta["type"]:
            case "text_delta":
                return self._blocks.say(text_of(delta["text"]))
            case "input_json_delta":
                return self._blocks.argue(block, text_of(delta["partial_json"]))
            case "thinking_delta":
                return self._blocks.think(block, "text", text_of(delta["thinking"]))
            case "signature_delta":
                return self._blocks.think(block, "signature", text_of(delta["signature"]))
        return []


__all__ = ["ClaudeReader", "claude_usage"]
