"""Answers in JSON: by the service's own means where the model has them, else by a tool whose input is the answer.

==============================  ===============================================================================
wish                            what is sent
==============================  ===============================================================================
JSON Schema, model knows it     ``outputConfig.textFormat``, objects closed; not with a schema that wants them open
JSON Schema, model has tools    a tool with that schema that must be called; with tools of the caller beside it,
                                one of them all; where nothing can be forced, an instruction says so
any JSON object                 an instruction: an empty schema makes models answer with an empty object
==============================  ===============================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from apex_llm_bedrock.families import Family
from apex_llm_bedrock.reasoning import tool_choices
from apex_llm_bedrock.schemas import closed
from apex_llm_bedrock.tool_names import ToolNames
from apex_llm_bedrock.tools import specification
from apex_llm_core.converters import encode
from apex_llm_core.errors import UnsupportedParameterError
from apex_llm_core.models import ChatGenerationOptions, FunctionDefinition, ResponseFormat

_TOOL = "json_answer"
_ANY_OBJECT = "Answer with one JSON object only: no text before or after it, no code fence."


@attrs.frozen(kw_only=True)
class AnswerForm:
    """What a request says of the form of its answer; by default nothing."""

    output_config: dict[str, Any] | None = None
    #: The tool that stands for the answer, its name, and the choice that forces it when it is the only one.
    tool: dict[str, Any] | None = None
    tool_name: str = ""
    choice: dict[str, Any] | None = None
    #: The choice when there are other tools.
    choice_among: dict[str, Any] | None = None
    instruction: str = ""


def answer_form(
    options: ChatGenerationOptions, family: Family, names: ToolNames, dropped: list[str], emulated: list[str]
) -> AnswerForm:
    """Return how the `response_format` of *options* is asked for.

    Raises:
        UnsupportedParameterError: the root of its schema is no object, and the model knows no other way.
    """
    wish = options.response_format
    if wish is None or wish.type == "text":
        return AnswerForm()
    if wish.type == "json":
        emulated.append("response_format")
        return AnswerForm(instruction=_ANY_OBJECT)
    schema = closed(wish.schema or {}) if family.json == "native" else None
    if schema is not None:
        return AnswerForm(output_config={"textFormat": _text_format(wish, schema)})
    if family.json == "none":
        dropped.append("response_format")
        return AnswerForm()
    if (wish.schema or {}).get("type", "object") != "object":
        raise UnsupportedParameterError(
            "response_format: this model answers by a tool, whose input is an object; make the root of the schema one",
            parameters=["response_format"],
        )
    emulated.append("response_format")
    name = names.reserved(_TOOL)
    tool = FunctionDefinition(
        name=name, description="Give the answer to the user by calling this.", parameters=wish.schema
    )
    forced = tool_choices(options, family)
    choice = {"tool": {"name": name}} if "tool" in forced else {"any": {}} if "any" in forced else None
    return AnswerForm(
        tool=specification(tool, name),
        tool_name=name,
        choice=choice,
        choice_among={"any": {}} if "any" in forced else None,
        instruction="" if choice else f"Give your answer by calling the tool {name}.",
    )


def _text_format(wish: ResponseFormat, schema: Mapping[str, Any]) -> dict[str, Any]:
    # The schema goes over the wire as text.
    written = {"schema": encode(schema).decode(), "name": wish.name or "answer"}
    return {"type": "json_schema", "structure": {"jsonSchema": written}}


__all__ = ["AnswerForm", "answer_form"]
