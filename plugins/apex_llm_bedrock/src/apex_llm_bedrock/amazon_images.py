"""Bodies of Nova Canvas and Titan Image Generator: one of several tasks, with parameters of its own.

A mask is black where the picture may change and white elsewhere, without transparency, as these models expect it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from apex_llm_bedrock.image_sizes import UnfitSizeError, pixels
from apex_llm_bedrock.requests import add_extra
from apex_llm_core.errors import InvalidRequestError, UnsupportedParameterError, nearest
from apex_llm_core.models import ImageRequest

#: Images of one call.
_BATCH = 5


class Task(NamedTuple):
    """One of the things Amazon's models do: the member with its parameters, and what it takes."""

    params: str
    #: The member for pictures: one "image", a list of "images", or "" for none.
    picture: str = "image"
    text: bool = True
    #: The result's size and number can be chosen.
    configured: bool = True


TASKS: Mapping[str, Task] = MappingProxyType(
    {
        "TEXT_IMAGE": Task("textToImageParams", picture=""),
        "COLOR_GUIDED_GENERATION": Task("colorGuidedGenerationParams", picture="referenceImage"),
        "IMAGE_VARIATION": Task("imageVariationParams", picture="images"),
        "INPAINTING": Task("inPaintingParams"),
        "OUTPAINTING": Task("outPaintingParams"),
        "BACKGROUND_REMOVAL": Task("backgroundRemovalParams", text=False, configured=False),
        "VIRTUAL_TRY_ON": Task("virtualTryOnParams", picture="sourceImage", text=False),
    }
)
_CONFIG = "imageGenerationConfig"
#: What `extra` may say of the result rather than of the task.
_CONFIG_MEMBERS = frozenset({"cfgScale", "width", "height", "quality", "seed", "numberOfImages"})
#: Other spellings that `extra` may have.
_SPELLINGS = {"negative_prompt": "negativeText", "cfg_scale": "cfgScale", "task_type": "taskType"}
_QUALITIES: Mapping[str, str] = {
    "standard": "standard",
    "low": "standard",
    "medium": "standard",
    "premium": "premium",
    "high": "premium",
    "hd": "premium",
}


def amazon_documents(
    request: ImageRequest, base: str, dropped: list[str], unsupported: Literal["error", "drop"]
) -> list[dict[str, Any]]:
    """Return the bodies for *request*; names of options that are not in them are added to *dropped*.

    Raises:
        InvalidRequestError: the model *base* cannot do it.
    """
    options = request.options
    extra = {_SPELLINGS.get(name, name): value for name, value in (options.extra or {}).items()}
    name = extra.pop("taskType", None) or _task(request, extra)
    task = TASKS.get(str(name))
    if task is None:
        raise InvalidRequestError(f"extra.task_type is {name!r}{nearest(str(name), TASKS)}")
    params: dict[str, Any] = {"text": request.prompt} if task.text else {}
    _add_pictures(params, request, task, str(name))
    if options.style is not None:
        if "nova-canvas" in base and task.picture == "":
            params["style"] = options.style
        else:
            dropped.append("style")
    config = _config(request, base, dropped, unsupported) if task.configured else _unconfigured(request, dropped)
    config.update({member: extra.pop(member) for member in _CONFIG_MEMBERS & extra.keys()})
    _merge(params, extra.pop(task.params, None), task.params)
    _merge(config, extra.pop(_CONFIG, None), _CONFIG)
    add_extra(params, extra, ours=frozenset({"text", "image", "images", "maskImage"}))
    document: dict[str, Any] = {"taskType": name, task.params: params}
    if not task.configured:
        return [document]
    return _in_batches(document, config, options.n or 1)


def _in_batches(document: Mapping[str, Any], config: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    documents = []
    for start in range(0, count, _BATCH):
        one = dict(config)
        if count > 1:
            one["numberOfImages"] = min(_BATCH, count - start)
        if start and "seed" in one:
            # The same seed would give the same pictures again.
            one["seed"] += start
        documents.append({**document, _CONFIG: one} if one else dict(document))
    return documents


def _task(request: ImageRequest, extra: Mapping[str, Any]) -> str:
    if not request.options.images:
        return "COLOR_GUIDED_GENERATION" if "colors" in extra else "TEXT_IMAGE"
    return "INPAINTING" if request.options.mask is not None or "maskPrompt" in extra else "IMAGE_VARIATION"


def _add_pictures(params: dict[str, Any], request: ImageRequest, task: Task, name: str) -> None:
    pictures = [image.data for image in request.options.images or ()]
    if task.picture == "images":
        params["images"] = pictures
    elif pictures:
        if len(pictures) > 1 or not task.picture:
            raise UnsupportedParameterError(
                f"images: {name} takes {'one' if task.picture else 'none'}, not {len(pictures)}", parameters=["images"]
            )
        params[task.picture] = pictures[0]
    if request.options.mask is not None:
        if name not in {"INPAINTING", "OUTPAINTING"}:
            raise InvalidRequestError(f"mask: {name} takes none; leave it out, or leave out extra.task_type")
        params["maskImage"] = request.options.mask.data


def _config(
    request: ImageRequest, base: str, dropped: list[str], unsupported: Literal["error", "drop"]
) -> dict[str, Any]:
    options = request.options
    config: dict[str, Any] = {}
    if options.size is not None and options.size != "auto":
        try:
            config["width"], config["height"] = pixels(options.size, base)
        except UnfitSizeError as error:
            if unsupported == "error":
                raise UnsupportedParameterError(str(error), parameters=["size"]) from error
            dropped.append("size")
    if options.quality is not None and options.quality != "auto":
        quality = _QUALITIES.get(options.quality)
        if quality is None:
            raise UnsupportedParameterError(
                f"quality is {options.quality!r}{nearest(options.quality, ('standard', 'premium'))}",
                parameters=["quality"],
            )
        config["quality"] = quality
    if options.seed is not None:
        config["seed"] = options.seed
    return config


def _unconfigured(request: ImageRequest, dropped: list[str]) -> dict[str, Any]:
    dropped.extend(
        name for name in ("size", "quality", "seed", "n") if getattr(request.options, name) not in (None, "auto")
    )
    return {}


def _merge(into: dict[str, Any], more: object, name: str) -> None:
    if more is None:
        return
    if not isinstance(more, Mapping):
        raise InvalidRequestError(f"extra.{name} is {more!r}; expected names and values")
    into.update(more)


__all__ = ["TASKS", "Task", "amazon_documents"]
