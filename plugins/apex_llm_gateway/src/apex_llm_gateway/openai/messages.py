"""Messages of a chat, from OpenAI's JSON to the core's; what a message cannot say is an error that names its place.

Beyond OpenAI's members, `reasoning_details` and `reasoning_content` of an assistant's message give back what an answer had
under these names, and `cache_control` of a message or part is a hint that all up to it is worth caching.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from apex_llm_core.errors import nearest
from apex_llm_core.models import (
    CacheHintPart,
    ChatMessage,
    ContentPart,
    FunctionCall,
    ReasoningPart,
    Role,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from apex_llm_gateway.openai import fields
from apex_llm_gateway.openai.fields import Json
from apex_llm_gateway.openai.parts import OF_ASSISTANTS, OF_USERS, WORDS, as_parts, read_content, read_hint
from apex_llm_gateway.openai.rules import ParameterError

#: Roles whose messages may be nothing but text.
_SPEAKERS = frozenset({"system", "developer", "user", "assistant"})
_ANSWERING = frozenset({"tool", "function"})
#: Earlier calls that an error looks through for the one that was meant.
_REMEMBERED = 64


def read_messages(value: Any) -> tuple[ChatMessage, ...]:
    """Return the conversation.

    Raises:
        ParameterError: it is empty, a message is not as it must be, or answers a call that was never made.
    """
    if value is None:
        raise ParameterError("messages is missing", param="messages")
    if not fields.items(value, "messages"):
        raise ParameterError("messages is empty; a request needs at least one message", param="messages")
    messages = tuple([_message(item, position) for position, item in enumerate(value)])
    if not _ANSWERING.isdisjoint([message.role for message in messages]):
        _check_answers(messages)
    return messages


def _message(item: Any, position: int) -> ChatMessage:
    if type(item) is dict:
        role, content = item.get("role"), item.get("content")
        if type(content) is str and len(item) == 2 and type(role) is str and role in _SPEAKERS:
            return ChatMessage(role=role, content=content)  # type: ignore[arg-type]  # one of `_SPEAKERS`
    place = f"messages[{position}]"
    members = fields.mapping(item, place)
    role = fields.word(fields.given(members, "role", place), f"{place}.role", _ROLES)
    return _ROLES[role](members, place)


def _instruction(role: Role) -> Callable[[Json, str], ChatMessage]:
    def read(members: Json, place: str) -> ChatMessage:
        return _said(role, members, read_content(members, place, WORDS), place)

    return read


def _of_user(members: Json, place: str) -> ChatMessage:
    return _said("user", members, read_content(members, place, OF_USERS), place)


def _of_assistant(members: Json, place: str) -> ChatMessage:
    if members.get("audio") is not None:
        raise ParameterError(
            f"{place}.audio: answers in audio are not kept here; send what was said as 'content'",
            param=f"{place}.audio",
        )
    parts: list[ContentPart] = _thoughts(members, place)
    spoken: str | list[ContentPart] = ""
    if members.get("content") is not None:
        spoken = read_content(members, place, OF_ASSISTANTS)
    refusal = members.get("refusal")
    if refusal is not None:
        spoken = _joined(spoken, fields.text(refusal, f"{place}.refusal"))
    calls = _calls(members, place)
    function_call = _function_call(members, place)
    if members.get("content") is None and refusal is None and not (parts or calls or function_call):
        raise ParameterError(
            f"{place}.content is missing; only a message with tool_calls, function_call or refusal can be without",
            param=f"{place}.content",
        )
    if parts or calls:
        spoken = [*parts, *as_parts(spoken), *calls]
    return _said("assistant", members, spoken, place, function_call)


def _of_tool(members: Json, place: str) -> ChatMessage:
    call = fields.name(fields.given(members, "tool_call_id", place), f"{place}.tool_call_id")
    content = read_content(members, place, WORDS)
    hint: ContentPart | None = None
    if not isinstance(content, str):
        hint = next((part for part in content if type(part) is CacheHintPart), None)
        content = "".join(part.text for part in content if type(part) is TextPart)
    result: list[ContentPart] = [ToolResultPart(tool_call_id=call, content=content)]
    return _said("tool", members, [*result, hint] if hint else result, place)


def _of_function(members: Json, place: str) -> ChatMessage:
    fields.given(members, "name", place)
    content: str | list[ContentPart] = "" if members.get("content") is None else read_content(members, place, WORDS)
    return _said("function", members, content, place)


def _said(
    role: Role,
    members: Json,
    content: str | list[ContentPart],
    place: str,
    function_call: FunctionCall | None = None,
) -> ChatMessage:
    name = members.get("name")
    if name is not None:
        name = fields.name(name, f"{place}.name")
    hint = read_hint(members, place)
    if hint is not None:
        content = [*as_parts(content), hint]
    return ChatMessage(
        role=role,
        content=content if isinstance(content, str) else tuple(content),
        name=name,
        function_call=function_call,
    )


def _joined(content: str | list[ContentPart], refusal: str) -> str | list[ContentPart]:
    if isinstance(content, str) and not content:
        return refusal
    return [*as_parts(content), *as_parts(refusal)]


def _thoughts(members: Json, place: str) -> list[ContentPart]:
    details = members.get("reasoning_details")
    if details:
        where = f"{place}.reasoning_details"
        return [
            _thought(fields.mapping(item, f"{where}[{position}]"), f"{where}[{position}]")
            for position, item in enumerate(fields.items(details, where))
        ]
    said = members.get("reasoning_content")
    if said:
        return [ReasoningPart(text=fields.text(said, f"{place}.reasoning_content"))]
    return []


def _thought(members: Json, place: str) -> ReasoningPart:
    fields.word(fields.given(members, "type", place), f"{place}.type", ("reasoning",))
    said, signature, data = (
        None if members.get(member) is None else fields.text(members[member], f"{place}.{member}")
        for member in ("text", "signature", "data")
    )
    return ReasoningPart(text=said or "", signature=signature, data=data)


def _calls(members: Json, place: str) -> list[ToolCallPart]:
    calls = members.get("tool_calls")
    if calls is None:
        return []
    where = f"{place}.tool_calls"
    return [_call(item, f"{where}[{position}]") for position, item in enumerate(fields.items(calls, where))]


def _call(item: Any, place: str) -> ToolCallPart:
    members = fields.mapping(item, place)
    # Some clients leave out the only type there used to be.
    fields.word(members.get("type") or "function", f"{place}.type", ("function",))
    function = fields.mapping(fields.given(members, "function", place), f"{place}.function")
    return ToolCallPart(
        id=fields.name(fields.given(members, "id", place), f"{place}.id"),
        name=fields.name(fields.given(function, "name", f"{place}.function"), f"{place}.function.name"),
        arguments=fields.text(fields.given(function, "arguments", f"{place}.function"), f"{place}.function.arguments"),
    )


def _function_call(members: Json, place: str) -> FunctionCall | None:
    value = members.get("function_call")
    if value is None:
        return None
    where = f"{place}.function_call"
    call = fields.mapping(value, where)
    return FunctionCall(
        name=fields.name(fields.given(call, "name", where), f"{where}.name"),
        arguments=fields.text(fields.given(call, "arguments", where), f"{where}.arguments"),
    )


def _check_answers(messages: tuple[ChatMessage, ...]) -> None:
    """Results follow the calls they answer. The core checks it again; it does not know places in a body."""
    calls: set[str] = set()
    functions: set[str] = set()
    latest: deque[str] = deque(maxlen=_REMEMBERED)
    for position, message in enumerate(messages):
        if message.function_call is not None:
            functions.add(message.function_call.name)
            latest.append(message.function_call.name)
        if message.role == "function" and message.name not in functions:
            raise ParameterError(
                f"messages[{position}] is the result of function {fields.shown(message.name or '')}, "
                f"which no earlier message calls{nearest(message.name or '', latest)}",
                param=f"messages[{position}].name",
            )
        if type(message.content) is str:
            continue
        for part in message.content:
            if type(part) is ToolCallPart:
                calls.add(part.id)
                latest.append(part.id)
            elif type(part) is ToolResultPart and part.tool_call_id not in calls:
                raise ParameterError(
                    f"messages[{position}] is the result of tool call {fields.shown(part.tool_call_id)}, "
                    f"which no earlier message makes{nearest(part.tool_call_id, latest)}",
                    param=f"messages[{position}].tool_call_id",
                )


_ROLES: dict[str, Callable[[Json, str], ChatMessage]] = {
    "system": _instruction("system"),
    "developer": _instruction("developer"),
    "user": _of_user,
    "assistant": _of_assistant,
    "tool": _of_tool,
    "function": _of_function,
}


__all__ = ["read_messages"]
