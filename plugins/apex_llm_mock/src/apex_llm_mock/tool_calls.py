"""When the mock calls tools, and with what."""

from __future__ import annotations

import json
from hashlib import blake2b

from apex_llm_core.errors import InvalidRequestError, nearest
from apex_llm_core.models import (
    ChatGenerationOptions,
    ChatMessage,
    FunctionChoice,
    FunctionDefinition,
    ToolCallPart,
    ToolResultPart,
)
from apex_llm_mock.schemas import example


def choose(options: ChatGenerationOptions, prompt: str, *, answered: bool) -> list[FunctionDefinition]:
    """Return the tools to call.

    With the choice "required" or one tool, that is obeyed. Otherwise a tool is called when the prompt mentions its name
    (spaces or hyphens may stand for underscores), unless the conversation ends with tool results (*answered*).

    Raises:
        InvalidRequestError: the choice names a tool that is not offered, or is none of the known words.
    """
    tools = options.all_tools
    choice = options.tool_choice if options.tool_choice is not None else options.function_call
    if isinstance(choice, FunctionChoice):
        named = [tool for tool in tools if tool.name == choice.name]
        if not named:
            raise InvalidRequestError(
                f"tool_choice names the tool {choice.name!r}, which is not offered{nearest(choice.name, (tool.name for tool in tools))}"
            )
        return named
    if choice not in (None, "auto", "none", "required"):
        raise InvalidRequestError(f"tool_choice is {choice!r}{nearest(str(choice), ('auto', 'none', 'required'))}")
    if not tools:
        if choice == "required":
            raise InvalidRequestError("tool_choice is 'required' but no tools are given")
        return []
    if choice == "none":
        return []
    mentioned = [tool for tool in tools if _mentions(prompt, tool.name)] if not answered else []
    if not mentioned and choice == "required":
        mentioned = [tools[0]]
    return mentioned[:1] if options.parallel_tool_calls is False else mentioned


def _mentions(prompt: str, name: str) -> bool:
    return _plain(name) in _plain(prompt)


def _plain(text: str) -> str:
    return text.casefold().replace("_", " ").replace("-", " ")


def call(tool: FunctionDefinition, prompt: str, *, key: str) -> ToolCallPart:
    """Return a call of *tool* whose arguments its schema accepts; *key* makes the id."""
    arguments = example({"type": "object", **(tool.parameters or {})}, prompt)
    return ToolCallPart(id=call_id(key, tool.name), name=tool.name, arguments=json.dumps(arguments, ensure_ascii=False))


def call_id(key: str, name: str) -> str:
    """Return the id of a call: the same for the same *key* and *name*."""
    return f"call_{blake2b(f'{key}/{name}'.encode('utf-8', 'surrogatepass'), digest_size=12).hexdigest()}"


def results_in(messages: tuple[ChatMessage, ...]) -> str | None:
    """Return what the mock says about the tool results that end the conversation, None when it does not end so."""
    names: dict[str, str] = {}
    for message in messages[:-1]:
        names.update((called.id, called.name) for called in message.tool_calls)
    last = messages[-1]
    if last.role == "function":
        return _said(last.name or "", last.text, failed=False)
    # Several results of one turn may come as several messages.
    said: list[str] = []
    for message in reversed(messages):
        parts = message.content if isinstance(message.content, tuple) else ()
        results = [part for part in parts if isinstance(part, ToolResultPart)]
        if not results:
            break
        said[:0] = [_said(names.get(part.tool_call_id, ""), part.content, failed=part.is_error) for part in results]
    return "\n".join(said) or None


def _said(name: str, content: str, *, failed: bool) -> str:
    return f"The tool {name} {'failed' if failed else 'answered'}: {content}"


__all__ = ["call", "call_id", "choose", "results_in"]
