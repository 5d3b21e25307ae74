"""Images by Amazon's models, Nova Canvas and Titan, which share one form of request."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from apex_llm_mock import tokens
from apex_llm_mock.emulation.bedrock import filters
from apex_llm_mock.emulation.bedrock.base_model import BaseModel
from apex_llm_mock.emulation.bedrock.errors import invalid, refusal
from apex_llm_mock.emulation.bedrock.filters import Blocked
from apex_llm_mock.emulation.bedrock.image_tasks import TASKS, Task
from apex_llm_mock.emulation.bedrock.invoked import Invoked
from apex_llm_mock.emulation.bedrock.malformed import body_schema, check_body, malformed
from apex_llm_mock.emulation.bedrock.pictures_in import read_base64
from apex_llm_mock.emulation.bedrock.stability_images import stability
from apex_llm_mock.images import draw

DEFAULT_SIDE = 1_024
MOST_IMAGES = 5
#: Canvas: sides in pixels, pixels together, and how much longer one side may be.
CANVAS_SIDES = (320, 4_096)
CANVAS_PIXELS = 4_194_304
CANVAS_RATIO = 4
#: Titan: what it makes, in pixels.
TITAN_SIZES = frozenset(
    {
        *((1024, 1024), (768, 768), (512, 512), (768, 1152), (384, 576), (1152, 768), (576, 384), (768, 1280)),
        *((384, 640), (1280, 768), (640, 384), (896, 1152), (448, 576), (1152, 896), (576, 448), (768, 1408)),
        *(
            (384, 704),
            (1408, 768),
            (704, 384),
            (640, 1408),
            (320, 704),
            (1408, 640),
            (704, 320),
            (1152, 640),
            (1173, 640),
        ),
    }
)


def generate(model: BaseModel, body: Any, *, key: str, seed: int, blocked: Blocked = "") -> Invoked:
    """Return the answer of an image *model*; *blocked* is what the filters find whatever the prompt says.

    Raises:
        RefusedError: the model does not take *body*, or the filters do not take the prompt.
    """
    if model.image == "stability":
        return stability(model, body, key=key, seed=seed, blocked=blocked)
    return _amazon(model, body, seed, blocked)


def _amazon(model: BaseModel, body: Any, seed: int, blocked: Blocked) -> Invoked:
    canvas = "canvas" in model.id
    tasks = {name: task for name, task in TASKS.items() if canvas or not task.canvas_only}
    fields = check_body(body, _schema(tasks, canvas))
    task = tasks[fields["taskType"]]
    if task.parameters not in fields:
        raise malformed(f"#: required key [{task.parameters}] not found")
    params = fields[task.parameters]
    for name in task.pictures:
        _check_pictures(params.get(name, []), name)
    text = " ".join(str(params[name]) for name in ("text", "negativeText") if name in params)
    found = blocked or filters.blocked_by(text)
    if found == "prompt":
        raise invalid(filters.PROMPT)
    if found == "input_image":
        raise invalid(filters.INPUT_IMAGE)
    if found == "failure":
        raise refusal("ModelErrorException", "The model failed to generate the image.", 424)
    config = fields.get("imageGenerationConfig", {})
    drawn = _drawn(params, config, seed, canvas=canvas)
    error = None
    if found == "images" or (found == "some_images" and len(drawn) == 1):
        drawn, error = [], filters.ALL_IMAGES
    elif found == "some_images":
        drawn, error = drawn[:-1], filters.SOME_IMAGES
    images = [b64encode(picture).decode() for picture in drawn]
    return Invoked(document={"images": images, "error": error}, input_tokens=tokens.count(text))


def _schema(tasks: Mapping[str, Task], canvas: bool) -> Mapping[str, Any]:
    longest = 1_024 if canvas else 512
    config = body_schema(
        (),
        width={"type": "integer"},
        height={"type": "integer"},
        quality={"type": "string", "enum": ("standard", "premium")},
        cfgScale={"type": "number", "minimum": 1.1, "maximum": 10},
        seed={"type": "integer", "minimum": 0, "maximum": 858_993_459 if canvas else 2_147_483_646},
        numberOfImages={"type": "integer", "minimum": 1, "maximum": MOST_IMAGES},
    )
    return body_schema(
        ("taskType",),
        taskType={"type": "string", "enum": tuple(tasks)},
        imageGenerationConfig=config,
        **{task.parameters: task.schema(longest) for task in tasks.values()},
    )


def _check_pictures(given: Any, name: str) -> None:
    for text in given if isinstance(given, list) else [given]:
        if read_base64(text) is None:
            raise invalid(f"Unable to decode the image in {name}. Please provide a base64 encoded PNG or JPEG image.")


def _drawn(params: Mapping[str, Any], config: Mapping[str, Any], seed: int, *, canvas: bool) -> list[bytes]:
    width, height = config.get("width", DEFAULT_SIDE), config.get("height", DEFAULT_SIDE)
    _check_size(width, height, canvas=canvas)
    digest = blake2b(repr(sorted(params.items())).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    key = f"{seed}/{config.get('seed', 12)}/{config.get('quality', 'standard')}/{digest}"
    return [draw(f"{key}/{number}", width, height) for number in range(config.get("numberOfImages", 1))]


def _check_size(width: int, height: int, *, canvas: bool) -> None:
    if not canvas:
        if (width, height) not in TITAN_SIZES:
            raise invalid(f"The provided image size {width}x{height} is not supported by this model.")
        return
    low, high = CANVAS_SIDES
    for name, side in (("width", width), ("height", height)):
        if not low <= side <= high or side % 16:
            raise invalid(f"The {name} must be between {low} and {high} pixels and divisible by 16, but got {side}.")
    if width * height > CANVAS_PIXELS:
        raise invalid(f"The total number of pixels must not be greater than {CANVAS_PIXELS}, but got {width * height}.")
    if max(width, height) > CANVAS_RATIO * min(width, height):
        raise invalid(f"The aspect ratio must be between 1:{CANVAS_RATIO} and {CANVAS_RATIO}:1.")


__all__ = [
    "CANVAS_PIXELS",
    "CANVAS_RATIO",
    "CANVAS_SIDES",
    "DEFAULT_SIDE",
    "MOST_IMAGES",
    "TITAN_SIZES",
    "generate",
]
