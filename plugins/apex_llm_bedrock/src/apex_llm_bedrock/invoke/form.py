"""What the forms of InvokeModel's bodies have in common: what they are made from, and what is read out of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import attrs

from apex_llm_bedrock.answers import FINISH_REASONS, Reading, count_of
from apex_llm_bedrock.lost import Lost
from apex_llm_bedrock.metadata import fits
from apex_llm_bedrock.models import Model
from apex_llm_bedrock.requests import refuse_dropped
from apex_llm_bedrock.settings import BedrockSettings
from apex_llm_bedrock.tool_names import ToolNames
from apex_llm_core.errors import UnsupportedParameterError
from apex_llm_core.models import (
    ChatGenerationChunk,
    ChatGenerationOptions,
    ChatMessage,
    Choice,
    GenerateRequest,
    ImagePart,
    TextGenerationOptions,
    Usage,
)

#: What the vendors say of the end of an answer, in the core's words; others stay as they are.
_WORDS: Mapping[str, str] = {
    **FINISH_REASONS,
    "refusal": "content_filter",
    "function_call": "tool_calls",
    "FINISH": "stop",
    "FINISHED": "stop",
    "STOP_CRITERIA_MET": "stop",
    "LENGTH": "length",
    "CONTENT_FILTERED": "content_filter",
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "ERROR_LIMIT": "length",
    "ERROR_TOXIC": "content_filter",
    "endoftext": "stop",
}
#: Options of sampling, with the value that changes nothing.
_NEUTRAL: Mapping[str, object] = {
    "temperature": 1,
    "top_p": 1,
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "logprobs": False,
    "top_logprobs": 0,
}
_OPTIONS = (
    "max_tokens",
    "temperature",
    "top_p",
    "stop",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "logprobs",
    "top_logprobs",
)


class InvokeBody(NamedTuple):
    """The body of a request, and how its answer is to be read."""

    document: dict[str, Any]
    reading: Reading


class Answer(NamedTuple):
    """What the body of an answer holds."""

    #: Their finish reasons are the service's, "" for one that is incomplete.
    choices: Sequence[Choice]
    usage: Usage | None
    #: Unless a tool stands for the form of the answer, and the model called neither that nor any other.
    answered: bool = True


@attrs.frozen(kw_only=True)
class Asked:
    """One request, with what its body is made by."""

    request: GenerateRequest
    model: Model
    settings: BedrockSettings
    names: ToolNames = attrs.field(factory=ToolNames)
    #: Options that find no place.
    dropped: list[str] = attrs.field(factory=list)
    #: Those that find none, and whose answer is as good without.
    spared: list[str] = attrs.field(factory=list)

    @property
    def options(self) -> TextGenerationOptions:
        """What the caller asked for."""
        return self.request.options

    @property
    def chat(self) -> ChatGenerationOptions | None:
        """What the caller asked for in a chat, None for a text."""
        options = self.request.options
        return options if isinstance(options, ChatGenerationOptions) else None

    @property
    def base(self) -> str:
        """The foundation model's id, or how it begins; "" where nobody knows."""
        return self.model.base or self.model.family.name

    def body(self, document: dict[str, Any]) -> InvokeBody:
        """Return *document* as the body.

        Raises:
            UnsupportedParameterError: by the settings' policy, options may not be dropped.
        """
        user = self.options.user
        if user is not None and not fits(user):
            self.dropped.append(Lost("user", "only the characters of AWS's metadata, 256 at most"))
        dropped = tuple(dict.fromkeys(self.dropped))
        if self.settings.policy == "error":
            refuse_dropped(dropped, self.model.name)
        return InvokeBody(document, Reading(names=self.names, dropped=(*dropped, *self.spared)))


class Reader(Protocol):
    """Reads the documents of one stream."""

    @property
    def ended(self) -> Mapping[int, str]:
        """By choice: how it ended, in the service's words."""

    @property
    def usage(self) -> Usage | None:
        """What the documents told of tokens."""

    @property
    def answered(self) -> bool:
        """As in `Answer`."""

    def read(self, document: Mapping[str, Any]) -> list[ChatGenerationChunk]:
        """Return the chunks in *document*, none with a finish reason.

        Raises:
            AttributeError, KeyError, TypeError, ValueError: it has another form.
        """

    def close(self) -> list[ChatGenerationChunk]:
        """Return what was held back until the end was sure."""


class InvokeForm(Protocol):
    """The bodies of one kind of model."""

    @property
    def ours(self) -> frozenset[str]:
        """Members of a body that `extra` may not set, since the request itself says them."""

    def body(self, asked: Asked) -> InvokeBody:
        """Return the body of a request.

        Raises:
            UnsupportedParameterError: the form has no place for something the request cannot do without; or, by the settings'
                policy, for an option.
        """

    def answer(self, document: Mapping[str, Any], reading: Reading) -> Answer:
        """Return what *document* holds.

        Raises:
            AttributeError, IndexError, KeyError, TypeError, ValueError: it has another form.
        """

    def reader(self, reading: Reading) -> Reader:
        """Return what reads a stream."""


def finish_word(reason: str) -> str:
    """Return the service's *reason* for the end of an answer in the core's words."""
    return _WORDS.get(reason, reason)


def add_options(document: dict[str, Any], asked: Asked, members: Mapping[str, str]) -> None:
    """Write the options of sampling under the names that *members* gives them; the others are dropped unless they say nothing.

    Raises:
        UnsupportedParameterError: several answers are wished for, and the form knows only one.
    """
    options, family = asked.options, asked.model.family
    refused = {"temperature": not family.temperature, "top_p": not family.top_p, "stop": not family.stop_sequences}
    for name in _OPTIONS:
        value = getattr(options, name)
        if value is None:
            continue
        member = members.get(name)
        if member is None or refused.get(name):
            if value != _NEUTRAL.get(name):
                asked.dropped.append(name)
        else:
            document[member] = list(value) if name == "stop" else value
    if options.n is not None and options.n > 1:
        if "n" not in members:
            raise UnsupportedParameterError(
                "n: the model gives one answer to a request; ask several times", parameters=["n"]
            )
        document[members["n"]] = options.n


def usage_from(
    prompt: object, completion: object, *, read: object = 0, written: object = 0, fresh: bool = False
) -> Usage | None:
    """Return token counts, None unless both sides are known: half of them would be no count.

    Args:
        prompt: tokens that went in.
        completion: tokens that came out.
        read: those that came from the cache.
        written: those that went into it.
        fresh: *prompt* counts only what had nothing to do with the cache.
    """
    try:
        cached, kept = count_of(read or 0), count_of(written or 0)
        return Usage(
            prompt_tokens=count_of(prompt) + (cached + kept if fresh else 0),
            completion_tokens=count_of(completion),
            cached_tokens=cached,
            cache_write_tokens=kept,
        )
    except TypeError:
        # An answer that was paid for is worth more than its count.
        return None


def refuse_stored(messages: Sequence[ChatMessage]) -> None:
    """Refuse pictures in S3, which only Converse fetches.

    Raises:
        UnsupportedParameterError: there is one; names the place.
    """
    for position, message in enumerate(messages):
        for part in () if isinstance(message.content, str) else message.content:
            if isinstance(part, ImagePart) and str(part.url).lower().startswith("s3://"):
                raise UnsupportedParameterError(
                    f"messages[{position}]: by InvokeModel the model fetches no pictures from S3; pass their data in base64",
                    parameters=["images"],
                )


__all__ = [
    "Answer",
    "Asked",
    "InvokeBody",
    "InvokeForm",
    "Reader",
    "add_options",
    "finish_word",
    "refuse_stored",
    "usage_from",
]
