"""What makes two requests the same: everything that decides about the answer, in one spelling, as a digest.

One spelling means: text as it is or as the only text part, numbers as whole ones where they are whole (0 and 0.0), mappings in
the order of their keys, options that are not set left out. Whether the answer is streamed does not count.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from operator import attrgetter
from typing import Any

import attrs

from apex_llm_core.models.candidates import Candidate
from apex_llm_core.models.messages import ChatMessage, TextPart
from apex_llm_core.models.options import EmbeddingOptions, TextGenerationOptions
from apex_llm_core.models.requests import EmbedRequest, GenerateRequest

#: They decide how long and how often is tried, not what is answered. `model` stands in the request itself.
_STEERING = frozenset({"deadline", "model", "no_cache", "retry_count", "timeout"})
#: Longer texts are digested by themselves: written out they would cost three times as much.
_LONG = 2048
#: Members of one option, all levels together, that are looked at: more would hold up the event loop.
_MOST_MEMBERS = 20_000
_SCALARS = frozenset({str, int, float, bool, type(None)})


def request_digest(request: GenerateRequest | EmbedRequest, tenant: str | None, among: str) -> str:
    """Return the digest of *request*, the same in every process.

    Args:
        request: what is asked for.
        tenant: on whose behalf; None is nobody's.
        among: the digest of those who may answer, from `candidates_digest`.

    Raises:
        TypeError: something in it has no JSON form, and so no identity.
        ValueError: a number is not finite, or an option is too large to be looked at.
        RecursionError: it is nested too deeply, or in a circle.
    """
    content: list[Any]
    if isinstance(request, EmbedRequest):
        kind, content = "embed", [_plain(text) for text in request.texts]
    else:
        kind, content = request.kind, [_message(message) for message in request.messages]
    return _digest((kind, tenant, _plain(request.model), among, content, _options(request.options)))


def candidates_digest(candidates: Iterable[Candidate]) -> str:
    """Return the digest of the pairs of provider and model, in whatever order they come."""
    return _digest(sorted({(candidate.provider, candidate.model) for candidate in candidates}))


def _digest(tree: object) -> str:
    # Unlike repr, ascii is the same in every version of Python. Only built-in types occur, so that it tells all apart.
    return hashlib.sha256(ascii(tree).encode("ascii")).hexdigest()


def _message(message: ChatMessage) -> tuple[Any, ...]:
    content: Any = message.content
    if type(content) is tuple and len(content) == 1 and type(content[0]) is TextPart:
        content = content[0].text
    call = message.function_call
    return (_plain(message.role), _plain(content), _plain(message.name), None if call is None else _plain(call))


def _options(options: TextGenerationOptions | EmbeddingOptions) -> list[tuple[str, Any]]:
    kind: Any = type(options)
    names, values = _option_reader(kind)
    # What is not set is left out: an option that a later version adds must not change the keys of requests without it.
    found = []
    for name, value in zip(names, values(options), strict=True):
        if value is not None:
            if type(value) not in _SCALARS:
                _check_size(value)
            found.append((name, _plain(value)))
    return found


def _check_size(value: Any) -> None:
    waiting, left = [value], _MOST_MEMBERS
    while waiting:
        value = waiting.pop()
        kind = type(value)
        if kind in _SCALARS:
            continue
        members: Any = ()
        if kind is tuple or kind is list:
            members = value
        elif isinstance(value, Mapping):
            members = value.values()
        elif attrs.has(kind):
            members = _reader(kind)(value)
        left -= len(members)
        if left < 0:
            raise ValueError(f"an option has more than {_MOST_MEMBERS} members")
        waiting.extend(members)


def _plain(value: Any) -> Any:
    """Return *value* in built-in types that tell apart what differs: lists, sorted mappings, tuples for objects."""
    kind = type(value)
    if kind is str:
        if len(value) < _LONG:
            return value
        return hashlib.sha256(value.encode("utf-8", "surrogatepass")).digest()
    if value is None or kind is bool or kind is int:
        return value
    if kind is float:
        if not math.isfinite(value):
            raise ValueError(f"{value} is no JSON number")
        return int(value) if value.is_integer() else value
    if kind is tuple or kind is list:
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        if not all(type(key) is str for key in value):
            raise TypeError("a key of an object is no string")
        return {key: _plain(value[key]) for key in sorted(value)}
    if attrs.has(kind):
        return (kind.__name__, *map(_plain, _reader(kind)(value)))
    if isinstance(value, str):
        # A member of an enumeration, most likely; the text itself is meant.
        return _plain(str.__str__(value))
    raise TypeError(f"{kind.__name__} has no JSON form")


@cache
def _option_reader(cls: type) -> tuple[tuple[str, ...], Callable[[object], tuple[Any, ...]]]:
    names = tuple(sorted({field.name for field in attrs.fields(cls)} - _STEERING))
    return names, attrgetter(*names)


@cache
def _reader(cls: type) -> Callable[[object], tuple[Any, ...]]:
    names = [field.name for field in attrs.fields(cls)]
    if len(names) > 1:
        return attrgetter(*names)
    # attrgetter of one name gives the value without a tuple around it.
    return lambda instance: tuple(getattr(instance, name) for name in names)


__all__ = ["candidates_digest", "request_digest"]
