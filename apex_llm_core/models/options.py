"""What a caller may ask for in a request. Every field may also be given as a keyword to the manager's methods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypedDict

import attrs

from apex_llm_core.errors import InvalidRequestError, nearest
from apex_llm_core.models.messages import ImagePart
from apex_llm_core.models.option_checks import (
    FORBIDDEN_EXTRA,
    check_choice,
    check_count,
    check_extra,
    check_flag,
    check_function_name,
    check_items,
    check_number,
    check_schema,
    check_stop,
    check_text,
    check_whole,
)


@attrs.frozen(kw_only=True)
class FunctionDefinition:
    """A tool the model may call; `parameters` is a JSON Schema of its arguments."""

    name: str
    description: str | None = None
    parameters: Mapping[str, Any] | None = None
    strict: bool | None = None

    def __attrs_post_init__(self) -> None:
        check_function_name(self.name)
        check_schema(self.parameters, f"parameters of the function {self.name!r}")


@attrs.frozen(kw_only=True)
class FunctionChoice:
    """The model must call exactly this tool."""

    name: str

    def __attrs_post_init__(self) -> None:
        check_function_name(self.name)


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
        check_schema(self.schema, "the schema of response_format")
        if self.type == "json_schema" and self.schema is None:
            raise InvalidRequestError("response_format of type 'json_schema' needs 'schema'")


def _tuple(value: Any) -> Any:
    # What is no sequence stays as it is, for the check that names the option.
    if value is None or type(value) is tuple or isinstance(value, str | Mapping) or not isinstance(value, Iterable):
        return value
    return tuple(value)


def _stop(value: str | Iterable[str] | None) -> Any:
    return (value,) if isinstance(value, str) else _tuple(value)


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
    stop: tuple[str, ...] | None = attrs.field(default=None, converter=_stop, metadata={"single": str})
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
            check_count(self, "max_tokens", 1)
        if self.temperature is not None:
            check_number(self, "temperature", 0.0)
        if self.top_p is not None:
            check_number(self, "top_p", 0.0, 1.0)
        if self.frequency_penalty is not None:
            check_number(self, "frequency_penalty", -2.0, 2.0)
        if self.presence_penalty is not None:
            check_number(self, "presence_penalty", -2.0, 2.0)
        if self.timeout is not None:
            check_number(self, "timeout", 0.0)
        if self.deadline is not None:
            check_number(self, "deadline", 0.0)
        if self.retry_count is not None:
            check_count(self, "retry_count", 0)
        if self.n is not None:
            check_count(self, "n", 1)
        if self.top_logprobs is not None:
            check_count(self, "top_logprobs", 0)
        if self.seed is not None:
            check_whole(self, "seed")
        if self.stop is not None:
            check_stop(self.stop)
        if self.logprobs is not None:
            check_flag(self, "logprobs")
        if self.user is not None:
            check_text(self, "user", "the id of the end user")
        if self.no_cache is not False:
            check_flag(self, "no_cache")
        if self.extra is not None:
            check_extra(self.extra)


@attrs.frozen(kw_only=True)
class ChatGenerationOptions(TextGenerationOptions):
    """Options of one chat request. `functions` and `function_call` are the older spelling of `tools` and `tool_choice`."""

    tools: tuple[FunctionDefinition, ...] | None = attrs.field(default=None, converter=_tuple)
    #: "auto", "none", "required", or one tool.
    tool_choice: str | FunctionChoice | None = None
    parallel_tool_calls: bool | None = None
    functions: tuple[FunctionDefinition, ...] | None = attrs.field(default=None, converter=_tuple)
    #: "auto", "none", or one function, also by its bare name.
    function_call: str | FunctionChoice | None = None
    response_format: ResponseFormat | None = None
    #: "minimal", "low", "medium", "high" or a provider's own word.
    reasoning_effort: str | None = None

    def __attrs_post_init__(self) -> None:
        TextGenerationOptions.__attrs_post_init__(self)
        if self.tools is not None:
            check_items(self, "tools", FunctionDefinition)
        if self.tool_choice is not None:
            check_choice(self, "tool_choice", FunctionChoice, ("auto", "none", "required"))
        if self.parallel_tool_calls is not None:
            check_flag(self, "parallel_tool_calls")
        if self.functions is not None:
            check_items(self, "functions", FunctionDefinition)
        if self.function_call is not None:
            check_choice(self, "function_call", FunctionChoice, ("auto", "none"), other_words=True)
        if self.reasoning_effort is not None:
            check_text(self, "reasoning_effort")
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
        check_count(self, "dimensions", 1)
        check_flag(self, "no_cache")


@attrs.frozen(kw_only=True)
class ImageGenerationOptions:
    """Options of one image request; `size` is "WIDTHxHEIGHT" in pixels."""

    model: str = ""
    #: Images to change instead of drawing anew, each with `data`.
    images: tuple[ImagePart, ...] | None = attrs.field(default=None, converter=_tuple)
    #: Where the first of `images` may change: a picture of the same size, transparent there.
    mask: ImagePart | None = None
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
        check_count(self, "n", 1)
        check_whole(self, "seed")
        for name in ("size", "quality", "style"):
            check_text(self, name)
        if self.images is not None:
            check_items(self, "images", ImagePart)
        if self.mask is not None:
            if not isinstance(self.mask, ImagePart):
                raise InvalidRequestError(f"mask is a {type(self.mask).__name__}; expected ImagePart")
            if not self.images:
                raise InvalidRequestError("a mask says where 'images' may change; there are none")
        for part in (*(self.images or ()), *(() if self.mask is None else (self.mask,))):
            if part.data is None:
                raise InvalidRequestError("an image to change, or a mask, needs 'data' (base64), not 'url'")


def _check_common(options: EmbeddingOptions | ImageGenerationOptions) -> None:
    if type(options.model) is not str:
        raise InvalidRequestError(f"model is {options.model!r}; expected the name of a model")
    if options.provider is not None and type(options.provider) is not str:
        raise InvalidRequestError(f"provider is {options.provider!r}; expected the name of a provider")
    check_number(options, "timeout", 0.0)
    check_number(options, "deadline", 0.0)
    check_count(options, "retry_count", 0)
    check_text(options, "user", "the id of the end user")
    if options.extra is not None:
        check_extra(options.extra)


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
    images: Iterable[ImagePart] | None
    mask: ImagePart | None
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
