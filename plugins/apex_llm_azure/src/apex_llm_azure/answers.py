"""From the bodies of chat completions to the core's results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from apex_llm_azure.filters import prompt_results
from apex_llm_core.converters import decode
from apex_llm_core.errors import ServiceUnavailableError
from apex_llm_core.models import (
    ChatGenerationResult,
    ChatMessage,
    Choice,
    ContentPart,
    FunctionCall,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    Usage,
)

_BOM = b"\xef\xbb\xbf"
#: Finish reasons in the core's words; others stay as they are.
FINISH_REASONS = {"function_call": "tool_calls"}
#: Headers worth keeping, with the names they get in `details`.
_HEADERS = (("x-ms-region", "region"), ("x-ms-spillover-from-deployment", "spilled_over_from"))
#: Members of a message that the core has no field for.
_BESIDE = ("refusal", "context", "audio")
#: Members of a body worth keeping beside the choices.
_MEMBERS = ("system_fingerprint", "service_tier")


def request_id_of(headers: Mapping[str, str]) -> str | None:
    """Return the service's id of a request, for its support."""
    return headers.get("apim-request-id") or headers.get("x-request-id")


def parse(data: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    """Return the JSON object that an answer with a good status has as its body.

    Raises:
        ServiceUnavailableError: it is none, or it is cut off.
    """
    try:
        document = decode(data.removeprefix(_BOM))
    except ValueError as error:
        kind = headers.get("content-type", "no content type")
        said = "empty" if not data.strip() else f"no JSON ({kind}, {len(data)} bytes): {error}"
        raise ServiceUnavailableError(
            f"the body of the answer is {said}; a gateway before the service may have changed it",
            status_code=200,
            request_id=request_id_of(headers),
        ) from error
    if not isinstance(document, dict):
        raise malformed(f"a JSON {type(document).__name__}, no object", headers)
    return document


def malformed(what: str, headers: Mapping[str, str]) -> ServiceUnavailableError:
    """Return the error of an answer with a good status that is not what was asked for."""
    return ServiceUnavailableError(
        f"the service answered {what}; check that the endpoint is an Azure OpenAI resource",
        status_code=200,
        request_id=request_id_of(headers),
    )


def chat_result(
    document: Mapping[str, Any],
    headers: Mapping[str, str],
    *,
    model: str,
    provider: str,
    dropped: Sequence[str] = (),
) -> ChatGenerationResult:
    """Return the result that the body *document* of a chat completion holds.

    Raises:
        ServiceUnavailableError: it is no chat completion, or a choice lacks its finish reason: the answer is incomplete.
    """
    entries = document.get("choices")
    if not isinstance(entries, list) or not entries:
        raise malformed("without choices", headers)
    try:
        choices = (_choice(entries[0]),) if len(entries) == 1 else tuple(sorted(map(_choice, entries), key=_index))
    except (AttributeError, KeyError, TypeError) as error:
        raise malformed("with choices of an unknown form", headers) from error
    for choice in choices:
        if not choice.finish_reason:
            raise malformed("with a choice that has no finish reason: it is incomplete", headers)
    first = choices[0]
    return ChatGenerationResult(
        message=first.message,
        finish_reason=first.finish_reason,
        choices=choices,
        model=model,
        provider=provider,
        usage=usage_of(document.get("usage")),
        request_id=request_id_of(headers),
        details=_details(document, entries, headers, dropped),
    )


def usage_of(usage: Any) -> Usage | None:
    """Return the token counts the service told, None when it told none that can be read: an answer is worth more."""
    try:
        return _usage(usage) if usage else None
    except (AttributeError, KeyError, TypeError):
        return None


def _usage(usage: Mapping[str, Any]) -> Usage:
    prompt = usage.get("prompt_tokens_details")
    completion = usage.get("completion_tokens_details")
    asked, answered = usage["prompt_tokens"], usage.get("completion_tokens") or 0
    total = usage.get("total_tokens") or asked + answered
    cached = prompt.get("cached_tokens") or 0 if prompt else 0
    thought = completion.get("reasoning_tokens") or 0 if completion else 0
    # With every answer, and true is no number: one comparison is a third of the cost of a function for each.
    if not type(asked) is type(answered) is type(total) is type(cached) is type(thought) is int:
        raise TypeError
    return Usage(
        prompt_tokens=asked,
        completion_tokens=answered,
        total_tokens=total,
        cached_tokens=cached,
        reasoning_tokens=thought,
    )


def _index(choice: Choice) -> int:
    return choice.index


def _choice(entry: Mapping[str, Any]) -> Choice:
    reason = entry.get("finish_reason") or ""
    index = entry.get("index", 0)
    if type(index) is not int:
        raise TypeError
    return Choice(
        index=index,
        # A filter may hold back the whole message.
        message=_message(entry.get("message") or {}),
        finish_reason=FINISH_REASONS.get(reason) or text_of(reason),
        logprobs=entry.get("logprobs"),
    )


def _message(wire: Mapping[str, Any]) -> ChatMessage:
    text = text_of(wire.get("content") or wire.get("refusal") or "")
    calls = wire.get("tool_calls")
    function = wire.get("function_call")
    reasoning = text_of(wire.get("reasoning_content") or "")
    if not calls and not reasoning and not function:
        return ChatMessage(role="assistant", content=text)
    parts: list[ContentPart] = []
    if reasoning:
        parts.append(ReasoningPart(text=reasoning))
    if text:
        parts.append(TextPart(text=text))
    for call in calls or ():
        name, arguments = _called(call["function"])
        parts.append(ToolCallPart(id=text_of(call["id"]), name=name, arguments=arguments))
    if not function:
        return ChatMessage(role="assistant", content=parts)
    name, arguments = _called(function)
    return ChatMessage(role="assistant", content=parts, function_call=FunctionCall(name=name, arguments=arguments))


def _called(function: Mapping[str, Any]) -> tuple[str, str]:
    """Return the name and the arguments of a call in either spelling."""
    return text_of(function["name"]), text_of(function.get("arguments") or "{}")


def text_of(value: object) -> str:
    """Return *value*, which must be text.

    Raises:
        TypeError: it is not.
    """
    if not isinstance(value, str):
        raise TypeError
    return value


def count_of(value: object) -> int:
    """Return *value*, which must be a whole number.

    Raises:
        TypeError: it is not.
    """
    if type(value) is not int:
        raise TypeError
    return value


def _details(
    document: Mapping[str, Any],
    entries: Sequence[Mapping[str, Any]],
    headers: Mapping[str, str],
    dropped: Sequence[str],
) -> dict[str, Any] | None:
    details: dict[str, Any] = {}
    verdict = prompt_results(document)
    if verdict:
        details["prompt_filter_results"] = verdict
    for entry in entries:
        annotations = entry.get("content_filter_results")
        if annotations:
            details.setdefault("content_filter_results", {})[str(entry.get("index", 0))] = annotations
        message = entry.get("message") or {}
        for member in _BESIDE:
            said = message.get(member)
            if said:
                details.setdefault(member, {})[str(entry.get("index", 0))] = said
    for member in _MEMBERS:
        said = document.get(member)
        if said:
            details[member] = said
    served = document.get("model")
    if served:
        details["served_model"] = served
    return _with_told_beside(details, headers, dropped) or None


def told_beside(headers: Mapping[str, str], dropped: Sequence[str]) -> dict[str, Any]:
    """Return what belongs to the `details` of an answer although its body does not tell it, streamed or not."""
    return _with_told_beside({}, headers, dropped)


def _with_told_beside(details: dict[str, Any], headers: Mapping[str, str], dropped: Sequence[str]) -> dict[str, Any]:
    for header, name in _HEADERS:
        value = headers.get(header)
        if value:
            details[name] = value
    if dropped:
        details["dropped_parameters"] = list(dropped)
    return details


__all__ = [
    "FINISH_REASONS",
    "chat_result",
    "count_of",
    "malformed",
    "parse",
    "request_id_of",
    "text_of",
    "told_beside",
    "usage_of",
]
