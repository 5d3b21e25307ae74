"""Models that take messages: OpenAI's form, which many speak, Jamba's, and that of Command R."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import attrs

from apex_llm_core.models import ChatMessage, FunctionDefinition
from apex_llm_mock.emulation.answers import RefusedError
from apex_llm_mock.emulation.azure.chat_wire import generate_request
from apex_llm_mock.emulation.bedrock.base_model import BaseModel
from apex_llm_mock.emulation.bedrock.errors import invalid
from apex_llm_mock.emulation.bedrock.malformed import body_schema, check_body, malformed, violations
from apex_llm_mock.emulation.bedrock.spoken import Asked, Document, Spoken, TextFormat, request_of

_NUMBER = {"type": "number"}
_UNIT = {"type": "number", "minimum": 0, "maximum": 1}
_STOPS = {"type": "array", "items": {"type": "string"}}
_KINDS = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "list": "array", "dict": "object"}
_CREATED = 1_735_689_600


def _id(spoken: Spoken, what: str = "") -> str:
    return str(uuid5(NAMESPACE_OID, f"{spoken.key}/{what}"))


# OpenAI's form


def _openai_asked(body: Any, model: BaseModel) -> Asked:
    most = {"type": "integer", "minimum": 1, "maximum": model.max_output}
    schema = body_schema(
        ("messages",),
        messages={"type": "array"},
        model={"type": "string"},
        max_tokens=most,
        max_completion_tokens=most,
        temperature={"type": "number", "minimum": 0, "maximum": 2},
        top_p=_UNIT,
        # One string or several.
        stop={},
        stream={"type": "boolean"},
        stream_options={"type": "object"},
        seed={"type": "integer"},
        n={"type": "integer", "minimum": 1, "maximum": 1},
        frequency_penalty=_NUMBER,
        presence_penalty=_NUMBER,
        tools={"type": "array"},
        tool_choice={},
        parallel_tool_calls={"type": "boolean"},
        response_format={"type": "object"},
        reasoning_effort={"type": "string", "enum": ("low", "medium", "high")},
        logprobs={"type": "boolean"},
        top_logprobs={"type": "integer"},
        user={"type": "string"},
    )
    fields = check_body(body, schema)
    stop = fields.get("stop")
    stops = [stop] if isinstance(stop, str) else stop
    if stops is not None:
        found = list(violations(stops, _STOPS, "#/stop"))
        if found:
            raise malformed(*found)
    without_stop = {name: value for name, value in fields.items() if name not in ("stop", "stream")}
    effort = (fields.get("reasoning_effort") or "medium") if model.reasoning == "effort" else None
    try:
        request = generate_request(without_stop, model.id, effort=effort)
    except RefusedError as error:
        # What these models find wrong with a conversation they say in OpenAI's words.
        raise invalid(json.loads(error.answer.body)["error"]["message"]) from error
    return Asked(request=request, stops=tuple(stops or ()), body=fields)


def _tool_calls(spoken: Spoken) -> list[Document]:
    return [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in spoken.answer.tool_calls
    ]


def _usage(spoken: Spoken) -> Document:
    return {
        "prompt_tokens": spoken.input_tokens,
        "completion_tokens": spoken.output_tokens,
        "total_tokens": spoken.input_tokens + spoken.output_tokens,
    }


def _with_thoughts(spoken: Spoken) -> Spoken:
    """Return *spoken* with the reasoning in the text, as these models put it."""
    answer = spoken.answer
    if not answer.reasoning:
        return spoken
    text = f"<reasoning>{answer.reasoning}</reasoning>{answer.text}"
    return attrs.evolve(spoken, answer=answer._replace(text=text, reasoning=""))


def _openai_document(spoken: Spoken) -> Document:
    shown = _with_thoughts(spoken).answer
    message: Document = {"role": "assistant", "content": shown.text if shown.text or not shown.tool_calls else None}
    if shown.tool_calls:
        message["tool_calls"] = _tool_calls(spoken)
    return {
        "choices": [{"finish_reason": spoken.finish, "index": 0, "message": message}],
        "created": _CREATED,
        "id": f"chatcmpl-{_id(spoken)}",
        "model": spoken.model.id,
        "object": "chat.completion",
        "usage": _usage(spoken),
    }


def _openai_events(spoken: Spoken, size: int) -> Iterator[Document]:
    envelope: Document = {
        "created": _CREATED,
        "id": f"chatcmpl-{_id(spoken)}",
        "model": spoken.model.id,
        "object": "chat.completion.chunk",
    }
    yield {**envelope, "choices": [{"delta": {"content": "", "role": "assistant"}, "finish_reason": None, "index": 0}]}
    for chunk in _with_thoughts(spoken).chunks(size):
        finish = chunk.finish_reason
        delta = {} if finish is not None else _delta(chunk)
        yield {**envelope, "choices": [{"delta": delta, "finish_reason": finish, "index": 0}]}
    yield {**envelope, "choices": [], "usage": _usage(spoken)}


def _delta(chunk: Any) -> Document:
    if not chunk.tool_calls:
        return {"content": chunk.text or ""}
    (call,) = chunk.tool_calls
    function = {"arguments": call.arguments or ""} | ({"name": call.name} if call.name else {})
    begun = {"id": call.id, "type": "function"} if call.id else {}
    return {"tool_calls": [{"index": call.index, **begun, "function": function}]}


# Jamba


def _ai21_document(spoken: Spoken) -> Document:
    document = _openai_document(spoken)
    return {
        "id": document["id"],
        "choices": document["choices"],
        "usage": document["usage"],
        "meta": {"requestDurationMillis": 42},
        "model": spoken.model.id.removeprefix("ai21.").partition("-v")[0],
    }


def _ai21_events(spoken: Spoken, size: int) -> Iterator[Document]:
    for document in _openai_events(spoken, size):
        if document["choices"]:
            yield {"id": document["id"], "choices": document["choices"]}
    yield {"id": f"chatcmpl-{_id(spoken)}", "choices": [], "usage": _usage(spoken)}


# Command R


def _command_r_asked(body: Any, model: BaseModel) -> Asked:
    text = {"type": "string"}
    schema = body_schema(
        ("message",),
        message={**text, "minLength": 1},
        chat_history={
            "type": "array",
            "items": body_schema(
                ("role",),
                role={"type": "string", "enum": ("USER", "CHATBOT", "TOOL", "SYSTEM")},
                message=text,
                tool_calls={"type": "array"},
                tool_results={"type": "array"},
            ),
        },
        preamble=text,
        documents={"type": "array"},
        search_queries_only={"type": "boolean"},
        max_tokens={"type": "integer", "minimum": 1, "maximum": model.max_output},
        temperature=_UNIT,
        p={"type": "number", "minimum": 0.01, "maximum": 0.99},
        k={"type": "number", "minimum": 0, "maximum": 500},
        prompt_truncation={"type": "string", "enum": ("OFF", "AUTO_PRESERVE_ORDER")},
        frequency_penalty=_UNIT,
        presence_penalty=_UNIT,
        seed={"type": "integer"},
        return_prompt={"type": "boolean"},
        tools={
            "type": "array",
            "items": body_schema(
                ("name", "description"),
                name={"type": "string", "minLength": 1},
                description=text,
                parameter_definitions={"type": "object"},
            ),
        },
        tool_results={"type": "array"},
        stop_sequences=_STOPS,
        raw_prompting={"type": "boolean"},
    )
    fields = check_body(body, schema)
    messages = [ChatMessage(role="system", content=fields["preamble"])] if fields.get("preamble") else []
    for turn in fields.get("chat_history", ()):
        said = turn.get("message", "")
        messages.append(ChatMessage(role="assistant" if turn["role"] == "CHATBOT" else "user", content=said))
    messages.append(ChatMessage(role="user", content=fields["message"]))
    tools = [_command_r_tool(tool) for tool in fields.get("tools", ())]
    if fields.get("tool_results"):
        tools = []
    request = request_of(model, tuple(messages), max_tokens=fields.get("max_tokens"), tools=tools or None)
    return Asked(request=request, stops=tuple(fields.get("stop_sequences", ())), body=fields)


_PARAMETER = body_schema(
    ("type",), type={"type": "string"}, description={"type": "string"}, required={"type": "boolean"}
)


def _command_r_tool(tool: Mapping[str, Any]) -> FunctionDefinition:
    given = tool.get("parameter_definitions", {})
    found = [problem for name, item in given.items() for problem in violations(item, _PARAMETER, f"#/tools/{name}")]
    if found:
        raise malformed(*found)
    # Types are written as in Python, "List[str]" among them.
    properties = {
        name: {"type": _KINDS.get(item["type"].partition("[")[0].lower(), "string")} for name, item in given.items()
    }
    required = [name for name, item in given.items() if item.get("required")]
    return FunctionDefinition(
        name=tool["name"],
        description=tool["description"],
        parameters={"type": "object", "properties": properties, "required": required},
    )


def _command_r_document(spoken: Spoken) -> Document:
    body, answer = spoken.asked.body, spoken.answer
    turns = [{"role": "USER", "message": body["message"]}, {"role": "CHATBOT", "message": answer.text}]
    document: Document = {
        "response_id": _id(spoken),
        "text": answer.text,
        "generation_id": _id(spoken, "generation"),
        "chat_history": [*body.get("chat_history", ()), *turns],
        "finish_reason": {"length": "MAX_TOKENS", "content_filter": "ERROR_TOXIC"}.get(spoken.finish, "COMPLETE"),
        "meta": {
            "api_version": {"version": "1"},
            "billed_units": {"input_tokens": spoken.input_tokens, "output_tokens": spoken.output_tokens},
        },
    }
    if answer.tool_calls:
        document["tool_calls"] = [
            {"name": call.name, "parameters": json.loads(call.arguments)} for call in answer.tool_calls
        ]
    return document


def _command_r_events(spoken: Spoken, size: int) -> Iterator[Document]:
    for text in spoken.texts(size):
        yield {"event_type": "text-generation", "is_finished": False, "text": text}
    whole = _command_r_document(spoken)
    yield {
        "event_type": "stream-end",
        "finish_reason": whole["finish_reason"],
        "is_finished": True,
        "response": whole,
    }


OPENAI = TextFormat(asked=_openai_asked, document=_openai_document, events=_openai_events)
AI21 = TextFormat(asked=_openai_asked, document=_ai21_document, events=_ai21_events)
COMMAND_R = TextFormat(asked=_command_r_asked, document=_command_r_document, events=_command_r_events)

__all__ = ["AI21", "COMMAND_R", "OPENAI"]
