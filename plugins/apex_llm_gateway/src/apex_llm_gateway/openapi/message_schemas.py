"""Messages of a chat, as requests have them."""

from __future__ import annotations

from apex_llm_gateway.openapi.forms import (
    ANYTHING,
    NAME,
    NULL,
    OBJECT,
    TEXT,
    Schema,
    described,
    either,
    items,
    members,
    nullable,
    one,
    ref,
)

_HINTS: dict[str, Schema] = {
    "cache_control": nullable(
        described(
            members({"type": one("ephemeral")}, {"ttl": nullable(NAME)}),
            "All up to here is worth caching, where the provider caches what it is told to.",
        )
    ),
    "prompt_cache_breakpoint": nullable(
        described(members({"mode": one("explicit")}, {"ttl": nullable(NAME)}), "Another spelling of `cache_control`.")
    ),
}
_ENDINGS = "csv|doc|docx|htm|html|json|md|pdf|pptx|txt|xls|xlsx"
_FILE = {
    **members(
        {"file_data": described({**TEXT, "minLength": 1}, "Base64, alone or in a `data:` URL that says its type.")},
        {"filename": nullable(NAME), "file_id": described(NULL, "No files are stored here.")},
    ),
    "anyOf": [
        {"properties": {"file_data": {"pattern": r"^data:[a-z0-9.+-]+/[a-z0-9.+-]+;base64,."}}},
        {"properties": {"filename": {**TEXT, "pattern": rf"\.({_ENDINGS})$"}}, "required": ["filename"]},
    ],
}
_NAMED: dict[str, Schema] = {"name": nullable(NAME), **_HINTS}


def _content(*parts: str) -> Schema:
    return either(TEXT, items(either(*map(ref, parts)), least=1))


def _message(role: str, required: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    return members({"role": one(role), **required}, {**(optional or {}), **_NAMED})


_ASSISTANT = {
    **_message(
        "assistant",
        {},
        {
            "content": either(_content("TextPart", "RefusalPart"), NULL),
            "refusal": nullable(TEXT),
            "tool_calls": nullable(items(ref("ToolCallIn"))),
            "function_call": nullable(members({"name": NAME, "arguments": TEXT})),
            "reasoning_content": described(nullable(TEXT), "As an answer had it."),
            "reasoning_details": described(nullable(items(ref("Reasoning"))), "As an answer had them."),
            "audio": described(NULL, "Answers in audio are not kept here."),
        },
    ),
    "anyOf": [
        {"required": ["content"], "properties": {"content": {"type": ["string", "array"]}}},
        {"required": ["refusal"], "properties": {"refusal": TEXT}},
        {"required": ["tool_calls"], "properties": {"tool_calls": {"type": "array", "minItems": 1}}},
        {"required": ["function_call"], "properties": {"function_call": OBJECT}},
        {"required": ["reasoning_content"], "properties": {"reasoning_content": {**TEXT, "minLength": 1}}},
        {"required": ["reasoning_details"], "properties": {"reasoning_details": {"type": "array", "minItems": 1}}},
    ],
    "description": "What the model said. It has content, a refusal, calls, or reasoning.",
}

MESSAGE_SCHEMAS: dict[str, Schema] = {
    "Message": either(
        *map(
            ref,
            (
                *("SystemMessage", "DeveloperMessage", "UserMessage", "AssistantMessage", "ToolMessage"),
                "FunctionMessage",
            ),
        )
    ),
    "SystemMessage": _message("system", {"content": _content("TextPart")}),
    "DeveloperMessage": _message("developer", {"content": _content("TextPart")}),
    "UserMessage": _message("user", {"content": _content("TextPart", "ImagePart", "FilePart")}),
    "AssistantMessage": _ASSISTANT,
    "ToolMessage": described(
        _message("tool", {"tool_call_id": NAME, "content": _content("TextPart")}),
        "The result of a tool call that an earlier message makes.",
    ),
    "FunctionMessage": described(
        members(
            {"role": one("function"), "name": NAME},
            {"content": either(_content("TextPart"), NULL), **_HINTS},
        ),
        "The result of a `function_call` that an earlier message makes; the older spelling.",
    ),
    "TextPart": members({"type": one("text"), "text": TEXT}, _HINTS),
    "RefusalPart": members({"type": one("refusal"), "refusal": TEXT}, _HINTS),
    "ImagePart": members(
        {
            "type": one("image_url"),
            "image_url": members(
                {
                    "url": {
                        **TEXT,
                        "pattern": r"^(https?://|data:image/[a-z0-9.+-]*;base64,.)",
                        "description": "An http(s) URL, or `data:image/…;base64,…`.",
                    }
                },
                {"detail": nullable(NAME)},
            ),
        },
        _HINTS,
    ),
    "FilePart": members({"type": one("file"), "file": _FILE}, _HINTS),
    "ToolCallIn": members(
        {"id": NAME, "function": members({"name": NAME, "arguments": TEXT})},
        {"type": nullable(one("function"))},
    ),
    "Reasoning": members(
        {"type": one("reasoning")},
        {
            "index": described(ANYTHING, "The position among the blocks of an answer; streams are joined by it."),
            "text": nullable(TEXT),
            "signature": nullable(TEXT),
            "data": nullable(TEXT),
        },
        description="A block of reasoning; its provider wants it back unchanged.",
    ),
}


__all__ = ["MESSAGE_SCHEMAS"]
