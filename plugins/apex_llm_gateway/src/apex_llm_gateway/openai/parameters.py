"""The parameters of a route: which become options as they are, which pass to the provider, which nobody knows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, TypeVar

import attrs

from apex_llm_core.errors import InvalidRequestError, nearest
from apex_llm_core.models import EmbeddingOptions, ImageGenerationOptions, TextGenerationOptions
from apex_llm_core.models.option_checks import check_extra
from apex_llm_gateway.openai import fields
from apex_llm_gateway.openai.fields import Json
from apex_llm_gateway.openai.rules import ParameterError, Rules

Options = TypeVar("Options", bound=TextGenerationOptions | EmbeddingOptions | ImageGenerationOptions)

#: Answers to one prompt at most, as in OpenAI's API.
MOST_CHOICES = 128
#: Options whose objects are kept: applications ask with the same ones again and again, in few combinations.
_KEPT = frozenset(
    {
        *("model", "provider", "max_tokens", "temperature", "top_p", "frequency_penalty", "presence_penalty"),
        *("n", "logprobs", "top_logprobs", "parallel_tool_calls"),
    }
)
_MOST_KEPT = 256
#: Characters of a model's name that is kept: what callers send must not fill the memory.
_LONGEST_KEPT = 200
#: Characters of an error's message: some repeat the value that is wrong.
_LONGEST_MESSAGE = 500


@attrs.frozen(kw_only=True)
class Parameters:
    """What one route takes.

    Args:
        route: its path, for messages.
        options: parameters that are fields of the options by the same name, which checks them.
        read: parameters that the route reads by itself.
        passed: parameters of OpenAI's API without a field of ours; the provider gets them.
    """

    route: str
    options: Iterable[str]
    read: frozenset[str]
    passed: frozenset[str]
    #: By name: whether it is a field of the options, rather than for the route to read.
    _known: Mapping[str, bool] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_known", dict.fromkeys(self.read, False) | dict.fromkeys(self.options, True))

    @property
    def names(self) -> frozenset[str]:
        """Every parameter of the route."""
        return self.passed | self._known.keys()

    def sort(self, document: Json, rules: Rules) -> dict[str, Any]:
        """Return the fields of the options that *document* gives as they are, with `extra` where there is any.

        Raises:
            ParameterError: a parameter is not allowed.
        """
        known = self._known
        found: dict[str, Any] = {}
        others: dict[str, Any] | None = None
        for name, value in document.items():
            if value is None:
                continue
            is_option = known.get(name)
            if is_option:
                found[name] = value
            elif is_option is None:
                others = others or {}
                others[name] = value
        if others:
            extra = self._extra(others, rules)
            if extra:
                found["extra"] = extra
        return found

    def _extra(self, others: dict[str, Any], rules: Rules) -> dict[str, Any]:
        _check_allowed(others)
        if rules.unknown == "pass":
            return others
        extra: dict[str, Any] = {}
        for name, value in others.items():
            if name in self.passed:
                extra[name] = value
            elif rules.unknown == "reject":
                shown = fields.shown(name)
                raise ParameterError(
                    f"{shown} is no parameter of {self.route}{nearest(name[: fields.LONGEST_NAME], self.names)}",
                    param=name[: fields.LONGEST_NAME],
                )
        return extra


def body_of(document: Any) -> Json:
    """Return the body, which is an object."""
    if type(document) is not dict:
        raise ParameterError(f"the body is {fields.kind_of(document)}; expected an object")
    return document


def add_model(found: dict[str, Any], document: Json, rules: Rules, *, required: bool = True) -> None:
    """Add the model, and the provider where it is named, to the fields of options."""
    model = document.get("model")
    if model is None and not required:
        return
    provider, found["model"] = rules.place(fields.name(fields.given(document, "model", ""), "model"))
    if provider is not None:
        found["provider"] = provider


def streaming(document: Json) -> tuple[bool, bool]:
    """Return whether the answer is streamed, and whether with usage."""
    stream, options = document.get("stream"), document.get("stream_options")
    if stream is None and options is None:
        return False, False
    include_usage = False
    if options is not None:
        include_usage = fields.flag(
            fields.mapping(options, "stream_options").get("include_usage"), "stream_options.include_usage"
        )
    return fields.flag(stream, "stream"), include_usage


def built(cls: type[Options], found: dict[str, Any], spelling: Mapping[str, str] | None = None) -> Options:
    """Return the options with the fields *found*.

    Args:
        cls: the class of options.
        found: its fields by name.
        spelling: parameters whose fields have other names, by the field.

    Raises:
        ParameterError: a value is not what the options take; the core says why, this function which parameter it is.
    """
    count = found.get("n")
    if type(count) is int and count > MOST_CHOICES:
        raise ParameterError(f"n is too large; at most {MOST_CHOICES} are taken", param="n")
    try:
        if found.keys() <= _KEPT and len(found.get("model") or "") <= _LONGEST_KEPT:
            try:
                kept: Options = _kept(cls, tuple(found), *found.values())  # type: ignore[arg-type]  # classes can be hashed
                return kept
            except TypeError:
                # A value of a type that no option has; the options say so.
                pass
        return cls(**found)
    except InvalidRequestError as error:
        field = _guilty(cls, found)
        name = (spelling or {}).get(field, field)
        message = f"{name}{error.message.removeprefix(field)}" if name != field else error.message
        raise ParameterError(_cut(message), param=name or None) from error


@lru_cache(maxsize=_MOST_KEPT, typed=True)
def _kept(cls: type[Options], names: tuple[str, ...], *values: Any) -> Options:
    # By value and type: 1 and True are equal, but not both a temperature.
    return cls(**dict(zip(names, values, strict=True)))


def _guilty(cls: type[Options], found: dict[str, Any]) -> str:
    for name, value in found.items():
        try:
            cls(**{name: value})
        except InvalidRequestError:
            return name
    return ""


def _check_allowed(others: dict[str, Any]) -> None:
    try:
        check_extra(others)
    except InvalidRequestError:
        for name, value in others.items():
            try:
                check_extra({name: value})
            except InvalidRequestError as error:
                # The core's word for all of them; callers here do not know it.
                message = error.message.replace("extra may not", "callers cannot", 1)
                raise ParameterError(_cut(message), param=name[: fields.LONGEST_NAME]) from error
        raise


def _cut(message: str) -> str:
    return message if len(message) <= _LONGEST_MESSAGE else f"{message[:_LONGEST_MESSAGE]}…"


__all__ = ["MOST_CHOICES", "Parameters", "add_model", "body_of", "built", "streaming"]
