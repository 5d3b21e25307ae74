"""Bodies of Claude by InvokeModel: Anthropic's Messages. The conversation is written as for Converse, then put in Claude's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from apex_llm_bedrock.answers import text_of
from apex_llm_bedrock.claude_blocks import claude_blocks, claude_tools, content_part
from apex_llm_bedrock.claude_stream import ClaudeReader, claude_usage
from apex_llm_bedrock.conversation import wire_conversation
from apex_llm_bedrock.invoke_forms import Asked, add_options
from apex_llm_bedrock.reasoning import reasoning_fields
from apex_llm_bedrock.tool_names import ToolNames
from apex_llm_bedrock.tools import forbids_tools, specifications, used_tools, wire_choice
from apex_llm_core.models import ChatGenerationOptions, ChatMessage, Choice, TextPart, Usage

#: The version of Messages that Bedrock speaks.
VERSION = "bedrock-2023-05-31"
#: Claude must be told a limit; this one fits every model.
_MAX_TOKENS = 4096
_OPTIONS = {"max_tokens": "max_tokens", "temperature": "temperature", "top_p": "top_p", "stop": "stop_sequences"}


@attrs.frozen(kw_only=True)
class ClaudeForm:
    """The bodies of Messages."""

    ours: frozenset[str] = frozenset({"anthropic_version", "messages", "system", "model", "stream"})

    def body(self, asked: Asked) -> dict[str, Any]:
        """Return the body of a request."""
        family, chat = asked.model.family, asked.chat
        if chat is not None:
            for tool in chat.all_tools:
                asked.names.written(tool.name)
        conversation = wire_conversation(asked.request.messages, family, asked.names)
        document: dict[str, Any] = {
            "anthropic_version": VERSION,
            "max_tokens": family.max_output_tokens or _MAX_TOKENS,
            "messages": [
                {"role": turn["role"], "content": claude_blocks(turn["content"])} for turn in conversation.turns
            ],
        }
        if conversation.system:
            document["system"] = claude_blocks(conversation.system)
        add_options(document, asked, _OPTIONS)
        stops = [stop for stop in document.get("stop_sequences", ()) if stop.strip()]
        if len(stops) < len(document.get("stop_sequences", ())):
            # Claude refuses blank ones.
            asked.dropped.append("stop")
            document["stop_sequences"] = stops
        if "temperature" in document and "top_p" in document and not family.sampling_both:
            del document["top_p"]
            if asked.options.top_p != 1:
                asked.dropped.append("top_p")
        if chat is not None:
            self._add_tools(document, asked, chat)
            if chat.reasoning_effort is not None:
                document.update(reasoning_fields(chat.reasoning_effort, family, document["max_tokens"], asked.dropped))
            _add_form(document, asked, chat)
        if "tools" not in document and conversation.has_tools:
            document["tools"] = claude_tools(used_tools(conversation.turns))
        return document

    def _add_tools(self, document: dict[str, Any], asked: Asked, chat: ChatGenerationOptions) -> None:
        if not chat.all_tools:
            return
        document["tools"] = claude_tools(specifications(chat.all_tools, asked.names))
        choice: dict[str, Any] | None = None
        if forbids_tools(chat):
            choice = {"type": "none"}
        else:
            found = wire_choice(chat, asked.model.family, asked.names, asked.dropped, [])
            for word, value in (found or {}).items():
                choice = {"type": word, **value}
            if chat.parallel_tool_calls is False:
                choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
        if choice is not None:
            document["tool_choice"] = choice

    def choices(self, document: Mapping[str, Any], names: ToolNames) -> list[Choice]:
        """Return the answer in *document*."""
        parts = [part for block in document["content"] if (part := content_part(block, names)) is not None]
        plain = all(isinstance(part, TextPart) for part in parts)
        message = ChatMessage(role="assistant", content=parts)
        if plain:
            message = ChatMessage(role="assistant", content=message.text)
        return [Choice(message=message, finish_reason=text_of(document.get("stop_reason") or ""))]

    def usage(self, document: Mapping[str, Any]) -> Usage | None:
        """Return the token counts in *document*."""
        return claude_usage(document.get("usage"))

    def reader(self, names: ToolNames) -> ClaudeReader:
        """Return what reads a stream."""
        return ClaudeReader(names)


def _add_form(document: dict[str, Any], asked: Asked, chat: ChatGenerationOptions) -> None:
    wish = chat.response_format
    if wish is None or wish.type == "text":
        return
    if wish.type == "json_schema" and asked.model.family.json == "native":
        form = {"type": "json_schema", "schema": wish.schema}
        document["output_config"] = {**document.get("output_config", {}), "format": form}
    else:
        asked.dropped.append("response_format")


CLAUDE = ClaudeForm()

__all__ = ["CLAUDE", "VERSION", "ClaudeForm"]
