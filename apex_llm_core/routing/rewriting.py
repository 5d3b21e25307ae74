"""Conversations in other words, for models that know no tools, images or documents. Pure; the original stays as it is."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from apex_llm_core.models.messages import (
    CacheHintPart,
    ChatMessage,
    ContentPart,
    DocumentPart,
    ImagePart,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

#: Parts that say nothing to the model.
_SILENT = (CacheHintPart, ReasoningPart)
_RESULT_ROLES = frozenset({"tool", "function"})
#: How every note ends.
_LEFT_OUT = "stood here; it was left out because you take none]"


@attrs.frozen(kw_only=True)
class Rewritten:
    """A conversation, and how many of its parts became something else."""

    messages: tuple[ChatMessage, ...]
    #: Parts whose content is still there, as text.
    as_text: int = 0
    #: Parts of which only a note is left.
    as_note: int = 0
    #: Whether there is a user's message of which only notes are left.
    hollow: bool = False


def tools_as_text(messages: Iterable[ChatMessage]) -> Rewritten:
    """Write tool calls and their results, in both spellings, as text of the assistant and of the user."""
    names: dict[str, str] = {}
    as_text = 0
    rewritten: list[ChatMessage] = []
    for message in messages:
        parts, found = _with_tools_as_text(message, names)
        as_text += found
        if message.role in _RESULT_ROLES:
            rewritten.append(attrs.evolve(message, role="user", name=None, content=parts))
        else:
            rewritten.append(attrs.evolve(message, content=parts, function_call=None) if found else message)
    return Rewritten(messages=tuple(rewritten), as_text=as_text)


def _with_tools_as_text(message: ChatMessage, names: dict[str, str]) -> tuple[list[ContentPart], int]:
    """Return the parts of *message* and how many became text; *names* are those of the calls so far, by id."""
    if message.role == "function":
        return [TextPart(text=_result(message.name or "", message.text, failed=False))], 1
    parts: list[ContentPart] = []
    found = 0
    for part in _parts(message):
        if isinstance(part, ToolCallPart):
            names[part.id] = part.name
            parts.append(TextPart(text=_call(part.name, part.arguments)))
            found += 1
        elif isinstance(part, ToolResultPart):
            parts.append(TextPart(text=_result(names[part.tool_call_id], part.content, failed=part.is_error)))
            found += 1
        else:
            parts.append(part)
    if message.function_call is not None:
        parts.append(TextPart(text=_call(message.function_call.name, message.function_call.arguments)))
        found += 1
    return parts, found


def without_images(messages: Iterable[ChatMessage]) -> Rewritten:
    """Put a note in the place of every image."""
    return _without(messages, ImagePart, with_text=False)


def without_documents(messages: Iterable[ChatMessage], *, with_text: bool) -> Rewritten:
    """Put a note in the place of every document; its text, where it has one and *with_text*."""
    return _without(messages, DocumentPart, with_text=with_text)


def _without(messages: Iterable[ChatMessage], kind: type[ImagePart | DocumentPart], *, with_text: bool) -> Rewritten:
    as_text = as_note = 0
    hollow = False
    rewritten: list[ChatMessage] = []
    for message in messages:
        parts: list[ContentPart] = []
        texts = notes = others = 0
        for part in _parts(message):
            if not isinstance(part, kind):
                parts.append(part)
                others += _says_something(part)
            elif with_text and isinstance(part, DocumentPart) and part.text is not None:
                parts.append(TextPart(text=_document_text(part.name, part.text)))
                texts += 1
            else:
                parts.append(TextPart(text=_note(part)))
                notes += 1
        as_text += texts
        as_note += notes
        hollow = hollow or (message.role == "user" and bool(notes) and not texts and not others)
        rewritten.append(attrs.evolve(message, content=parts) if texts or notes else message)
    return Rewritten(messages=tuple(rewritten), as_text=as_text, as_note=as_note, hollow=hollow)


def _parts(message: ChatMessage) -> list[ContentPart]:
    content = message.content
    if isinstance(content, str):
        return [TextPart(text=content)] if content else []
    return list(content)


def _says_something(part: ContentPart) -> bool:
    if not isinstance(part, TextPart):
        return not isinstance(part, _SILENT)
    # A note of an earlier rewriting is no word of the user's.
    return bool(part.text.strip()) and not part.text.endswith(_LEFT_OUT)


def _call(name: str, arguments: str) -> str:
    return f"[called the tool {name} with {arguments}]\n"


def _result(name: str, content: str, *, failed: bool) -> str:
    return f"[the tool {name} {'failed' if failed else 'answered'}]\n{content}\n[end of the tool's answer]\n"


def _document_text(name: str | None, text: str) -> str:
    return f"[document{f' {name!r}' if name else ''}]\n{text}\n[end of the document]\n"


def _note(part: ImagePart | DocumentPart) -> str:
    if isinstance(part, ImagePart):
        return f"[an image {_LEFT_OUT}"
    return f"[the document{f' {part.name!r}' if part.name else ''} {_LEFT_OUT}"


__all__ = ["Rewritten", "tools_as_text", "without_documents", "without_images"]
