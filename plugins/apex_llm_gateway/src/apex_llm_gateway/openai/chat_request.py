"""The body of ``POST /v1/chat/completions``."""

from __future__ import annotations

from typing import Any

import attrs

from apex_llm_core.models import ChatGenerationOptions, ChatMessage, ResponseFormat
from apex_llm_gateway.openai import fields
from apex_llm_gateway.openai.messages import read_messages
from apex_llm_gateway.openai.parameters import Parameters, add_model, body_of, built, streaming
from apex_llm_gateway.openai.rules import Rules
from apex_llm_gateway.openai.tools import read_function_call, read_functions, read_tool_choice, read_tools


@attrs.frozen(kw_only=True)
class ChatRequest:
    """What a body asks for."""

    messages: tuple[ChatMessage, ...]
    options: ChatGenerationOptions
    stream: bool = False
    #: A last frame with the usage is wanted.
    include_usage: bool = False
    #: The body spells tools in the older way, `functions` and `function_call`: so does the answer.
    functions: bool = False


#: Those that OpenAI's API has, with what becomes of them.
PARAMETERS = Parameters(
    route="/v1/chat/completions",
    options=(
        *("frequency_penalty", "logprobs", "max_tokens", "n", "parallel_tool_calls", "presence_penalty"),
        *("reasoning_effort", "seed", "stop", "temperature", "top_logprobs", "top_p", "user"),
    ),
    read=frozenset(
        {
            *("function_call", "functions", "max_completion_tokens", "messages", "model", "response_format"),
            *("stream", "stream_options", "tool_choice", "tools"),
        }
    ),
    passed=frozenset(
        {
            *("audio", "logit_bias", "metadata", "modalities", "moderation", "prediction", "prompt_cache_key"),
            *("prompt_cache_options", "prompt_cache_retention", "safety_identifier", "service_tier", "store"),
            *("verbosity", "web_search_options"),
        }
    ),
)
_READERS = {
    "tools": read_tools,
    "tool_choice": read_tool_choice,
    "functions": read_functions,
    "function_call": read_function_call,
}
_FORMS = frozenset({"text", "json_object", "json_schema"})


def read_chat(document: Any, rules: Rules) -> ChatRequest:
    """Return what the decoded body *document* asks for; null counts as absent.

    Raises:
        ParameterError: it cannot be understood, or *rules* forbid it; `param` is the place.
    """
    body = body_of(document)
    found = PARAMETERS.sort(body, rules)
    add_model(found, body, rules)
    messages = read_messages(body.get("messages"))
    if len(body) == 2:
        return ChatRequest(messages=messages, options=built(ChatGenerationOptions, found))
    spelling = None
    if body.get("max_completion_tokens") is not None:
        found["max_tokens"] = body["max_completion_tokens"]
        spelling = {"max_tokens": "max_completion_tokens"}
    for name, read in _READERS.items():
        value = body.get(name)
        if value is not None:
            found[name] = read(value)
    if body.get("response_format") is not None:
        found["response_format"] = _form(body["response_format"])
    stream, include_usage = streaming(body)
    return ChatRequest(
        messages=messages,
        options=built(ChatGenerationOptions, found, spelling),
        stream=stream,
        include_usage=include_usage,
        functions="functions" in found or "function_call" in found,
    )


def _form(value: Any) -> ResponseFormat:
    place = "response_format"
    members = fields.mapping(value, place)
    kind = fields.word(fields.given(members, "type", place), f"{place}.type", _FORMS)
    if kind == "text":
        return ResponseFormat(type="text")
    if kind == "json_object":
        return ResponseFormat(type="json")
    place = "response_format.json_schema"
    described = fields.mapping(fields.given(members, "json_schema", "response_format"), place)
    strict = described.get("strict")
    return ResponseFormat(
        type="json_schema",
        name=fields.name(fields.given(described, "name", place), f"{place}.name"),
        schema=fields.mapping(fields.given(described, "schema", place), f"{place}.schema"),
        strict=None if strict is None else fields.flag(strict, f"{place}.strict"),
    )


__all__ = ["PARAMETERS", "ChatRequest", "read_chat"]
