"""From the bodies of Converse to the core's results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from apex_llm_bedrock.tool_names import ToolNames
from apex_llm_core.converters import decode, encode
from apex_llm_core.errors import ServiceUnavailableError
from apex_llm_core.models import (
    ChatGenerationResult,
    ChatMessage,
    ContentPart,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    Usage,
)

#: Stop reasons in the core's words; others stay as they are.
FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}
#: Stop reasons that say everything in the core's word.
_PLAIN = frozenset({"end_turn", "tool_use", "max_tokens"})
#: The kind of a tool call that the service answers itself.
SERVICES_OWN = "server_tool_use"
_REASONING = frozenset({"reasoningText", "redactedContent"})
#: Members of an answer worth keeping, with the names they get in `details`.
_MEMBERS = (
    ("additionalModelResponseFields", "additional_model_response_fields"),
    ("trace", "trace"),
    ("performanceConfig", "performance_config"),
    ("serviceTier", "service_tier"),
)


@attrs.frozen(kw_only=True)
class Reading:
    """What the request says of how its answer is to be read."""

    names: ToolNames
    #: The tool that stands for the form of the answer: its input is the answer. Empty: there is none.
    json_tool: str = ""
    #: Options that were left out, and those that are served by other means than their own.
    dropped: tuple[str, ...] = ()
    emulated: tuple[str, ...] = ()

    def told(self, *, answered: bool = True) -> dict[str, Any]:
        """Return what belongs to the `details` of an answer although the service does not tell it.

        *answered*: the tool that stands for the form of the answer was called, or one of the caller's.
        """
        told: dict[str, Any] = {}
        if self.dropped:
            told["dropped_parameters"] = list(self.dropped)
        if self.emulated:
            told["emulated_parameters"] = list(self.emulated)
        if self.json_tool and not answered:
            told["response_format_missed"] = True
        return told


def request_id_of(headers: Mapping[str, str]) -> str | None:
    """Return the service's id of a request, for its support."""
    return headers.get("x-amzn-requestid") or headers.get("x-amzn-request-id") or headers.get("x-amz-request-id")


def parse(data: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    """Return the JSON object that an answer with a good status has as its body.

    Raises:
        ServiceUnavailableError: it is none, or it is cut off.
    """
    try:
        document = decode(data)
    except ValueError as error:
        kind = headers.get("content-type", "no content type")
        said = "empty" if not data.strip() else f"no JSON ({kind}, {len(data)} bytes)"
        raise ServiceUnavailableError(
            f"the body of the answer is {said}; a gateway before the service may have changed it, "
            "or the endpoint is not one of Bedrock",
            status_code=200,
            # It has been paid for, and the same endpoint would answer the same.
            retryable=False,
            request_id=request_id_of(headers),
            original_error=error,
        ) from error
    if not isinstance(document, dict):
        raise malformed(f"a JSON {type(document).__name__}, no object", headers)
    return document


def malformed(what: str, headers: Mapping[str, str]) -> ServiceUnavailableError:
    """Return the error of an answer with a good status that is not what was asked for."""
    return ServiceUnavailableError(
        f"the service answered {what}; check that the endpoint is one of Bedrock",
        status_code=200,
        retryable=False,
        request_id=request_id_of(headers),
    )


def chat_result(
    document: Mapping[str, Any], headers: Mapping[str, str], reading: Reading, *, model: str, provider: str
) -> ChatGenerationResult:
    """Return the result that the body *document* of Converse holds.

    Raises:
        ServiceUnavailableError: it has no message, or no stop reason: the answer is incomplete.
    """
    output = document.get("output")
    message = output.get("message") if isinstance(output, dict) else None
    blocks = message.get("content") if isinstance(message, dict) else None
    if not isinstance(blocks, list):
        raise malformed("without a message", headers)
    stop_reason = document.get("stopReason")
    if not isinstance(stop_reason, str) or not stop_reason:
        raise malformed("without a stop reason: it is incomplete", headers)
    details: dict[str, Any] = {}
    try:
        content, calls, answered = _content(blocks, reading, details)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise malformed("with a message of an unknown form", headers) from error
    details.update(told_of_end(stop_reason, document))
    usage, more = usage_of(document.get("usage"))
    details.update(more)
    details.update(reading.told(answered=answered or calls))
    return ChatGenerationResult(
        message=ChatMessage(role="assistant", content=content),
        finish_reason=finish_reason(stop_reason, calls=calls, answered=answered),
        model=model,
        provider=provider,
        usage=usage,
        request_id=request_id_of(headers),
        details=details or None,
    )


def finish_reason(stop_reason: str, *, calls: bool, answered: bool) -> str:
    """Return *stop_reason* in the core's words.

    Args:
        stop_reason: the service's word.
        calls: the model called tools of the caller.
        answered: it called the tool that stands for the form of the answer.
    """
    if stop_reason == "tool_use" and answered and not calls:
        return "stop"
    return FINISH_REASONS.get(stop_reason, stop_reason)


def told_of_end(stop_reason: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the end of an answer tells beyond its finish reason, for `details`."""
    told: dict[str, Any] = {} if stop_reason in _PLAIN else {"stop_reason": stop_reason}
    for member, name in _MEMBERS:
        if document.get(member):
            told[name] = document[member]
    metrics = document.get("metrics")
    if isinstance(metrics, dict) and "latencyMs" in metrics:
        told["latency_ms"] = metrics["latencyMs"]
    return told


def usage_of(usage: Any) -> tuple[Usage | None, dict[str, Any]]:
    """Return the token counts the service told (None: none that can be read) and what it told of the cache beside them.

    The service's input tokens are those beside the cache; the core's prompt tokens are all.
    """
    try:
        fresh = count_of(usage["inputTokens"])
        read = count_of(usage.get("cacheReadInputTokens") or 0)
        written = count_of(usage.get("cacheWriteInputTokens") or 0)
        found = Usage(
            prompt_tokens=fresh + read + written,
            completion_tokens=count_of(usage["outputTokens"]),
            cached_tokens=read,
            cache_write_tokens=written,
        )
    except (AttributeError, KeyError, TypeError):
        # An answer that was paid for is worth more than its count.
        return None, {}
    details = usage.get("cacheDetails")
    return found, {"cache_details": details} if details else {}


def _content(
    blocks: Sequence[Mapping[str, Any]], reading: Reading, details: dict[str, Any]
) -> tuple[str | list[ContentPart], bool, bool]:
    """Return the content, whether it calls tools of the caller, and whether the tool for the answer's form was called."""
    if len(blocks) == 1 and type(text := blocks[0].get("text")) is str:
        return text, False, False
    parts: list[ContentPart] = []
    calls = False
    answer: TextPart | None = None
    for block in blocks:
        if "text" in block:
            parts.append(TextPart(text=text_of(block["text"])))
        elif "toolUse" in block and block["toolUse"].get("type") != SERVICES_OWN:
            use = block["toolUse"]
            arguments = encode(use.get("input") or {}).decode()
            name = word_of(use["name"])
            if name == reading.json_tool:
                if answer is None:
                    answer = TextPart(text=arguments)
                    parts.append(answer)
            else:
                calls = True
                parts.append(
                    ToolCallPart(id=word_of(use["toolUseId"]), name=reading.names.original(name), arguments=arguments)
                )
        elif "reasoningContent" in block and block["reasoningContent"].keys() & _REASONING:
            parts.append(reasoning_part(block["reasoningContent"]))
        elif "citationsContent" in block:
            cited = block["citationsContent"]
            text = "".join(text_of(each.get("text") or "") for each in cited.get("content") or ())
            if text:
                parts.append(TextPart(text=text))
            if cited.get("citations"):
                details.setdefault("citations", []).extend(cited["citations"])
        else:
            # Pictures, results of the service's own tools, and what is not known yet.
            details.setdefault("other_content", []).append(dict(block))
    if answer is not None:
        # What the model said beside the answer would spoil its form.
        parts = [part for part in parts if part is answer or not isinstance(part, TextPart)]
    if all(type(part) is TextPart for part in parts):
        return "".join(part.text for part in parts if isinstance(part, TextPart)), calls, answer is not None
    return parts, calls, answer is not None


def reasoning_part(wire: Mapping[str, Any]) -> ReasoningPart:
    """Return a block of reasoning; its opaque parts are to go back as they are."""
    if "redactedContent" in wire:
        return ReasoningPart(data=text_of(wire["redactedContent"]))
    said = wire["reasoningText"]
    signature = said.get("signature")
    return ReasoningPart(text=text_of(said["text"]), signature=None if signature is None else text_of(signature))


def text_of(value: object) -> str:
    """Return *value*, which must be text.

    Raises:
        TypeError: it is not.
    """
    if not isinstance(value, str):
        raise TypeError
    return value


def word_of(value: object) -> str:
    """Return *value*, which must be text, and not empty.

    Raises:
        TypeError: it is not.
    """
    if not isinstance(value, str) or not value:
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


__all__ = [
    "FINISH_REASONS",
    "SERVICES_OWN",
    "Reading",
    "chat_result",
    "count_of",
    "finish_reason",
    "malformed",
    "parse",
    "reasoning_part",
    "request_id_of",
    "text_of",
    "told_of_end",
    "usage_of",
    "word_of",
]
