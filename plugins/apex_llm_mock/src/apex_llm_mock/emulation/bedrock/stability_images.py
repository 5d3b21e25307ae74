"""Images by Stability's models: one for each call, and a reason instead of an image when a filter strikes."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from hashlib import blake2b
from types import MappingProxyType
from typing import Any

from apex_llm_mock import tokens
from apex_llm_mock.emulation.bedrock import filters
from apex_llm_mock.emulation.bedrock.base_model import BaseModel
from apex_llm_mock.emulation.bedrock.errors import invalid
from apex_llm_mock.emulation.bedrock.filters import Blocked
from apex_llm_mock.emulation.bedrock.invoked import Invoked
from apex_llm_mock.emulation.bedrock.malformed import body_schema, check_body, malformed
from apex_llm_mock.emulation.bedrock.pictures_in import read_base64
from apex_llm_mock.emulation.jpeg import encode_grey
from apex_llm_mock.images import draw

LONGEST_PROMPT = 10_000
LARGEST_SEED = 4_294_967_295
#: Pixels of each aspect ratio.
SIZES: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "1:1": (1_024, 1_024),
        "16:9": (1_344, 768),
        "21:9": (1_536, 640),
        "2:3": (832, 1_216),
        "3:2": (1_216, 832),
        "4:5": (896, 1_088),
        "5:4": (1_088, 896),
        "9:16": (768, 1_344),
        "9:21": (640, 1_536),
    }
)
#: Why there is no image. With output filters some answers hold no list of images at all.
REASONS: Mapping[Blocked, str] = MappingProxyType(
    {
        "prompt": "Filter reason: prompt",
        "input_image": "Filter reason: input image",
        "images": "Filter reason: output image",
        "some_images": "Filter reason: output image",
        "failure": "Inference error",
    }
)
_PROMPT = {"type": "string", "maxLength": LONGEST_PROMPT}
_SCHEMA = body_schema(
    ("prompt",),
    prompt={**_PROMPT, "minLength": 1},
    negative_prompt=_PROMPT,
    aspect_ratio={"type": "string", "enum": tuple(SIZES)},
    mode={"type": "string", "enum": ("text-to-image", "image-to-image")},
    image={"type": "string", "minLength": 1},
    strength={"type": "number", "minimum": 0, "maximum": 1},
    seed={"type": "integer", "minimum": 0, "maximum": LARGEST_SEED},
    output_format={"type": "string", "enum": ("png", "jpeg", "PNG", "JPEG")},
)


def stability(model: BaseModel, body: Any, *, key: str, seed: int, blocked: Blocked = "") -> Invoked:
    """Return the answer of an image *model*; *blocked* is what the filters find whatever the prompt says.

    Args:
        model: one of Stability's.
        body: the JSON document of the request.
        key: chooses the seed of the image when the request names none.
        seed: changes all images.
        blocked: what the filters find.

    Raises:
        RefusedError: the model does not take *body*.
    """
    fields = check_body(body, _SCHEMA)
    _check_image(model, fields)
    prompt = fields["prompt"]
    # Zero asks for a random one, too.
    chosen = fields.get("seed") or int.from_bytes(blake2b(f"{seed}/{key}".encode(), digest_size=4).digest())
    count = tokens.count(prompt)
    found = blocked or filters.blocked_by(prompt)
    document: dict[str, Any] = {"seeds": [chosen], "finish_reasons": [REASONS[found] if found else None]}
    if not found:
        document["images"] = [b64encode(_drawn(fields, f"{seed}/{model.id}/{chosen}/{prompt}")).decode()]
    return Invoked(document=document, input_tokens=count)


def _check_image(model: BaseModel, fields: Mapping[str, Any]) -> None:
    image = fields.get("image")
    if image is None and fields.get("mode") == "image-to-image":
        raise malformed("#: required key [image] not found")
    if image is None:
        return
    if "core" in model.id:
        raise malformed("#: extraneous key [image] is not permitted")
    if "strength" not in fields:
        raise malformed("#: required key [strength] not found")
    if "aspect_ratio" in fields:
        raise invalid("aspect_ratio is only valid for text-to-image requests")
    if read_base64(image) is None:
        raise invalid("Unable to decode image: expected a base64 encoded JPEG, PNG or WebP")


def _drawn(fields: Mapping[str, Any], key: str) -> bytes:
    width, height = SIZES[fields.get("aspect_ratio", "1:1")]
    key = f"{key}/{fields.get('negative_prompt', '')}/{fields.get('strength', '')}"
    if fields.get("output_format", "png").lower() == "jpeg":
        return encode_grey(key, width, height)
    return draw(key, width, height)


__all__ = ["LARGEST_SEED", "LONGEST_PROMPT", "REASONS", "SIZES", "stability"]
