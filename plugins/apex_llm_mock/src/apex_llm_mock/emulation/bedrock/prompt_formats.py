"""Models that take one prompt with the marks of their chat template in it: Titan, Llama, Mistral, DeepSeek, Command."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from apex_llm_core.models import ChatMessage
from apex_llm_mock import tokens
from apex_llm_mock.emulation.bedrock.base_model import BaseModel
from apex_llm_mock.emulation.bedrock.malformed import body_schema, check_body
from apex_llm_mock.emulation.bedrock.spoken import Asked, Document, Spoken, TextFormat, request_of

_TEXT = {"type": "string", "minLength": 1}
_STOPS = {"type": "array", "items": {"type": "string", "minLength": 1}}
_UNIT = {"type": "number", "minimum": 0, "maximum": 1}
#: How the templates of these families mark what the user says.
_SAID = (
    re.compile(r"<\|start_header_id\|>user<\|end_header_id\|>\s*(.*?)<\|eot_id\|>", re.DOTALL),
    re.compile(r"<\|header_start\|>user<\|header_end\|>\s*(.*?)<\|eot\|>", re.DOTALL),
    re.compile(r"\[INST\]\s*(.*?)\s*\[/INST\]", re.DOTALL),
    re.compile("<\uff5cUser\uff5c>(.*?)<\uff5cAssistant\uff5c>", re.DOTALL),
    re.compile(r"(?:^|\n)User:\s*(.*?)\s*\n(?:Bot|Assistant):", re.DOTALL),
)


def last_said(prompt: str) -> str:
    """Return what the user says last in *prompt*, which may be written in a chat template, or the prompt itself."""
    for pattern in _SAID:
        found = pattern.findall(prompt)
        if found:
            return str(found[-1])
    return prompt


def _asked(
    model: BaseModel, body: Mapping[str, Any], prompt: str, most: int | None, stops: Any = None, **options: Any
) -> Asked:
    said = last_said(prompt)
    messages: tuple[ChatMessage, ...] = (ChatMessage(role="user", content=said),)
    if said != prompt:
        # The template and earlier turns count as input, too.
        messages = (ChatMessage(role="system", content=prompt.replace(said, "", 1)), *messages)
    return Asked(request=request_of(model, messages, max_tokens=most, **options), stops=tuple(stops or ()), body=body)


def _most(model: BaseModel) -> Mapping[str, Any]:
    return {"type": "integer", "minimum": 1, "maximum": model.max_output}


def _id(spoken: Spoken, what: str = "") -> str:
    return str(uuid5(NAMESPACE_OID, f"{spoken.key}/{what}"))


# Titan


def _titan_asked(body: Any, model: BaseModel) -> Asked:
    config = body_schema(
        (),
        maxTokenCount=_most(model),
        stopSequences=_STOPS,
        temperature=_UNIT,
        topP=_UNIT,
    )
    fields = check_body(body, body_schema(("inputText",), inputText=_TEXT, textGenerationConfig=config))
    given = fields.get("textGenerationConfig", {})
    return _asked(model, fields, fields["inputText"], given.get("maxTokenCount", 512), given.get("stopSequences"))


def _titan_reason(spoken: Spoken) -> str:
    if spoken.stopped_by is not None:
        return "STOP_CRITERIA_MET"
    return {"length": "LENGTH", "content_filter": "CONTENT_FILTERED"}.get(spoken.finish, "FINISH")


def _titan_document(spoken: Spoken) -> Document:
    result = {
        "tokenCount": spoken.output_tokens,
        "outputText": spoken.answer.text,
        "completionReason": _titan_reason(spoken),
    }
    return {"inputTextTokenCount": spoken.input_tokens, "results": [result]}


def _titan_events(spoken: Spoken, size: int) -> Iterator[Document]:
    *first, last = spoken.texts(size)
    common: Document = {"index": 0, "inputTextTokenCount": spoken.input_tokens}
    for text in first:
        yield {"outputText": text, **common, "totalOutputTextTokenCount": None, "completionReason": None}
    yield {
        "outputText": last,
        **common,
        "totalOutputTextTokenCount": spoken.output_tokens,
        "completionReason": _titan_reason(spoken),
    }


# Llama


def _llama_asked(body: Any, model: BaseModel) -> Asked:
    schema = body_schema(
        ("prompt",),
        prompt=_TEXT,
        max_gen_len=_most(model),
        temperature=_UNIT,
        top_p=_UNIT,
        images={"type": "array", "items": {"type": "string"}},
    )
    fields = check_body(body, schema)
    return _asked(model, fields, fields["prompt"], fields.get("max_gen_len", 512))


def _llama_document(spoken: Spoken) -> Document:
    return {
        "generation": spoken.answer.text,
        "prompt_token_count": spoken.input_tokens,
        "generation_token_count": spoken.output_tokens,
        "stop_reason": "length" if spoken.finish == "length" else "stop",
    }


def _llama_events(spoken: Spoken, size: int) -> Iterator[Document]:
    texts = spoken.texts(size)
    length = 0
    for place, text in enumerate(texts):
        length += len(text)
        yield {
            "generation": text,
            # Only the first one tells the size of the prompt.
            "prompt_token_count": spoken.input_tokens if place == 0 else None,
            "generation_token_count": tokens.count("x" * length),
            "stop_reason": None,
        }
    yield {**_llama_document(spoken), "generation": "", "prompt_token_count": None}


# Mistral and DeepSeek


def _outputs_format(member: str, *, stop_limit: int | None, top_k: bool) -> TextFormat:
    stops = _STOPS if stop_limit is None else {**_STOPS, "maxItems": stop_limit}
    more: Mapping[str, Any] = {"top_k": {"type": "integer", "minimum": 0}} if top_k else {}

    def asked(body: Any, model: BaseModel) -> Asked:
        schema = body_schema(
            ("prompt",),
            prompt=_TEXT,
            max_tokens=_most(model),
            stop=stops,
            temperature=_UNIT,
            top_p=_UNIT,
            **more,
        )
        fields = check_body(body, schema)
        return _asked(model, fields, fields["prompt"], fields.get("max_tokens", 512), fields.get("stop"))

    def document(spoken: Spoken) -> Document:
        return {member: [{"text": spoken.answer.text, "stop_reason": _mistral_reason(spoken)}]}

    def events(spoken: Spoken, size: int) -> Iterator[Document]:
        *first, last = spoken.texts(size)
        for text in first:
            yield {member: [{"text": text, "stop_reason": None}]}
        yield {member: [{"text": last, "stop_reason": _mistral_reason(spoken)}]}

    return TextFormat(asked=asked, document=document, events=events)


def _mistral_reason(spoken: Spoken) -> str:
    return "length" if spoken.finish == "length" else "stop"


# Command


def _command_asked(body: Any, model: BaseModel) -> Asked:
    schema = body_schema(
        ("prompt",),
        prompt=_TEXT,
        max_tokens=_most(model),
        stop_sequences={**_STOPS, "maxItems": 4},
        temperature={"type": "number", "minimum": 0, "maximum": 5},
        p=_UNIT,
        k={"type": "number", "minimum": 0, "maximum": 500},
        return_likelihoods={"type": "string", "enum": ("GENERATION", "ALL", "NONE")},
        stream={"type": "boolean"},
        num_generations={"type": "integer", "minimum": 1, "maximum": 5},
        truncate={"type": "string", "enum": ("NONE", "START", "END")},
    )
    fields = check_body(body, schema)
    return _asked(model, fields, fields["prompt"], fields.get("max_tokens", 20), fields.get("stop_sequences"))


def _command_reason(spoken: Spoken) -> str:
    return {"length": "MAX_TOKENS", "content_filter": "ERROR_TOXIC"}.get(spoken.finish, "COMPLETE")


def _command_document(spoken: Spoken) -> Document:
    generation = {
        "finish_reason": _command_reason(spoken),
        "id": _id(spoken, "generation"),
        "text": spoken.answer.text,
    }
    return {"generations": [generation], "id": _id(spoken), "prompt": spoken.asked.body["prompt"]}


def _command_events(spoken: Spoken, size: int) -> Iterator[Document]:
    for text in spoken.texts(size):
        yield {"is_finished": False, "text": text}
    yield {"finish_reason": _command_reason(spoken), "id": _id(spoken), "is_finished": True}


TITAN = TextFormat(asked=_titan_asked, document=_titan_document, events=_titan_events)
LLAMA = TextFormat(asked=_llama_asked, document=_llama_document, events=_llama_events)
MISTRAL = _outputs_format("outputs", stop_limit=10, top_k=True)
DEEPSEEK = _outputs_format("choices", stop_limit=10, top_k=False)
COMMAND = TextFormat(asked=_command_asked, document=_command_document, events=_command_events)

__all__ = ["COMMAND", "DEEPSEEK", "LLAMA", "MISTRAL", "TITAN", "last_said"]
