"""Content of messages: text, or parts of the kinds that a role may have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NoReturn

from apex_llm_core.models import CacheHintPart, ContentPart, TextPart
from apex_llm_gateway.openai import fields
from apex_llm_gateway.openai.fields import Json
from apex_llm_gateway.openai.media import document_of, image_of
from apex_llm_gateway.openai.rules import ParameterError

#: Reads the part at a place.
PartReader = Callable[[Json, str], ContentPart]
#: Members that say that all up to them is worth caching: the one of other APIs that clients use everywhere, and OpenAI's.
_HINTS = (("cache_control", "type", "ephemeral"), ("prompt_cache_breakpoint", "mode", "explicit"))


def read_content(members: Json, place: str, readers: Mapping[str, PartReader]) -> str | list[ContentPart]:
    """Return the content of the message *members* at *place*.

    Raises:
        ParameterError: there is none, or a part is none of *readers* or not as it must be.
    """
    value = fields.given(members, "content", place)
    if type(value) is str:
        return value
    where = f"{place}.content"
    if type(value) is not list:
        raise fields.wrong(where, "text or a list of parts", value)
    if not value:
        raise ParameterError(f"{where} is empty; a list needs at least one part", param=where)
    parts: list[ContentPart] = []
    for position, item in enumerate(value):
        inside = f"{where}[{position}]"
        part = fields.mapping(item, inside)
        kind = fields.text(fields.given(part, "type", inside), f"{inside}.type")
        reader = readers.get(kind)
        if reader is None:
            raise _misplaced(kind, members["role"], readers, inside)
        parts.append(reader(part, inside))
        hint = read_hint(part, inside)
        if hint is not None:
            parts.append(hint)
    return parts


def as_parts(content: str | list[ContentPart]) -> list[ContentPart]:
    """Return *content* as a list of parts."""
    if isinstance(content, str):
        # Some models refuse parts without text.
        return [TextPart(text=content)] if content else []
    return content


def read_hint(members: Json, place: str) -> CacheHintPart | None:
    """Return the hint that the message or part at *place* has."""
    for member, kind, word in _HINTS:
        value = members.get(member)
        if value is not None:
            where = f"{place}.{member}"
            hint = fields.mapping(value, where)
            fields.word(fields.given(hint, kind, where), f"{where}.{kind}", (word,))
            ttl = hint.get("ttl")
            return CacheHintPart(ttl=None if ttl is None else fields.name(ttl, f"{where}.ttl"))
    return None


def _misplaced(kind: str, role: str, readers: Mapping[str, PartReader], place: str) -> ParameterError:
    if kind in OF_USERS or kind in OF_ASSISTANTS:
        return ParameterError(
            f"{place}.type is {kind!r}, which a message of role {role!r} cannot have; valid: {', '.join(readers)}",
            param=f"{place}.type",
        )
    return fields.unknown_word(kind, f"{place}.type", readers)


def _text(part: Json, place: str) -> TextPart:
    return TextPart(text=fields.text(fields.given(part, "text", place), f"{place}.text"))


def _refusal(part: Json, place: str) -> TextPart:
    return TextPart(text=fields.text(fields.given(part, "refusal", place), f"{place}.refusal"))


def _audio(_: Json, place: str) -> NoReturn:
    raise ParameterError(f"{place}: audio is not taken here; send its text", param=f"{place}.type")


#: Kinds of parts by who may say them.
WORDS: Mapping[str, PartReader] = {"text": _text}
OF_USERS: Mapping[str, PartReader] = {
    "text": _text,
    "image_url": image_of,
    "file": document_of,
    "input_audio": _audio,
}
OF_ASSISTANTS: Mapping[str, PartReader] = {"text": _text, "refusal": _refusal}


__all__ = ["OF_ASSISTANTS", "OF_USERS", "WORDS", "PartReader", "as_parts", "read_content", "read_hint"]
