"""Bodies of requests. Large ones are written in a thread, piece by piece, so that the event loop gets its turn in between."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from apex_llm_core.converters import encode
from apex_llm_core.errors import InvalidRequestError
from apex_llm_core.models import GenerateRequest

#: Characters from which a body is large: writing and hashing them takes about a millisecond.
LARGE = 256 << 10
#: Characters of one text that are written at a time.
_PORTION = 64 << 10


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
    total = 0
    for message in request.messages:
        if isinstance(message.content, str):
            total += len(message.content)
        else:
            for part in message.content:
                total += sum(
                    len(getattr(part, name, None) or "") for name in ("text", "data", "url", "content", "arguments")
                )
    return total


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
        for item in value:
            yield before
            yield from _pieces(item)
            before = b","
        yield b"]" if value else b"[]"
    else:
        yield encode(value)


def _unwritable(error: Exception) -> InvalidRequestError:
    return InvalidRequestError(f"the request cannot be written as JSON: {error}", original_error=error)


__all__ = ["LARGE", "large_body", "small_body", "weight"]
