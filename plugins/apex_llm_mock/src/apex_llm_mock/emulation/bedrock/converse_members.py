"""The members of Converse and ConverseStream requests, as Bedrock's service model has them."""

from __future__ import annotations

from apex_llm_mock.emulation.bedrock.members import (
    Check,
    anything,
    blob,
    flag,
    items,
    mapping,
    number,
    structure,
    text,
    union,
)

IMAGE_FORMATS = ("png", "jpeg", "gif", "webp")
DOCUMENT_FORMATS = ("pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md")
VIDEO_FORMATS = ("mkv", "mov", "mp4", "webm", "flv", "mpeg", "mpg", "wmv", "three_gp")
AUDIO_FORMATS = (
    *("mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "mkv", "mka", "x-aac", "m4a", "mpeg", "mpga", "pcm", "webm"),
)
TOOL_NAME = "[a-zA-Z0-9_-]+"
TOOL_USE_ID = "[a-zA-Z0-9_.:-]+"
_METADATA = r"[a-zA-Z0-9\s:_@$#=/+,-.]"

_TEXT = text()
_NAME = text(pattern=TOOL_NAME, low=1, high=64)
_ID = text(pattern=TOOL_USE_ID, low=1, high=64)
_S3 = structure(
    {
        "uri": text(pattern=r"s3://[a-z0-9][\.\-a-z0-9]{1,61}[a-z0-9](/.*)?", low=1, high=1024),
        "bucketOwner": text(pattern="[0-9]{12}"),
    },
    "uri",
)
_CITATIONS = structure({"enabled": flag}, "enabled")
_CACHE_POINT = structure({"type": text(choices=("default",)), "ttl": text(choices=("5m", "1h"))}, "type")
_ERROR = structure({"message": _TEXT})


def _media(title: str, formats: tuple[str, ...]) -> Check:
    source = union(title, {"bytes": blob, "s3Location": _S3})
    return structure({"format": text(choices=formats), "source": source, "error": _ERROR}, "format", "source")


_IMAGE = _media("ImageSource", IMAGE_FORMATS)
_VIDEO = _media("VideoSource", VIDEO_FORMATS)
_AUDIO = _media("AudioSource", AUDIO_FORMATS)
_DOCUMENT = structure(
    {
        "name": text(low=1, high=200),
        "format": text(choices=DOCUMENT_FORMATS),
        "source": union(
            "DocumentSource",
            {
                "bytes": blob,
                "s3Location": _S3,
                "text": _TEXT,
                "content": items(union("DocumentContentBlock", {"text": _TEXT})),
            },
        ),
        "context": _TEXT,
        "citations": _CITATIONS,
    },
    "name",
    "source",
)
_SEARCH_RESULT = structure(
    {
        "source": _TEXT,
        "title": _TEXT,
        "content": items(structure({"text": _TEXT}, "text")),
        "citations": _CITATIONS,
    },
    "source",
    "title",
    "content",
)
_TOOL_RESULT = structure(
    {
        "toolUseId": _ID,
        "content": items(
            union(
                "ToolResultContentBlock",
                {
                    "text": _TEXT,
                    "json": anything,
                    "image": _IMAGE,
                    "document": _DOCUMENT,
                    "video": _VIDEO,
                    "searchResult": _SEARCH_RESULT,
                },
            )
        ),
        "status": text(choices=("success", "error")),
        "type": _TEXT,
    },
    "toolUseId",
    "content",
)
_GUARDED = union(
    "GuardrailConverseContentBlock",
    {
        "text": structure(
            {
                "text": _TEXT,
                "qualifiers": items(text(choices=("grounding_source", "query", "guard_content"))),
            },
            "text",
        ),
        "image": _media("GuardrailConverseImageSource", ("png", "jpeg")),
    },
)
_REASONING = union(
    "ReasoningContentBlock",
    {"reasoningText": structure({"text": _TEXT, "signature": _TEXT}, "text"), "redactedContent": blob},
)
_TOOL_REFERENCE = structure(
    {"tool": structure({name: text(low=1, high=128) for name in ("type", "name", "serverName")})}, "tool"
)
_CONTENT = {
    "text": _TEXT,
    "image": _IMAGE,
    "document": _DOCUMENT,
    "video": _VIDEO,
    "audio": _AUDIO,
    "toolUse": structure(
        {"toolUseId": _ID, "name": _NAME, "input": anything, "type": text(choices=("server_tool_use",))},
        "toolUseId",
        "name",
        "input",
    ),
    "toolResult": _TOOL_RESULT,
    "guardContent": _GUARDED,
    "cachePoint": _CACHE_POINT,
    "reasoningContent": _REASONING,
    "citationsContent": structure(
        {"content": items(union("CitationGeneratedContent", {"text": _TEXT})), "citations": items(anything)}
    ),
    "searchResult": _SEARCH_RESULT,
    "toolAddition": _TOOL_REFERENCE,
    "toolRemoval": _TOOL_REFERENCE,
}
_MESSAGE = structure(
    {"role": text(choices=("user", "assistant", "system")), "content": items(union("ContentBlock", _CONTENT))},
    "role",
    "content",
)
_SYSTEM = union("SystemContentBlock", {"text": text(low=1), "guardContent": _GUARDED, "cachePoint": _CACHE_POINT})
_TOOL = union(
    "Tool",
    {
        "toolSpec": structure(
            {
                "name": _NAME,
                "description": text(low=1),
                "inputSchema": union("ToolInputSchema", {"json": anything}),
                "strict": flag,
            },
            "name",
            "inputSchema",
        ),
        "systemTool": structure({"name": _NAME}, "name"),
        "cachePoint": _CACHE_POINT,
    },
)
_TOOL_CONFIG = structure(
    {
        "tools": items(_TOOL, low=1),
        "toolChoice": union(
            "ToolChoice", {"auto": structure({}), "any": structure({}), "tool": structure({"name": _NAME}, "name")}
        ),
    },
    "tools",
)
_OUTPUT = structure(
    {
        "textFormat": structure(
            {
                "type": text(choices=("json_schema",)),
                "structure": union(
                    "OutputFormatStructure",
                    {
                        "jsonSchema": structure(
                            {"schema": _TEXT, "name": _TEXT, "description": _TEXT},
                            "schema",
                        )
                    },
                ),
            },
            "type",
            "structure",
        ),
        "effort": text(high=16),
    }
)
_GUARDRAIL = {
    "guardrailIdentifier": text(
        pattern="(|([a-z0-9]+)|(arn:aws(-[^:]+)?:bedrock:[a-z0-9-]{1,20}:[0-9]{12}:guardrail/[a-z0-9]+))", high=2048
    ),
    "guardrailVersion": text(pattern="(|([1-9][0-9]{0,7})|(DRAFT))"),
    "trace": text(choices=("enabled", "disabled", "enabled_full")),
}
#: CountTokens takes these of a conversation.
COUNTED = {
    "messages": items(_MESSAGE),
    "system": items(_SYSTEM),
    "toolConfig": _TOOL_CONFIG,
    "additionalModelRequestFields": anything,
}
_SHARED = {
    **COUNTED,
    "inferenceConfig": structure(
        {
            "maxTokens": number(low=1, whole=True),
            "temperature": number(low=0, high=1),
            "topP": number(low=0, high=1),
            "stopSequences": items(text(low=1), high=2500),
        }
    ),
    "promptVariables": mapping(_TEXT, union("PromptVariableValues", {"text": _TEXT})),
    "additionalModelResponseFieldPaths": items(text(low=1, high=256), high=10),
    "requestMetadata": mapping(
        text(pattern=f"{_METADATA}{{1,256}}"), text(pattern=f"{_METADATA}{{0,256}}"), low=1, high=16
    ),
    "performanceConfig": structure({"latency": text(choices=("standard", "optimized"))}),
    "serviceTier": structure({"type": text(choices=("priority", "default", "flex", "reserved"))}, "type"),
    "outputConfig": _OUTPUT,
}
CONVERSE = structure({**_SHARED, "guardrailConfig": structure(_GUARDRAIL)}, "messages")
CONVERSE_STREAM = structure(
    {
        **_SHARED,
        "guardrailConfig": structure({**_GUARDRAIL, "streamProcessingMode": text(choices=("sync", "async"))}),
    },
    "messages",
)
#: What stands in ``input.converse`` of CountTokens.
COUNT_TOKENS = structure(COUNTED, "messages")

__all__ = ["CONVERSE", "CONVERSE_STREAM", "COUNTED", "COUNT_TOKENS", "DOCUMENT_FORMATS", "IMAGE_FORMATS"]
