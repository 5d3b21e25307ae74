"""The rules of a conversation that hold for every model: whose turn it is, what a turn may hold, tools and their results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from apex_llm_mock.emulation.bedrock.errors import invalid, refused_by_model

Json = Mapping[str, Any]
#: What only users may send.
_OF_USERS = frozenset({"image", "document", "video", "audio", "toolResult", "searchResult"})
_OF_ASSISTANTS = frozenset({"toolUse", "reasoningContent", "citationsContent"})
_TURNS = (
    "A conversation must alternate between user and assistant roles. Make sure the conversation alternates between user and "
    "assistant roles and try again."
)
_FIRST = "A conversation must start with a user message. Try again with a conversation that starts with a user message."
_OBJECT = "The format of the value at {} is invalid. Provide a json object for the field and try again."
_REASONING = "User messages cannot contain reasoning content. Please remove the reasoning content and try again."


def check_conversation(body: Json) -> None:
    """Raise `RefusedError` for the first thing about *body*, whose members are sound, that is no conversation."""
    messages: Sequence[Json] = body["messages"]
    if not messages:
        raise invalid("The messages field must contain at least one message. Add a message and try again.")
    for position, message in enumerate(messages):
        _check_message(message, f"messages.{position}")
    if messages[0]["role"] != "user":
        raise invalid(_FIRST)
    for before, after in pairwise(messages):
        if before["role"] == after["role"]:
            raise invalid(_TURNS)
    _check_tool_results(messages)
    _check_tools(body)


def blocks(messages: Sequence[Json], kind: str) -> Iterator[tuple[str, Json]]:
    """Yield the place and value of every block of a *kind*, also of those within tool results."""
    for position, message in enumerate(messages):
        for number, block in enumerate(message["content"]):
            where = f"messages.{position}.content.{number}"
            if block.get(kind) is not None:
                yield f"{where}.{kind}", block[kind]
            result = block.get("toolResult")
            for inner, part in enumerate(result["content"]) if result is not None else ():
                if part.get(kind) is not None:
                    yield f"{where}.toolResult.content.{inner}.{kind}", part[kind]


def _check_message(message: Json, where: str) -> None:
    content = message["content"]
    role = message["role"]
    if not content:
        raise invalid(
            f"The content field in the Message object at {where} is empty. Add a ContentBlock object to the content field "
            "and try again."
        )
    if role == "system":
        raise invalid("This model doesn't support messages with the role system. Use the system field and try again.")
    for number, block in enumerate(content):
        place = f"{where}.content.{number}"
        if (words := block.get("text")) is not None and not words.strip():
            raise invalid(
                f"The text field in the ContentBlock object at {place} is blank. Add text to the text field, and try again."
            )
        kind = next(name for name, value in block.items() if value is not None)
        if role == "user" and kind == "reasoningContent":
            raise invalid(_REASONING)
        if kind in (_OF_ASSISTANTS if role == "user" else _OF_USERS):
            raise invalid(f"The {kind} field at {place} isn't supported for the role {role}. Remove it and try again.")
        if kind == "toolUse":
            _check_object(block["toolUse"]["input"], f"{place}.toolUse.input")
        elif kind == "toolResult":
            _check_result(block["toolResult"], f"{place}.toolResult")


def _check_result(result: Json, where: str) -> None:
    if result.get("status") == "error" and not result["content"]:
        raise invalid(f"The content field at {where} cannot be empty when status value is error.")
    for number, part in enumerate(result["content"]):
        if part.get("json") is not None:
            _check_object(part["json"], f"{where}.content.{number}.json")


def _check_tool_results(messages: Sequence[Json]) -> None:
    """The results of a turn's tool uses stand in the next turn: all of them, and no others."""
    waiting: list[str] = []
    for position, message in enumerate(messages):
        where = f"messages.{position}.content"
        answered = [block["toolResult"]["toolUseId"] for block in message["content"] if block.get("toolResult")]
        missing = [name for name in waiting if name not in answered]
        if missing:
            raise _expected(where, missing)
        if len(answered) > len(waiting):
            raise invalid(
                f"The number of toolResult blocks at {where} exceeds the number of toolUse blocks of previous turn."
            )
        uses = [block["toolUse"] for block in message["content"] if block.get("toolUse")]
        waiting = [use["toolUseId"] for use in uses if use.get("type") != "server_tool_use"]
        if len(set(waiting)) < len(waiting):
            twice = sorted({name for name in waiting if waiting.count(name) > 1})
            raise invalid(f"The toolUse blocks at {where} contain duplicate Ids: {', '.join(twice)}")
    if waiting:
        raise _expected(f"messages.{len(messages)}.content", waiting)


def _expected(where: str, names: Sequence[str]) -> Exception:
    return invalid(f"Expected toolResult blocks at {where} for the following Ids: {', '.join(names)}")


def _check_tools(body: Json) -> None:
    config = body.get("toolConfig")
    if config is None:
        if any(block.get("toolUse") or block.get("toolResult") for m in body["messages"] for block in m["content"]):
            raise invalid("The toolConfig field must be defined when using toolUse and toolResult content blocks.")
        return
    names: list[str] = []
    for number, tool in enumerate(config["tools"]):
        spec = tool.get("toolSpec")
        if spec is None:
            continue
        where = f"toolConfig.tools.{number}.toolSpec.inputSchema.json"
        schema = spec["inputSchema"]["json"]
        _check_object(schema, where)
        if schema.get("type") != "object":
            raise invalid(f"The value at {where}.type must be one of the following: object.")
        names.append(spec["name"])
    if len(set(names)) < len(names):
        raise refused_by_model("tools: Tool names must be unique.")
    wanted = ((config.get("toolChoice") or {}).get("tool") or {}).get("name")
    if wanted is not None and wanted not in names:
        raise refused_by_model(f"Tool '{wanted}' not found in provided tools")


def _check_object(value: Any, where: str) -> None:
    if not isinstance(value, Mapping):
        raise invalid(_OBJECT.format(where))


__all__ = ["Json", "blocks", "check_conversation"]
