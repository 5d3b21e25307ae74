"""Prompts that tell the simulated provider how long their answer is, so that every attempt of a request agrees on it.

A prompt is its number, the tokens of its answer, and filling up to its size; four characters are a token.
"""

from __future__ import annotations

from apex_llm_core.errors import InvalidRequestError
from apex_llm_core.models import GenerateRequest

CHARACTERS_PER_TOKEN = 4
_FILLING = "word " * 2_000


def filling(tokens: int) -> str:
    """Return a text of so many tokens."""
    length = tokens * CHARACTERS_PER_TOKEN
    if length <= len(_FILLING):
        return _FILLING[:length]
    return (_FILLING * (length // len(_FILLING) + 1))[:length]


def write(number: int, *, prompt_tokens: int, answer_tokens: int) -> str:
    """Return the prompt of that number and size."""
    head = f"{number} {answer_tokens} "
    return head + filling(prompt_tokens)[len(head) :]


def read(request: GenerateRequest) -> tuple[int, int]:
    """Return the tokens of a request's prompt and of the answer it asks for.

    Raises:
        InvalidRequestError: its last message was not written here.
    """
    characters = 0
    for message in request.messages:
        characters += len(message.text)
    words = request.messages[-1].text.split(" ", 2)
    if len(words) != 3 or not words[1].isdecimal():
        raise InvalidRequestError("a simulated provider answers the prompts of a simulation only")
    return characters // CHARACTERS_PER_TOKEN, int(words[1])


__all__ = ["filling", "read", "write"]
