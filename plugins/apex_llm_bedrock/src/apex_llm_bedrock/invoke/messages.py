"""Bodies of models that take chat completions by InvokeModel: gpt-oss, Qwen and others with open weights, Jamba, imported ones.

The model's name and ``stream`` stay out of the body: the path of the request says both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from apex_llm_bedrock.answers import Reading, count_of, text_of, word_of
from apex_llm_bedrock.conversation import wire_conversation
from apex_llm_bedrock.families import UNKNOWN
from apex_llm_bedrock.invoke.form import Answer, Asked, InvokeBody, add_options, refuse_stored, usage_from
from apex_llm_bedrock.invoke.message_wire import wire_messages
from apex_llm_bedrock.invoke.tagged_reasoning import TaggedReasoning
from apex_llm_bedrock.reasoning import reasoning_fields
from apex_llm_bedrock.tool_names import ToolNames
from apex_llm_bedrock.tools import forbids_tools, specifications, wire_choice
from apex_llm_core.models import (
    ChatGenerationChunk,
    ChatGenerationOptions,
    ChatMessage,
    Choice,
    ContentPart,
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
#: Converse's words for a choice of tools; one tool has a form of its own.
_CHOICES = {"auto": "auto", "any": "required"}
#: Models that write their reasoning between tags before the answer.
_TAGGED = "gpt-oss"


@attrs.frozen(kw_only=True)
class MessagesForm:
    """The bodies of chat completions."""

    ours: frozenset[str] = frozenset({"messages", "model", "stream"})

    def body(self, asked: Asked) -> InvokeBody:
        """Return the body of a request."""
        family, chat = asked.model.family, asked.chat
        refuse_stored(asked.request.messages)
        tools = () if chat is None else chat.all_tools
        for tool in tools:
            asked.names.written(tool.name)
        conversation = wire_conversation(asked.request.messages, family, asked.names)
        document: dict[str, Any] = {"messages": wire_messages(conversation)}
        members = {**_OPTIONS, "max_tokens": "max_completion_tokens"} if family.vendor == "openai" else _OPTIONS
        add_options(document, asked, members)
        if chat is not None:
            _add_tools(document, asked, chat)
            _add_form(document, chat)
            _add_effort(document, asked, chat)
        return asked.body(document)

    def answer(self, document: Mapping[str, Any], reading: Reading) -> Answer:
        """Return what *document* holds."""
        tagged = _TAGGED in str(document.get("model"))
        found = [_choice(entry, reading.names, tagged=tagged) for entry in document["choices"]]
        return Answer(sorted(found, key=lambda choice: choice.index), _usage(document.get("usage")))

    def reader(self, reading: Reading) -> MessagesReader:
        """Return what reads a stream."""
        return MessagesReader(reading.names)


class MessagesReader:
    """Reads the documents of one stream of chat completions."""

    answered: Final = True

    def __init__(self, names: ToolNames) -> None:
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
        self.usage = _usage(document.get("usage")) or self.usage
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
                id=word_of(call["id"]),
                name=names.original(word_of(function["name"])),
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


def _usage(told: object) -> Usage | None:
    if not isinstance(told, dict):
        return None
    prompt = told.get("prompt_tokens_details")
    cached = prompt.get("cached_tokens") if isinstance(prompt, dict) else None
    return usage_from(told.get("prompt_tokens"), told.get("completion_tokens"), read=cached)


def _reasoning(wire: Mapping[str, Any]) -> str:
    return text_of(wire.get("reasoning_content") or wire.get("reasoning") or "")


def _add_tools(document: dict[str, Any], asked: Asked, chat: ChatGenerationOptions) -> None:
    specs = specifications(chat.all_tools, asked.names, strict=asked.model.family.json == "native")
    if any(tool.strict for tool in chat.all_tools) and not any("strict" in spec["toolSpec"] for spec in specs):
        asked.spared.append("strict")
    # What Converse's choice lacks for a model says nothing of the model's own.
    choice = wire_choice(chat, UNKNOWN, asked.names, asked.dropped, [])
    if not specs:
        return
    document["tools"] = [{"type": "function", "function": _function(spec["toolSpec"])} for spec in specs]
    if forbids_tools(chat):
        document["tool_choice"] = "none"
    for word, named in (choice or {}).items():
        document["tool_choice"] = _CHOICES.get(word) or {"type": "function", "function": named}
    if chat.parallel_tool_calls is not None:
        document["parallel_tool_calls"] = chat.parallel_tool_calls


def _function(spec: Mapping[str, Any]) -> dict[str, Any]:
    function = {name: spec[name] for name in ("name", "description", "strict") if name in spec}
    return {**function, "parameters": spec["inputSchema"]["json"]}


def _add_effort(document: dict[str, Any], asked: Asked, chat: ChatGenerationOptions) -> None:
    family, effort = asked.model.family, chat.reasoning_effort
    if effort is None:
        return
    if family.reasoning == "effort":
        document.update(reasoning_fields(effort, family, asked.options.max_tokens, asked.dropped))
    elif family is UNKNOWN:
        document["reasoning_effort"] = effort
    else:
        asked.dropped.append("reasoning_effort")


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
