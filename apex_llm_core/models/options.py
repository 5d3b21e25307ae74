"""What a caller may ask for in a request. Every field may also be given as a keyword to the manager's methods."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypedDict

import attrs

from apex_llm_core.errors import InvalidRequestError, nearest

#: Names a caller may never pass to a provider: they could redirect a request or its credentials.
FORBIDDEN_EXTRA = frozenset(
    {"api_base", "api_key", "auth", "authorization", "base_url", "credentials", "endpoint", "headers", "proxy", "url"}
)


@attrs.frozen(kw_only=True)
class FunctionDefinition:
    """A tool the model may call; `parameters` is a JSON Schema of its arguments."""

    name: str
    description: str | None = None
    parameters: Mapping[str, Any] | None = None
    strict: bool | None = None


@attrs.frozen(kw_only=True)
class FunctionChoice:
    """The model must call exactly this tool."""

    name: str


@attrs.frozen(kw_only=True)
class ResponseFormat:
    """The form of the answer: "text", "json" (any object) or "json_schema" (`schema` holds)."""

    type: Literal["text", "json", "json_schema"] = "text"
    name: str | None = None
    schema: Mapping[str, Any] | None = None
    strict: bool | None = None

    def __attrs_post_init__(self) -> None:
        if self.type not in ("text", "json", "json_schema"):
            raise InvalidRequestError(
                f"response_format.type is {self.type!r}{nearest(str(self.type), ('text', 'json', 'json_schema'))}"
            )
        if self.type == "json_schema" and self.schema is None:
            raise InvalidRequestError("response_format of type 'json_schema' needs 'schema'")


def _stop(value: str | Iterable[str] | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    return (value,) if isinstance(value, str) else tuple(value)


def _tuple(value: Iterable[Any] | None) -> tuple[Any, ...] | None:
    return None if value is None else tuple(value)


def _check_number(options: object, name: str, low: float, high: float = math.inf) -> None:
    value = getattr(options, name)
    if value is None:
        return
    if type(value) is not int and type(value) is not float:
        raise InvalidRequestError(f"{name} is {value!r}; expected a number")
    if not low <= value <= high or value == math.inf:
        bound = f"at least {low}" if high == math.inf else f"between {low} and {high}"
        raise InvalidRequestError(f"{name} is {value}; expected a finite number of {bound}")


def _check_count(options: object, name: str, low: int) -> None:
    value = getattr(options, name)
    if value is not None and (type(value) is not int or value < low):
        raise InvalidRequestError(f"{name} is {value!r}; expected a whole number of at least {low}")


@attrs.frozen(kw_only=True)
class TextGenerationOptions:
    """Options of one generation request; None leaves a parameter to the provider."""

    #: The generic model id; empty takes the configured default.
    model: str = ""
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    stop: tuple[str, ...] | None = attrs.field(default=None, converter=_stop)
    #: Serve from this configured provider only.
    provider: str | None = None
    #: Seconds of silence per attempt; overrides the provider's `timeout`.
    timeout: float | None = None
    #: Further attempts at the same provider; overrides the provider's `retry_count`.
    retry_count: int | None = None
    seed: int | None = None
    #: Number of alternative answers.
    n: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    #: Seconds over everything; overrides the manager's `deadline`.
    deadline: float | None = None
    #: The end user's id for the provider's abuse detection; access control uses the `Caller`.
    user: str | None = None
    #: Neither read nor fill the response cache.
    no_cache: bool = False
    #: Parameters of one provider's own; passed through, never addresses, headers or credentials.
    extra: Mapping[str, Any] | None = None

    def __attrs_post_init__(self) -> None:
        # The common request sets two or three of these; the loop is cheaper than a validator a field.
        if type(self.model) is not str:
            raise InvalidRequestError(f"model is {self.model!r}; expected the name of a model")
        if self.provider is not None and type(self.provider) is not str:
            raise InvalidRequestError(f"provider is {self.provider!r}; expected the name of a provider")
        if self.max_tokens is not None:
            _check_count(self, "max_tokens", 1)
        if self.temperature is not None:
            _check_number(self, "temperature", 0.0)
        if self.top_p is not None:
            _check_number(self, "top_p", 0.0, 1.0)
        if self.frequency_penalty is not None:
            _check_number(self, "frequency_penalty", -2.0, 2.0)
        if self.presence_penalty is not None:
            _check_number(self, "presence_penalty", -2.0, 2.0)
        if self.timeout is not None:
            _check_number(self, "timeout", 0.0)
        if self.deadline is not None:
            _check_number(self, "deadline", 0.0)
        if self.retry_count is not None:
            _check_count(self, "retry_count", 0)
        if self.n is not None:
            _check_count(self, "n", 1)
        if self.top_logprobs is not None:
            _check_count(self, "top_logprobs", 0)
        if self.seed is not None and type(self.seed) is not int:
            raise InvalidRequestError(f"seed is {self.seed!r}; expected a whole number")
        if self.extra is not None:
            forbidden = sorted(FORBIDDEN_EXTRA.intersection(name.lower() for name in self.extra))
            if forbidden:
                raise InvalidRequestError(
                    f"extra may not set {', '.join(forbidden)}: addresses, headers and credentials come from the configuration"
                )


@attrs.frozen(kw_only=True)
class ChatGenerationOptions(TextGenerationOptions):
    """Options of one chat request. `functions` and `function_call` are the older spelling of `tools` and `tool_choice`."""

    tools: tuple[FunctionDefinition, ...] | None = attrs.field(default=None, converter=_tuple)
    #: "auto", "none", "required", or one tool.
    tool_choice: str | FunctionChoice | None = None
    parallel_tool_calls: bool | None = None
    functions: tuple[FunctionDefinition, ...] | None = attrs.field(default=None, converter=_tuple)
    function_call: str | FunctionChoice | None = None
    response_format: ResponseFormat | None = None
    #: "minimal", "low", "medium", "high" or a provider's own word.
    reasoning_effort: str | None = None

    def __attrs_post_init__(self) -> None:
        TextGenerationOptions.__attrs_post_init__(self)
        if self.tools is not None or self.functions is not None:
            for position, tool in enumerate(self.all_tools):
                if not isinstance(tool, FunctionDefinition):
                    raise InvalidRequestError(
                        f"tool {position} is a {type(tool).__name__}; expected FunctionDefinition"
                    )
        if self.response_format is not None and not isinstance(self.response_format, ResponseFormat):
            raise InvalidRequestError(
                f"response_format is a {type(self.response_format).__name__}; expected ResponseFormat"
            )

    @property
    def all_tools(self) -> tuple[FunctionDefinition, ...]:
        """Tools in either spelling."""
        return (self.tools or ()) + (self.functions or ())


@attrs.frozen(kw_only=True)
class EmbeddingOptions:
    """Options of one embedding request."""

    model: str = ""
    dimensions: int | None = None
    provider: str | None = None
    timeout: float | None = None
    retry_count: int | None = None
    deadline: float | None = None
    user: str | None = None
    no_cache: bool = False
    extra: Mapping[str, Any] | None = None

    def __attrs_post_init__(self) -> None:
        _check_common(self)
        _check_count(self, "dimensions", 1)


@attrs.frozen(kw_only=True)
class ImageGenerationOptions:
    """Options of one image request; `size` is "WIDTHxHEIGHT" in pixels."""

    model: str = ""
    size: str | None = None
    quality: str | None = None
    style: str | None = None
    provider: str | None = None
    n: int | None = None
    seed: int | None = None
    timeout: float | None = None
    retry_count: int | None = None
    deadline: float | None = None
    user: str | None = None
    extra: Mapping[str, Any] | None = None

    def __attrs_post_init__(self) -> None:
        _check_common(self)
        _check_count(self, "n", 1)


def _check_common(options: EmbeddingOptions | ImageGenerationOptions) -> None:
    if type(options.model) is not str:
        raise InvalidRequestError(f"model is {options.model!r}; expected the name of a model")
    if options.provider is not None and type(options.provider) is not str:
        raise InvalidRequestError(f"provider is {options.provider!r}; expected the name of a provider")
    _check_number(options, "timeout", 0.0)
    _check_number(options, "deadline", 0.0)
    _check_count(options, "retry_count", 0)
    forbidden = sorted(FORBIDDEN_EXTRA.intersection(name.lower() for name in options.extra or ()))
    if forbidden:
        raise InvalidRequestError(
            f"extra may not set {', '.join(forbidden)}: addresses, headers and credentials come from the configuration"
        )


class TextKeywords(TypedDict, total=False):
    """The fields of `TextGenerationOptions` as keywords; a test keeps the two equal."""

    model: str
    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    frequency_penalty: float | None
    presence_penalty: float | None
    stop: str | Iterable[str] | None
    provider: str | None
    timeout: float | None
    retry_count: int | None
    seed: int | None
    n: int | None
    logprobs: bool | None
    top_logprobs: int | None
    deadline: float | None
    user: str | None
    no_cache: bool
    extra: Mapping[str, Any] | None


class ChatKeywords(TextKeywords, total=False):
    """The fields of `ChatGenerationOptions` as keywords."""

    tools: Iterable[FunctionDefinition] | None
    tool_choice: str | FunctionChoice | None
    parallel_tool_calls: bool | None
    functions: Iterable[FunctionDefinition] | None
    function_call: str | FunctionChoice | None
    response_format: ResponseFormat | None
    reasoning_effort: str | None


class EmbeddingKeywords(TypedDict, total=False):
    """The fields of `EmbeddingOptions` as keywords."""

    model: str
    dimensions: int | None
    provider: str | None
    timeout: float | None
    retry_count: int | None
    deadline: float | None
    user: str | None
    no_cache: bool
    extra: Mapping[str, Any] | None


class ImageKeywords(TypedDict, total=False):
    """The fields of `ImageGenerationOptions` as keywords."""

    model: str
    size: str | None
    quality: str | None
    style: str | None
    provider: str | None
    n: int | None
    seed: int | None
    timeout: float | None
    retry_count: int | None
    deadline: float | None
    user: str | None
    extra: Mapping[str, Any] | None


__all__ = [
    "FORBIDDEN_EXTRA",
    "ChatGenerationOptions",
    "ChatKeywords",
    "EmbeddingKeywords",
    "EmbeddingOptions",
    "FunctionChoice",
    "FunctionDefinition",
    "ImageGenerationOptions",
    "ImageKeywords",
    "ResponseFormat",
    "TextGenerationOptions",
    "TextKeywords",
]
