"""Anthropic's Messages requests, from JSON to the core's `GenerateRequest`. Mistakes get Anthropic's words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from apex_llm_core.errors import InvalidRequestError
from apex_llm_core.models import (
    ChatMessage,
    ContentPart,
    DocumentPart,
    FunctionChoice,
    FunctionDefinition,
    ImagePart,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from apex_llm_mock.emulation.answers import RefusedError
from apex_llm_mock.emulation.bedrock.base_model import BaseModel
from apex_llm_mock.emulation.bedrock.errors import invalid
from apex_llm_mock.emulation.bedrock.malformed import malformed
from apex_llm_mock.emulation.bedrock.spoken import Asked, request_of

#: The only version there is.
VERSION = "bedrock-2023-05-31"
_REQUIRED = ("anthropic_version", "max_tokens", "messages")
#: Everything else a request may have, with the type it must be of.
_OPTIONAL: Mapping[str, tuple[type, ...]] = {
    "anthropic_beta": (list,),
    "context_management": (dict,),
    "metadata": (dict,),
    "output_config": (dict,),
    "output_format": (dict,),
    "stop_sequences": (list,),
    "system": (str, list),
    "temperature": (int, float),
    "thinking": (dict,),
    "tool_choice": (dict,),
    "tools": (list,),
    "top_k": (int,),
    "top_p": (int, float),
}
#: The members of content blocks that are texts.
_TEXTS = frozenset({"text", "thinking", "signature", "data", "id", "name", "tool_use_id"})
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def asked(body: Any, model: BaseModel) -> Asked:
    """Return what *body* asks of *model*.

    Raises:
        RefusedError: the model does not take it.
    """
    fields = _fields(body)
    most = fields["max_tokens"]
    if type(most) is not int:
        raise invalid("max_tokens: Input should be a valid integer")
    if most < 1:
        raise invalid("max_tokens: Input should be greater than or equal to 1")
    if most > model.max_output:
        raise invalid(
            f"max_tokens: {most} > {model.max_output}, which is the maximum allowed number of output tokens for "
            f"{model.id.removeprefix('anthropic.')}"
        )
    for name in ("temperature", "top_p"):
        if not 0 <= fields.get(name, 0) <= 1:
            raise invalid(f"{name}: range: 0..1")
    for place, stop in enumerate(fields.get("stop_sequences", ())):
        if not isinstance(stop, str) or not stop.strip():
            raise invalid(f"stop_sequences: each stop sequence must contain non-whitespace, which {place} does not")
    tools = [_tool(tool, place) for place, tool in enumerate(fields.get("tools", ()))]
    request = request_of(
        model,
        tuple(_messages(fields)),
        max_tokens=most,
        temperature=fields.get("temperature"),
        top_p=fields.get("top_p"),
        tools=tools or None,
        tool_choice=_choice(fields.get("tool_choice"), has_tools=bool(tools)),
        parallel_tool_calls=False if fields.get("tool_choice", {}).get("disable_parallel_tool_use") else None,
        reasoning_effort=_effort(fields, model),
    )
    return Asked(request=request, stops=tuple(fields.get("stop_sequences", ())), body=fields)


def _fields(body: Any) -> Mapping[str, Any]:
    if not isinstance(body, dict):
        raise malformed()
    for name in _REQUIRED:
        if name not in body:
            raise invalid(f"{name}: Field required")
    for name, value in body.items():
        if name in _REQUIRED:
            continue
        if name not in _OPTIONAL:
            raise invalid(f"{name}: Extra inputs are not permitted")
        if not isinstance(value, _OPTIONAL[name]) or isinstance(value, bool):
            raise invalid(f"{name}: Input should be a valid {_OPTIONAL[name][-1].__name__}")
    if body["anthropic_version"] != VERSION:
        raise invalid(f"anthropic_version: Input should be '{VERSION}'")
    return body


def _effort(fields: Mapping[str, Any], model: BaseModel) -> str | None:
    thinking = fields.get("thinking") or {}
    if thinking.get("type", "disabled") == "disabled":
        return None
    if model.reasoning != "thinking":
        raise invalid("thinking: this model does not support extended thinking")
    if thinking["type"] == "adaptive":
        return "medium"
    budget = thinking.get("budget_tokens")
    if type(budget) is not int or budget < 1_024:
        raise invalid("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
    if budget >= fields["max_tokens"]:
        raise invalid("`max_tokens` must be greater than `thinking.budget_tokens`.")
    return "medium"


def _messages(fields: Mapping[str, Any]) -> Iterator[ChatMessage]:
    messages = fields["messages"]
    if not isinstance(messages, list) or not messages:
        raise invalid("messages: at least one message is required")
    system = fields.get("system")
    if system:
        yield ChatMessage(role="system", content=_parts(system, "system"))
    waiting: set[str] = set()
    for place, message in enumerate(messages):
        where = f"messages.{place}"
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ("user", "assistant"):
            raise invalid(f"{where}.role: Input should be 'user' or 'assistant'")
        if place == 0 and role != "user":
            raise invalid('messages: first message must use the "user" role')
        parts = _parts(message.get("content"), f"{where}.content")
        if not parts and place < len(messages) - 1:
            raise invalid(
                f"{where}: all messages must have non-empty content except for the optional final assistant message"
            )
        results = [part for part in parts if isinstance(part, ToolResultPart)]
        _check_results(results, waiting, where)
        waiting = {part.id for part in parts if isinstance(part, ToolCallPart)}
        others = [part for part in parts if not isinstance(part, ToolResultPart)]
        if results:
            yield ChatMessage(role="tool", content=results)
        if others or not results:
            yield ChatMessage(role=role, content=others)
    if waiting:
        raise _unanswered(len(messages) - 1, waiting)


def _check_results(results: list[ToolResultPart], waiting: set[str], where: str) -> None:
    given = {result.tool_call_id for result in results}
    for result_id in given - waiting:
        raise invalid(
            f"{where}.content.0: unexpected `tool_use_id` found in `tool_result` blocks: {result_id}. Each `tool_result` "
            "block must have a corresponding `tool_use` block in the previous message."
        )
    if waiting - given:
        raise _unanswered(int(where.rpartition(".")[2]) - 1, waiting - given)


def _unanswered(place: int, ids: set[str]) -> RefusedError:
    return invalid(
        f"messages.{place}: `tool_use` ids were found without `tool_result` blocks immediately after: "
        f"{', '.join(sorted(ids))}. Each `tool_use` block must have a corresponding `tool_result` block in the next message."
    )


def _parts(content: Any, where: str) -> list[ContentPart]:
    if isinstance(content, str):
        return [TextPart(text=content)] if content else []
    if not isinstance(content, list):
        raise invalid(f"{where}: Input should be a valid list")
    return [_part(block, f"{where}.{place}") for place, block in enumerate(content)]


def _part(block: Any, where: str) -> ContentPart:
    if not isinstance(block, dict):
        raise invalid(f"{where}: Input should be a valid dictionary")
    kind = block.get("type")
    for name in _TEXTS & block.keys():
        if not isinstance(block[name], str):
            raise invalid(f"{where}.{kind}.{name}: Input should be a valid string")
    try:
        match kind:
            case "text":
                if not block["text"]:
                    raise invalid("messages: text content blocks must be non-empty")
                return TextPart(text=block["text"])
            case "image":
                source = block["source"]
                return ImagePart(data=source["data"], media_type=source["media_type"])
            case "document":
                source = block["source"]
                return DocumentPart(data=source["data"], media_type=source["media_type"], name=block.get("title"))
            case "tool_use":
                return ToolCallPart(id=block["id"], name=block["name"], arguments=json.dumps(block["input"]))
            case "tool_result":
                parts = _parts(block.get("content", ""), f"{where}.tool_result.content")
                text = "\n".join(part.text for part in parts if isinstance(part, TextPart))
                return ToolResultPart(
                    tool_call_id=block["tool_use_id"], content=text, is_error=bool(block.get("is_error"))
                )
            case "thinking":
                return ReasoningPart(text=block["thinking"], signature=block["signature"])
            case "redacted_thinking":
                return ReasoningPart(data=block["data"])
            case _:
                raise invalid(f"{where}: Input tag '{kind}' found using 'type' does not match any of the expected tags")
    except KeyError as error:
        raise invalid(f"{where}.{kind}.{error.args[0]}: Field required") from error


def _tool(tool: Any, place: int) -> FunctionDefinition:
    where = f"tools.{place}"
    if not isinstance(tool, dict):
        raise invalid(f"{where}: Input should be a valid dictionary")
    for name in ("name", "input_schema"):
        if name not in tool:
            raise invalid(f"{where}.custom.{name}: Field required")
    for name in tool.keys() - {"name", "input_schema", "description", "type", "cache_control", "strict"}:
        raise invalid(f"{where}.custom.{name}: Extra inputs are not permitted")
    try:
        return FunctionDefinition(
            name=tool["name"], description=tool.get("description"), parameters=tool["input_schema"]
        )
    except InvalidRequestError as error:
        raise invalid(f"{where}.custom: {error.message}") from error


def _choice(choice: Any, *, has_tools: bool) -> str | FunctionChoice | None:
    if choice is None:
        return None
    if not has_tools:
        raise invalid("tool_choice: may only be specified while providing tools")
    if choice.get("type") == "tool":
        return FunctionChoice(name=str(choice.get("name")))
    if str(choice.get("type")) not in _CHOICES:
        raise invalid("tool_choice: Input tag does not match any of the expected tags: 'auto', 'any', 'tool', 'none'")
    return _CHOICES[choice["type"]]


__all__ = ["VERSION", "asked"]
