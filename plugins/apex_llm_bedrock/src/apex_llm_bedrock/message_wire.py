"""From the core's messages to those of chat completions, for models that speak them by InvokeModel."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from apex_llm_bedrock.tool_names import ToolNames
from apex_llm_core.errors import InvalidRequestError
from apex_llm_core.models import (
    ChatMessage,
    DocumentPart,
    FunctionCall,
    ImagePart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

Wire = dict[str, Any]


def wire_messages(messages: Iterable[ChatMessage], names: ToolNames) -> list[Wire]:
    """Return the messages as they go over the wire; one with several tool results becomes several.

    Raises:
        InvalidRequestError: a part has no form there; names the place.
    """
    writer = _Writer(names)
    return [entry for position, message in enumerate(messages) for entry in writer.written(message, position)]


class _Writer:
    def __init__(self, names: ToolNames) -> None:
        self._names = names
        #: Older spelling: ids of calls that have none, by the function's name.
        self._unnamed: dict[str, str] = {}

    def written(self, message: ChatMessage, position: int) -> list[Wire]:
        role: str = message.role
        if role == "function":
            call_id = self._unnamed[message.name or ""]
            return [{"role": "tool", "tool_call_id": call_id, "content": message.text}]
        entry: Wire = {"role": role}
        if message.name is not None:
            entry["name"] = message.name
        results: list[Wire] = []
        parts: list[Wire] = []
        calls: list[Wire] = []
        content = (TextPart(text=message.content),) if isinstance(message.content, str) else message.content
        for part in content:
            if isinstance(part, TextPart):
                parts.append({"type": "text", "text": part.text})
            elif isinstance(part, ImagePart):
                parts.append({"type": "image_url", "image_url": _image(part, position)})
            elif isinstance(part, DocumentPart):
                parts.append({"type": "text", "text": _document(part, position)})
            elif isinstance(part, ToolCallPart):
                calls.append(self._call(part.id, part.name, part.arguments))
            elif isinstance(part, ToolResultPart):
                said = f"Error: {part.content}" if part.is_error else part.content
                results.append({"role": "tool", "tool_call_id": part.tool_call_id, "content": said})
            # Reasoning is not taken back, and caches find out by themselves what to keep.
        if message.function_call is not None:
            calls.append(self._older_call(message.function_call))
        texts = [part["text"] for part in parts if part["type"] == "text"]
        if len(texts) == len(parts):
            text = "".join(texts)
            entry["content"] = text or (None if calls else "")
        else:
            entry["content"] = parts
        if calls:
            entry["tool_calls"] = calls
        if not results:
            return [entry]
        return [*results, {**entry, "role": "user"}] if parts else results

    def _call(self, call_id: str, name: str, arguments: str) -> Wire:
        function = {"name": self._names.written(name), "arguments": arguments}
        return {"id": call_id, "type": "function", "function": function}

    def _older_call(self, call: FunctionCall) -> Wire:
        call_id = self._unnamed[call.name] = f"call_{len(self._unnamed) + 1}_{self._names.written(call.name)}"
        return self._call(call_id, call.name, call.arguments)


def _image(part: ImagePart, position: int) -> Wire:
    if part.url is not None and not part.url.startswith("data:"):
        raise InvalidRequestError(
            f"messages[{position}]: Bedrock fetches no images from the web; pass their data in base64"
        )
    url = part.url if part.url is not None else f"data:{part.media_type};base64,{part.data}"
    return {"url": url} if part.detail is None else {"url": url, "detail": part.detail}


def _document(part: DocumentPart, position: int) -> str:
    if part.text is None:
        raise InvalidRequestError(
            f"messages[{position}]: the model takes no documents of type {part.media_type!r}; pass the document's text"
        )
    return f"{part.name}:\n{part.text}" if part.name else part.text


__all__ = ["wire_messages"]
