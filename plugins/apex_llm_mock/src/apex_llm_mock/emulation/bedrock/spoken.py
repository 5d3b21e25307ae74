"""What a model says to a body of InvokeModel, before it is put into the model's form."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import attrs

from apex_llm_core.errors import InvalidRequestError
from apex_llm_core.models import ChatGenerationOptions, ChatMessage, GenerateRequest, Usage
from apex_llm_mock import tokens
from apex_llm_mock.chunks import chunks_of
from apex_llm_mock.emulation.answers import RefusedError
from apex_llm_mock.emulation.bedrock.base_model import BaseModel
from apex_llm_mock.emulation.bedrock.cohere_embeddings import TOO_LONG
from apex_llm_mock.emulation.bedrock.errors import invalid
from apex_llm_mock.replies import Answer, Replier

Document = dict[str, Any]


@attrs.frozen(kw_only=True)
class Asked:
    """What a body asks for."""

    request: GenerateRequest
    stops: tuple[str, ...] = ()
    body: Mapping[str, Any]


@attrs.frozen(kw_only=True)
class Spoken:
    """An answer with everything that its form may tell."""

    asked: Asked
    model: BaseModel
    answer: Answer
    input_tokens: int
    #: Makes ids.
    key: str
    #: The stop sequence at which the answer ended.
    stopped_by: str | None = None

    @property
    def output_tokens(self) -> int:
        """What the answer cost."""
        return self.answer.tokens

    @property
    def finish(self) -> str:
        """Why it ended: "stop", "length", "tool_calls", "content_filter"."""
        return self.answer.finish_reason

    def texts(self, size: int) -> list[str]:
        """Return the text in pieces of *size* characters, at least one."""
        text = self.answer.text
        return [text[start : start + size] for start in range(0, len(text), size)] or [""]

    def chunks(self, size: int) -> Iterator[Any]:
        """Yield text, reasoning and tool calls in pieces of *size* characters, then the end."""
        return chunks_of(
            [self.answer], Usage(prompt_tokens=self.input_tokens, completion_tokens=self.output_tokens), size
        )


def _too_long(_tokens: int, _model: BaseModel) -> RefusedError:
    return invalid(TOO_LONG)


class TextFormat(NamedTuple):
    """How a family of models speaks through InvokeModel."""

    asked: Callable[[Any, BaseModel], Asked]
    document: Callable[[Spoken], Document]
    #: The documents of a stream; *size* in characters.
    events: Callable[[Spoken, int], Iterator[Document]]
    #: The refusal of a prompt of so many tokens.
    too_long: Callable[[int, BaseModel], RefusedError] = _too_long


def speak(text_format: TextFormat, model: BaseModel, body: Any, replier: Replier, *, key: str) -> Spoken:
    """Return what *model* says to *body*.

    Raises:
        RefusedError: the model does not take the body.
    """
    asked = text_format.asked(body, model)
    count = tokens.count_prompt(asked.request)
    if count >= model.window:
        raise text_format.too_long(count, model)
    try:
        (answer, *_) = replier.answers(
            asked.request, replier.next_scripted(), min(model.max_output, model.window - count)
        )
    except InvalidRequestError as error:
        raise invalid(error.message) from error
    answer, stopped_by = _stopped(answer, asked.stops)
    return Spoken(asked=asked, model=model, answer=answer, input_tokens=count, key=key, stopped_by=stopped_by)


def request_of(model: BaseModel, messages: tuple[ChatMessage, ...], **options: Any) -> GenerateRequest:
    """Return a request for an answer to *messages*; stop sequences are not among the *options*.

    Raises:
        RefusedError: the messages or options make no sense.
    """
    try:
        return GenerateRequest(
            kind="chat",
            messages=messages,
            model=model.id,
            options=ChatGenerationOptions(model=model.id, **options),
        )
    except InvalidRequestError as error:
        raise invalid(error.message) from error


def _stopped(answer: Answer, stops: tuple[str, ...]) -> tuple[Answer, str | None]:
    found = [(place, stop) for stop in stops if stop and (place := answer.text.find(stop)) >= 0]
    if not found:
        return answer, None
    place, stop = min(found)
    return answer._replace(text=answer.text[:place], finish_reason="stop"), stop


__all__ = ["Asked", "Document", "Spoken", "TextFormat", "request_of", "speak"]
