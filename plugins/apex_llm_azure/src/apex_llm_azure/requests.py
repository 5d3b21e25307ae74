"""From the core's requests to the bodies of chat completions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Literal, NamedTuple

from apex_llm_azure.dialect import Dialect
from apex_llm_core.errors import InvalidRequestError, UnsupportedParameterError
from apex_llm_core.models import (
    ChatGenerationOptions,
    ChatMessage,
    DocumentPart,
    FunctionChoice,
    FunctionDefinition,
    GenerateRequest,
    ImagePart,
    ResponseFormat,
    TextGenerationOptions,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

#: What `extra` may not set, since it would contradict the request itself.
_OURS = frozenset({"messages", "model", "stream", "deployment"})


class Body(NamedTuple):
    """The body of a request, and the options that are not in it because this model or version does not take them."""

    document: dict[str, Any]
    dropped: tuple[str, ...]


def chat_body(
    request: GenerateRequest, *, deployment: str, dialect: Dialect, unsupported: Literal["error", "drop"]
) -> Body:
    """Return the body for *request*.

    Raises:
        InvalidRequestError: the request has something Azure cannot take in chat, or, with *unsupported* "error", an option
            that this model or version does not take.
    """
    options = request.options
    dropped: list[str] = []
    document: dict[str, Any] = {"model": deployment, "messages": wire_messages(request.messages, dialect)}
    if options.max_tokens is not None:
        document[dialect.max_tokens_key] = options.max_tokens
    if _sampling_of(options) != _NO_SAMPLING:
        _add_sampling(document, options, dialect, dropped)
    if options.stop:
        if dialect.stop:
            document["stop"] = list(options.stop)
        else:
            dropped.append("stop")
    if options.seed is not None:
        document["seed"] = options.seed
    if options.n is not None:
        document["n"] = options.n
    if options.user is not None:
        document["user"] = options.user
    if isinstance(options, ChatGenerationOptions):
        _add_tools(document, options, dialect, dropped)
        _add_form(document, options, dialect, dropped)
    if unsupported == "error":
        refuse_dropped(dropped, deployment)
    if request.stream:
        document["stream"] = True
        # Grounding on one's own data and stream_options exclude each other.
        if dialect.stream_options and "data_sources" not in (options.extra or ()):
            document["stream_options"] = {"include_usage": True}
    add_extra(document, options.extra, ours=_OURS)
    return Body(document, tuple(dropped))


def refuse_dropped(dropped: Sequence[str], deployment: str) -> None:
    """Refuse a request that would lose the options called *dropped*.

    Raises:
        UnsupportedParameterError: there are any.
    """
    if dropped:
        raise UnsupportedParameterError(
            f"{', '.join(dropped)}: not taken by the model behind deployment {deployment!r} or by the configured API version; "
            "leave it out, or set options.unsupported_parameters = 'drop'",
            parameters=dropped,
        )


def add_extra(document: dict[str, Any], extra: Mapping[str, Any] | None, *, ours: frozenset[str]) -> None:
    """Add a caller's own parameters to *document*.

    Raises:
        InvalidRequestError: *extra* has one of *ours*, which the request itself says.
    """
    if extra:
        said = ours & extra.keys()
        if said:
            raise InvalidRequestError(f"extra may not set {', '.join(sorted(said))}: the request itself does")
        document.update(extra)


def wire_messages(messages: Iterable[ChatMessage], dialect: Dialect) -> list[dict[str, Any]]:
    """Return the messages as they go over the wire; one with several tool results becomes several."""
    wire: list[dict[str, Any]] = []
    for message in messages:
        content = message.content
        role: str = message.role
        if role == "developer" and not dialect.developer_role:
            role = "system"
        if type(content) is str:
            entry: dict[str, Any] = {"role": role, "content": content}
            if message.name is not None:
                entry["name"] = message.name
            if message.function_call is not None:
                entry["content"] = content or None
                entry["function_call"] = {
                    "name": message.function_call.name,
                    "arguments": message.function_call.arguments,
                }
            wire.append(entry)
        else:
            wire.extend(_in_parts(message, role))
    if dialect.developer_role and any(entry["role"] == "developer" for entry in wire):
        # A model that knows developers refuses a conversation that has both.
        for entry in wire:
            if entry["role"] == "system":
                entry["role"] = "developer"
    return wire


def _in_parts(message: ChatMessage, role: str) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    for part in message.content:
        if isinstance(part, TextPart):
            parts.append({"type": "text", "text": part.text})
        elif isinstance(part, ImagePart):
            parts.append({"type": "image_url", "image_url": _image(part)})
        elif isinstance(part, ToolCallPart):
            function = {"name": part.name, "arguments": part.arguments}
            calls.append({"id": part.id, "type": "function", "function": function})
        elif isinstance(part, ToolResultPart):
            results.append({"role": "tool", "tool_call_id": part.tool_call_id, "content": part.content})
        elif isinstance(part, DocumentPart):
            parts.append(_document(part))
        # Reasoning is not taken back in chat completions; the service finds what to cache by itself.
    entry: dict[str, Any] = {"role": role}
    if message.name is not None:
        entry["name"] = message.name
    if all(part["type"] == "text" for part in parts):
        text = "".join(part["text"] for part in parts)
        entry["content"] = text or (None if calls or message.function_call else "")
    else:
        entry["content"] = parts
    if calls:
        entry["tool_calls"] = calls
    if message.function_call is not None:
        entry["function_call"] = {"name": message.function_call.name, "arguments": message.function_call.arguments}
    if results:
        return [*results, {**entry, "role": "user"}] if parts else results
    return [entry]


def _image(part: ImagePart) -> dict[str, Any]:
    url = part.url if part.url is not None else f"data:{part.media_type};base64,{part.data}"
    return {"url": url} if part.detail is None else {"url": url, "detail": part.detail}


def _document(part: DocumentPart) -> dict[str, Any]:
    if part.text is None:
        raise UnsupportedParameterError(
            f"Azure chat completions take no documents of type {part.media_type!r}; pass the document's text",
            parameters=["documents"],
        )
    return {"type": "text", "text": f"{part.name}:\n{part.text}" if part.name else part.text}


def _add_sampling(
    document: dict[str, Any], options: TextGenerationOptions, dialect: Dialect, dropped: list[str]
) -> None:
    for name, value, neutral in zip(_SAMPLING, _sampling_of(options), _NEUTRAL, strict=True):
        if value is None:
            continue
        if dialect.logprobs if name in _LOGPROBS else dialect.sampling:
            document[name] = value
        elif value != neutral:
            dropped.append(name)


_LOGPROBS = frozenset({"logprobs", "top_logprobs"})
_SAMPLING = ("temperature", "top_p", "frequency_penalty", "presence_penalty", "logprobs", "top_logprobs")
#: Values that change nothing: a model that does not take the parameter does not miss it.
_NEUTRAL = (1, 1, 0, 0, False, 0)
_sampling_of: Callable[[TextGenerationOptions], tuple[Any, ...]] = attrgetter(*_SAMPLING)
_NO_SAMPLING = (None,) * len(_SAMPLING)


def _add_tools(document: dict[str, Any], options: ChatGenerationOptions, dialect: Dialect, dropped: list[str]) -> None:
    if options.tools:
        document["tools"] = [{"type": "function", "function": _function(tool)} for tool in options.tools]
    if options.tool_choice is not None:
        choice = options.tool_choice
        if isinstance(choice, FunctionChoice):
            document["tool_choice"] = {"type": "function", "function": {"name": choice.name}}
        else:
            document["tool_choice"] = choice
    if options.parallel_tool_calls is not None:
        if dialect.parallel_tool_calls:
            document["parallel_tool_calls"] = options.parallel_tool_calls
        elif not options.parallel_tool_calls:
            dropped.append("parallel_tool_calls")
    if options.functions:
        document["functions"] = [_function(function) for function in options.functions]
    if options.function_call is not None:
        call = options.function_call
        name = call.name if isinstance(call, FunctionChoice) else call
        document["function_call"] = name if name in ("auto", "none") else {"name": name}


def _function(function: FunctionDefinition) -> dict[str, Any]:
    wire: dict[str, Any] = {"name": function.name}
    if function.description is not None:
        wire["description"] = function.description
    wire["parameters"] = function.parameters if function.parameters is not None else _NO_PARAMETERS
    if function.strict is not None:
        wire["strict"] = function.strict
    return wire


_NO_PARAMETERS: Mapping[str, Any] = {"type": "object", "properties": {}}


def _add_form(document: dict[str, Any], options: ChatGenerationOptions, dialect: Dialect, dropped: list[str]) -> None:
    shape = options.response_format
    if shape is not None and shape.type != "text":
        if shape.type == "json":
            document["response_format"] = {"type": "json_object"}
        elif dialect.structured_outputs:
            document["response_format"] = {"type": "json_schema", "json_schema": _schema(shape)}
        else:
            dropped.append("response_format")
    if options.reasoning_effort is not None:
        if dialect.reasoning_effort:
            document["reasoning_effort"] = options.reasoning_effort
        else:
            dropped.append("reasoning_effort")


def _schema(shape: ResponseFormat) -> dict[str, Any]:
    wire: dict[str, Any] = {"name": shape.name or "answer", "schema": shape.schema}
    if shape.strict is not None:
        wire["strict"] = shape.strict
    return wire


__all__ = ["Body", "add_extra", "chat_body", "refuse_dropped", "wire_messages"]
