"""Bodies of Stability's models: one picture a call."""

from __future__ import annotations

from typing import Any, Literal

from apex_llm_bedrock.image_sizes import UnfitSizeError, ratio
from apex_llm_bedrock.requests import add_extra
from apex_llm_core.errors import UnsupportedParameterError
from apex_llm_core.models import ImageRequest

#: Models that draw from text alone.
_TEXT_ONLY = ("stable-image-core",)
#: Models that draw; the others change a picture, each in one way.
_DRAWING = ("sd3", "stable-image-core", "stable-image-ultra", "stable-diffusion")
#: How much of a picture is drawn anew where the caller does not say; 1 is all.
_STRENGTH = 0.7


def stability_documents(
    request: ImageRequest, base: str, dropped: list[str], unsupported: Literal["error", "drop"]
) -> list[dict[str, Any]]:
    """Return the bodies for *request*; names of options that are not in them are added to *dropped*.

    Raises:
        UnsupportedParameterError: the model *base* cannot do it.
    """
    options = request.options
    extra = dict(options.extra or ())
    if "negativeText" in extra:
        extra["negative_prompt"] = extra.pop("negativeText")
    document: dict[str, Any] = {"prompt": request.prompt}
    drawing = not base or any(name in base for name in _DRAWING)
    if options.images:
        if len(options.images) > 1:
            raise UnsupportedParameterError(
                f"images: the model changes one picture, not {len(options.images)}", parameters=["images"]
            )
        if any(name in base for name in _TEXT_ONLY):
            raise UnsupportedParameterError(
                "images: the model draws from text alone; use 'stability.sd3-5-large-v1:0' to change one",
                parameters=["images"],
            )
        document["image"] = options.images[0].data
        if drawing:
            document["mode"] = "image-to-image"
            document["strength"] = _STRENGTH
    if options.mask is not None:
        if drawing:
            raise UnsupportedParameterError(
                "mask: the model takes none; use 'amazon.nova-canvas-v1:0' or 'stability.stable-image-inpaint-v1:0'",
                parameters=["mask"],
            )
        document["mask"] = options.mask.data
    if options.size is not None and options.size != "auto":
        if options.images:
            # The result has the size of the picture it comes from.
            dropped.append("size")
        else:
            try:
                document["aspect_ratio"] = ratio(options.size)
            except UnfitSizeError as error:
                if unsupported == "error":
                    raise UnsupportedParameterError(str(error), parameters=["size"]) from error
                dropped.append("size")
    if options.quality is not None and options.quality != "auto":
        dropped.append("quality")
    if options.style is not None:
        dropped.append("style")
    add_extra(document, extra, ours=frozenset({"prompt", "image", "mask"}))
    return [
        # The same seed would give the same picture again.
        document if options.seed is None else {**document, "seed": options.seed + position}
        for position in range(options.n or 1)
    ]


__all__ = ["stability_documents"]
