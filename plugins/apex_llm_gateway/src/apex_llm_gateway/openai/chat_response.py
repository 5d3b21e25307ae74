"""The answer to ``POST /v1/chat/completions``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from apex_llm_core.converters import encode
from apex_llm_core.models import ChatGenerationResult, ChatMessage, Choice, ReasoningPart, ToolCallPart
from apex_llm_gateway.openai.endings import CHAT_FINISHES, finish_of, service_of, usage_of
from apex_llm_gateway.openai.jsontext import quote
from apex_llm_gateway.openai.logprobs import chat_logprobs

#: Parts of a message that the core has no field for; providers give them in `details`, by choice.
BESIDE = ("audio", "context")
_BESIDE = ("refusal", *BESIDE)


def chat_body(result: ChatGenerationResult, *, request_id: str, created: int, functions: bool = False) -> bytes:
    """Return *result* as a ``chat.completion``.

    Args:
        result: what the manager answered.
        request_id: of the gateway's request.
        created: in unix seconds.
        functions: the request spelt its tools `functions`, and its answer spells the call `function_call`.
    """
    details = result.details or {}
    choices = [_choice(choice, details, functions) for choice in result.choices]
    return b'{"id":%b,"object":"chat.completion","created":%d,"model":%b,"choices":[%b]%b%b}' % (
        quote(f"chatcmpl-{request_id}"),
        created,
        quote(result.model),
        b",".join(choices),
        b"" if result.usage is None else b',"usage":' + usage_of(result.usage),
        service_of(details) if details else b"",
    )


def thoughts_of(parts: Iterable[ReasoningPart], first: int = 0) -> list[dict[str, Any]]:
    """Return *parts* as they have to come back; `index` counts on from *first*, since clients join streams by it."""
    thoughts = []
    for index, part in enumerate(parts, first):
        thought: dict[str, Any] = {"type": "reasoning", "index": index, "text": part.text}
        if part.signature is not None:
            thought["signature"] = part.signature
        if part.data is not None:
            thought["data"] = part.data
        thoughts.append(thought)
    return thoughts


def is_opaque(part: ReasoningPart) -> bool:
    """Tell whether *part* has what only its provider understands, so that its text alone is not enough."""
    return part.signature is not None or part.data is not None


def _choice(choice: Choice, details: Mapping[str, Any], functions: bool) -> bytes:
    message, reason = choice.message, choice.finish_reason
    beside = _beside(details, choice.index) if details else None
    if type(message.content) is str and message.function_call is None and not beside:
        said = b'{"role":"assistant","content":%b,"refusal":null}' % quote(message.content)
    else:
        document = _message(message, beside or {}, functions)
        if reason == "tool_calls" and "function_call" in document and "tool_calls" not in document:
            reason = "function_call"
        said = encode(document)
    logprobs = choice.logprobs
    return b'{"index":%d,"message":%b,"logprobs":%b,%b}' % (
        choice.index,
        said,
        b"null" if logprobs is None else encode(chat_logprobs(logprobs)),
        finish_of(reason, CHAT_FINISHES),
    )


def _beside(details: Mapping[str, Any], index: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if details.keys().isdisjoint(_BESIDE):
        return found
    for name in _BESIDE:
        by_choice = details.get(name)
        if isinstance(by_choice, Mapping) and by_choice.get(str(index)):
            found[name] = by_choice[str(index)]
    return found


def _message(message: ChatMessage, beside: dict[str, Any], functions: bool) -> dict[str, Any]:
    text, calls = message.text, [_call(part) for part in message.tool_calls]
    function = message.function_call
    refusal = beside.pop("refusal", None)
    if not isinstance(refusal, str):
        refusal = None
    # Providers repeat a refusal as the text, for those who look at nothing else. Sent back twice, it would be said twice.
    absent = text == refusal if refusal else not text and (calls or function is not None)
    document: dict[str, Any] = {"role": "assistant", "content": None if absent else text, "refusal": refusal}
    document.update(beside)
    _add_reasoning(document, message)
    if function is not None:
        document["function_call"] = {"name": function.name, "arguments": function.arguments}
    elif functions and calls:
        # The old spelling has room for one; further ones are not lost.
        document["function_call"] = calls.pop(0)["function"]
    if calls:
        document["tool_calls"] = calls
    return document


def _add_reasoning(document: dict[str, Any], message: ChatMessage) -> None:
    if isinstance(message.content, str):
        return
    parts = [part for part in message.content if isinstance(part, ReasoningPart)]
    said = "".join(part.text for part in parts)
    if said:
        document["reasoning_content"] = said
    if any(map(is_opaque, parts)):
        document["reasoning_details"] = thoughts_of(parts)


def _call(part: ToolCallPart) -> dict[str, Any]:
    return {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": part.arguments}}


__all__ = ["BESIDE", "chat_body", "is_opaque", "thoughts_of"]
