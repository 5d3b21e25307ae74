"""Which parameters of a chat request a version and a model take, and of which values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apex_llm_mock.emulation.azure.errors import refusal
from apex_llm_mock.emulation.azure.models import BaseModel
from apex_llm_mock.emulation.azure.routes import Route

#: The dated version that brought a parameter; those of the first versions have none.
SINCE = {
    "messages": "",
    "model": "",
    "temperature": "",
    "top_p": "",
    "n": "",
    "stop": "",
    "stream": "",
    "max_tokens": "",
    "presence_penalty": "",
    "frequency_penalty": "",
    "logit_bias": "",
    "user": "",
    "functions": "2023-07-01",
    "function_call": "2023-07-01",
    "tools": "2023-12-01",
    "tool_choice": "2023-12-01",
    "response_format": "2023-12-01",
    "seed": "2023-12-01",
    "logprobs": "2024-02-15",
    "top_logprobs": "2024-02-15",
    "max_completion_tokens": "2024-09-01",
    "parallel_tool_calls": "2024-09-01",
    "stream_options": "2024-09-01",
    "reasoning_effort": "2024-12-01",
    "store": "2024-12-01",
    "metadata": "2024-12-01",
    "user_security_context": "2024-12-01",
    "prediction": "2025-01-01",
    "modalities": "2025-01-01",
}
#: Parameters of v1 alone.
V1_ONLY = frozenset({"verbosity", "service_tier", "safety_identifier", "prompt_cache_key"})
JSON_SCHEMA_SINCE = "2024-08-01"
DEVELOPER_SINCE = "2024-12-01"
#: What reasoning models do not take.
SAMPLING = (
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "logprobs",
    "top_logprobs",
    "logit_bias",
)
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")
_NUMBERS = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
}
_INTEGERS = {
    "n": (1, 128),
    "top_logprobs": (0, 20),
    "max_tokens": (1, None),
    "max_completion_tokens": (1, None),
    "seed": (None, None),
}
_FLAGS = ("stream", "logprobs", "parallel_tool_calls", "store")
_MOST_STOPS = 4
_MOST_TOOLS = 128


def check_parameters(body: Mapping[str, Any], route: Route, model: BaseModel) -> None:
    """Raise `RefusedError` for the first parameter that *route*'s version or *model* does not take as it is."""
    for name in body:
        since = "" if route.surface == "v1" and name in V1_ONLY else SINCE.get(name)
        if since is None or route.date < since:
            raise refusal(f"Unknown parameter: '{name}'.", code="unknown_parameter", param=name)
    if "messages" not in body:
        raise refusal("Missing required parameter: 'messages'.", code="missing_required_parameter", param="messages")
    given = {name: value for name, value in body.items() if value is not None}
    _check_model(given, model)
    _check_values(given, model)
    _check_version(given, route)


def _check_model(given: Mapping[str, Any], model: BaseModel) -> None:
    if model.reasoning:
        for name in SAMPLING:
            if name in given:
                raise _unsupported(name)
        if "max_tokens" in given:
            raise _unsupported("max_tokens", " Use 'max_completion_tokens' instead.")
        if given.get("reasoning_effort") == "minimal" and given.get("parallel_tool_calls"):
            raise _unsupported("parallel_tool_calls")
    elif "reasoning_effort" in given:
        raise _unsupported("reasoning_effort")
    if "stop" in given and not model.stop:
        raise _unsupported("stop")
    if "max_tokens" in given and "max_completion_tokens" in given:
        raise refusal(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
            code="invalid_parameter_combination",
        )


def _check_values(given: Mapping[str, Any], model: BaseModel) -> None:
    for name, number_range in _NUMBERS.items():
        if name in given:
            _check_range(name, given[name], number_range, whole=False)
    for name, integer_range in _INTEGERS.items():
        if name in given:
            _check_range(name, given[name], integer_range, whole=True)
    for name in _FLAGS:
        if name in given and not isinstance(given[name], bool):
            raise _wrong_type(name, "a boolean", given[name])
    for name in ("max_tokens", "max_completion_tokens"):
        if given.get(name, 0) > model.longest_answer:
            raise refusal(
                f"{name} is too large: {given[name]}. This model supports at most {model.longest_answer} completion "
                f"tokens, whereas you provided {given[name]}.",
                code="invalid_value",
                param=name,
            )
    if "top_logprobs" in given and not given.get("logprobs"):
        raise refusal("The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.", param="top_logprobs")
    if "stream_options" in given:
        if not isinstance(given["stream_options"], Mapping):
            raise _wrong_type("stream_options", "an object", given["stream_options"])
        if not given.get("stream"):
            raise refusal(
                "The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options"
            )
    stop = given.get("stop", "")
    if not isinstance(stop, str):
        if not isinstance(stop, list) or any(not isinstance(word, str) for word in stop):
            raise _wrong_type("stop", "a string or an array of strings", stop)
        _check_length("stop", stop, _MOST_STOPS)
    if isinstance(given.get("tools"), list):
        _check_length("tools", given["tools"], _MOST_TOOLS)
    effort = given.get("reasoning_effort")
    if effort is not None and effort not in EFFORTS:
        raise refusal(
            f"Invalid value: {effort!r}. Supported values are: {', '.join(map(repr, EFFORTS))}.",
            code="invalid_value",
            param="reasoning_effort",
        )


def _check_version(given: Mapping[str, Any], route: Route) -> None:
    shape = given.get("response_format")
    if isinstance(shape, Mapping) and shape.get("type") == "json_schema" and route.date < JSON_SCHEMA_SINCE:
        raise refusal(
            "response_format value as json_schema is enabled only for api versions 2024-08-01-preview and later",
            code="BadRequest",
            param="response_format",
        )
    messages = given.get("messages")
    roles = [item.get("role") for item in messages if isinstance(item, Mapping)] if isinstance(messages, list) else []
    if "developer" in roles and route.date < DEVELOPER_SINCE:
        raise refusal(
            "Invalid value: 'developer'. Supported values are: 'system', 'assistant', 'user', 'function', and 'tool'.",
            code="invalid_value",
            param=f"messages[{roles.index('developer')}].role",
        )
    if "developer" in roles and "system" in roles:
        raise refusal("Messages with the roles 'system' and 'developer' must not be mixed.", param="messages")


def _check_range(name: str, value: Any, bounds: tuple[int | None, int | None], *, whole: bool) -> None:
    kind, article = ("integer", "an") if whole else ("decimal", "a")
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        raise _wrong_type(name, f"{article} {kind}", value)
    low, high = bounds
    if low is not None and value < low:
        raise refusal(
            f"Invalid '{name}': {kind} below minimum value. Expected a value >= {low}, but got {value} instead.",
            code=f"{kind}_below_min_value",
            param=name,
        )
    if high is not None and value > high:
        raise refusal(
            f"Invalid '{name}': {kind} above maximum value. Expected a value <= {high}, but got {value} instead.",
            code=f"{kind}_above_max_value",
            param=name,
        )


def _check_length(name: str, items: list[Any], most: int) -> None:
    if len(items) > most:
        raise refusal(
            f"Invalid '{name}': array too long. Expected an array with maximum length {most}, but got an array with "
            f"length {len(items)} instead.",
            code="array_above_max_length",
            param=name,
        )


def _unsupported(name: str, advice: str = "") -> Exception:
    return refusal(
        f"Unsupported parameter: '{name}' is not supported with this model.{advice}",
        code="unsupported_parameter",
        param=name,
    )


def _wrong_type(name: str, expected: str, value: Any) -> Exception:
    kinds = {
        str: "a string",
        bool: "a boolean",
        int: "an integer",
        float: "a decimal",
        list: "an array",
        dict: "an object",
    }
    return refusal(
        f"Invalid type for '{name}': expected {expected}, but got {kinds[type(value)]} instead.",
        code="invalid_type",
        param=name,
    )


__all__ = ["DEVELOPER_SINCE", "EFFORTS", "JSON_SCHEMA_SINCE", "SAMPLING", "SINCE", "V1_ONLY", "check_parameters"]
