"""Images: drawn from a hash of the prompt (and of the images to edit), for gpt-image models and for dall-e-3."""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from apex_llm_mock import images, tokens
from apex_llm_mock.emulation.azure.errors import refusal
from apex_llm_mock.emulation.azure.filters import prompt_verdict, severities
from apex_llm_mock.emulation.azure.models import BaseModel
from apex_llm_mock.emulation.incoming import Upload
from apex_llm_mock.emulation.jpeg import encode_grey

LARGEST_FILE = 50 * 2**20
LARGEST_MASK = 4 * 2**20
MOST_FILES = 16
MOST_IMAGES = 10
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_SIZE = re.compile(r"(\d+)x(\d+)")
_COMMON = {"prompt": None, "model": None, "user": None, "n": None}
#: The parameters of each family with the values they take; None: checked on its own, or free.
_GPT_IMAGE: dict[str, tuple[str, ...] | None] = {
    **_COMMON,
    "size": ("1024x1024", "1024x1536", "1536x1024", "auto"),
    "quality": ("low", "medium", "high", "auto"),
    "background": ("transparent", "opaque", "auto"),
    "output_format": ("png", "jpeg"),
    "output_compression": None,
    "moderation": ("low", "auto"),
}
_EDIT: dict[str, tuple[str, ...] | None] = {**_GPT_IMAGE, "input_fidelity": ("low", "high")}
_DALL_E: dict[str, tuple[str, ...] | None] = {
    **_COMMON,
    "size": ("1024x1024", "1792x1024", "1024x1792"),
    "quality": ("standard", "hd"),
    "style": ("vivid", "natural"),
    "response_format": ("url", "b64_json"),
}


#: Keeps an image and returns the URL it can be fetched from.
Publish = Callable[[bytes], str]


async def generated(
    body: Mapping[str, Any], model: BaseModel, *, seed: int, created: int, publish: Publish
) -> dict[str, Any]:
    """Return the answer to an images request.

    Raises:
        RefusedError: Azure would not serve it.
    """
    _check_model(model)
    dall_e = model.name.startswith("dall-e")
    _check(body, _DALL_E if dall_e else _GPT_IMAGE)
    if dall_e and body.get("n", 1) != 1:
        raise refusal("The following field values are invalid: n. Expected 1.", code="invalid_value", param="n")
    drawn = await _drawn(body, f"{seed}")
    if not dall_e:
        return _document(body, drawn, created, input_images=0)
    data = []
    for picture in drawn:
        where = (
            {"b64_json": b64encode(picture).decode()}
            if body.get("response_format") == "b64_json"
            else {"url": publish(picture)}
        )
        data.append(
            {
                **where,
                "revised_prompt": f"An image of: {body['prompt']}",
                "content_filter_results": severities(),
                "prompt_filter_results": {**prompt_verdict(), "profanity": {"filtered": False, "detected": False}},
            }
        )
    return {"created": created, "data": data}


async def edited(
    fields: Mapping[str, str],
    pictures: Sequence[Upload],
    mask: Upload | None,
    model: BaseModel,
    *,
    seed: int,
    created: int,
) -> dict[str, Any]:
    """Return the answer to a form with *pictures* to edit.

    Raises:
        RefusedError: Azure would not serve it.
    """
    _check_model(model)
    if model.name.startswith("dall-e"):
        raise refusal(
            "The images/edits operation does not work with the specified model.", code="OperationNotSupported"
        )
    numbers = {name: _integer(name, fields[name]) for name in ("n", "output_compression") if name in fields}
    body: dict[str, Any] = {**fields, **numbers}
    _check(body, _EDIT)
    if not pictures:
        raise refusal("Missing required parameter: 'image'.", code="missing_required_parameter", param="image")
    if len(pictures) > MOST_FILES:
        raise refusal(f"Too many images: at most {MOST_FILES} can be edited.", code="invalid_value", param="image")
    for picture in pictures:
        if not picture.data.startswith((_PNG, _JPEG)):
            raise refusal(
                f"Invalid file '{picture.name}': unsupported mimetype ('{picture.media_type}'). Supported file formats are "
                "'image/jpeg' and 'image/png'.",
                code="unsupported_file_mimetype",
                param="image",
            )
        if len(picture.data) >= LARGEST_FILE:
            raise refusal(
                f"Invalid file '{picture.name}': must be less than 50 MB.", code="invalid_image", param="image"
            )
    if mask is not None:
        _check_mask(mask, pictures[0])
    digests = [blake2b(upload.data, digest_size=16).hexdigest() for upload in pictures]
    masked = blake2b(mask.data, digest_size=16).hexdigest() if mask is not None else ""
    drawn = await _drawn(body, f"{seed}/{digests}/{masked}")
    return _document(body, drawn, created, input_images=len(pictures))


def _check_model(model: BaseModel) -> None:
    if model.kind != "images":
        raise refusal(
            f"The imageGeneration operation does not work with the specified model, {model.name}. Please choose different "
            "model and try again.",
            code="OperationNotSupported",
        )


def _check(body: Mapping[str, Any], known: Mapping[str, tuple[str, ...] | None]) -> None:
    for name, value in body.items():
        if name not in known:
            raise refusal(f"Unknown parameter: '{name}'.", code="unknown_parameter", param=name)
        choices = known[name]
        if choices is not None and value is not None and value not in choices:
            raise refusal(
                f"Invalid value: {value!r}. Supported values are: {', '.join(map(repr, choices))}.",
                code="invalid_value",
                param=name,
            )
    prompt = body.get("prompt")
    if not isinstance(prompt, str) or not prompt:
        raise refusal("Missing required parameter: 'prompt'.", code="missing_required_parameter", param="prompt")
    if len(prompt) > 32_000:
        raise refusal(
            f"Invalid 'prompt': string too long. Expected a string with maximum length 32000, but got a string with length "
            f"{len(prompt)} instead.",
            code="string_above_max_length",
            param="prompt",
        )
    amount = body.get("n")
    if amount is not None and (type(amount) is not int or not 1 <= amount <= MOST_IMAGES):
        raise refusal(f"Invalid 'n': expected 1 to {MOST_IMAGES}, but got {amount!r}.", code="invalid_value", param="n")
    compression = body.get("output_compression")
    if compression is not None and (
        type(compression) is not int or not 0 <= compression <= 100 or body.get("output_format") != "jpeg"
    ):
        raise refusal(
            "Invalid 'output_compression': expected 0 to 100, together with the output_format 'jpeg'.",
            code="invalid_value",
            param="output_compression",
        )
    if body.get("background") == "transparent" and body.get("output_format") == "jpeg":
        raise refusal(
            "Transparent background is not supported for the output_format 'jpeg'.",
            code="invalid_value",
            param="background",
        )


def _check_mask(mask: Upload, picture: Upload) -> None:
    if not mask.data.startswith(_PNG) or len(mask.data) >= LARGEST_MASK:
        raise refusal(
            "Invalid mask image: it must be a PNG of less than 4 MB.", code="invalid_mask_image_format", param="mask"
        )
    if picture.data.startswith(_PNG) and _png_size(mask.data) != _png_size(picture.data):
        raise refusal(
            "Invalid mask image format - mask size does not match image size.",
            code="invalid_mask_image_format",
            param="mask",
        )


def _png_size(data: bytes) -> bytes:
    # Width and height follow the length and the name of the first chunk.
    return data[16:24]


async def _drawn(body: Mapping[str, Any], key: str) -> list[bytes]:
    width, height = _extent(body)
    key = f"{key}/{body.get('quality')}/{body.get('style')}/{body['prompt']}"
    drawn = []
    for index in range(body.get("n") or 1):
        if body.get("output_format") == "jpeg":
            drawn.append(encode_grey(f"{key}/{index}", width, height))
        else:
            drawn.append(images.draw(f"{key}/{index}", width, height))
        await asyncio.sleep(0)
    return drawn


def _extent(body: Mapping[str, Any]) -> tuple[int, int]:
    found = _SIZE.fullmatch(body.get("size") or "")
    return (int(found[1]), int(found[2])) if found else (1024, 1024)


def _document(body: Mapping[str, Any], drawn: list[bytes], created: int, *, input_images: int) -> dict[str, Any]:
    width, height = _extent(body)
    text = tokens.count(body["prompt"])
    seen = input_images * tokens.TOKENS_PER_IMAGE
    out = len(drawn) * images.tokens(width, height)
    return {
        "created": created,
        "background": body.get("background") if body.get("background") in ("transparent", "opaque") else "opaque",
        "output_format": body.get("output_format") or "png",
        "quality": body.get("quality") if body.get("quality") in ("low", "medium", "high") else "high",
        "size": f"{width}x{height}",
        "data": [{"b64_json": b64encode(picture).decode()} for picture in drawn],
        "usage": {
            "input_tokens": text + seen,
            "input_tokens_details": {"image_tokens": seen, "text_tokens": text},
            "output_tokens": out,
            "total_tokens": text + seen + out,
        },
    }


def _integer(name: str, value: str) -> int:
    try:
        return int(value)
    except ValueError as error:
        raise refusal(
            f"Invalid type for '{name}': expected an integer, but got a string instead.",
            code="invalid_type",
            param=name,
        ) from error


__all__ = [
    "LARGEST_FILE",
    "LARGEST_MASK",
    "MOST_FILES",
    "MOST_IMAGES",
    "Publish",
    "edited",
    "generated",
]
