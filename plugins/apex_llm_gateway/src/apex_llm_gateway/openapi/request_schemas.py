"""Bodies of requests: every parameter that a route knows, and what it takes."""

from __future__ import annotations

from apex_llm_gateway.openapi.forms import (
    ANYTHING,
    COUNT,
    FLAG,
    NAME,
    NUMBER,
    OBJECT,
    TEXT,
    WHOLE,
    Schema,
    described,
    either,
    items,
    members,
    nullable,
    one,
    ref,
    words,
)

_POSITIVE: Schema = {"type": "integer", "minimum": 1}
_SOMETHING: Schema = {**TEXT, "minLength": 1}
_PENALTY: Schema = {**NUMBER, "minimum": -2, "maximum": 2}
_MODEL = described(NAME, 'A model of GET /v1/models, or "provider/model" to choose the provider.')
_STREAM = described(FLAG, "Send the answer in pieces as it comes, as server-sent events.")
_STREAM_OPTIONS = members(
    {}, {"include_usage": nullable(described(FLAG, "A last frame tells the usage; with it, all others say null."))}
)
_CHOICES = described({**_POSITIVE, "maximum": 128}, "How many alternative answers.")
_STOP = described(either(TEXT, items(TEXT)), "Texts that end the answer.")
_SAMPLING: dict[str, Schema] = {
    "frequency_penalty": _PENALTY,
    "max_tokens": described(_POSITIVE, "Of the answer."),
    "n": _CHOICES,
    "presence_penalty": _PENALTY,
    "seed": WHOLE,
    "stop": _STOP,
    "temperature": {**NUMBER, "minimum": 0},
    "top_p": {**NUMBER, "minimum": 0, "maximum": 1},
    "user": described(TEXT, "The end user's id, for the provider's abuse detection. It decides nothing here."),
    "stream": _STREAM,
    "stream_options": _STREAM_OPTIONS,
}
_FUNCTION = members(
    {"name": NAME},
    {
        "description": nullable(TEXT),
        "parameters": nullable(described(OBJECT, "A JSON Schema of the arguments.")),
        "strict": nullable(FLAG),
    },
)
_RESPONSE_FORMAT = either(
    members({"type": words("text", "json_object")}),
    members(
        {
            "type": one("json_schema"),
            "json_schema": members({"name": NAME, "schema": OBJECT}, {"strict": nullable(FLAG)}),
        }
    ),
)


def _body(required: dict[str, Schema], optional: dict[str, Schema], passed: tuple[str, ...]) -> Schema:
    beyond = dict.fromkeys(passed, described(ANYTHING, "Goes to the provider as it is."))
    return members(required, {name: nullable(schema) for name, schema in optional.items()} | beyond)


REQUEST_SCHEMAS: dict[str, Schema] = {
    "ChatCompletionRequest": _body(
        {"model": _MODEL, "messages": items(ref("Message"), least=1)},
        {
            **_SAMPLING,
            "function_call": described(
                either(words("auto", "none"), members({"name": NAME})), "The older `tool_choice`."
            ),
            "functions": described(items(ref("Function")), "The older `tools`."),
            "logprobs": FLAG,
            "max_completion_tokens": described(_POSITIVE, "The newer `max_tokens`, which it overrules."),
            "parallel_tool_calls": FLAG,
            "reasoning_effort": described(
                TEXT, '"minimal", "low", "medium", "high", or a word of the provider\'s own.'
            ),
            "response_format": ref("ResponseFormat"),
            "tool_choice": either(
                words("auto", "none", "required"),
                members({"type": one("function"), "function": members({"name": NAME})}),
            ),
            "tools": items(members({"type": one("function"), "function": ref("Function")})),
            "top_logprobs": COUNT,
        },
        (
            *("audio", "logit_bias", "metadata", "modalities", "moderation", "prediction", "prompt_cache_key"),
            *("prompt_cache_options", "prompt_cache_retention", "safety_identifier", "service_tier", "store"),
            *("verbosity", "web_search_options"),
        ),
    ),
    "CompletionRequest": _body(
        {
            "model": _MODEL,
            "prompt": described(
                either(_SOMETHING, items(_SOMETHING, least=1, most=2048)),
                "Texts; token ids mean nothing across models.",
            ),
        },
        {
            **_SAMPLING,
            "echo": described(FLAG, "The prompt stands before the answer."),
            "logprobs": described(COUNT, "How many of the most likely tokens to tell."),
        },
        ("best_of", "logit_bias", "suffix"),
    ),
    "EmbeddingsRequest": _body(
        {
            "model": _MODEL,
            "input": described(
                either(_SOMETHING, items(_SOMETHING, least=1, most=2048)),
                "Texts; token ids mean nothing across models.",
            ),
        },
        {
            "dimensions": _POSITIVE,
            "encoding_format": words("float", "base64"),
            "user": _SAMPLING["user"],
        },
        (),
    ),
    "ImageRequest": _body(
        {"prompt": {**TEXT, "pattern": r"\S"}},
        {
            "model": _MODEL,
            "n": _CHOICES,
            "partial_images": described(one(0), "Images are not streamed."),
            "quality": TEXT,
            "response_format": described(words("url", "b64_json"), "A wish; models give either the one or the other."),
            "seed": WHOLE,
            "size": described(TEXT, '"WIDTHxHEIGHT" in pixels, or "auto".'),
            "stream": described(one(False), "Images are not streamed."),
            "style": TEXT,
            "user": _SAMPLING["user"],
        },
        (
            *("background", "complexity", "frame_count", "frame_duration_ms", "moderation", "output_compression"),
            *("output_format", "safety_identifier", "svg"),
        ),
    ),
    "Function": _FUNCTION,
    "ResponseFormat": _RESPONSE_FORMAT,
}


__all__ = ["REQUEST_SCHEMAS"]
