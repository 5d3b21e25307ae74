"""Bodies of models that take chat completions by InvokeModel: gpt-oss, Qwen and others with open weights, Jamba, imported ones.

The model's name and ``stream`` stay out of the body: the path of the request says both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from apex_llm_bedrock.answers import count_of, text_of
from apex_llm_bedrock.families import UNKNOWN
from apex_llm_bedrock.invoke_forms import Asked, add_options, usage_from
from apex_llm_bedrock.message_wire import wire_messages
from apex_llm_bedrock.tagged_reasoning import TaggedReasoning
from apex_llm_bedrock.tool_names import ToolNames
from apex_llm_core.models import (
    ChatGenerationChunk,
    ChatGenerationOptions,
    ChatMessage,
    Choice,
    ContentPart,
    FunctionChoice,
    FunctionDefinition,
    ReasoningPart,
    TextPart,
    ToolCallDelta,
    ToolCallPart,
    Usage,
    text_chunk,
)

_OPTIONS = {
    name: name
    for name in (
        *("max_tokens", "temperature", "top_p", "stop", "seed", "n"),
        *("frequency_penalty", "presence_penalty", "logprobs", "top_logprobs"),
    )
}
_NO_PARAMETERS: Mapping[str, Any] = {"type": "object", "properties": {}}
#: Models that write their reasoning between tags before the answer.
_TAGGED = "gpt-oss"


@attrs.frozen(kw_only=True)
class MessagesForm:
    """The bodies of chat completions."""

    ours: frozenset[str] = frozenset({"messages", "model", "stream"})

    def body(self, asked: Asked) -> dict[str, Any]:
        """Return the body of a request."""
        document: dict[str, Any] = {"messages": wire_messages(asked.request.messages, asked.names)}
        members = _OPTIONS
        if asked.model.family.vendor == "openai":
            members = {**_OPTIONS, "max_tokens": "max_completion_tokens"}
        add_options(document, asked, members)
        chat = asked.chat
        if chat is not None:
            _add_tools(document, chat, asked.names)
            _add_form(document, chat)
            if chat.reasoning_effort is not None:
                if asked.model.family is UNKNOWN or asked.model.family.reasoning == "effort":
                    document["reasoning_effort"] = chat.reasoning_effort
                else:
                    asked.dropped.append("reasoning_effort")
        return document

    def choices(self, document: Mapping[str, Any], names: ToolNames) -> list[Choice]:
        """Return the answers in *document*."""
        tagged = _TAGGED in str(document.get("model"))
        found = [_choice(entry, names, tagged=tagged) for entry in document["choices"]]
        return sorted(found, key=lambda choice: choice.index)

    def usage(self, document: Mapping[str, Any]) -> Usage | None:
        """Return the token counts in *document*."""
        told = document.get("usage")
        if not isinstance(told, dict):
            return None
        prompt = told.get("prompt_tokens_details") or {}
        return usage_from(told.get("prompt_tokens"), told.get("completion_tokens"), read=prompt.get("cached_tokens"))

    def reader(self, names: ToolNames) -> MessagesReader:
        """Return what reads a stream."""
        return MessagesReader(self, names)


class MessagesReader:
    """Reads the documents of one stream of chat completions."""

    def __init__(self, form: MessagesForm, names: ToolNames) -> None:
        self._form = form
        self._names = names
        self._tags: dict[int, TaggedReasoning] = {}
        self.ended: dict[int, str] = {}
        self.usage: Usage | None = None

    def read(self, document: Mapping[str, Any]) -> list[ChatGenerationChunk]:
        """Return the chunks in *document*."""
        chunks: list[ChatGenerationChunk] = []
        tagged = _TAGGED in str(document.get("model"))
        for entry in document.get("choices") or ():
            index = count_of(entry.get("index", 0))
            delta = entry.get("delta") or {}
            text = text_of(delta.get("content") or delta.get("refusal") or "")
            reasoning = _reasoning(delta)
            if tagged and text:
                split = self._tags.setdefault(index, TaggedReasoning()).feed(text)
                reasoning, text = reasoning + split.reasoning, split.text
            if reasoning:
                chunks.append(ChatGenerationChunk(reasoning=reasoning, index=index))
            calls = tuple(self._call(call) for call in delta.get("tool_calls") or ())
            if calls or entry.get("logprobs"):
                chunks.append(
                    ChatGenerationChunk(text=text, tool_calls=calls, logprobs=entry.get("logprobs"), index=index)
                )
            elif text:
                chunks.append(text_chunk(text, index))
            if entry.get("finish_reason"):
                self.ended[index] = text_of(entry["finish_reason"])
        self.usage = self._form.usage(document) or self.usage
        return chunks

    def close(self) -> list[ChatGenerationChunk]:
        """Return what was held back until the end was sure."""
        chunks = []
        for index, tags in self._tags.items():
            split = tags.close()
            if split.reasoning or split.text:
                chunks.append(ChatGenerationChunk(reasoning=split.reasoning, text=split.text, index=index))
        return chunks

    def _call(self, wire: Mapping[str, Any]) -> ToolCallDelta:
        function = wire.get("function") or {}
        name = text_of(function.get("name") or "")
        return ToolCallDelta(
            index=count_of(wire.get("index", 0)),
            id=text_of(wire.get("id") or "") or None,
            name=self._names.original(name) if name else None,
            arguments=text_of(function.get("arguments") or ""),
        )


def _choice(entry: Mapping[str, Any], names: ToolNames, *, tagged: bool) -> Choice:
    message = entry.get("message") or {}
    text = text_of(message.get("content") or message.get("refusal") or "")
    reasoning = _reasoning(message)
    if tagged:
        tags = TaggedReasoning()
        found, rest = tags.feed(text), tags.close()
        reasoning, text = reasoning + found.reasoning + rest.reasoning, found.text + rest.text
    parts: list[ContentPart] = []
    if reasoning:
        parts.append(ReasoningPart(text=reasoning))
    if text:
        parts.append(TextPart(text=text))
    for call in message.get("tool_calls") or ():
        function = call["function"]
        parts.append(
            ToolCallPart(
                id=text_of(call["id"]),
                name=names.original(text_of(function["name"])),
                arguments=text_of(function.get("arguments") or "{}"),
            )
        )
    plain = not parts or (len(parts) == 1 and isinstance(parts[0], TextPart))
    return Choice(
        index=count_of(entry.get("index", 0)),
        message=ChatMessage(role="assistant", content=text if plain else parts),
        finish_reason=text_of(entry.get("finish_reason") or ""),
        logprobs=entry.get("logprobs"),
    )


def _reasoning(wire: Mapping[str, Any]) -> str:
    return text_of(wire.get("reasoning_content") or wire.get("reasoning") or "")


def _add_tools(document: dict[str, Any], options: ChatGenerationOptions, names: ToolNames) -> None:
    if options.all_tools:
        document["tools"] = [{"type": "function", "function": _function(tool, names)} for tool in options.all_tools]
    choice: str | FunctionChoice | None = options.tool_choice
    if choice is None and options.function_call is not None:
        choice = options.function_call
        if isinstance(choice, str) and choice not in ("auto", "none"):
            choice = FunctionChoice(name=choice)
    if isinstance(choice, FunctionChoice):
        document["tool_choice"] = {"type": "function", "function": {"name": names.written(choice.name)}}
    elif choice is not None:
        document["tool_choice"] = choice
    if options.parallel_tool_calls is not None:
        document["parallel_tool_calls"] = options.parallel_tool_calls


def _function(tool: FunctionDefinition, names: ToolNames) -> dict[str, Any]:
    wire: dict[str, Any] = {"name": names.written(tool.name)}
    if tool.description:
        wire["description"] = tool.description
    wire["parameters"] = tool.parameters if tool.parameters is not None else _NO_PARAMETERS
    if tool.strict is not None:
        wire["strict"] = tool.strict
    return wire


def _add_form(document: dict[str, Any], options: ChatGenerationOptions) -> None:
    wish = options.response_format
    if wish is None or wish.type == "text":
        return
    if wish.type == "json":
        document["response_format"] = {"type": "json_object"}
        return
    schema: dict[str, Any] = {"name": wish.name or "answer", "schema": wish.schema}
    if wish.strict is not None:
        schema["strict"] = wish.strict
    document["response_format"] = {"type": "json_schema", "json_schema": schema}


MESSAGES = MessagesForm()

__all__ = ["MESSAGES", "MessagesForm", "MessagesReader"]
