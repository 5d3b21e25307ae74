"""What image models take and give by InvokeModel. Pictures travel as the base64 text they come in."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from apex_llm_bedrock.amazon_images import amazon_documents
from apex_llm_bedrock.answers import malformed, request_id_of
from apex_llm_bedrock.lost import Lost
from apex_llm_bedrock.metadata import fits
from apex_llm_bedrock.requests import refuse_dropped
from apex_llm_bedrock.stability_images import stability_documents
from apex_llm_core.errors import ServiceUnavailableError, UnsupportedParameterError
from apex_llm_core.models import ImageRequest

_BODIES = MappingProxyType({"amazon": amazon_documents, "stability": stability_documents})
#: Words by which the services tell that a filter held something back, rather than that something went wrong.
_FILTER_WORDS = ("filter", "blocked", "moderat", "policy")
_BEGINNINGS = (("iVBORw0KGgo", "image/png"), ("/9j/", "image/jpeg"), ("UklGR", "image/webp"))


class ImageCalls(NamedTuple):
    """The bodies of the calls that make the images of one request, and the options that are not in them."""

    documents: tuple[dict[str, Any], ...]
    dropped: tuple[str, ...]


class Drawn(NamedTuple):
    """What one call gave: base64 images, what the service said of those that a filter held back, and its seeds."""

    images: tuple[str, ...]
    held_back: tuple[str, ...]
    seeds: tuple[int, ...]


def image_calls(
    request: ImageRequest, *, kind: str, base: str, model_name: str, unsupported: Literal["error", "drop"]
) -> ImageCalls:
    """Return the calls for *request*.

    Args:
        request: what to draw or to change.
        kind: whose bodies: "amazon" or "stability".
        base: the foundation model's id, as far as it is known.
        model_name: what errors call the model.
        unsupported: what becomes of options the model does not take.

    Raises:
        UnsupportedParameterError: the model cannot do it; or, with *unsupported* "error", an option would be lost.
    """
    documents_of = _BODIES.get(kind)
    if documents_of is None:
        raise UnsupportedParameterError(
            f"the model {model_name!r} draws no images; use for example 'amazon.nova-canvas-v1:0'; "
            "if it stands for such a model, declare its base_model"
        )
    dropped: list[str] = []
    documents = documents_of(request, base, dropped, unsupported)
    if request.options.user is not None and not fits(request.options.user):
        dropped.append(Lost("user", "only the characters of AWS's metadata, 256 at most"))
    if unsupported == "error":
        refuse_dropped(dropped, model_name)
    return ImageCalls(tuple(documents), tuple(dropped))


def read_drawn(document: Mapping[str, Any], headers: Mapping[str, str]) -> Drawn:
    """Return what the body *document* of an answer holds; a good status says nothing yet.

    Raises:
        ServiceUnavailableError: it has neither images nor the word of a filter.
    """
    images = document.get("images") or []
    reasons = document.get("finish_reasons") or []
    if not isinstance(images, list) or not isinstance(reasons, list):
        raise malformed("with images of an unknown form", headers)
    if len(reasons) == len(images):
        images = [image for image, reason in zip(images, reasons, strict=True) if not reason]
    found = tuple(image for image in images if image)
    if not all(isinstance(image, str) for image in found):
        raise malformed("with an image that is no text", headers)
    notes = [str(note) for note in (*reasons, document.get("error")) if note]
    faults = [note for note in notes if not any(word in note.lower() for word in _FILTER_WORDS)]
    if not found and (faults or not notes):
        said = f": {faults[0][:500]}" if faults else " and does not say why"
        raise ServiceUnavailableError(
            f"the model drew no image{said}",
            status_code=200,
            # Without a word it is an answer that cannot be read, and paid for.
            retryable=bool(faults),
            request_id=request_id_of(headers),
            details={"original_message": faults[0]} if faults else None,
        )
    seeds = document.get("seeds")
    return Drawn(
        found, tuple(notes), tuple(seed for seed in seeds if type(seed) is int) if isinstance(seeds, list) else ()
    )


def media_type(image: str) -> str | None:
    """Return the type of a picture by the beginning of its base64 text, None for one that these models do not draw."""
    return next((found for beginning, found in _BEGINNINGS if image.startswith(beginning)), None)


__all__ = ["Drawn", "ImageCalls", "image_calls", "media_type", "read_drawn"]
