"""Log probabilities in OpenAI's two forms, from whichever form a provider gave them in.

==========================================================  ==============================
form                                                        whose
==========================================================  ==============================
``{"content": [entry, …], "refusal": [entry, …]}``          chats
``[entry, …]``                                              the same without its frame
``{"tokens": […], "token_logprobs": […], …}``               completions
==========================================================  ==============================

An entry is ``{"token", "logprob", "bytes", "top_logprobs": [entry, …]}``. What has another form is left out: it is better
to tell nothing than what no client can read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Any, NamedTuple, TypeGuard

#: What OpenAI's API writes where JSON has no number: for minus infinity.
LEAST = -9999.0


class Token(NamedTuple):
    """A token, how likely it was, and how likely others were in its place."""

    text: str
    logprob: float
    bytes: list[int] | None = None
    others: tuple[Token, ...] = ()


def chat_logprobs(given: Any) -> dict[str, Any] | None:
    """Return *given* in the form of chats, None when there is nothing to tell."""
    content, refusal = tokens_of(given), tokens_of(given, "refusal")
    if not content and not refusal:
        return None
    return {
        "content": [*map(_entry, content)] if content else None,
        "refusal": [*map(_entry, refusal)] if refusal else None,
    }


def completion_logprobs(tokens: Iterable[Token], start: int = 0) -> dict[str, Any] | None:
    """Return *tokens* in the form of completions, None when there are none.

    Args:
        tokens: in the order of the text.
        start: characters of the text before the first of them.
    """
    every = list(tokens)
    if not every:
        return None
    *offsets, _ = accumulate((len(token.text) for token in every), initial=start)
    return {
        "tokens": [token.text for token in every],
        "token_logprobs": [token.logprob for token in every],
        "top_logprobs": [{other.text: other.logprob for other in token.others} for token in every]
        if any(token.others for token in every)
        else None,
        "text_offset": offsets,
    }


def tokens_of(given: Any, member: str = "content") -> list[Token]:
    """Return the tokens of *given*: those of the answer, or those of its refusal."""
    if isinstance(given, Mapping):
        if member == "content" and "tokens" in given:
            return _aligned(given)
        given = given.get(member)
    elif member != "content":
        return []
    return [token for entry in _list(given) if (token := _token(entry)) is not None]


def _aligned(given: Mapping[str, Any]) -> list[Token]:
    """Return the tokens of the form of completions; the first may have no probability, since nothing is before it."""
    texts, logprobs = _list(given.get("tokens")), _list(given.get("token_logprobs"))
    if len(texts) != len(logprobs):
        return []
    others = _list(given.get("top_logprobs"))
    others += [None] * (len(texts) - len(others))
    found = []
    for text, logprob, beside in zip(texts, logprobs, others, strict=False):
        if isinstance(text, str) and _is_number(logprob):
            alternatives = beside.items() if isinstance(beside, Mapping) else ()
            found.append(
                Token(
                    text,
                    _finite(logprob),
                    others=tuple(Token(other, _finite(value)) for other, value in alternatives if _is_number(value)),
                )
            )
    return found


def _token(entry: Any) -> Token | None:
    if not isinstance(entry, Mapping):
        return None
    text, logprob, raw = entry.get("token"), entry.get("logprob"), entry.get("bytes")
    if not isinstance(text, str) or not _is_number(logprob):
        return None
    others = tuple(found for other in _list(entry.get("top_logprobs")) if (found := _token(other)) is not None)
    is_raw = isinstance(raw, list) and all(type(value) is int for value in raw)
    return Token(text, _finite(logprob), raw if is_raw else None, others)


def _entry(token: Token) -> dict[str, Any]:
    return {**_alternative(token), "top_logprobs": [*map(_alternative, token.others)]}


def _alternative(token: Token) -> dict[str, Any]:
    return {"token": token.text, "logprob": token.logprob, "bytes": token.bytes}


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


def _is_number(value: Any) -> TypeGuard[float]:
    return type(value) is float or type(value) is int


def _finite(value: float) -> float:
    return value if math.isfinite(value) else LEAST


__all__ = ["LEAST", "Token", "chat_logprobs", "completion_logprobs", "tokens_of"]
