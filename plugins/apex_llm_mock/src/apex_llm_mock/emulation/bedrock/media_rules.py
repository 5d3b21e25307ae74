"""What Bedrock says about images and documents: how many, how large, under which names and formats."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from typing import Any

from apex_llm_mock.emulation.bedrock.base_model import BaseModel
from apex_llm_mock.emulation.bedrock.conversation_rules import blocks
from apex_llm_mock.emulation.bedrock.errors import invalid, refused_by_model

MOST_IMAGES = 20
MOST_DOCUMENTS = 5
#: Bytes.
LARGEST_IMAGE = 3_932_160
LARGEST_DOCUMENT = 4_718_592
#: The one blank is the ASCII space; the underscore is accepted although no documentation says so.
_NAME = re.compile(r"[a-zA-Z0-9_()\[\]-]+(?: [a-zA-Z0-9_()\[\]-]+)*")
_BAD_NAME = (
    "The document file name can only contain alphanumeric characters, whitespace characters, hyphens, parentheses, and "
    "square brackets. The name can't contain more than one consecutive whitespace character. Check that the file name "
    "conforms to these restrictions and retry your request."
)
_FIELD = "This model doesn't support the {0} field. Remove {0} and try again."


def check_media(messages: Sequence[Mapping[str, Any]], model: BaseModel) -> None:
    """Raise `RefusedError` for the first image, document or video that Bedrock or *model* does not take."""
    _check_images(list(blocks(messages, "image")), model)
    documents = list(blocks(messages, "document"))
    if documents:
        _check_documents(documents, messages, model)
    for kind, word in (("video", "VIDEO"), ("audio", "SPEECH")):
        if word not in model.inputs and any(blocks(messages, kind)):
            raise invalid(_FIELD.format(kind))


def _check_images(images: list[tuple[str, Mapping[str, Any]]], model: BaseModel) -> None:
    if not images:
        return
    if not model.vision:
        raise invalid(_FIELD.format("image"))
    if len(images) > MOST_IMAGES:
        raise invalid(f"You can't include more than {MOST_IMAGES} images in a request.")
    for where, image in images:
        data = image["source"].get("bytes")
        if data is None:
            continue
        if _size(data) > LARGEST_IMAGE:
            raise refused_by_model(
                f"{where}.source.bytes: image exceeds 3.75 MB maximum: {_size(data)} bytes > {LARGEST_IMAGE} bytes"
            )
        found = sniffed(base64.b64decode(data[:32]))
        if found is not None and found != image["format"]:
            raise refused_by_model(
                f"{where}.source.bytes: The image was specified using the image/{image['format']} media type, but the image "
                f"appears to be a image/{found} image"
            )


def sniffed(head: bytes) -> str | None:
    """Return the format that the first bytes of an image tell, None when they tell none."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    return "webp" if head.startswith(b"RIFF") and head[8:12] == b"WEBP" else None


def _check_documents(
    documents: list[tuple[str, Mapping[str, Any]]], messages: Sequence[Mapping[str, Any]], model: BaseModel
) -> None:
    if not model.documents:
        raise invalid(_FIELD.format("document"))
    if len(documents) > MOST_DOCUMENTS:
        raise invalid(f"You can't include more than {MOST_DOCUMENTS} documents in a request.")
    for where, document in documents:
        if _NAME.fullmatch(document["name"]) is None:
            raise invalid(_BAD_NAME)
        data = document["source"].get("bytes")
        if data is not None and document.get("format") is None:
            raise invalid(f"The format field at {where} is required. Add a format and try again.")
        if data is not None and _size(data) > LARGEST_DOCUMENT:
            raise invalid(f"The document file at {where} is too large. The maximum size of a document is 4.5 MB.")
    names = [document["name"] for _, document in documents]
    if len(set(names)) < len(names):
        raise invalid("Messages can't contain duplicate document names.")
    for message in messages:
        content = message["content"]
        if any(block.get("document") for block in content) and not any(block.get("text") for block in content):
            raise invalid("A text block must be included when using documents.")


def _size(data: str) -> int:
    return len(data) * 3 // 4 - data[-2:].count("=")


__all__ = ["LARGEST_DOCUMENT", "LARGEST_IMAGE", "MOST_DOCUMENTS", "MOST_IMAGES", "check_media", "sniffed"]
