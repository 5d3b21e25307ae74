"""The body of ``POST /v1/completions``."""

from __future__ import annotations

from typing import Any

import attrs

from apex_llm_core.models import TextGenerationOptions
from apex_llm_gateway.openai import fields
from apex_llm_gateway.openai.parameters import Parameters, add_model, body_of, built, streaming
from apex_llm_gateway.openai.rules import ParameterError, Rules
from apex_llm_gateway.openai.texts import read_texts

#: Prompts of one request, at most: each is a call.
MOST_PROMPTS = 2048


@attrs.frozen(kw_only=True)
class CompletionRequest:
    """What a body asks for: the same of every prompt."""

    prompts: tuple[str, ...]
    options: TextGenerationOptions
    stream: bool = False
    #: A last frame with the usage is wanted.
    include_usage: bool = False
    #: The prompt is to stand before the answer.
    echo: bool = False


#: Those that OpenAI's API has, with what becomes of them.
PARAMETERS = Parameters(
    route="/v1/completions",
    options=(
        *("frequency_penalty", "max_tokens", "n", "presence_penalty", "seed", "stop", "temperature", "top_p"),
        "user",
    ),
    read=frozenset({"echo", "logprobs", "model", "prompt", "stream", "stream_options"}),
    passed=frozenset({"best_of", "logit_bias", "suffix"}),
)


def read_completion(document: Any, rules: Rules) -> CompletionRequest:
    """Return what the decoded body *document* asks for; null counts as absent.

    Raises:
        ParameterError: it cannot be understood, or *rules* forbid it; `param` is the place.
    """
    body = body_of(document)
    found = PARAMETERS.sort(body, rules)
    add_model(found, body, rules)
    prompts = read_texts(fields.given(body, "prompt", ""), "prompt")
    if len(prompts) > MOST_PROMPTS:
        raise ParameterError(f"prompt has {len(prompts)} texts; at most {MOST_PROMPTS} are taken", param="prompt")
    _add_logprobs(found, body)
    stream, include_usage = streaming(body)
    return CompletionRequest(
        prompts=prompts,
        options=built(TextGenerationOptions, found, {"top_logprobs": "logprobs"}),
        stream=stream,
        include_usage=include_usage,
        echo=fields.flag(body.get("echo"), "echo"),
    )


def _add_logprobs(found: dict[str, Any], body: fields.Json) -> None:
    count = body.get("logprobs")
    if count is None:
        return
    if type(count) is bool:
        raise ParameterError(
            "logprobs: expected the number of most likely tokens, not a boolean; it is one in /v1/chat/completions",
            param="logprobs",
        )
    found["logprobs"] = True
    found["top_logprobs"] = count


__all__ = ["MOST_PROMPTS", "PARAMETERS", "CompletionRequest", "read_completion"]
