"""What Amazon's image models can be asked to do, and the members that each task takes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import attrs

from apex_llm_mock.emulation.bedrock.malformed import Schema, body_schema

_PICTURE = {"type": "string", "minLength": 1}
_PICTURES = {"type": "array", "minItems": 1, "maxItems": 5, "items": _PICTURE}


@attrs.frozen(kw_only=True)
class Task:
    """A task; *members* are those beside texts."""

    parameters: str
    required: tuple[str, ...] = ()
    texts: tuple[str, ...] = ("text", "negativeText")
    members: Mapping[str, Schema] = attrs.field(factory=dict)
    #: The members that hold images.
    pictures: tuple[str, ...] = ()
    canvas_only: bool = False

    def schema(self, longest: int) -> Schema:
        """Return the schema of its parameters; texts have at most *longest* characters."""
        text = {"type": "string", "minLength": 1, "maxLength": longest}
        return body_schema(self.required, **dict.fromkeys(self.texts, text), **self.members)


TASKS: Mapping[str, Task] = MappingProxyType(
    {
        "TEXT_IMAGE": Task(
            parameters="textToImageParams",
            required=("text",),
            members={
                "conditionImage": _PICTURE,
                "controlMode": {"type": "string", "enum": ("CANNY_EDGE", "SEGMENTATION")},
                "controlStrength": {"type": "number", "minimum": 0, "maximum": 1},
                "style": {"type": "string"},
            },
            pictures=("conditionImage",),
        ),
        "COLOR_GUIDED_GENERATION": Task(
            parameters="colorGuidedGenerationParams",
            required=("text", "colors"),
            members={
                "colors": {"type": "array", "minItems": 1, "maxItems": 10, "items": {"type": "string"}},
                "referenceImage": _PICTURE,
            },
            pictures=("referenceImage",),
        ),
        "IMAGE_VARIATION": Task(
            parameters="imageVariationParams",
            required=("images",),
            members={
                "images": _PICTURES,
                "similarityStrength": {"type": "number", "minimum": 0.2, "maximum": 1},
            },
            pictures=("images",),
        ),
        "INPAINTING": Task(
            parameters="inPaintingParams",
            required=("image",),
            members={"image": _PICTURE, "maskImage": _PICTURE, "maskPrompt": {"type": "string"}},
            pictures=("image", "maskImage"),
        ),
        "OUTPAINTING": Task(
            parameters="outPaintingParams",
            required=("image", "text"),
            members={
                "image": _PICTURE,
                "maskImage": _PICTURE,
                "maskPrompt": {"type": "string"},
                "outPaintingMode": {"type": "string", "enum": ("DEFAULT", "PRECISE")},
            },
            pictures=("image", "maskImage"),
        ),
        "BACKGROUND_REMOVAL": Task(
            parameters="backgroundRemovalParams",
            required=("image",),
            texts=(),
            members={"image": _PICTURE},
            pictures=("image",),
        ),
        "VIRTUAL_TRY_ON": Task(
            parameters="virtualTryOnParams",
            required=("sourceImage", "referenceImage", "maskType"),
            texts=(),
            members={
                "sourceImage": _PICTURE,
                "referenceImage": _PICTURE,
                "maskType": {"type": "string", "enum": ("GARMENT", "IMAGE", "PROMPT")},
                "garmentBasedMask": {"type": "object"},
                "imageBasedMask": {"type": "object"},
                "promptBasedMask": {"type": "object"},
                "maskExclusions": {"type": "object"},
                "mergeStyle": {"type": "string"},
                "returnMask": {"type": "boolean"},
            },
            pictures=("sourceImage", "referenceImage"),
            canvas_only=True,
        ),
    }
)

__all__ = ["TASKS", "Task"]
