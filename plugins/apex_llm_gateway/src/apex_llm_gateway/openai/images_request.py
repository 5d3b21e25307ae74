"""The body of ``POST /v1/images/generations``."""

from __future__ import annotations

from typing import Any

import attrs

from apex_llm_core.models import ImageGenerationOptions
from apex_llm_gateway.openai import fields
from apex_llm_gateway.openai.parameters import Parameters, add_model, body_of, built
from apex_llm_gateway.openai.rules import ParameterError, Rules


@attrs.frozen(kw_only=True)
class ImageRequest:
    """What a body asks for."""

    prompt: str
    options: ImageGenerationOptions


#: Those that OpenAI's API has, and `seed`, with what becomes of them.
PARAMETERS = Parameters(
    route="/v1/images/generations",
    options=("n", "quality", "seed", "size", "style", "user"),
    read=frozenset({"model", "partial_images", "prompt", "response_format", "stream"}),
    passed=frozenset(
        {
            *("background", "complexity", "frame_count", "frame_duration_ms", "moderation", "output_compression"),
            *("output_format", "safety_identifier", "svg"),
        }
    ),
)


def read_image(document: Any, rules: Rules) -> ImageRequest:
    """Return what the decoded body *document* asks for; null counts as absent.

    Raises:
        ParameterError: it cannot be understood, or *rules* forbid it; `param` is the place.
    """
    body = body_of(document)
    found = PARAMETERS.sort(body, rules)
    add_model(found, body, rules, required=False)
    prompt = fields.text(fields.given(body, "prompt", ""), "prompt")
    if not prompt.strip():
        raise ParameterError("prompt is empty; there is nothing to draw", param="prompt")
    if fields.flag(body.get("stream"), "stream"):
        raise ParameterError("stream: images are not streamed here; leave it out", param="stream")
    if body.get("partial_images"):
        raise ParameterError("partial_images: images are not streamed here; leave it out", param="partial_images")
    if found.get("size") == "auto":
        del found["size"]
    wish = body.get("response_format")
    if wish is not None:
        # A wish only, and not the provider's business: models give either the one or the other.
        fields.word(wish, "response_format", ("url", "b64_json"))
    return ImageRequest(prompt=prompt, options=built(ImageGenerationOptions, found))


__all__ = ["PARAMETERS", "ImageRequest", "read_image"]
