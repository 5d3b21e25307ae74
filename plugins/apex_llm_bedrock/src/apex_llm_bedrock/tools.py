"""Tools of a request: their specifications, the choice among them, and the tool that stands for the form of an answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from apex_llm_bedrock.families import Family
from apex_llm_bedrock.lost import Lost
from apex_llm_bedrock.reasoning import tool_choices
from apex_llm_bedrock.schemas import closed
from apex_llm_bedrock.tool_names import ToolNames
from apex_llm_core.errors import InvalidRequestError, nearest
from apex_llm_core.models import ChatGenerationOptions, FunctionChoice, FunctionDefinition

Block = dict[str, Any]
_NO_PARAMETERS: Mapping[str, Any] = {"type": "object", "properties": {}}
#: What the core's words for a choice are here; there is no word for none.
_CHOICES = {"auto": "auto", "required": "any"}


def specifications(tools: Iterable[FunctionDefinition], names: ToolNames, *, strict: bool = False) -> list[Block]:
    """Return the tools as Converse takes them; *strict*: the model can be held to their schemas."""
    return [specification(tool, names.written(tool.name), strict=strict) for tool in tools]


def specification(tool: FunctionDefinition, name: str, *, strict: bool = False) -> Block:
    """Return one tool under *name*; held to its schema if it asks for that, the model knows it, and the schema allows it."""
    spec: Block = {"name": name}
    if tool.description and tool.description.strip():
        spec["description"] = tool.description
    schema = tool.parameters or _NO_PARAMETERS
    # A schema without a type is refused, and arguments are an object in any case.
    schema = schema if "type" in schema else {"type": "object", **schema}
    held = closed(schema) if tool.strict and strict else None
    spec["inputSchema"] = {"json": schema if held is None else held}
    if held is not None:
        spec["strict"] = True
    return {"toolSpec": spec}


def used_tools(turns: Iterable[Block]) -> list[Block]:
    """Return tools for all that the calls in *turns* name: the service wants to know them even if none may be called now."""
    found = {block["toolUse"]["name"]: None for turn in turns for block in turn["content"] if "toolUse" in block}
    return [{"toolSpec": {"name": name, "inputSchema": {"json": _NO_PARAMETERS}}} for name in found]


def wire_choice(
    options: ChatGenerationOptions, family: Family, names: ToolNames, dropped: list[str], emulated: list[str]
) -> Block | None:
    """Return the choice of tools, None where the service's default says the same or nothing can be said.

    Raises:
        InvalidRequestError: the request has no such tool, or none at all.
    """
    choice: str | FunctionChoice | None = options.tool_choice
    key = "tool_choice"
    if choice is None and options.function_call is not None:
        key, choice = "function_call", options.function_call
        if isinstance(choice, str) and choice not in ("auto", "none"):
            choice = FunctionChoice(name=choice)
    if choice is None or choice == "none":
        return None
    possible = tool_choices(options, family)
    if isinstance(choice, FunctionChoice):
        known = {tool.name for tool in options.all_tools}
        if choice.name not in known:
            raise InvalidRequestError(
                f"{key} is {choice.name!r}, which is no tool of the request{nearest(choice.name, known)}"
            )
        if "tool" in possible:
            return {"tool": {"name": names.written(choice.name)}}
        if "any" in possible and len(known) == 1:
            emulated.append(key)
            return {"any": {}}
    elif (word := _CHOICES[choice]) == "auto":
        return {"auto": {}} if options.all_tools and "auto" in possible else None
    elif not options.all_tools:
        raise InvalidRequestError(f"{key} is {choice!r}, but the request has no tools")
    elif word in possible:
        return {word: {}}
    forced = possible != family.tool_choices
    dropped.append(Lost(key, "no tool is forced while it thinks") if forced else key)
    return None


def forbids_tools(options: ChatGenerationOptions) -> bool:
    """Return whether the model is to call no tool."""
    return options.tool_choice == "none" or (options.tool_choice is None and options.function_call == "none")


__all__ = ["forbids_tools", "specification", "specifications", "used_tools", "wire_choice"]
