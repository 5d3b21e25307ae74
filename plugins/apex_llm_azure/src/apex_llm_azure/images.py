"""Images: drawn from a prompt, or changed (edits, by multipart)."""

from __future__ import annotations

import asyncio
import binascii
from base64 import b64decode
from collections.abc import Mapping
from typing import Any, Literal

from apex_llm_azure.answers import count_of, malformed, request_id_of
from apex_llm_azure.client import JSON, AzureClient, body_of
from apex_llm_azure.deployments import Deployment
from apex_llm_azure.filters import filtered
from apex_llm_azure.multipart import Field, multipart
from apex_llm_azure.requests import add_extra, refuse_dropped
from apex_llm_core.context import CallContext
from apex_llm_core.converters import encode
from apex_llm_core.errors import ContentFilterError, InvalidRequestError, UnsupportedParameterError
from apex_llm_core.models import ImageGenerationResult, ImagePart, ImageRequest, Usage

_ENDINGS = {"image/png": "png", "image/jpeg": "jpg", "image/jpg": "jpg", "image/webp": "webp"}
#: What `extra` may not set, since it would contradict the request itself.
_OURS = frozenset({"model", "prompt", "image", "image[]", "mask", "stream", "partial_images"})


async def generate_images(
    client: AzureClient,
    request: ImageRequest,
    context: CallContext,
    *,
    deployment: Deployment,
    provider: str,
    model: str,
    unsupported: Literal["error", "drop"],
) -> ImageGenerationResult:
    """Make or change images by one call.

    Raises:
        ContentFilterError: an image was held back.
        LLMError: the call failed.
    """
    document, dropped = _document(request, deployment, unsupported)
    if request.options.images:
        if not deployment.dialect.image_edits:
            raise UnsupportedParameterError(
                "this api_version cannot change images; set api_version = '2025-04-01-preview', or use the v1 surface",
                parameters=["images"],
            )
        # Base64 of pictures is megabytes of work.
        body, content_type = await asyncio.to_thread(_form, request, document)
        url = client.endpoint.url("images/edits", deployment.name)
    else:
        body, content_type = body_of(document), JSON
        url = client.endpoint.url("images/generations", deployment.name)
    response = await client.post(url, body, context, content_type=content_type)
    return _result(
        await client.read(response),
        response.headers,
        model=model,
        provider=provider,
        output_format=str(document.get("output_format", "png")),
        dropped=dropped,
    )


def _document(
    request: ImageRequest, deployment: Deployment, unsupported: Literal["error", "drop"]
) -> tuple[dict[str, Any], list[str]]:
    options = request.options
    older = deployment.family.name.startswith("dall-e")
    document: dict[str, Any] = {"model": deployment.name, "prompt": request.prompt}
    dropped: list[str] = []
    for name in ("n", "size", "quality", "user"):
        value = getattr(options, name)
        if value is not None:
            document[name] = value
    if options.style is not None:
        if older:
            document["style"] = options.style
        else:
            dropped.append("style")
    if options.seed is not None:
        dropped.append("seed")
    if older:
        # The newer family always answers so, and refuses to be told.
        document["response_format"] = "b64_json"
    if unsupported == "error":
        refuse_dropped(dropped, deployment.name)
    add_extra(document, options.extra, ours=_OURS)
    return document, dropped


def _form(request: ImageRequest, document: Mapping[str, Any]) -> tuple[bytes, str]:
    fields = [_field(name, value) for name, value in document.items()]
    images = request.options.images or ()
    fields += [_file("image[]", image, f"image-{position}") for position, image in enumerate(images)]
    if request.options.mask is not None:
        fields.append(_file("mask", request.options.mask, "mask"))
    return multipart(fields)


def _field(name: str, value: Any) -> Field:
    try:
        return Field(name, value.encode() if isinstance(value, str) else encode(value))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequestError(f"{name} cannot be written into a form: {error}") from error


def _file(name: str, image: ImagePart, stem: str) -> Field:
    media_type = image.media_type or ""
    ending = _ENDINGS.get(media_type)
    if ending is None:
        raise UnsupportedParameterError(
            f"{name}: images of type {media_type!r} are not taken; use {', '.join(_ENDINGS)}",
            parameters=["mask" if name == "mask" else "images"],
        )
    try:
        data = b64decode(image.data or "", validate=True)
    except binascii.Error as error:
        raise InvalidRequestError(f"{name}: the data is no base64: {error}") from error
    return Field(name, data, f"{stem}.{ending}", media_type)


def _result(
    document: Mapping[str, Any],
    headers: Mapping[str, str],
    *,
    model: str,
    provider: str,
    output_format: str,
    dropped: list[str],
) -> ImageGenerationResult:
    entries = document.get("data")
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise malformed("without a list of images", headers)
    found = [(entry.get("b64_json") or entry.get("url"), entry) for entry in entries]
    images = [image for image, _ in found if image]
    held_back = [entry for image, entry in found if not image]
    if not all(_is_held_back(entry) for entry in held_back):
        raise malformed("with an entry that has no image", headers)
    if not images:
        raise ContentFilterError(
            "the images were held back by a content filter; change the prompt",
            status_code=200,
            request_id=request_id_of(headers),
            details={name: held_back[0][name] for name in _FILTERS if name in held_back[0]},
        )
    if not all(isinstance(image, str) for image in images):
        raise malformed("with an image that is no text", headers)
    encoded = any("b64_json" in entry for entry in entries)
    kept = [{name: entry[name] for name in ("revised_prompt", *_FILTERS) if entry.get(name)} for entry in entries]
    details: dict[str, Any] = {"images": kept} if any(kept) else {}
    if dropped:
        details["dropped_parameters"] = dropped
    return ImageGenerationResult(
        images=tuple(images),
        model=model,
        provider=provider,
        media_type=f"image/{document.get('output_format') or output_format}" if encoded else None,
        usage=_usage(document.get("usage")),
        request_id=request_id_of(headers),
        details=details or None,
    )


_FILTERS = ("content_filter_results", "prompt_filter_results")


def _is_held_back(entry: Mapping[str, Any]) -> bool:
    return any(filtered(entry.get(name)) for name in _FILTERS)


def _usage(usage: Any) -> Usage | None:
    try:
        return Usage(prompt_tokens=count_of(usage["input_tokens"]), completion_tokens=count_of(usage["output_tokens"]))
    except (KeyError, TypeError):
        # Images that were paid for are worth more than their count.
        return None


__all__ = ["generate_images"]
