"""One text or several, where OpenAI's API also takes token ids."""

from __future__ import annotations

from typing import Any

from apex_llm_gateway.openai import fields
from apex_llm_gateway.openai.rules import ParameterError


def read_texts(value: Any, place: str) -> tuple[str, ...]:
    """Return the texts at *place*, at least one.

    Raises:
        ParameterError: there is none, or something else, for example token ids.
    """
    if type(value) is str:
        return (value,)
    if type(value) is not list:
        raise fields.wrong(place, "text or a list of texts", value)
    if not value:
        raise ParameterError(f"{place} is empty; a list needs at least one text", param=place)
    for position, item in enumerate(value):
        if type(item) is not str:
            where = f"{place}[{position}]"
            if type(item) is int or (type(item) is list and all(type(token) is int for token in item)):
                raise ParameterError(
                    f"{where}: expected text, not token ids, which mean nothing across models", param=where
                )
            raise fields.wrong(where, "text", item)
    return tuple(value)


__all__ = ["read_texts"]
