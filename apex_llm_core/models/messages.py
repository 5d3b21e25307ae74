"""Chat messages and their parts: what goes to a model and what comes back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

import attrs

from apex_llm_core.errors import InvalidRequestError, nearest

#: ``tool`` carries tool results; ``function`` is the older spelling for one function's result.
Role = Literal["system", "developer", "user", "assistant", "tool", "function"]
ROLES: frozenset[str] = frozenset(get_args(Role))


@attrs.frozen(kw_only=True)
class TextPart:
    """Plain text."""

    text: str
    type: Literal["text"] = "text"


@attrs.frozen(kw_only=True)
class ImagePart:
    """An image: either `data` (base64, with `media_type`) or `url`."""

    data: str | None = attrs.field(default=None, repr=False)
    url: str | None = None
    media_type: str | None = None
    #: How closely the model should look: "low", "high" or "auto", where the provider knows it.
    detail: str | None = None
    type: Literal["image"] = "image"

    def __attrs_post_init__(self) -> None:
        if (self.data is None) == (self.url is None):
            raise InvalidRequestError("an image part needs exactly one of 'data' (base64) and 'url'")
        if self.data is not None and self.media_type is None:
            raise InvalidRequestError("an image part with 'data' needs 'media_type', for example 'image/png'")


@attrs.frozen(kw_only=True)
class DocumentPart:
    """A document: either `data` (base64, with `media_type`) or `text`."""

    data: str | None = attrs.field(default=None, repr=False)
    text: str | None = None
    media_type: str | None = None
    name: str | None = None
    type: Literal["document"] = "document"

    def __attrs_post_init__(self) -> None:
        if (self.data is None) == (self.text is None):
            raise InvalidRequestError("a document part needs exactly one of 'data' (base64) and 'text'")
        if self.data is not None and self.media_type is None:
            raise InvalidRequestError("a document part with 'data' needs 'media_type', for example 'application/pdf'")


@attrs.frozen(kw_only=True)
class ToolCallPart:
    """The model asks for a tool; `arguments` is the JSON text exactly as the model wrote it."""

    id: str
    name: str
    arguments: str = "{}"
    type: Literal["tool_call"] = "tool_call"


@attrs.frozen(kw_only=True)
class ToolResultPart:
    """The answer to a tool call made earlier in the conversation, by its id."""

    tool_call_id: str
    content: str = ""
    is_error: bool = False
    type: Literal["tool_result"] = "tool_result"


@attrs.frozen(kw_only=True)
class ReasoningPart:
    """The model's reasoning; `signature` and `data` are opaque and must go back to the provider unchanged."""

    text: str = ""
    signature: str | None = attrs.field(default=None, repr=False)
    #: Reasoning the provider encrypted or withheld.
    data: str | None = attrs.field(default=None, repr=False)
    type: Literal["reasoning"] = "reasoning"


@attrs.frozen(kw_only=True)
class CacheHintPart:
    """Everything before this part is worth keeping in the provider's prompt cache."""

    #: Life in the provider's terms, for example "5m" or "1h"; None leaves it to the provider.
    ttl: str | None = None
    type: Literal["cache_hint"] = "cache_hint"


ContentPart = TextPart | ImagePart | DocumentPart | ToolCallPart | ToolResultPart | ReasoningPart | CacheHintPart
#: The classes of `ContentPart` by their `type`.
PART_TYPES: dict[str, type[ContentPart]] = {
    "text": TextPart,
    "image": ImagePart,
    "document": DocumentPart,
    "tool_call": ToolCallPart,
    "tool_result": ToolResultPart,
    "reasoning": ReasoningPart,
    "cache_hint": CacheHintPart,
}


@attrs.frozen(kw_only=True)
class FunctionCall:
    """The older spelling of a single tool call."""

    name: str
    arguments: str = "{}"


def _content(value: str | Iterable[ContentPart]) -> str | tuple[ContentPart, ...]:
    return value if type(value) is str else tuple(value)  # type: ignore[arg-type]


@attrs.frozen(kw_only=True)
class ChatMessage:
    """One message of a conversation; `content` is text or a sequence of parts."""

    role: Role
    content: str | tuple[ContentPart, ...] = attrs.field(default="", converter=_content)
    name: str | None = None
    function_call: FunctionCall | None = None

    def __attrs_post_init__(self) -> None:
        if self.role not in ROLES:
            raise InvalidRequestError(f"unknown role {self.role!r}{nearest(str(self.role), ROLES)}")
        if type(self.content) is tuple:
            for part in self.content:
                if type(part) not in _PART_CLASSES:
                    raise InvalidRequestError(
                        f"content of a {self.role} message has {type(part).__name__!r}, which is no content part"
                    )

    @property
    def text(self) -> str:
        """All text of the message, parts joined without separator."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content if isinstance(part, TextPart))

    @property
    def tool_calls(self) -> tuple[ToolCallPart, ...]:
        """The tool calls the message asks for, in order."""
        if isinstance(self.content, str):
            return ()
        return tuple(part for part in self.content if isinstance(part, ToolCallPart))


_PART_CLASSES = frozenset(PART_TYPES.values())


def check_conversation(messages: tuple[ChatMessage, ...]) -> None:
    """Raise `InvalidRequestError` for an empty conversation or a tool result whose call was never made."""
    if not messages:
        raise InvalidRequestError("messages are empty; a request needs at least one message")
    called: set[str] = set()
    functions: set[str] = set()
    for position, message in enumerate(messages):
        if type(message) is not ChatMessage:
            raise InvalidRequestError(
                f"messages[{position}] is a {type(message).__name__}; expected ChatMessage or a mapping with 'role'"
            )
        if message.function_call is not None:
            functions.add(message.function_call.name)
        if message.role == "function" and message.name not in functions:
            raise InvalidRequestError(
                f"messages[{position}] is the result of function {message.name!r}, which no earlier message calls"
                + nearest(message.name or "", functions)
            )
        if type(message.content) is str:
            continue
        for part in message.content:
            if type(part) is ToolCallPart:
                called.add(part.id)
            elif type(part) is ToolResultPart and part.tool_call_id not in called:
                raise InvalidRequestError(
                    f"messages[{position}] is the result of tool call {part.tool_call_id!r}, which no earlier message makes"
                    + nearest(part.tool_call_id, called)
                )


__all__ = [
    "PART_TYPES",
    "ROLES",
    "CacheHintPart",
    "ChatMessage",
    "ContentPart",
    "DocumentPart",
    "FunctionCall",
    "ImagePart",
    "ReasoningPart",
    "Role",
    "TextPart",
    "ToolCallPart",
    "ToolResultPart",
    "check_conversation",
]
