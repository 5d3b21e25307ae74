"""Bodies of requests. Large ones are written in a thread, piece by piece, so that the event loop gets its turn in between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar, TypeVarTuple

from apex_llm_core.converters import encode
from apex_llm_core.errors import InvalidRequestError
from apex_llm_core.models import GenerateRequest

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

#: Characters from which a body is large: writing and hashing them takes about a millisecond.
LARGE = 256 << 10
#: Characters of one text that are written at a time.
_PORTION = 64 << 10
#: Items of a list that are written together, if none of them has such a text.
_RUN = 64
#: Characters that a message has besides its content, about.
_FRAME = 40


#: Members of parts that may be long.
_TEXTS = ("text", "data", "url", "content", "arguments", "signature")


def small_body(document: Mapping[str, Any]) -> bytes:
    """Return *document* as the body of a request.

    Raises:
        InvalidRequestError: something in it, which came from the caller, has no JSON form.
    """
    try:
        return encode(document)
    except TypeError:
        # A mapping that is no dict, perhaps.
        return large_body(document)
    except (ValueError, RecursionError) as error:
        raise _unwritable(error) from error


def large_body(document: Mapping[str, Any]) -> bytes:
    """Return the same as `small_body`; whoever waits for the interpreter gets it after each portion.

    Raises:
        InvalidRequestError: as `small_body`.
    """
    try:
        return b"".join(_pieces(document))
    except (TypeError, ValueError, RecursionError) as error:
        raise _unwritable(error) from error


def weight(request: GenerateRequest) -> int:
    """Return about how many characters the body for *request* will have."""
    total = _FRAME * len(request.messages)
    for message in request.messages:
        if isinstance(message.content, str):
            total += len(message.content)
        else:
            for part in message.content:
                for name in _TEXTS:
                    text = getattr(part, name, None)
                    if isinstance(text, str):
                        total += len(text)
    return total


async def written(size: int, make: Callable[[*Ts], T], *arguments: *Ts) -> T:
    """Return what *make* makes of a request of *size* characters: in a thread when it is large."""
    return make(*arguments) if size <= LARGE else await asyncio.to_thread(make, *arguments)


def _pieces(value: Any) -> Iterator[bytes]:
    if isinstance(value, str) and len(value) > _PORTION:
        yield b'"'
        for start in range(0, len(value), _PORTION):
            yield encode(value[start : start + _PORTION])[1:-1]
        yield b'"'
    elif isinstance(value, Mapping):
        before = b"{"
        for name, item in value.items():
            # The key as JSON has it, also that of a number.
            yield before + encode({name: 0})[1:-2]
            yield from _pieces(item)
            before = b","
        yield b"}" if value else b"{}"
    elif isinstance(value, list | tuple):
        before = b"["
        for start in range(0, len(value), _RUN):
            run = value[start : start + _RUN]
            if not any(map(_is_heavy, run)):
                yield before + encode(run)[1:-1]
            else:
                for item in run:
                    yield before
                    yield from _pieces(item)
                    before = b","
            before = b","
        yield b"]" if value else b"[]"
    else:
        yield encode(value)


def _is_heavy(value: Any) -> bool:
    """Return whether a text in *value* is to be written in portions, or a mapping in it is none that JSON knows."""
    if isinstance(value, str):
        return len(value) > _PORTION
    if isinstance(value, dict):
        return any(map(_is_heavy, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_is_heavy, value))
    return isinstance(value, Mapping)


def _unwritable(error: Exception) -> InvalidRequestError:
    return InvalidRequestError(f"the request cannot be written as JSON: {error}", original_error=error)


__all__ = ["LARGE", "large_body", "small_body", "weight", "written"]
