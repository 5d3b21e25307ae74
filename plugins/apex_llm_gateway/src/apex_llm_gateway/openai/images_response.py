"""The answer to ``POST /v1/images/generations``."""

from __future__ import annotations

from typing import Any

from apex_llm_core.models import ImageGenerationResult, Usage
from apex_llm_gateway.openai.jsontext import member, quote

#: What OpenAI's API calls the formats it has.
_FORMATS = frozenset({"png", "webp", "jpeg", "gif", "svg"})


def images_body(result: ImageGenerationResult, *, created: int) -> bytes:
    """Return *result* as a list of images: base64 text, or URLs where the provider stores them.

    Args:
        result: what the manager answered.
        created: in unix seconds.
    """
    media_type = result.media_type or ""
    name = b'"b64_json":' if media_type else b'"url":'
    images = [
        b"{%b%b%b}" % (name, quote(image), told) for image, told in zip(result.images, _prompts(result), strict=True)
    ]
    form = media_type.removeprefix("image/").removesuffix("+xml") if media_type.startswith("image/") else ""
    return b'{"created":%d,"data":[%b]%b%b}' % (
        created,
        b",".join(images),
        b',"output_format":' + quote(form) if form in _FORMATS else b"",
        b"" if result.usage is None else b"," + member("usage", _usage(result.usage)),
    )


def _prompts(result: ImageGenerationResult) -> list[bytes]:
    """Return the member for each image that tells what the provider made of the prompt."""
    entries = (result.details or {}).get("images")
    # Where a filter held images back, nobody can tell whose prompts these are.
    if not isinstance(entries, list) or len(entries) != len(result.images):
        return [b""] * len(result.images)
    revised = [entry.get("revised_prompt") if isinstance(entry, dict) else None for entry in entries]
    return [b',"revised_prompt":' + quote(prompt) if isinstance(prompt, str) else b"" for prompt in revised]


def _usage(usage: Usage) -> dict[str, Any]:
    told: dict[str, Any] = {
        "input_tokens": usage.prompt_tokens,
        # Nothing but a text can be sent to this route.
        "input_tokens_details": {"text_tokens": usage.prompt_tokens, "image_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }
    return {**told, "estimated": True} if usage.estimated else told


__all__ = ["images_body"]
