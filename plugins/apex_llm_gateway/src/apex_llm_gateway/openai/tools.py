"""Tools a model may call, and which of them it must, in both spellings."""

from __future__ import annotations

from typing import Any

from apex_llm_core.models import FunctionChoice, FunctionDefinition
from apex_llm_gateway.openai import fields
from apex_llm_gateway.openai.rules import ParameterError


def read_tools(value: Any) -> tuple[FunctionDefinition, ...]:
    """Return what `tools` defines.

    Raises:
        ParameterError: one of them is no function, or not as it must be.
    """
    found = []
    for position, item in enumerate(fields.items(value, "tools")):
        place = f"tools[{position}]"
        members = fields.mapping(item, place)
        kind = fields.text(fields.given(members, "type", place), f"{place}.type")
        if kind != "function":
            raise ParameterError(
                f"{place}.type is {fields.shown(kind)}; only tools of type 'function' are taken here",
                param=f"{place}.type",
            )
        found.append(_function(fields.given(members, "function", place), f"{place}.function"))
    return tuple(found)


def read_functions(value: Any) -> tuple[FunctionDefinition, ...]:
    """Return what `functions` defines, the older spelling."""
    return tuple(
        _function(item, f"functions[{position}]") for position, item in enumerate(fields.items(value, "functions"))
    )


def read_tool_choice(value: Any) -> str | FunctionChoice:
    """Return what `tool_choice` says.

    Raises:
        ParameterError: it is no word for it, and no function either.
    """
    if type(value) is str:
        return fields.word(value, "tool_choice", ("auto", "none", "required"))
    if type(value) is not dict:
        raise fields.wrong("tool_choice", "text or an object", value)
    kind = fields.text(fields.given(value, "type", "tool_choice"), "tool_choice.type")
    if kind == "allowed_tools":
        raise ParameterError(
            "tool_choice.type is 'allowed_tools', which is not taken here; send only those tools in 'tools'",
            param="tool_choice.type",
        )
    fields.word(kind, "tool_choice.type", ("function",))
    function = fields.mapping(fields.given(value, "function", "tool_choice"), "tool_choice.function")
    return FunctionChoice(
        name=fields.name(fields.given(function, "name", "tool_choice.function"), "tool_choice.function.name")
    )


def read_function_call(value: Any) -> str | FunctionChoice:
    """Return what `function_call` says, the older spelling."""
    if type(value) is str:
        return fields.word(value, "function_call", ("auto", "none"))
    if type(value) is not dict:
        raise fields.wrong("function_call", "text or an object", value)
    return FunctionChoice(name=fields.name(fields.given(value, "name", "function_call"), "function_call.name"))


def _function(value: Any, place: str) -> FunctionDefinition:
    members = fields.mapping(value, place)
    description, parameters, strict = members.get("description"), members.get("parameters"), members.get("strict")
    return FunctionDefinition(
        name=fields.name(fields.given(members, "name", place), f"{place}.name"),
        description=None if description is None else fields.text(description, f"{place}.description"),
        parameters=None if parameters is None else fields.mapping(parameters, f"{place}.parameters"),
        strict=None if strict is None else fields.flag(strict, f"{place}.strict"),
    )


__all__ = ["read_function_call", "read_functions", "read_tool_choice", "read_tools"]
