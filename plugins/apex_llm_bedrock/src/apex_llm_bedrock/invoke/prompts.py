"""Conversations as one text, for models that take nothing else, in the forms their makers publish.

A prompt of text generation goes through as it is. A chat is written in the family's form; a family without one takes a single
user message. Words that mark turns in a form may not stand in a message: whoever wrote it could forge a turn.

=========  ============================================================================================
template   form
=========  ============================================================================================
llama3     ``<|start_header_id|>user<|end_header_id|>`` … ``<|eot_id|>``
llama4     ``<|header_start|>user<|header_end|>`` … ``<|eot|>``
llama2     ``<s>[INST] <<SYS>>`` … ``<</SYS>>`` … ``[/INST]`` … ``</s>``
mistral    ``<s>[INST]`` … ``[/INST]`` … ``</s>``
titan      ``User:`` … ``Bot:``, one turn only
=========  ============================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from apex_llm_core.errors import UnsupportedParameterError
from apex_llm_core.models import (
    CacheHintPart,
    ChatMessage,
    ContentPart,
    DocumentPart,
    GenerateRequest,
    ReasoningPart,
    TextPart,
)


class Turn(NamedTuple):
    """What one side says: "system", "user" or "assistant"."""

    role: str
    text: str


class _Template(NamedTuple):
    write: Callable[[Sequence[Turn]], str]
    #: Words with a meaning of their own.
    marks: tuple[str, ...]


#: What errors call a part that is no text; the others are of tools.
_PARAMETERS = MappingProxyType({"image": "images", "document": "documents"})


def plain_turns(messages: Sequence[ChatMessage]) -> list[Turn]:
    """Return the texts of *messages*, the system's first, each side's in a row joined.

    Raises:
        UnsupportedParameterError: a message has something else than text.
    """
    system: list[str] = []
    turns: list[Turn] = []
    for position, message in enumerate(messages):
        text = _text(message, f"messages[{position}]")
        if message.role in ("system", "developer"):
            system.append(text)
        elif turns and turns[-1].role == message.role:
            turns[-1] = Turn(message.role, f"{turns[-1].text}\n\n{text}")
        else:
            turns.append(Turn(message.role, text))
    return [Turn("system", "\n\n".join(system)), *turns] if system else turns


def prompt_of(request: GenerateRequest, template: str) -> str:
    """Return the prompt for *request*; *template* is "" for a family that publishes none.

    Raises:
        UnsupportedParameterError: the conversation cannot be written so.
    """
    turns = plain_turns(request.messages)
    alone = len(turns) == 1 and turns[0].role == "user"
    if alone and (request.kind == "text" or not template):
        return turns[0].text
    form = _TEMPLATES.get(template)
    if form is None or (template == "titan" and not alone):
        raise UnsupportedParameterError(
            "the model takes one prompt, and its maker publishes no form for conversations; send a single user message, "
            "or write the conversation into the prompt yourself"
        )
    for turn in turns:
        forged = next((mark for mark in form.marks if mark in turn.text), None)
        if forged is not None:
            raise UnsupportedParameterError(
                f"a {turn.role} message has {forged!r}, which marks turns in the model's prompts; remove it, "
                "or write the whole prompt yourself by text generation"
            )
    return form.write(turns)


def _text(message: ChatMessage, where: str) -> str:
    if message.role in ("tool", "function") or message.function_call is not None:
        raise UnsupportedParameterError(
            f"{where}: the model takes a prompt of text; it knows no tools", parameters=["tools"]
        )
    if isinstance(message.content, str):
        return message.content
    return "".join(_part(part, where) for part in message.content)


def _part(part: ContentPart, where: str) -> str:
    if isinstance(part, TextPart):
        return part.text
    if isinstance(part, DocumentPart) and part.text is not None:
        return f"{part.name}:\n{part.text}" if part.name else part.text
    if isinstance(part, CacheHintPart | ReasoningPart):
        return ""
    raise UnsupportedParameterError(
        f"{where}: the model takes a prompt of text, no {part.type}", parameters=[_PARAMETERS.get(part.type, "tools")]
    )


def _with_headers(begin: str, end: str, over: str) -> Callable[[Sequence[Turn]], str]:
    """Return what writes each turn under a header with its role."""

    def write(turns: Sequence[Turn]) -> str:
        written = [f"{begin}{turn.role}{end}\n\n{turn.text}{over}" for turn in turns]
        if turns[-1].role == "assistant":
            # The beginning of an answer, which the model continues.
            written[-1] = written[-1].removesuffix(over)
        else:
            written.append(f"{begin}assistant{end}\n\n")
        return "<|begin_of_text|>" + "".join(written)

    return write


def _llama2(turns: Sequence[Turn]) -> str:
    system, turns = _alternating(turns)
    head = f"<<SYS>>\n{system}\n<</SYS>>\n\n" if system else ""
    written = ""
    for position, turn in enumerate(turns):
        if turn.role == "user":
            written += f"<s>[INST] {head if position == 0 else ''}{turn.text} [/INST]"
        else:
            written += f" {turn.text}" + (" </s>" if position < len(turns) - 1 else "")
    return written


def _mistral(turns: Sequence[Turn]) -> str:
    system, turns = _alternating(turns)
    written = "<s>"
    for position, turn in enumerate(turns):
        if turn.role == "user":
            text = f"{system}\n\n{turn.text}" if system and position == 0 else turn.text
            written += f"[INST] {text} [/INST]"
        else:
            written += f" {turn.text}" + ("</s>" if position < len(turns) - 1 else "")
    return written


def _titan(turns: Sequence[Turn]) -> str:
    return f"User: {turns[0].text}\nBot:"


def _alternating(turns: Sequence[Turn]) -> tuple[str, Sequence[Turn]]:
    """Return the system's text and the turns after it, which the user must begin."""
    system = ""
    if turns[0].role == "system":
        system, turns = turns[0].text, turns[1:]
    if not turns or turns[0].role != "user":
        raise UnsupportedParameterError("the first message after the system's must be the user's")
    return system, turns


_INSTRUCT = ("[INST]", "[/INST]", "<s>", "</s>")
_TEMPLATES: Mapping[str, _Template] = MappingProxyType(
    {
        "llama3": _Template(
            _with_headers("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
            ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>"),
        ),
        "llama4": _Template(
            _with_headers("<|header_start|>", "<|header_end|>", "<|eot|>"),
            ("<|begin_of_text|>", "<|header_start|>", "<|header_end|>", "<|eot|>", "<|eom|>"),
        ),
        "llama2": _Template(_llama2, (*_INSTRUCT, "<<SYS>>", "<</SYS>>")),
        "mistral": _Template(_mistral, _INSTRUCT),
        "titan": _Template(_titan, ("\nUser:", "\nBot:")),
    }
)

__all__ = ["Turn", "plain_turns", "prompt_of"]
