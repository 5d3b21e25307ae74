"""Answers in OpenAI's form, and errors."""

from __future__ import annotations

from apex_llm_gateway.openapi.forms import (
    AMOUNT,
    ANYTHING,
    COUNT,
    NULL,
    NUMBER,
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
    table,
    words,
)

_CREATED = described(WHOLE, "Unix seconds.")
_ESTIMATED = {"estimated": described(one(True), "Counted here, since the provider did not tell.")}
_NATIVE = {"native_finish_reason": described(TEXT, "The provider's own word, where none of OpenAI's fits.")}
_SERVICE: dict[str, Schema] = {
    "system_fingerprint": TEXT,
    "service_tier": words("auto", "default", "flex", "scale", "priority", "fast"),
}
_USAGE = described(ref("Usage"), "Left out where the provider tells nothing.")
_ENTRY: dict[str, Schema] = {"token": TEXT, "logprob": NUMBER, "bytes": nullable(items(COUNT))}
_CALL: dict[str, Schema] = {"name": TEXT, "arguments": described(TEXT, "JSON, as the model wrote it.")}
#: What a message and a delta have beyond OpenAI's members.
_BESIDE: dict[str, Schema] = {
    "reasoning_content": TEXT,
    "reasoning_details": described(items(ref("Reasoning")), "Send them back with the message."),
    "audio": ANYTHING,
    "context": described(ANYTHING, "What the provider looked up."),
}
_FINISH = words("stop", "length", "tool_calls", "content_filter", "function_call")
_COMPLETION_FINISH = words("stop", "length", "content_filter")

_MESSAGE = members(
    {
        "role": one("assistant"),
        "content": described(nullable(TEXT), "null where there are only calls, or a refusal."),
        "refusal": nullable(TEXT),
    },
    {
        "tool_calls": items(ref("ToolCall")),
        "function_call": described(members(_CALL), "For requests with `functions`."),
        **_BESIDE,
    },
)
_DELTA = members(
    {},
    {
        "role": one("assistant"),
        "content": nullable(TEXT),
        "refusal": nullable(TEXT),
        "tool_calls": items(
            members(
                {"index": COUNT, "function": members({"arguments": TEXT}, {"name": TEXT})},
                {"id": TEXT, "type": one("function")},
            )
        ),
        "function_call": members({"arguments": TEXT}, {"name": TEXT}),
        **_BESIDE,
    },
)
_STREAM_END: dict[str, Schema] = {
    "usage": described(either(ref("Usage"), NULL), "With `include_usage`: null, and in the last frame the usage."),
    "x_apex": described(
        members({"provider": nullable(TEXT), "model": TEXT, "attempts": COUNT}, {"cost": AMOUNT}),
        "In the last frame, with `include_usage`: what the headers of a whole answer tell.",
    ),
}

ANSWER_SCHEMAS: dict[str, Schema] = {
    "ChatCompletion": members(
        {
            "id": TEXT,
            "object": one("chat.completion"),
            "created": _CREATED,
            "model": described(TEXT, "Which answered."),
            "choices": items(
                members(
                    {"index": COUNT, "message": _MESSAGE, "logprobs": ref("ChatLogprobs"), "finish_reason": _FINISH},
                    _NATIVE,
                ),
                least=1,
            ),
        },
        {"usage": _USAGE, **_SERVICE},
    ),
    "ChatCompletionChunk": members(
        {
            "id": TEXT,
            "object": one("chat.completion.chunk"),
            "created": _CREATED,
            "model": TEXT,
            "choices": items(
                members(
                    {
                        "index": COUNT,
                        "delta": _DELTA,
                        "logprobs": ref("ChatLogprobs"),
                        "finish_reason": either(_FINISH, NULL),
                    },
                    _NATIVE,
                )
            ),
        },
        {**_STREAM_END, **_SERVICE},
    ),
    "Completion": members(
        {
            "id": TEXT,
            "object": one("text_completion"),
            "created": _CREATED,
            "model": TEXT,
            "choices": items(
                members(
                    {
                        "index": COUNT,
                        "text": TEXT,
                        "logprobs": ref("CompletionLogprobs"),
                        "finish_reason": _COMPLETION_FINISH,
                    },
                    _NATIVE,
                ),
                least=1,
            ),
        },
        {"usage": _USAGE, **_SERVICE},
    ),
    "CompletionChunk": members(
        {
            "id": TEXT,
            "object": one("text_completion"),
            "created": _CREATED,
            "model": TEXT,
            "choices": items(
                members(
                    {
                        "index": COUNT,
                        "text": TEXT,
                        "logprobs": ref("CompletionLogprobs"),
                        "finish_reason": either(_COMPLETION_FINISH, NULL),
                    },
                    _NATIVE,
                )
            ),
        },
        {**_STREAM_END, **_SERVICE},
    ),
    "Embeddings": members(
        {
            "object": one("list"),
            "data": items(
                members(
                    {
                        "object": one("embedding"),
                        "index": COUNT,
                        "embedding": either(items(NUMBER), described(TEXT, "Base64 of little-endian 32-bit numbers.")),
                    }
                ),
                least=1,
            ),
            "model": TEXT,
        },
        {"usage": members({"prompt_tokens": COUNT, "total_tokens": COUNT}, _ESTIMATED)},
    ),
    "Images": members(
        {
            "created": _CREATED,
            "data": items(
                either(
                    members({"b64_json": TEXT}, {"revised_prompt": TEXT}),
                    members({"url": TEXT}, {"revised_prompt": TEXT}),
                )
            ),
        },
        {
            "output_format": described(TEXT, '"png", "jpeg", …; not of URLs.'),
            "usage": members(
                {
                    "input_tokens": COUNT,
                    "input_tokens_details": members({"text_tokens": COUNT, "image_tokens": COUNT}),
                    "output_tokens": COUNT,
                    "total_tokens": COUNT,
                },
                _ESTIMATED,
            ),
        },
    ),
    "Model": members(
        {
            "id": TEXT,
            "object": one("model"),
            "created": described(WHOLE, "When the gateway began, in unix seconds."),
            "owned_by": described(TEXT, "The provider that serves it first."),
        }
    ),
    "Models": members({"object": one("list"), "data": items(ref("Model"))}),
    "ToolCall": members({"id": TEXT, "type": one("function"), "function": members(_CALL)}),
    "Usage": members(
        {
            "prompt_tokens": COUNT,
            "completion_tokens": COUNT,
            "total_tokens": COUNT,
            "prompt_tokens_details": members({"cached_tokens": COUNT}, {"cache_write_tokens": COUNT}),
            "completion_tokens_details": members({"reasoning_tokens": COUNT}),
        },
        _ESTIMATED,
    ),
    "ChatLogprobs": nullable(
        members({"content": nullable(items(ref("TokenLogprob"))), "refusal": nullable(items(ref("TokenLogprob")))})
    ),
    "TokenLogprob": members({**_ENTRY, "top_logprobs": items(members(_ENTRY))}),
    "CompletionLogprobs": nullable(
        members(
            {
                "tokens": items(TEXT),
                "token_logprobs": items(NUMBER),
                "top_logprobs": nullable(items(table(NUMBER))),
                "text_offset": items(COUNT),
            }
        )
    ),
}


__all__ = ["ANSWER_SCHEMAS"]
