"""Converse and ConverseStream: the request checked and answered, the answer as one document or as the events of a stream."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import attrs

from apex_llm_core.errors import InvalidRequestError
from apex_llm_core.models import GenerateRequest, ToolCallPart
from apex_llm_mock import tokens
from apex_llm_mock.emulation.bedrock.base_model import BaseModel
from apex_llm_mock.emulation.bedrock.cache_points import CacheUse, PromptCache, cache_points, check_cache_points
from apex_llm_mock.emulation.bedrock.conversation_rules import Json, check_conversation
from apex_llm_mock.emulation.bedrock.converse_members import CONVERSE, CONVERSE_STREAM
from apex_llm_mock.emulation.bedrock.converse_wire import count_tokens, generate_request
from apex_llm_mock.emulation.bedrock.errors import invalid, refused_by_model
from apex_llm_mock.emulation.bedrock.event_frames import StreamEvent
from apex_llm_mock.emulation.bedrock.guardrails import BLOCKED_INPUT, BLOCKED_OUTPUT, guarded_text, guardrail_of
from apex_llm_mock.emulation.bedrock.media_rules import check_media
from apex_llm_mock.emulation.bedrock.members import check_members
from apex_llm_mock.emulation.bedrock.model_rules import check_model
from apex_llm_mock.emulation.bedrock.reasoning import REDACTION_TRIGGER, Signer, reasoning_effort
from apex_llm_mock.replies import Answer, Replier, prompt_of

#: Bedrock's words for the core's finish reasons; others go out as they are.
STOP_REASONS = {"stop": "end_turn", "tool_calls": "tool_use", "length": "max_tokens"}
_NOTHING_USED = {"inputTokens": 0, "outputTokens": 0, "totalTokens": 0}


@attrs.frozen(kw_only=True)
class Block:
    """One content block of an answer."""

    kind: Literal["reasoning", "redacted", "text", "tool"]
    text: str = ""
    signature: str | None = None
    call: ToolCallPart | None = None

    def document(self) -> dict[str, Any]:
        """Return the block as it stands in a whole answer."""
        if self.call is not None:
            return {
                "toolUse": {"toolUseId": self.call.id, "name": self.call.name, "input": _input(self.call.arguments)}
            }
        if self.kind == "text":
            return {"text": self.text}
        if self.kind == "redacted":
            return {"reasoningContent": {"redactedContent": self.text}}
        signed = {"signature": self.signature} if self.signature is not None else {}
        return {"reasoningContent": {"reasoningText": {"text": self.text, **signed}}}

    def events(self, index: int, size: int) -> Iterator[StreamEvent]:
        """Yield the events of the block; *size* in characters."""
        if self.call is not None:
            start = {"toolUse": {"toolUseId": self.call.id, "name": self.call.name}}
            yield StreamEvent("contentBlockStart", {"start": start, "contentBlockIndex": index})
            for piece in _pieces(self.call.arguments, size):
                yield _delta(index, {"toolUse": {"input": piece}})
        elif self.kind == "text":
            # Nothing announces text.
            for piece in _pieces(self.text, size):
                yield _delta(index, {"text": piece})
        elif self.kind == "redacted":
            yield _delta(index, {"reasoningContent": {"redactedContent": self.text}})
        else:
            for piece in _pieces(self.text, size):
                yield _delta(index, {"reasoningContent": {"text": piece}})
            if self.signature is not None:
                yield _delta(index, {"reasoningContent": {"signature": self.signature}})
        yield StreamEvent("contentBlockStop", {"contentBlockIndex": index})


@attrs.frozen(kw_only=True)
class Completion:
    """An answered request."""

    blocks: tuple[Block, ...]
    stop_reason: str
    usage: Mapping[str, Any]
    #: Trace, service tier, performance: they stand beside the usage, whole or streamed.
    extras: Mapping[str, Any]
    #: additionalModelResponseFields, if any.
    fields: Mapping[str, Any] | None = None

    @property
    def tokens(self) -> int:
        """All tokens of prompt and answer."""
        return int(self.usage["totalTokens"])

    def document(self) -> dict[str, Any]:
        """Return the whole answer."""
        return {
            "output": {"message": {"role": "assistant", "content": [block.document() for block in self.blocks]}},
            "stopReason": self.stop_reason,
            "usage": dict(self.usage),
            "metrics": self._metrics,
            **({"additionalModelResponseFields": dict(self.fields)} if self.fields is not None else {}),
            **self.extras,
        }

    def events(self, chunk_size: int) -> Iterator[StreamEvent]:
        """Yield the events of the stream; *chunk_size* in characters."""
        yield StreamEvent("messageStart", {"role": "assistant"})
        for index, block in enumerate(self.blocks):
            yield from block.events(index, chunk_size)
        more = {"additionalModelResponseFields": dict(self.fields)} if self.fields is not None else {}
        yield StreamEvent("messageStop", {"stopReason": self.stop_reason, **more})
        yield StreamEvent("metadata", {"usage": dict(self.usage), "metrics": self._metrics, **self.extras})

    @property
    def _metrics(self) -> dict[str, int]:
        return {"latencyMs": 1 + int(self.usage["outputTokens"])}


class ConverseService:
    """Answers Converse requests.

    Args:
        replier: writes the answers.
        seed: changes the signatures of reasoning.
        clock: seconds, for the life of cached prompts.
    """

    def __init__(self, *, replier: Replier, seed: int, clock: Callable[[], float]) -> None:
        self._replier = replier
        self._signer = Signer(seed=seed)
        self._cache = PromptCache(clock)

    def serve(self, body: Any, model: BaseModel, *, streamed: bool) -> Completion:
        """Answer *body*.

        Raises:
            RefusedError: Bedrock, or the model, would not.
        """
        given = check_members(body, CONVERSE_STREAM if streamed else CONVERSE)
        check_conversation(given)
        check_model(given, model, streamed=streamed)
        check_media(given["messages"], model)
        self._signer.check(given["messages"], model)
        points = cache_points(given)
        check_cache_points(given, points, model)
        effort = reasoning_effort(given, model)
        paths = _checked_paths(given)
        extras = {name: given[name] for name in ("performanceConfig", "serviceTier") if given.get(name) is not None}
        guardrail = guardrail_of(given)
        if guardrail is not None and (found := guardrail.blocked(guarded_text(given))):
            extras |= guardrail.trace(prompt=found)
            return _blocked(BLOCKED_INPUT, _NOTHING_USED, extras)
        request = generate_request(given, model.id, effort=effort, streamed=streamed)
        prompt = tokens.count_prompt(request)
        answer, stopped_at, reason = self._answer(request, given, model, prompt)
        usage = _usage(prompt, answer.tokens, self._cache.use(model, points, count_tokens), model)
        if guardrail is not None:
            found = guardrail.blocked(answer.text)
            extras |= guardrail.trace(prompt=(), answer=found, said=answer.text if found else "")
            if found:
                return _blocked(BLOCKED_OUTPUT, usage, extras)
        return Completion(
            blocks=tuple(self._blocks(answer, request, model)),
            stop_reason=reason,
            usage=usage,
            extras=extras,
            fields=_picked(paths, {"stop_sequence": stopped_at, "stop_reason": reason}) if paths else None,
        )

    def _answer(
        self, request: GenerateRequest, body: Json, model: BaseModel, prompt: int
    ) -> tuple[Answer, str | None, str]:
        """Return what the model says, the stop sequence that ended it, and why it ended."""
        if prompt >= model.window:
            if model.vendor == "Anthropic":
                raise refused_by_model(f"prompt is too long: {prompt} tokens > {model.window} maximum")
            raise invalid("Input is too long for requested model.")
        room = min(model.max_output, model.window - prompt)
        scripted = self._replier.next_scripted()
        try:
            (answer,) = self._replier.answers(request, scripted, room)
        except InvalidRequestError as error:
            raise invalid(error.message) from error
        stops = (body.get("inferenceConfig") or {}).get("stopSequences") or ()
        places = sorted((place, word) for word in stops if (place := answer.text.find(word)) >= 0)
        if places:
            place, word = places[0]
            return answer._replace(text=answer.text[:place], tool_calls=()), word, "stop_sequence"
        wanted = request.options.max_tokens
        if answer.finish_reason == "length" and room < model.max_output and (wanted is None or wanted > room):
            return answer, None, "model_context_window_exceeded"
        return answer, None, STOP_REASONS.get(answer.finish_reason, answer.finish_reason)

    def _blocks(self, answer: Answer, request: GenerateRequest, model: BaseModel) -> Iterator[Block]:
        if answer.reasoning:
            signs = model.reasoning == "thinking"
            if signs and REDACTION_TRIGGER in prompt_of(request.messages):
                yield Block(kind="redacted", text=self._signer.redact(answer.reasoning))
            else:
                signature = self._signer.sign(answer.reasoning) if signs else None
                yield Block(kind="reasoning", text=answer.reasoning, signature=signature)
        if answer.text:
            yield Block(kind="text", text=answer.text)
        for call in answer.tool_calls:
            yield Block(kind="tool", call=call)


def _blocked(text: str, usage: Mapping[str, Any], extras: Mapping[str, Any]) -> Completion:
    return Completion(
        blocks=(Block(kind="text", text=text),), stop_reason="guardrail_intervened", usage=usage, extras=extras
    )


def _usage(prompt: int, answer: int, cache: CacheUse, model: BaseModel) -> dict[str, Any]:
    usage: dict[str, Any] = {
        # What the cache gave or took is not among them.
        "inputTokens": prompt - cache.read - cache.written,
        "outputTokens": answer,
        "totalTokens": prompt + answer,
    }
    if model.cache:
        usage |= {"cacheReadInputTokens": cache.read, "cacheWriteInputTokens": cache.written}
    if cache.details:
        # The longer life first.
        usage["cacheDetails"] = [
            {"ttl": ttl, "inputTokens": cache.details[ttl]} for ttl in ("1h", "5m") if ttl in cache.details
        ]
    return usage


def _checked_paths(body: Json) -> list[str]:
    paths: list[str] = body.get("additionalModelResponseFieldPaths") or []
    for path in paths:
        if not path.startswith("/"):
            raise invalid(f"The additionalModelResponseFieldPaths value {path} is not a valid JSON Pointer.")
    return paths


def _picked(paths: list[str], answer: Mapping[str, Any]) -> dict[str, Any]:
    # Paths that lead nowhere are passed over.
    return {path[1:]: answer[path[1:]] for path in paths if path[1:] in answer}


def _input(arguments: str) -> Any:
    try:
        return json.loads(arguments) if arguments.strip() else {}
    except ValueError:
        return arguments


def _delta(index: int, delta: dict[str, Any]) -> StreamEvent:
    return StreamEvent("contentBlockDelta", {"delta": delta, "contentBlockIndex": index})


def _pieces(text: str, size: int) -> Iterator[str]:
    return (text[start : start + size] for start in range(0, len(text), size))


__all__ = ["STOP_REASONS", "Block", "Completion", "ConverseService"]
