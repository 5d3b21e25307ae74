"""Chat completions: the request checked and answered, the answer as one document or as the events of a stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from apex_llm_core.errors import InvalidRequestError
from apex_llm_core.models import ChatGenerationChunk, GenerateRequest, Usage
from apex_llm_mock import tokens
from apex_llm_mock.chunks import chunks_of
from apex_llm_mock.emulation.azure.chat_wire import generate_request
from apex_llm_mock.emulation.azure.errors import refusal
from apex_llm_mock.emulation.azure.filters import answer_verdict, prompt_filter_results, severities
from apex_llm_mock.emulation.azure.models import BaseModel
from apex_llm_mock.emulation.azure.parameters import check_parameters
from apex_llm_mock.emulation.azure.routes import Route
from apex_llm_mock.emulation.sse import DONE, Event
from apex_llm_mock.replies import Answer, Replier, logprobs_of

#: The version from which usage comes with details.
DETAILS_SINCE = "2024-09-01"


def completion(
    body: Mapping[str, Any], route: Route, model: BaseModel, replier: Replier, *, key: str, created: int
) -> Completion:
    """Answer a chat request; *key* is what makes its id, *created* its time in seconds of the epoch.

    Raises:
        RefusedError: Azure would not serve it.
    """
    if model.kind != "chat":
        raise refusal(
            f"The chatCompletion operation does not work with the specified model, {model.name}. Please choose different "
            "model and try again. You can learn more about which models can be used with each operation here: "
            "https://go.microsoft.com/fwlink/?linkid=2197993.",
            code="OperationNotSupported",
        )
    check_parameters(body, route, model)
    effort = body.get("reasoning_effort") or model.default_effort if model.reasoning else None
    request = generate_request(body, model.name, effort=effort)
    if "vision" in request.needs and not model.vision:
        raise refusal("Invalid content type. image_url is only supported by certain models.", param="messages")
    prompt = tokens.count_prompt(request)
    room = _room(model, prompt, request.options.max_tokens)
    scripted = replier.next_scripted()
    try:
        answers = replier.answers(request, scripted, room)
    except InvalidRequestError as error:
        raise refusal(error.message) from error
    options = request.chat_options
    stream_options = body.get("stream_options") or {}
    return Completion(
        id=f"chatcmpl-{key}",
        created=created,
        model=model,
        answers=answers,
        usage=Usage(
            prompt_tokens=prompt,
            completion_tokens=sum(answer.tokens for answer in answers),
            reasoning_tokens=sum(tokens.count(answer.reasoning) for answer in answers),
        ),
        functions=bool(options.functions and not options.tools),
        top_logprobs=(options.top_logprobs or 0) if options.logprobs else None,
        details=route.date >= DETAILS_SINCE,
        include_usage=bool(stream_options.get("include_usage")),
        request=request,
    )


def _room(model: BaseModel, prompt: int, wanted: int | None) -> int:
    """Return the tokens an answer may have; raise `RefusedError` when prompt and answer do not fit the window."""
    if model.longest_prompt is not None and prompt > model.longest_prompt:
        raise _too_long(
            f"Input tokens exceed the configured limit of {model.longest_prompt} tokens. Your messages resulted in "
            f"{prompt} tokens. Please reduce the length of the messages."
        )
    if prompt >= model.window:
        raise _too_long(
            f"This model's maximum context length is {model.window} tokens. However, your messages resulted in {prompt} "
            "tokens. Please reduce the length of the messages."
        )
    if prompt + (wanted or 0) > model.window:
        raise _too_long(
            f"This model's maximum context length is {model.window} tokens. However, you requested {prompt + (wanted or 0)} "
            f"tokens ({prompt} in the messages, {wanted} in the completion). Please reduce the length of the messages or "
            "completion."
        )
    return min(model.longest_answer, model.window - prompt)


def _too_long(message: str) -> Exception:
    return refusal(message, code="context_length_exceeded", param="messages")


@attrs.frozen(kw_only=True)
class Completion:
    """An answered chat request."""

    id: str
    created: int
    model: BaseModel
    answers: list[Answer]
    usage: Usage
    #: The request used the older spelling of tools.
    functions: bool
    #: How many alternatives per token; None: no log probabilities at all.
    top_logprobs: int | None
    details: bool
    include_usage: bool
    request: GenerateRequest

    def document(self) -> dict[str, Any]:
        """Return the whole answer."""
        return {
            "choices": [self._choice(index, answer) for index, answer in enumerate(self.answers)],
            "created": self.created,
            "id": self.id,
            "model": self.model.full_name,
            "object": "chat.completion",
            "prompt_filter_results": prompt_filter_results(),
            "system_fingerprint": self._fingerprint,
            "usage": self._usage(),
        }

    def events(self, chunk_size: int) -> Iterator[Event]:
        """Yield the events of the stream; *chunk_size* in characters."""
        yield {
            "choices": [],
            "created": 0,
            "id": "",
            "model": "",
            "object": "",
            "prompt_filter_results": prompt_filter_results(),
        } | ({"usage": None} if self.include_usage else {})
        first = {"content": "", "refusal": None, "role": "assistant"}
        for index, answer in enumerate(self.answers):
            delta = {**first, "content": None} if answer.tool_calls and not answer.text else first
            yield self._event(index, delta)
        for chunk in chunks_of(self.answers, self.usage, chunk_size):
            if chunk.finish_reason is not None:
                yield self._event(chunk.index, {}, finish=self._finish(chunk.finish_reason))
            elif not chunk.reasoning:
                yield self._event(chunk.index, self._delta(chunk), text=chunk.text or "")
        if self.include_usage:
            yield {**self._envelope, "choices": [], "usage": self._usage()}
        yield DONE

    @property
    def _fingerprint(self) -> str:
        return f"fp_{self.model.version.replace('-', '')}"

    @property
    def _envelope(self) -> dict[str, Any]:
        return {
            "created": self.created,
            "id": self.id,
            "model": self.model.full_name,
            "object": "chat.completion.chunk",
            "system_fingerprint": self._fingerprint,
        }

    def _event(self, index: int, delta: dict[str, Any], *, text: str = "", finish: str | None = None) -> dict[str, Any]:
        choice = {
            "content_filter_results": severities() if text else {},
            "delta": delta,
            "finish_reason": finish,
            "index": index,
            "logprobs": self._logprobs(text),
        }
        event = {"choices": [choice], **self._envelope}
        if self.include_usage:
            event["usage"] = None
        return event

    def _delta(self, chunk: ChatGenerationChunk) -> dict[str, Any]:
        if not chunk.tool_calls:
            return {"content": chunk.text or ""}
        (call,) = chunk.tool_calls
        function = {"arguments": call.arguments or ""} | ({"name": call.name} if call.name else {})
        if self.functions:
            return {"function_call": function}
        begun = {"id": call.id, "type": "function"} if call.id else {}
        return {"tool_calls": [{"index": call.index, **begun, "function": function}]}

    def _choice(self, index: int, answer: Answer) -> dict[str, Any]:
        message: dict[str, Any] = {
            "annotations": [],
            "content": answer.text if answer.text or not answer.tool_calls else None,
            "refusal": None,
            "role": "assistant",
        }
        if answer.tool_calls and self.functions:
            call = answer.tool_calls[0]
            message["function_call"] = {"name": call.name, "arguments": call.arguments}
        elif answer.tool_calls:
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in answer.tool_calls
            ]
        return {
            "content_filter_results": answer_verdict() if answer.text else {},
            "finish_reason": self._finish(answer.finish_reason),
            "index": index,
            "logprobs": self._logprobs(answer.text),
            "message": message,
        }

    def _finish(self, reason: str) -> str:
        return "function_call" if reason == "tool_calls" and self.functions else reason

    def _logprobs(self, text: str) -> dict[str, Any] | None:
        if self.top_logprobs is None or not text:
            return None
        content = []
        for entry in logprobs_of(text):
            entry["bytes"] = list(entry["token"].encode("utf-8", "surrogatepass"))
            # The token itself, and then ever less likely ones.
            others = [
                {"token": f"{entry['token']}{rank}", "logprob": entry["logprob"] - rank, "bytes": None}
                for rank in range(1, self.top_logprobs)
            ]
            content.append({**entry, "top_logprobs": [dict(entry), *others] if self.top_logprobs else []})
        return {"content": content, "refusal": None}

    def _usage(self) -> dict[str, Any]:
        usage = self.usage
        counts: dict[str, Any] = {
            "completion_tokens": usage.completion_tokens,
            "prompt_tokens": usage.prompt_tokens,
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        }
        if self.details:
            counts["completion_tokens_details"] = {
                "accepted_prediction_tokens": 0,
                "audio_tokens": 0,
                "reasoning_tokens": usage.reasoning_tokens,
                "rejected_prediction_tokens": 0,
            }
            counts["prompt_tokens_details"] = {"audio_tokens": 0, "cached_tokens": 0}
        return counts


__all__ = ["DETAILS_SINCE", "Completion", "completion"]
