"""What comes back: whole results and the chunks of a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from apex_llm_core.errors import Attempt
from apex_llm_core.models.messages import ChatMessage, ReasoningPart


@attrs.frozen(kw_only=True)
class Usage:
    """Token counts of one request, as the provider reported them unless `estimated`.

    `prompt_tokens` is everything that went in, including `cached_tokens` and `cache_write_tokens`;
    `completion_tokens` everything that came out, including `reasoning_tokens`.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = attrs.field()
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False

    @total_tokens.default
    def _total(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@attrs.frozen(kw_only=True)
class Choice:
    """One of the alternative answers."""

    index: int = 0
    message: ChatMessage
    #: "stop", "length", "tool_calls", "content_filter", or the provider's own word where none of these fits.
    finish_reason: str
    logprobs: Any = None


@attrs.frozen(kw_only=True, weakref_slot=False)
class ChatGenerationResult:
    """The answer to one generation request; `message` and `finish_reason` are those of the first of `choices`.

    A provider may give either `message` and `finish_reason`, or `choices`. `usage` is None when the provider told
    nothing, `cost` (in the currency of the configured prices) is None when a price is unknown. The manager fills
    `attempts` and `cost`.
    """

    message: ChatMessage
    model: str
    provider: str
    usage: Usage | None = None
    finish_reason: str = "stop"
    choices: tuple[Choice, ...] = attrs.field()
    cost: float | None = None
    #: The provider's id of this request, for its support.
    request_id: str | None = None
    attempts: tuple[Attempt, ...] = ()
    cached: bool = False
    #: What the provider told beyond the common fields, for example content-filter annotations.
    details: Mapping[str, Any] | None = None

    @choices.default
    def _one_choice(self) -> tuple[Choice, ...]:
        return (Choice(message=self.message, finish_reason=self.finish_reason),)

    @classmethod
    def of(cls, choices: Iterable[Choice], **fields: Any) -> ChatGenerationResult:
        """Build a result from its choices; *fields* are the other attributes."""
        all_choices = tuple(choices)
        first = all_choices[0]
        return cls(message=first.message, finish_reason=first.finish_reason, choices=all_choices, **fields)


@attrs.frozen(kw_only=True)
class TextGenerationResult:
    """The answer to one text request; `text` is that of the first of `choices`, the fields are as in `ChatGenerationResult`."""

    text: str
    model: str
    provider: str
    usage: Usage | None = None
    finish_reason: str = "stop"
    #: All alternative answers, with their log probabilities where they were asked for.
    choices: tuple[Choice, ...] = attrs.field()
    cost: float | None = None
    request_id: str | None = None
    attempts: tuple[Attempt, ...] = ()
    cached: bool = False
    details: Mapping[str, Any] | None = None

    @choices.default
    def _one_choice(self) -> tuple[Choice, ...]:
        return (Choice(message=ChatMessage(role="assistant", content=self.text), finish_reason=self.finish_reason),)

    @classmethod
    def from_chat(cls, result: ChatGenerationResult) -> TextGenerationResult:
        """Return the text view of *result*."""
        return cls(
            text=result.message.text,
            model=result.model,
            provider=result.provider,
            usage=result.usage,
            finish_reason=result.finish_reason,
            choices=result.choices,
            cost=result.cost,
            request_id=result.request_id,
            attempts=result.attempts,
            cached=result.cached,
            details=result.details,
        )


@attrs.frozen(kw_only=True)
class TokenCount:
    """The size of a prompt: the provider's own count, or `estimated` (four characters a token) where nobody counts."""

    prompt_tokens: int
    model: str
    #: "" for an estimate.
    provider: str
    estimated: bool = False


@attrs.frozen(kw_only=True)
class EmbeddingResult:
    """Vectors in the order of the texts; `embedding` is the first of `embeddings`. Either of the two may be left out."""

    embeddings: tuple[tuple[float, ...], ...] = attrs.field(
        default=(), repr=lambda vectors: f"<{len(vectors)} vectors>"
    )
    model: str
    provider: str
    embedding: tuple[float, ...] = attrs.field(default=(), repr=lambda vector: f"<{len(vector)} numbers>")
    usage: Usage | None = None
    cost: float | None = None
    request_id: str | None = None
    attempts: tuple[Attempt, ...] = ()
    cached: bool = False
    #: What the provider, or the core, told beyond the common fields.
    details: Mapping[str, Any] | None = None

    def __attrs_post_init__(self) -> None:
        if not len(self.embedding):
            if not len(self.embeddings):
                raise ValueError("give at least one of 'embedding' and 'embeddings'")
            object.__setattr__(self, "embedding", self.embeddings[0])
        elif not len(self.embeddings):
            object.__setattr__(self, "embeddings", (self.embedding,))


@attrs.frozen(kw_only=True)
class ImageGenerationResult:
    """Images as base64 text or as URLs; `media_type` is that of the base64 images, None for URLs."""

    images: tuple[str, ...] = attrs.field(repr=lambda images: f"<{len(images)} images>")
    model: str
    provider: str
    media_type: str | None = None
    usage: Usage | None = None
    cost: float | None = None
    request_id: str | None = None
    attempts: tuple[Attempt, ...] = ()
    #: What the provider told beyond the common fields, for example revised prompts.
    details: Mapping[str, Any] | None = None


@attrs.frozen(kw_only=True)
class ToolCallDelta:
    """A piece of a tool call; pieces with one `index` belong together, `arguments` are to be joined."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


@attrs.frozen(kw_only=True, weakref_slot=False)
class ChatGenerationChunk:
    """A piece of a streamed answer; `index` is the choice it belongs to.

    Every choice of a stream ends with exactly one chunk that has a `finish_reason`; `usage` is on that chunk or after it.
    """

    text: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    reasoning: str = ""
    #: A whole block of reasoning, once it is complete, with what its provider wants back unchanged; its text came before.
    reasoning_part: ReasoningPart | None = None
    finish_reason: str | None = None
    usage: Usage | None = None
    index: int = 0
    #: As in `Choice`, for the tokens of this chunk.
    logprobs: Any = None
    #: What the provider told beyond the common fields, for example content-filter annotations.
    details: Mapping[str, Any] | None = None


class _Unfrozen:
    """A chunk before it is frozen: the same layout, but assignment is open."""

    __slots__ = tuple(field.name for field in attrs.fields(ChatGenerationChunk))


def text_chunk(
    text: str, index: int = 0, new: Callable[[Any], Any] = object.__new__, unfrozen: type = _Unfrozen
) -> ChatGenerationChunk:
    """Return ``ChatGenerationChunk(text=text, index=index)`` at a quarter of the constructor's cost.

    For providers, which make one for each token.
    """
    chunk = new(unfrozen)
    chunk.text = text
    chunk.tool_calls = ()
    chunk.reasoning = ""
    chunk.reasoning_part = None
    chunk.finish_reason = None
    chunk.usage = None
    chunk.index = index
    chunk.logprobs = None
    chunk.details = None
    chunk.__class__ = ChatGenerationChunk
    return chunk  # type: ignore[no-any-return]


def text_chunks(
    texts: Iterable[str], index: int = 0, new: Callable[[Any], Any] = object.__new__, unfrozen: type = _Unfrozen
) -> list[ChatGenerationChunk]:
    """Return ``[text_chunk(text, index) for text in texts]`` without a call for each."""
    chunks: list[Any] = []
    for text in texts:
        chunk = new(unfrozen)
        chunk.text = text
        chunk.tool_calls = ()
        chunk.reasoning = ""
        chunk.reasoning_part = None
        chunk.finish_reason = None
        chunk.usage = None
        chunk.index = index
        chunk.logprobs = None
        chunk.details = None
        chunk.__class__ = ChatGenerationChunk
        chunks.append(chunk)
    return chunks


#: The chunks of text and of chat are the same; a text stream has no tool calls.
TextGenerationChunk = ChatGenerationChunk


__all__ = [
    "ChatGenerationChunk",
    "ChatGenerationResult",
    "Choice",
    "EmbeddingResult",
    "ImageGenerationResult",
    "TextGenerationChunk",
    "TextGenerationResult",
    "TokenCount",
    "ToolCallDelta",
    "Usage",
    "text_chunk",
    "text_chunks",
]
