"""The mock's tokenizer: four characters are a token. It is the provider, so its counts are the truth, not estimates."""

from __future__ import annotations

import json
from collections.abc import Sequence

from apex_llm_core.models import (
    ChatGenerationOptions,
    ContentPart,
    DocumentPart,
    GenerateRequest,
    ImagePart,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

CHARACTERS_PER_TOKEN = 4
#: Role and separators.
TOKENS_PER_MESSAGE = 3
TOKENS_PER_IMAGE = 85


def count(text: str) -> int:
    """Return the tokens of *text*."""
    return (len(text) + CHARACTERS_PER_TOKEN - 1) // CHARACTERS_PER_TOKEN


def cut(text: str, tokens: int) -> str:
    """Return the first *tokens* tokens of *text*."""
    return text[: tokens * CHARACTERS_PER_TOKEN]


def split(text: str) -> list[str]:
    """Return the tokens themselves."""
    return [text[start : start + CHARACTERS_PER_TOKEN] for start in range(0, len(text), CHARACTERS_PER_TOKEN)]


def count_prompt(request: GenerateRequest) -> int:
    """Return the tokens of everything that goes in: messages, tools, and the schema of the answer."""
    total = 0
    for message in request.messages:
        content = message.content
        total += TOKENS_PER_MESSAGE + (count(content) if isinstance(content, str) else _count_parts(content))
        if message.function_call is not None:
            total += count(message.function_call.name) + count(message.function_call.arguments)
    options = request.options
    if isinstance(options, ChatGenerationOptions):
        for tool in options.all_tools:
            total += count(tool.name) + count(tool.description or "") + count(json.dumps(dict(tool.parameters or {})))
        if options.response_format is not None and options.response_format.schema is not None:
            total += count(json.dumps(dict(options.response_format.schema)))
    return total


def _count_parts(parts: Sequence[ContentPart]) -> int:
    total = 0
    for part in parts:
        if isinstance(part, (TextPart, ReasoningPart)):
            total += count(part.text)
        elif isinstance(part, ImagePart):
            total += TOKENS_PER_IMAGE
        elif isinstance(part, DocumentPart):
            # Three quarters of base64 are bytes.
            total += (
                count(part.text) if part.text is not None else len(part.data or "") * 3 // 4 // CHARACTERS_PER_TOKEN
            )
        elif isinstance(part, ToolCallPart):
            total += count(part.name) + count(part.arguments)
        elif isinstance(part, ToolResultPart):
            total += count(part.content)
    return total


__all__ = ["CHARACTERS_PER_TOKEN", "TOKENS_PER_IMAGE", "TOKENS_PER_MESSAGE", "count", "count_prompt", "cut", "split"]
