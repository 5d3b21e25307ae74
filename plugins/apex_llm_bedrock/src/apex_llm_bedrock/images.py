"""Images: drawn from a prompt, or made from others. A good status says nothing yet: filters answer with it, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from apex_llm_bedrock.answers import request_id_of
from apex_llm_bedrock.bodies import large_body, written
from apex_llm_bedrock.image_formats import Drawn, image_calls, media_type, read_drawn
from apex_llm_bedrock.invoke_headers import invoke_headers
from apex_llm_bedrock.paid_calls import paid_calls
from apex_llm_core.context import CallContext
from apex_llm_core.errors import ContentFilterError
from apex_llm_core.models import ImageGenerationResult, ImageRequest

if TYPE_CHECKING:
    from apex_llm_bedrock.client import BedrockClient
    from apex_llm_bedrock.models import Model
    from apex_llm_bedrock.settings import BedrockSettings


async def generate_images(
    client: BedrockClient,
    request: ImageRequest,
    context: CallContext,
    *,
    model: Model,
    provider: str,
    model_name: str,
    settings: BedrockSettings,
) -> ImageGenerationResult:
    """Make or change images; a model that makes one a call is called as often as it takes.

    Of several images those are returned that no filter held back; `details` has then what the service said of the others.

    Raises:
        ContentFilterError: a filter held back all images.
        LLMError: a call failed.
    """
    calls = image_calls(
        request,
        kind=model.family.image,
        base=model.base or model.family.name,
        model_name=model.name,
        unsupported=settings.policy,
    )

    options = request.options
    headers = invoke_headers(settings, options.user)
    parts = [*(options.images or ()), *([options.mask] if options.mask is not None else [])]
    size = len(request.prompt) + sum(len(part.data or "") for part in parts)

    fingerprint = (await written(size, _fingerprint, calls.documents)).hex()

    async def call(position: int) -> tuple[Drawn, str | None]:
        document = calls.documents[position]
        response = await client.call(model, "invoke", document, context, headers=headers, size=size)
        drawn = read_drawn(await client.read(response), response.headers)
        return drawn, request_id_of(response.headers)

    answers = await paid_calls(
        range(len(calls.documents)),
        call,
        concurrency=settings.embedding_concurrency,
        context=context,
        # Somebody on the way may ask again with another prompt.
        purpose=f"{provider} image {model.id.path} {fingerprint}",
    )
    images = tuple(image for drawn, _ in answers for image in drawn.images)
    held_back = [said for drawn, _ in answers for said in drawn.held_back]
    if not images:
        raise ContentFilterError(
            f"a content filter held back the images: {held_back[0][:500]}; change the prompt or the picture",
            status_code=200,
            request_id=answers[0][1],
            details={"held_back": held_back},
        )
    details: dict[str, Any] = {}
    if held_back:
        details["held_back"] = held_back
    seeds = [seed for drawn, _ in answers for seed in drawn.seeds]
    if seeds:
        details["seeds"] = seeds
    if calls.dropped:
        details["dropped_parameters"] = list(calls.dropped)
    return ImageGenerationResult(
        images=images,
        model=model_name,
        provider=provider,
        media_type=media_type(images[0]) or "image/png",
        request_id=answers[0][1],
        details=details or None,
    )


def _fingerprint(documents: Sequence[Mapping[str, Any]]) -> bytes:
    return sha256(b"\n".join(map(large_body, documents))).digest()


__all__ = ["generate_images"]
