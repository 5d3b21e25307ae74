"""OpenAI's chat requests, from JSON to the core's `GenerateRequest`. Mistakes get OpenAI's errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from apex_llm_core.errors import InvalidRequestError
from apex_llm_core.models import (
    ChatGenerationOptions,
    FunctionChoice,
    FunctionDefinition,
    GenerateRequest,
    ResponseFormat,
)
from apex_llm_mock.emulation.azure.errors import refusal
from apex_llm_mock.emulation.azure.message_wire import messages_of
from apex_llm_mock.emulation.wire_values import Json, list_of, text_of, wrong_type

_FUNCTION_NAME = re.compile("[a-zA-Z0-9_-]{1,64}")


def generate_request(body: Json, model: str, *, effort: str | None) -> GenerateRequest:
    """Return what *body* asks of *model*; *effort* is the reasoning effort in force.

    Raises:
        RefusedError: the messages, tools or formats are not as they must be.
    """
    try:
        return GenerateRequest(
            kind="chat",
            messages=messages_of(body),
            model=model,
            stream=bool(body.get("stream")),
            options=_options(body, model, effort),
        )
    except InvalidRequestError as error:
        raise refusal(error.message) from error


def _options(body: Json, model: str, effort: str | None) -> ChatGenerationOptions:
    choice = body.get("tool_choice")
    function_call = body.get("function_call")
    return ChatGenerationOptions(
        model=model,
        max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
        temperature=body.get("temperature"),
        top_p=body.get("top_p"),
        frequency_penalty=body.get("frequency_penalty"),
        presence_penalty=body.get("presence_penalty"),
        stop=body.get("stop"),
        seed=body.get("seed"),
        n=body.get("n"),
        logprobs=body.get("logprobs"),
        top_logprobs=body.get("top_logprobs"),
        user=body.get("user"),
        tools=[_tool(item, place) for place, item in enumerate(list_of(body, "tools"))] or None,
        tool_choice=_choice(choice, body),
        parallel_tool_calls=body.get("parallel_tool_calls"),
        functions=[_function(item, f"functions[{place}]") for place, item in enumerate(list_of(body, "functions"))]
        or None,
        function_call=FunctionChoice(name=text_of(function_call, "name", "function_call"))
        if isinstance(function_call, Mapping)
        else function_call,
        response_format=_format(body),
        reasoning_effort=effort,
    )


def _tool(item: Any, place: int) -> FunctionDefinition:
    where = f"tools[{place}]"
    if not isinstance(item, Mapping) or item.get("type") != "function":
        raise refusal(
            "Invalid value: expected a tool of the type 'function'.", code="invalid_value", param=f"{where}.type"
        )
    return _function(item.get("function"), f"{where}.function")


def _function(item: Any, where: str) -> FunctionDefinition:
    if not isinstance(item, Mapping):
        raise refusal(f"Missing required parameter: '{where}'.", code="missing_required_parameter", param=where)
    name = text_of(item, "name", where)
    if _FUNCTION_NAME.fullmatch(name) is None:
        raise refusal(
            f"Invalid '{where}.name': string does not match pattern. Expected a string that matches the pattern "
            "'^[a-zA-Z0-9_-]+$'.",
            code="invalid_value",
            param=f"{where}.name",
        )
    return FunctionDefinition(
        name=name,
        description=item.get("description"),
        parameters=item.get("parameters"),
        strict=item.get("strict"),
    )


def _choice(choice: Any, body: Json) -> str | FunctionChoice | None:
    if choice is not None and not body.get("tools"):
        raise refusal("'tool_choice' is only allowed when 'tools' are specified.", param="tool_choice")
    if isinstance(choice, Mapping):
        function = choice.get("function")
        if not isinstance(function, Mapping):
            raise refusal(
                "Missing required parameter: 'tool_choice.function'.",
                code="missing_required_parameter",
                param="tool_choice.function",
            )
        return FunctionChoice(name=text_of(function, "name", "tool_choice.function"))
    if choice not in (None, "auto", "none", "required"):
        raise refusal(
            f"Invalid value: {choice!r}. Supported values are: 'none', 'auto', and 'required'.",
            code="invalid_value",
            param="tool_choice",
        )
    return str(choice) if choice is not None else None


def _format(body: Json) -> ResponseFormat | None:
    wanted = body.get("response_format")
    if wanted is None:
        return None
    if not isinstance(wanted, Mapping):
        raise wrong_type("response_format", "an object")
    match wanted.get("type"):
        case "text":
            return ResponseFormat()
        case "json_object":
            if "json" not in str(body.get("messages")).lower():
                raise refusal(
                    "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
                    param="messages",
                )
            return ResponseFormat(type="json")
        case "json_schema":
            shape = wanted.get("json_schema")
            given = shape if isinstance(shape, Mapping) else {}
            for key in ("name", "schema"):
                if key not in given:
                    missing = f"response_format.json_schema.{key}"
                    raise refusal(
                        f"Missing required parameter: '{missing}'.", code="missing_required_parameter", param=missing
                    )
            return ResponseFormat(
                type="json_schema", name=given["name"], schema=given["schema"], strict=given.get("strict")
            )
        case kind:
            raise refusal(
                f"Invalid value: {kind!r}. Supported values are: 'json_object', 'json_schema', and 'text'.",
                code="invalid_value",
                param="response_format.type",
            )


__all__ = ["generate_request"]
