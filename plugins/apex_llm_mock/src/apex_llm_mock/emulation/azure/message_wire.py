"""OpenAI's messages, from JSON to the core's `ChatMessage`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apex_llm_core.models import (
    ChatMessage,
    ContentPart,
    DocumentPart,
    FunctionCall,
    ImagePart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from apex_llm_mock.emulation.azure.errors import refusal
from apex_llm_mock.emulation.wire_values import Json, list_of, text_of, wrong_type


def messages_of(body: Json) -> tuple[ChatMessage, ...]:
    """Return the conversation of a request.

    Raises:
        RefusedError: it is empty, or a message is not as it must be.
    """
    messages = tuple(_message(item, place) for place, item in enumerate(list_of(body, "messages")))
    if not messages:
        raise refusal(
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.",
            code="empty_array",
            param="messages",
        )
    _check_tool_results(messages)
    return messages


def _message(item: Any, place: int) -> ChatMessage:
    where = f"messages[{place}]"
    if not isinstance(item, Mapping):
        raise wrong_type(where, "an object")
    role = item.get("role")
    if role not in ("system", "developer", "user", "assistant", "tool", "function"):
        raise refusal(
            f"Invalid value: {role!r}. Supported values are: 'system', 'assistant', 'user', 'function', 'tool', and 'developer'.",
            code="invalid_value",
            param=f"{where}.role",
        )
    calls = [_tool_call(call, f"{where}.tool_calls") for call in list_of(item, "tool_calls")]
    called = item.get("function_call")
    content = item.get("content")
    if content is None and not (role == "assistant" and (calls or called)):
        raise refusal(
            f"Invalid value for 'content': expected a string, got null. ({where}.content)", param=f"{where}.content"
        )
    parts: list[ContentPart] = _parts(content, f"{where}.content") if content is not None else []
    if role == "tool":
        text = "".join(part.text for part in parts if isinstance(part, TextPart))
        parts = [ToolResultPart(tool_call_id=text_of(item, "tool_call_id", where), content=text)]
    function_call = None
    if isinstance(called, Mapping):
        function_call = FunctionCall(
            name=text_of(called, "name", where), arguments=text_of(called, "arguments", f"{where}.function_call")
        )
    return ChatMessage(
        role=role,
        content=content if isinstance(content, str) and not calls and role != "tool" else [*parts, *calls],
        name=item.get("name"),
        function_call=function_call,
    )


def _parts(content: Any, where: str) -> list[ContentPart]:
    if isinstance(content, str):
        return [TextPart(text=content)]
    if not isinstance(content, list):
        raise wrong_type(where, "a string or an array of objects")
    return [_part(part, f"{where}[{place}]") for place, part in enumerate(content)]


def _part(part: Any, where: str) -> ContentPart:
    if not isinstance(part, Mapping):
        raise wrong_type(where, "an object")
    match part.get("type"):
        case "text":
            return TextPart(text=text_of(part, "text", where))
        case "refusal":
            return TextPart(text=text_of(part, "refusal", where))
        case "image_url":
            image = part.get("image_url")
            if not isinstance(image, Mapping):
                raise wrong_type(f"{where}.image_url", "an object")
            return _image(text_of(image, "url", f"{where}.image_url"), image.get("detail"))
        case "file":
            file = part.get("file")
            if not isinstance(file, Mapping):
                raise wrong_type(f"{where}.file", "an object")
            kind, _, data = text_of(file, "file_data", f"{where}.file").removeprefix("data:").partition(";base64,")
            return DocumentPart(data=data, media_type=kind or "application/pdf", name=file.get("filename"))
        case kind:
            raise refusal(
                f"Invalid value: {kind!r}. Supported values are: 'text', 'image_url', 'file', and 'refusal'.",
                code="invalid_value",
                param=f"{where}.type",
            )


def _image(url: str, detail: str | None) -> ImagePart:
    kind, marker, data = url.removeprefix("data:").partition(";base64,")
    if url.startswith("data:") and marker:
        return ImagePart(data=data, media_type=kind, detail=detail)
    return ImagePart(url=url, detail=detail)


def _tool_call(call: Any, where: str) -> ToolCallPart:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping):
        raise wrong_type(where, "an array of objects with 'function'")
    return ToolCallPart(
        id=text_of(call, "id", where),
        name=text_of(function, "name", f"{where}.function"),
        arguments=text_of(function, "arguments", f"{where}.function"),
    )


def _check_tool_results(messages: tuple[ChatMessage, ...]) -> None:
    """Tool results follow the message that asks for them, all of them, at once."""
    waiting: dict[str, None] = {}
    for place, message in enumerate(messages):
        parts = message.content if isinstance(message.content, tuple) else ()
        results = [part for part in parts if isinstance(part, ToolResultPart)]
        for result in results:
            if result.tool_call_id not in waiting:
                raise refusal(
                    "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.",
                    param=f"messages.[{place}].role",
                )
            del waiting[result.tool_call_id]
        if waiting and not results:
            break
        waiting.update((call.id, None) for call in message.tool_calls)
    if waiting:
        raise refusal(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
            f"The following tool_call_ids did not have response messages: {', '.join(waiting)}",
            param="messages",
        )


__all__ = ["messages_of"]
