"""What travels through middleware to a provider's hook."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

import attrs

from apex_llm_core.errors import InvalidRequestError
from apex_llm_core.models.messages import ChatMessage, DocumentPart, ImagePart, check_conversation
from apex_llm_core.models.options import (
    ChatGenerationOptions,
    EmbeddingOptions,
    ImageGenerationOptions,
    TextGenerationOptions,
)

#: What a model can do; a model's or provider's `capabilities` are words of this list.
Capability = Literal[
    "text", "chat", "stream", "tools", "vision", "documents", "json", "reasoning", "embed", "image", "audio"
]
CAPABILITIES: frozenset[str] = frozenset(Capability.__args__)  # type: ignore[attr-defined]


@attrs.frozen(kw_only=True, eq=False)
class GenerateRequest:
    """One generation. For `kind` "text" the prompt is the single user message; `stream` tells which hook will serve it."""

    kind: Literal["text", "chat"]
    messages: tuple[ChatMessage, ...]
    model: str
    options: TextGenerationOptions | ChatGenerationOptions
    stream: bool = False
    #: The capabilities a model must have to serve this request.
    needs: frozenset[str] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        check_conversation(self.messages)
        needs = _PLAIN_NEEDS[self.kind, self.stream]
        more = _further_needs(self.messages, self.options)
        object.__setattr__(self, "needs", needs.union(more) if more else needs)

    @property
    def chat_options(self) -> ChatGenerationOptions:
        """The options with the fields of chat, whatever the kind; text requests have none of them set."""
        if isinstance(self.options, ChatGenerationOptions):
            return self.options
        return ChatGenerationOptions(
            **{a.name: getattr(self.options, a.name) for a in attrs.fields(type(self.options))}
        )

    @cached_property
    def estimated_prompt_tokens(self) -> int:
        """A rough size of the prompt, four characters a token; for ranking and reservations, never for billing."""
        characters = 0
        for message in self.messages:
            content = message.content
            if isinstance(content, str):
                characters += len(content)
            else:
                characters += sum(
                    len(str(getattr(part, "text", None) or getattr(part, "content", ""))) for part in content
                )
        return characters // 4 + 4 * len(self.messages)


@attrs.frozen(kw_only=True, eq=False)
class EmbedRequest:
    """Texts to embed, in order."""

    texts: tuple[str, ...]
    model: str
    options: EmbeddingOptions

    def __attrs_post_init__(self) -> None:
        if not self.texts:
            raise InvalidRequestError("there is no text to embed; pass one text or a sequence of texts")
        for position, text in enumerate(self.texts):
            if type(text) is not str:
                raise InvalidRequestError(f"text {position} to embed is a {type(text).__name__}; expected str")

    @property
    def needs(self) -> frozenset[str]:
        """The capabilities a model must have to serve this request."""
        return _EMBED

    @cached_property
    def estimated_prompt_tokens(self) -> int:
        """A rough size of the texts, four characters a token; for ranking and reservations, never for billing."""
        return sum(len(text) for text in self.texts) // 4 + len(self.texts)


@attrs.frozen(kw_only=True, eq=False)
class ImageRequest:
    """One image prompt."""

    prompt: str
    model: str
    options: ImageGenerationOptions

    def __attrs_post_init__(self) -> None:
        if type(self.prompt) is not str or not self.prompt.strip():
            raise InvalidRequestError("the image prompt is empty")

    @property
    def needs(self) -> frozenset[str]:
        """The capabilities a model must have to serve this request."""
        return _IMAGE

    @property
    def estimated_prompt_tokens(self) -> int:
        """A rough size of the prompt, four characters a token; for ranking and reservations, never for billing."""
        return len(self.prompt) // 4 + 1


_PLAIN_NEEDS = {
    (kind, stream): frozenset({kind, "stream"} if stream else {kind})
    for kind in ("text", "chat")
    for stream in (False, True)
}


def _further_needs(
    messages: tuple[ChatMessage, ...], options: TextGenerationOptions | ChatGenerationOptions
) -> set[str]:
    found: set[str] = set()
    for message in messages:
        if type(message.content) is tuple:
            for part in message.content:
                if type(part) is ImagePart:
                    found.add("vision")
                elif type(part) is DocumentPart:
                    found.add("documents")
    if isinstance(options, ChatGenerationOptions):
        if options.tools or options.functions:
            found.add("tools")
        if options.response_format is not None and options.response_format.type != "text":
            found.add("json")
        if options.reasoning_effort is not None:
            found.add("reasoning")
    return found


_EMBED = frozenset({"embed"})
_IMAGE = frozenset({"image"})

#: Any request; what strategies and routing see.
Request = GenerateRequest | EmbedRequest | ImageRequest


__all__ = ["CAPABILITIES", "Capability", "EmbedRequest", "GenerateRequest", "ImageRequest", "Request"]
