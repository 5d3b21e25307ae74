"""From Converse's turns to the messages of chat completions, for models that speak them by InvokeModel.

====================================  ===========================================================================
turns have                            chat completions get
====================================  ===========================================================================
system blocks                         one message at the beginning
results of tools                      a message each, before what the user says beside them
several texts in a row                one, with blank lines between; models differ in whether they take lists
documents                             their text, under their name
the model's reasoning, cache points   nothing: it is not taken back, and caches find out by themselves what to keep
====================================  ===========================================================================
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from apex_llm_bedrock.conversation import Conversation
from apex_llm_core.converters import encode
from apex_llm_core.errors import UnsupportedParameterError

Wire = dict[str, Any]
_TEXT_DOCUMENTS = frozenset({"txt", "md", "csv", "html"})


def wire_messages(conversation: Conversation) -> list[Wire]:
    """Return *conversation* as it goes over the wire.

    Raises:
        UnsupportedParameterError: it has a document that is no text.
    """
    found: list[Wire] = []
    if conversation.system:
        found.append({"role": "system", "content": _content(conversation.system)})
    for turn in conversation.turns:
        found += _messages(turn["role"], turn["content"])
    return found


def _messages(role: str, blocks: Sequence[Wire]) -> Iterator[Wire]:
    results = [block["toolResult"] for block in blocks if "toolResult" in block]
    for result in results:
        text = "".join(each.get("text", "") for each in result["content"])
        said = f"Error: {text}" if result.get("status") == "error" else text
        yield {"role": "tool", "tool_call_id": result["toolUseId"], "content": said}
    content = _content(blocks)
    calls = [_call(block["toolUse"]) for block in blocks if "toolUse" in block]
    if calls:
        yield {"role": role, "content": content or None, "tool_calls": calls}
    elif content or not results:
        yield {"role": role, "content": content}


def _content(blocks: Sequence[Wire]) -> str | list[Wire]:
    parts = [part for block in blocks if (part := _part(block)) is not None]
    if all(part["type"] == "text" for part in parts):
        return "\n\n".join(part["text"] for part in parts)
    return parts


def _part(block: Wire) -> Wire | None:
    if "text" in block:
        return {"type": "text", "text": block["text"]}
    if "image" in block:
        image = block["image"]
        return {
            "type": "image_url",
            "image_url": {"url": f"data:image/{image['format']};base64,{image['source']['bytes']}"},
        }
    if "document" in block:
        return {"type": "text", "text": _document(block["document"])}
    return None


def _document(document: Mapping[str, Any]) -> str:
    kind = document["format"]
    if kind not in _TEXT_DOCUMENTS:
        raise UnsupportedParameterError(
            f"the model takes no {kind} documents by InvokeModel; pass the document's text", parameters=["documents"]
        )
    text = b64decode(document["source"]["bytes"]).decode("utf-8", "replace")
    return f"{document['name']}:\n{text}"


def _call(use: Mapping[str, Any]) -> Wire:
    function = {"name": use["name"], "arguments": encode(use["input"]).decode()}
    return {"id": use["toolUseId"], "type": "function", "function": function}


__all__ = ["wire_messages"]
