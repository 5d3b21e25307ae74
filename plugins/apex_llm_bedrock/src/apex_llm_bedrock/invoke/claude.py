"""Bodies of Claude by InvokeModel: Anthropic's Messages.

They are made of the body that Converse would be sent, so that one set of rules holds for both ways; what Converse has members
for and InvokeModel headers is left out. Three things Claude knows by itself:

==============================  ===============================================================================
``max_tokens``                  Claude must be told a limit, and Bedrock takes it off the quota of tokens per
                                minute before it answers. Without one it is 4096, not the most that the model can
                                write; with thinking, which comes out of the same number, as much more
tools that may not be called    stay, with the choice "none": Claude understands the calls of its history better
schemas                         ``output_config.format``
==============================  ===============================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from apex_llm_bedrock.answers import Reading, text_of
from apex_llm_bedrock.families import UNKNOWN, Family
from apex_llm_bedrock.invoke.claude_blocks import claude_blocks, claude_tools, content_parts, stop_reason
from apex_llm_bedrock.invoke.claude_stream import ClaudeReader, claude_usage
from apex_llm_bedrock.invoke.form import Answer, Asked, InvokeBody, refuse_stored
from apex_llm_bedrock.requests import converse_body
from apex_llm_bedrock.tools import forbids_tools
from apex_llm_core.converters import decode
from apex_llm_core.models import (
    ChatGenerationOptions,
    ChatMessage,
    Choice,
    GenerateRequest,
    TextPart,
    ToolCallPart,
)

#: The version of Messages that Bedrock speaks.
VERSION = "bedrock-2023-05-31"
#: Tokens for an answer, and to think with by a model that decides itself how much.
_MAX_TOKENS = 4096
_ADAPTIVE = 16384
#: What is sent to a Claude of which only the form of its bodies is known.
_SOME_CLAUDE = attrs.evolve(UNKNOWN, name="anthropic.", reasoning_back="signed", media_beside_tool_results=False)
#: Members of ``inferenceConfig`` besides the limit.
_SAMPLING = {"temperature": "temperature", "topP": "top_p", "stopSequences": "stop_sequences"}


@attrs.frozen(kw_only=True)
class ClaudeForm:
    """The bodies of Messages."""

    ours: frozenset[str] = frozenset({"anthropic_version", "messages", "system", "model", "stream"})

    def body(self, asked: Asked) -> InvokeBody:
        """Return the body of a request."""
        refuse_stored(asked.request.messages)
        model, idle = asked.model, _idle_tools(asked.chat)
        if model.family.vendor != "anthropic":
            model = attrs.evolve(model, family=_SOME_CLAUDE)
        request = _for_converse(asked.request, idle=idle)
        said, reading = converse_body(request, model, asked.settings, asked.request.stream)
        inference = said.get("inferenceConfig", {})
        fields = said.get("additionalModelRequestFields", {})
        thinking = (asked.options.extra or {}).get("thinking", fields.get("thinking"))
        document: dict[str, Any] = {
            "anthropic_version": VERSION,
            "max_tokens": inference.get("maxTokens") or _limit(thinking, model.family),
            "messages": [
                {"role": turn["role"], "content": claude_blocks(turn["content"])} for turn in said["messages"]
            ],
        }
        if "system" in said:
            document["system"] = claude_blocks(said["system"])
        document.update({_SAMPLING[name]: value for name, value in inference.items() if name in _SAMPLING})
        if "toolConfig" in said:
            document["tools"] = claude_tools(said["toolConfig"]["tools"])
            for word, named in said["toolConfig"].get("toolChoice", {}).items():
                document["tool_choice"] = {"type": word, **named}
        document.update(fields)
        if idle:
            document["tool_choice"] = {"type": "none"}
        if "outputConfig" in said:
            shape = said["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["schema"]
            form = {"type": "json_schema", "schema": decode(shape.encode())}
            document["output_config"] = {**document.get("output_config", {}), "format": form}
        return InvokeBody(document, reading)

    def answer(self, document: Mapping[str, Any], reading: Reading) -> Answer:
        """Return what *document* holds."""
        parts, answered = content_parts(document["content"], reading)
        message = ChatMessage(role="assistant", content=parts)
        if all(isinstance(part, TextPart) for part in parts):
            message = ChatMessage(role="assistant", content=message.text)
        calls = any(isinstance(part, ToolCallPart) for part in parts)
        reason = stop_reason(text_of(document.get("stop_reason") or ""), calls=calls, answered=answered)
        choice = Choice(message=message, finish_reason=reason)
        return Answer([choice], claude_usage(document.get("usage")), answered or calls)

    def reader(self, reading: Reading) -> ClaudeReader:
        """Return what reads a stream."""
        return ClaudeReader(reading)


def _idle_tools(chat: ChatGenerationOptions | None) -> bool:
    """Return whether there are tools that may not be called, and none that stands for the answer."""
    if chat is None or not chat.all_tools or not forbids_tools(chat):
        return False
    return chat.response_format is None or chat.response_format.type != "json_schema"


def _for_converse(request: GenerateRequest, *, idle: bool) -> GenerateRequest:
    """Return *request* without what is added to the body in Claude's own words: `extra`, and the choice to call no tool."""
    options = request.options
    if options.extra:
        options = attrs.evolve(options, extra=None)
    if idle and isinstance(options, ChatGenerationOptions):
        options = attrs.evolve(options, tool_choice=None, function_call=None, parallel_tool_calls=None)
    return request if options is request.options else attrs.evolve(request, options=options)


def _limit(thinking: object, family: Family) -> int:
    """Return ``max_tokens`` where nobody said anything."""
    wanted = _MAX_TOKENS
    if isinstance(thinking, Mapping):
        budget = thinking.get("budget_tokens")
        if type(budget) is int:
            wanted += budget
        elif thinking.get("type") == "adaptive":
            wanted += _ADAPTIVE
    return min(wanted, family.max_output_tokens or wanted)


CLAUDE = ClaudeForm()

__all__ = ["CLAUDE", "VERSION", "ClaudeForm"]
