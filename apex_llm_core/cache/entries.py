"""The stored form of an answer: compact JSON that gives back exactly what went in.

Not the public JSON form: names are left out, messages are not told twice, vectors are bytes. Reading it costs a third.
Whoever changes it changes `FORMAT`, and entries of the old form are not found any more.
"""

from __future__ import annotations

import json
import struct
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, TypeVar

import attrs

from apex_llm_core.converters import unstructure
from apex_llm_core.models.messages import PART_TYPES, ChatMessage, ContentPart, FunctionCall
from apex_llm_core.models.results import (
    ChatGenerationResult,
    Choice,
    EmbeddingResult,
    ImageGenerationResult,
    Usage,
)

Result = ChatGenerationResult | EmbeddingResult | ImageGenerationResult
ResultT = TypeVar("ResultT", bound=Result)

#: Part of every key.
FORMAT = "apex-llm:response:2:"

# A number that is not finite has no JSON form; an answer that would change is not written at all.
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def encode(result: ChatGenerationResult | EmbeddingResult, at: float) -> bytes:
    """Return the stored form of *result*, without its attempts.

    Args:
        result: the answer.
        at: when it was given, in seconds of the wall clock.

    Raises:
        TypeError: something in it has no JSON form.
        ValueError: a number is not finite.
    """
    usage = None if result.usage is None else _usage_values(result.usage)
    document: list[Any]
    common = [result.model, result.provider, usage, result.cost, result.request_id]
    if isinstance(result, EmbeddingResult):
        same = result.embedding == result.embeddings[0]
        first = None if same else _packed(result.embedding)
        document = [at, "embed", *common, [_packed(vector) for vector in result.embeddings], first]
    else:
        choices = result.choices
        # Nearly always they are those of the first choice.
        same = bool(choices) and (result.message, result.finish_reason) == (
            choices[0].message,
            choices[0].finish_reason,
        )
        head = None if same else [_message_values(result.message), result.finish_reason]
        document = [
            at,
            "generate",
            *common,
            [_choice_values(choice) for choice in choices],
            head,
            _free(result.details),
        ]
    return _ENCODER.encode(document).encode("utf-8", "surrogatepass")


def decode(entry: bytes, cls: type[ResultT]) -> tuple[float, ResultT]:
    """Return when the answer in *entry* was given, and the answer, with `cached` set.

    Raises:
        ValueError, TypeError, LookupError, RecursionError, InvalidRequestError: it is no answer of class *cls*.
    """
    at, kind, *values = json.loads(entry.decode("utf-8", "surrogatepass"))
    reader, made = _READERS[kind]
    if made is not cls:
        raise TypeError(f"the entry holds {made.__name__}; expected {cls.__name__}")
    return float(at), reader(*values)


def _generated(
    model: str,
    provider: str,
    usage: Sequence[Any] | None,
    cost: float | None,
    request_id: str | None,
    choices: Sequence[Any],
    head: Sequence[Any] | None,
    details: Any,
) -> ChatGenerationResult:
    whole = tuple([_choice(*values) for values in choices])
    message, finish_reason = (
        (whole[0].message, whole[0].finish_reason) if head is None else (_message(*head[0]), head[1])
    )
    return ChatGenerationResult(
        message=message,
        finish_reason=finish_reason,
        choices=whole,
        model=model,
        provider=provider,
        usage=_usage(usage),
        cost=cost,
        request_id=request_id,
        cached=True,
        details=details,
    )


def _embedded(
    model: str,
    provider: str,
    usage: Sequence[Any] | None,
    cost: float | None,
    request_id: str | None,
    vectors: Sequence[str],
    first: str | None,
) -> EmbeddingResult:
    embeddings = tuple([_unpacked(text) for text in vectors])
    return EmbeddingResult(
        embeddings=embeddings,
        embedding=embeddings[0] if first is None else _unpacked(first),
        model=model,
        provider=provider,
        usage=_usage(usage),
        cost=cost,
        request_id=request_id,
        cached=True,
    )


_READERS: dict[str, tuple[Callable[..., Any], type]] = {
    "generate": (_generated, ChatGenerationResult),
    "embed": (_embedded, EmbeddingResult),
}

_USAGE_NAMES = tuple(field.name for field in attrs.fields(Usage))
_usage_values = attrgetter(*_USAGE_NAMES)
#: The fields of a part but `type`, which stands before them.
_PART_NAMES = {
    kind: tuple(field.name for field in attrs.fields(cls) if field.name != "type") for kind, cls in PART_TYPES.items()
}


def _usage(values: Sequence[Any] | None) -> Usage | None:
    return None if values is None else Usage(**dict(zip(_USAGE_NAMES, values, strict=True)))


def _choice_values(choice: Choice) -> list[Any]:
    return [choice.index, _message_values(choice.message), choice.finish_reason, _free(choice.logprobs)]


def _choice(index: int, message: Sequence[Any], finish_reason: str, logprobs: Any) -> Choice:
    return Choice(index=index, message=_message(*message), finish_reason=finish_reason, logprobs=logprobs)


def _message_values(message: ChatMessage) -> list[Any]:
    content: Any = message.content
    if type(content) is not str:
        content = [[part.type, *[getattr(part, name) for name in _PART_NAMES[part.type]]] for part in content]
    call = message.function_call
    return [message.role, content, message.name, None if call is None else [call.name, call.arguments]]


def _message(role: Any, content: Any, name: str | None, call: Sequence[str] | None) -> ChatMessage:
    return ChatMessage(
        role=role,
        content=content if type(content) is str else [_part(*values) for values in content],
        name=name,
        function_call=None if call is None else FunctionCall(name=call[0], arguments=call[1]),
    )


def _part(kind: str, *values: Any) -> ContentPart:
    return PART_TYPES[kind](**dict(zip(_PART_NAMES[kind], values, strict=True)))


def _free(value: Any) -> Any:
    return None if value is None else unstructure(value)


def _packed(vector: Sequence[float]) -> str:
    return b64encode(struct.pack(f"<{len(vector)}d", *vector)).decode("ascii")


def _unpacked(text: str) -> tuple[float, ...]:
    data = b64decode(text, validate=True)
    return struct.unpack(f"<{len(data) // 8}d", data)


__all__ = ["FORMAT", "Result", "ResultT", "decode", "encode"]
