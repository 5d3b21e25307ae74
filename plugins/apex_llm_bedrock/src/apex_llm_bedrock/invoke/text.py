"""Text by InvokeModel, for models that Converse does not serve: bodies, answers and streams, whatever their form. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from apex_llm_bedrock.answers import Reading, malformed, request_id_of
from apex_llm_bedrock.invoke.form import Asked, InvokeBody, finish_word, usage_from
from apex_llm_bedrock.invoke.forms import form_of
from apex_llm_bedrock.models import Model
from apex_llm_bedrock.requests import add_extra
from apex_llm_bedrock.settings import BedrockSettings
from apex_llm_core.errors import (
    InvalidRequestError,
    LLMError,
    QuotaExceededError,
    RateLimitError,
    ServiceUnavailableError,
)
from apex_llm_core.models import ChatGenerationChunk, ChatGenerationResult, GenerateRequest, Usage

_METRICS = "amazon-bedrock-invocationMetrics"
_GUARDRAIL = "amazon-bedrock-guardrailAction"
_TRACE = "amazon-bedrock-trace"
_GUARDRAIL_CONFIG = "amazon-bedrock-guardrailConfig"
#: How a guardrail watches a stream: what settings call it, and what this member does.
_STREAM_MODES = {"sync": "SYNCHRONOUS", "async": "ASYNCHRONOUS"}
#: Digits of the longest count in a header.
_LONGEST_COUNT = 18
#: What an answer's form may raise when it is another one.
_OF_ANOTHER_FORM = (AttributeError, IndexError, KeyError, TypeError, ValueError)
#: Errors in the models' own streams.
_ERRORS: Mapping[str, type[LLMError]] = {
    "rate_limit_error": RateLimitError,
    "billing_error": QuotaExceededError,
    "invalid_request_error": InvalidRequestError,
    "request_too_large": InvalidRequestError,
}


def invoke_body(
    format: str,  # noqa: A002 - what settings call it
    request: GenerateRequest,
    model: Model,
    settings: BedrockSettings,
    streamed: bool | None = None,
) -> InvokeBody:
    """Return the body for *request* in the form *format*.

    Args:
        format: a name of `forms.FORMS`.
        request: what to send.
        model: who is asked.
        settings: what becomes of options the form has no place for, and how a guardrail watches streams; what else they say
            of a request stands in its headers.
        streamed: whether a stream is asked for; None: as *request* says.

    Raises:
        InvalidRequestError: the form cannot say what the request does; or, by the settings' policy, an option would be lost.
    """
    streamed = request.stream if streamed is None else streamed
    form = form_of(format)
    if request.stream != streamed:
        request = attrs.evolve(request, stream=streamed)
    body = form.body(Asked(request=request, model=model, settings=settings))
    document = body.document
    if streamed and settings.guardrail_stream_mode:
        document[_GUARDRAIL_CONFIG] = {"streamProcessingMode": _STREAM_MODES[settings.guardrail_stream_mode]}
    extra = dict(request.options.extra or ())
    for name in document.keys() & extra.keys() - form.ours:
        if isinstance(document[name], Mapping) and isinstance(extra[name], Mapping):
            extra[name] = {**document[name], **extra[name]}
    add_extra(document, extra, ours=form.ours)
    return body


def invoke_result(
    format: str,  # noqa: A002 - what settings call it
    document: Mapping[str, Any],
    headers: Mapping[str, str],
    reading: Reading,
    *,
    model: str,
    provider: str,
) -> ChatGenerationResult:
    """Return the result that the body *document* of an answer holds.

    Raises:
        ServiceUnavailableError: it has another form, or an answer lacks its finish reason: it is incomplete.
    """
    form = form_of(format)
    try:
        found, usage, answered = form.answer(document, reading)
    except _OF_ANOTHER_FORM as error:
        raise malformed(f"with a body that is none of the form {format!r}", headers) from error
    except LLMError as error:
        error.request_id = error.request_id or request_id_of(headers)
        raise
    if not found or any(not choice.finish_reason for choice in found):
        raise malformed("without a finish reason: the answer is incomplete", headers)
    told = _told([choice.finish_reason for choice in found], document)
    told |= reading.told(answered=answered)
    held_back = document.get(_GUARDRAIL) == "INTERVENED"
    choices = tuple(attrs.evolve(choice, finish_reason=_word(choice.finish_reason, held_back)) for choice in found)
    return ChatGenerationResult.of(
        choices,
        model=model,
        provider=provider,
        usage=usage or _metered(document.get(_METRICS)) or _counted(headers),
        request_id=request_id_of(headers),
        details=told or None,
    )


class InvokeStream:
    """Reads the documents of one stream, each the content of one ``chunk`` event.

    Args:
        format: a name of `forms.FORMS`.
        headers: of the answer.
        reading: what `invoke_body` says of the answer.
    """

    def __init__(
        self,
        format: str,  # noqa: A002 - what settings call it
        headers: Mapping[str, str],
        reading: Reading,
    ) -> None:
        self._format = format
        self._headers = headers
        self._reading = reading
        self._reader = form_of(format).reader(reading)
        self._metrics: Any = None
        self._aside: dict[str, Any] = {}
        self._choices: set[int] = set()

    def take(self, document: Mapping[str, Any]) -> list[ChatGenerationChunk]:
        """Return the chunks in *document*; finish reasons wait for `finish`.

        Raises:
            LLMError: the model tells of an error, or *document* has another form.
        """
        error = document.get("error")
        if error:
            raise self._failure(error)
        self._metrics = document.get(_METRICS) or self._metrics
        for member in (_GUARDRAIL, _TRACE):
            if document.get(member) and self._aside.get(member) != "INTERVENED":
                self._aside[member] = document[member]
        try:
            chunks = self._reader.read(document)
        except _OF_ANOTHER_FORM as raised:
            raise malformed(
                f"with a piece of a stream that is none of the form {self._format!r}", self._headers
            ) from raised
        self._choices.update(chunk.index for chunk in chunks)
        return chunks

    def finish(self) -> list[ChatGenerationChunk]:
        """Return the last chunks, with finish reasons, usage and details.

        Raises:
            ServiceUnavailableError: the stream ended before the answer did.
        """
        ended = self._reader.ended
        if not ended or not self._choices <= ended.keys():
            raise ServiceUnavailableError(
                "the stream ended without a stop reason: the answer is incomplete",
                status_code=200,
                request_id=request_id_of(self._headers),
            )
        chunks = self._reader.close()
        told = _told(ended.values(), self._aside)
        told |= self._reading.told(answered=self._reader.answered)
        held_back = self._aside.get(_GUARDRAIL) == "INTERVENED"
        last = max(ended)
        for index, reason in sorted(ended.items()):
            chunks.append(
                ChatGenerationChunk(
                    finish_reason=_word(reason, held_back),
                    usage=self._usage() if index == last else None,
                    details=(told or None) if index == last else None,
                    index=index,
                )
            )
        return chunks

    def _usage(self) -> Usage | None:
        return self._reader.usage or _metered(self._metrics) or _counted(self._headers)

    def _failure(self, told: object) -> LLMError:
        error: Mapping[str, Any] = told if isinstance(told, Mapping) else {"message": str(told)}
        kind = str(error.get("type") or "")
        return _ERRORS.get(kind, ServiceUnavailableError)(
            f"the model broke off: {str(error.get('message') or kind)[:500]}",
            status_code=200,
            request_id=request_id_of(self._headers),
            details={"code": kind} if kind else None,
        )


def _word(reason: str, held_back: bool) -> str:
    return "content_filter" if held_back else finish_word(reason)


def _told(reasons: Iterable[str], document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what belongs to `details`: what the core's words do not say, and what the service did beside."""
    told: dict[str, Any] = {}
    # "STOP_CRITERIA_MET" says more than "stop", "LENGTH" no more than "length".
    special = [reason for reason in reasons if reason in _SPECIAL]
    if special:
        told["stop_reason"] = special[0]
    if document.get(_GUARDRAIL) not in (None, "NONE"):
        told["guardrail_action"] = document[_GUARDRAIL]
    if document.get(_TRACE):
        told["trace"] = document[_TRACE]
    return told


_SPECIAL = frozenset(
    {
        "stop_sequence",
        "refusal",
        "model_context_window_exceeded",
        "STOP_CRITERIA_MET",
        "STOP_SEQUENCE",
        "ERROR_LIMIT",
        "ERROR_TOXIC",
    }
)


def _metered(metrics: Any) -> Usage | None:
    """Return the counts of the service's own meter, which comes with the last piece of a stream."""
    if not isinstance(metrics, Mapping):
        return None
    return usage_from(
        metrics.get("inputTokenCount"),
        metrics.get("outputTokenCount"),
        read=metrics.get("cacheReadInputTokenCount"),
        written=metrics.get("cacheWriteInputTokenCount"),
        fresh=True,
    )


def _counted(headers: Mapping[str, str]) -> Usage | None:
    """Return the counts that stand in *headers*."""
    found = [_count(headers.get(f"x-amzn-bedrock-{kind}-token-count", "")) for kind in _COUNTED]
    return usage_from(found[0], found[1], read=found[2], written=found[3], fresh=True)


_COUNTED = ("input", "output", "cache-read-input", "cache-write-input")


def _count(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _LONGEST_COUNT else None


__all__ = ["InvokeStream", "invoke_body", "invoke_result"]
