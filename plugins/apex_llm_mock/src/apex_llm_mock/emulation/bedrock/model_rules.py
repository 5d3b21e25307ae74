"""What one model takes of a conversation that is otherwise sound."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from apex_llm_mock.emulation.bedrock.base_model import BaseModel
from apex_llm_mock.emulation.bedrock.conversation_rules import Json
from apex_llm_mock.emulation.bedrock.errors import invalid, refused_by_model

_FIELD = "This model doesn't support the {0} field. Remove {0} and try again."
_WRONG_ACTION = (
    "This action doesn't support the model that you provided. Try again with a supported text or chat model."
)
_LAST = "A conversation must end with a user message. Try again with a conversation that ends with a user message."
#: Claude since then takes temperature or top_p, not both.
_ONE_SAMPLING = re.compile(r"anthropic\.claude-(opus-4-[1-9]|sonnet-4-[5-9]|haiku-4-[5-9])(?!\d)")
_ANTHROPIC = "Anthropic"


def check_model(body: Json, model: BaseModel, *, streamed: bool) -> None:
    """Raise `RefusedError` for the first thing of *body* that *model* does not take; media and reasoning aside."""
    if not model.converse:
        raise invalid(_WRONG_ACTION)
    if streamed and not model.streaming:
        raise invalid("The model is unsupported for streaming.")
    if body.get("system") and not model.system:
        raise invalid(_FIELD.format("system"))
    _check_inference(body.get("inferenceConfig") or {}, model)
    if body.get("toolConfig") is not None:
        _check_tools(body["toolConfig"], model, streamed=streamed)
    _check_turns(body, model)
    _check_format(body.get("outputConfig") or {}, model)


def _check_inference(config: Json, model: BaseModel) -> None:
    wanted = config.get("maxTokens")
    if wanted is not None and wanted > model.max_output:
        raise invalid(
            f"The maximum tokens you requested exceeds the model limit of {model.max_output}. Try again with a maximum tokens "
            f"value that is lower than {model.max_output}."
        )
    stops = config.get("stopSequences") or ()
    if stops and not model.stop_limit:
        raise invalid(_FIELD.format("stopSequences"))
    if len(stops) > model.stop_limit:
        raise refused_by_model(
            f"Malformed input request: #/inferenceConfig/stopSequences: expected maximum item count: {model.stop_limit}, "
            f"found: {len(stops)}, please reformat your input and try again."
        )
    if model.vendor == _ANTHROPIC:
        if any(not word.strip() for word in stops):
            raise refused_by_model("stop_sequences: each stop sequence must contain non-whitespace")
        both = config.get("temperature") is not None and config.get("topP") is not None
        if both and _ONE_SAMPLING.match(model.id):
            raise refused_by_model(
                "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
            )


def _check_tools(config: Json, model: BaseModel, *, streamed: bool) -> None:
    if not model.tools:
        raise invalid("This model doesn't support tool use.")
    if streamed and not model.tools_in_streams:
        raise invalid("This model doesn't support tool use in streaming mode.")
    for choice in config.get("toolChoice") or ():
        if choice not in model.tool_choices:
            raise invalid(_FIELD.format(f"toolConfig.toolChoice.{choice}"))


def _check_turns(body: Json, model: BaseModel) -> None:
    messages = body["messages"]
    if messages[-1]["role"] == "assistant" and model.vendor != _ANTHROPIC:
        raise invalid(_LAST)
    last = messages[-1]["content"][-1]
    if messages[-1]["role"] == "assistant" and (last.get("text") or "x")[-1].isspace():
        raise refused_by_model("messages: final assistant content cannot end with trailing whitespace")
    for position, message in enumerate(messages):
        kinds = {name for block in message["content"] for name, value in block.items() if value is not None}
        if "toolResult" not in kinds:
            continue
        others = kinds - {"toolResult", "cachePoint"}
        if model.tool_results_alone and others:
            raise invalid(
                f"messages.{position}.content: Conversation blocks and tool result blocks cannot be provided in the same turn."
            )
        if model.vendor == _ANTHROPIC and others & {"document", "video"}:
            raise invalid(
                f"messages.{position}.content: document and video blocks cannot be provided in a turn with tool result blocks."
            )


def _check_format(config: Json, model: BaseModel) -> None:
    wanted = config.get("textFormat")
    if wanted is None:
        return
    if not model.json_schema:
        raise invalid(_FIELD.format("outputConfig.textFormat"))
    try:
        schema = json.loads(wanted["structure"]["jsonSchema"]["schema"])
    except ValueError as error:
        raise invalid(
            "The value at outputConfig.textFormat.structure.jsonSchema.schema is not a valid JSON schema."
        ) from error
    if not isinstance(schema, Mapping):
        raise invalid("The value at outputConfig.textFormat.structure.jsonSchema.schema is not a valid JSON schema.")
    if model.vendor == _ANTHROPIC:
        _check_closed(schema)


def _check_closed(schema: Any) -> None:
    if isinstance(schema, list):
        for part in schema:
            _check_closed(part)
    elif isinstance(schema, Mapping):
        if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
            raise refused_by_model(
                "output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false"
            )
        for name, part in schema.items():
            if name not in ("enum", "const", "default", "examples"):
                _check_closed(part)


__all__ = ["check_model"]
