"""From a caller's arguments to a checked request: options as object, mapping or keywords, messages in every form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import attrs

from apex_llm_core.errors import InvalidRequestError, nearest
from apex_llm_core.models.messages import ChatMessage
from apex_llm_core.models.options import (
    ChatGenerationOptions,
    EmbeddingOptions,
    FunctionChoice,
    FunctionDefinition,
    ImageGenerationOptions,
    ResponseFormat,
    TextGenerationOptions,
)
from apex_llm_core.models.requests import EmbedRequest, GenerateRequest, ImageRequest

#: A message, a mapping of the same form, a sequence of those, or one user message as text.
Messages = str | ChatMessage | Mapping[str, Any] | Sequence[ChatMessage | Mapping[str, Any]]
Given = Mapping[str, Any]
Options = TypeVar("Options", TextGenerationOptions, ChatGenerationOptions, EmbeddingOptions, ImageGenerationOptions)


def text_request(
    prompt: str, given: TextGenerationOptions | Given | None, keywords: Given, *, stream: bool
) -> GenerateRequest:
    """Make the request of `generate_text` and its stream.

    Raises:
        InvalidRequestError: the prompt or an option does not fit; names it.
    """
    options = chosen_options(TextGenerationOptions, given, keywords)
    if isinstance(options, ChatGenerationOptions):
        for name in _CHAT_ONLY:
            if getattr(options, name) is not None:
                raise InvalidRequestError(f"a text request takes no option {name!r}; chat does (generate_chat)")
    if type(prompt) is not str:
        raise InvalidRequestError(f"the prompt is a {type(prompt).__name__}; expected str")
    if not prompt:
        raise InvalidRequestError("the prompt is empty")
    messages = (ChatMessage(role="user", content=prompt),)
    return GenerateRequest(kind="text", messages=messages, model=options.model, options=options, stream=stream)


#: Options of chat that a text request cannot have.
_CHAT_ONLY = tuple(attrs.fields_dict(ChatGenerationOptions).keys() - attrs.fields_dict(TextGenerationOptions).keys())


def chat_request(
    messages: Messages, given: ChatGenerationOptions | Given | None, keywords: Given, *, stream: bool
) -> GenerateRequest:
    """Make the request of `generate_chat` and its stream.

    Raises:
        InvalidRequestError: a message or an option does not fit; names it.
    """
    options = chosen_options(ChatGenerationOptions, given, keywords)
    return GenerateRequest(
        kind="chat", messages=_messages(messages), model=options.model, options=options, stream=stream
    )


def embed_request(text: str | Iterable[str], given: EmbeddingOptions | Given | None, keywords: Given) -> EmbedRequest:
    """Make the request of `generate_embedding`.

    Raises:
        InvalidRequestError: a text or an option does not fit; names it.
    """
    options = chosen_options(EmbeddingOptions, given, keywords)
    if not isinstance(text, Iterable):
        raise InvalidRequestError(f"the text to embed is a {type(text).__name__}; expected str or a sequence of them")
    texts = (text,) if isinstance(text, str) else tuple(text)
    return EmbedRequest(texts=texts, model=options.model, options=options)


def image_request(prompt: str, given: ImageGenerationOptions | Given | None, keywords: Given) -> ImageRequest:
    """Make the request of `generate_image`.

    Raises:
        InvalidRequestError: the prompt or an option does not fit; names it.
    """
    options = chosen_options(ImageGenerationOptions, given, keywords)
    return ImageRequest(prompt=prompt, model=options.model, options=options)


def chosen_options(kind: type[Options], given: Options | Given | None, keywords: Given) -> Options:
    """Return options of *kind* from an object, a mapping and keywords; keywords win.

    Raises:
        InvalidRequestError: an unknown option, with the nearest valid name, or a value that does not fit.
    """
    if given is None:
        return _made(kind, keywords)
    if isinstance(given, kind):
        return _evolved(given, keywords) if keywords else given
    if not isinstance(given, Mapping):
        raise InvalidRequestError(f"options are {type(given).__name__}; expected {kind.__name__}, a mapping or None")
    from apex_llm_core.converters import structure

    return chosen_options(kind, structure(given, kind), keywords)


def _made(kind: type[Options], keywords: Given) -> Options:
    keywords = _structured(keywords)
    try:
        return kind(**keywords)
    except TypeError as error:
        raise _misfit(kind, keywords, error) from error


def _evolved(options: Options, keywords: Given) -> Options:
    keywords = _structured(keywords)
    try:
        return attrs.evolve(options, **keywords)
    except TypeError as error:
        raise _misfit(type(options), keywords, error) from error


#: Keywords whose value, or whose items, may be a mapping in place of an object.
_NESTED: dict[str, type] = {
    "tools": FunctionDefinition,
    "functions": FunctionDefinition,
    "tool_choice": FunctionChoice,
    "function_call": FunctionChoice,
    "response_format": ResponseFormat,
}


def _structured(keywords: Given) -> Given:
    if _NESTED.keys().isdisjoint(keywords):
        return keywords
    from apex_llm_core.converters import structure

    made = dict(keywords)
    for name in _NESTED.keys() & keywords.keys():
        value, kind = made[name], _NESTED[name]
        if isinstance(value, Mapping):
            made[name] = structure(value, kind, path=name)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            made[name] = tuple(
                structure(item, kind, path=f"{name}[{position}]") if isinstance(item, Mapping) else item
                for position, item in enumerate(value)
            )
    return made


def _misfit(kind: type, keywords: Given, error: TypeError) -> InvalidRequestError:
    known = [attribute.name for attribute in attrs.fields(kind)]
    for name in keywords:
        if name not in known:
            return InvalidRequestError(f"unknown option {name!r}{nearest(name, known)}", original_error=error)
    return InvalidRequestError(f"the options do not fit: {error}", original_error=error)


def _messages(messages: Messages) -> tuple[ChatMessage, ...]:
    if type(messages) is tuple and all(type(message) is ChatMessage for message in messages):
        return messages
    if isinstance(messages, str):
        return (ChatMessage(role="user", content=messages),)
    if isinstance(messages, ChatMessage):
        return (messages,)
    if isinstance(messages, Mapping):
        from apex_llm_core.converters import structure

        return (structure(messages, ChatMessage, path="messages"),)
    if not isinstance(messages, Iterable):
        raise InvalidRequestError(
            f"messages are a {type(messages).__name__}; expected a text or a sequence of messages"
        )
    found: list[ChatMessage] = []
    for position, message in enumerate(messages):
        if isinstance(message, Mapping):
            from apex_llm_core.converters import structure

            found.append(structure(message, ChatMessage, path=f"messages[{position}]"))
        else:
            found.append(message)
    return tuple(found)


__all__ = ["Messages", "chat_request", "chosen_options", "embed_request", "image_request", "text_request"]
