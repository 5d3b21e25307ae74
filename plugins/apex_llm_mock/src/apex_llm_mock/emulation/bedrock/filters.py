"""What the content filters block, on demand: by a mark in the prompt, or because the caller says so.

| Mark in the prompt | What happens |
|---|---|
| ``[blocked prompt]`` | the prompt is refused |
| ``[blocked input image]`` | the image in the request is refused |
| ``[blocked image]`` | every image that was made is withheld |
| ``[blocked some]`` | one of the images that were made is withheld |
| ``[failed image]`` | the model failed while it made the image |
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

#: What is blocked; "" lets everything pass.
Blocked = Literal["", "prompt", "input_image", "images", "some_images", "failure"]

MARKS: Mapping[str, Blocked] = MappingProxyType(
    {
        "[blocked prompt]": "prompt",
        "[blocked input image]": "input_image",
        "[blocked image]": "images",
        "[blocked some]": "some_images",
        "[failed image]": "failure",
    }
)
PROMPT = "This request has been blocked by our content filters. Please adjust your text prompt to submit a new request."
INPUT_IMAGE = (
    "This request has been blocked by our content filters. Please adjust your input image to submit a new request."
)
ALL_IMAGES = "All of the generated images have been blocked by our content filters."
SOME_IMAGES = "Some of the generated images have been blocked by our content filters."


def blocked_by(text: str) -> Blocked:
    """Return what *text*, a prompt, asks to be blocked."""
    lowered = text.lower()
    return next((blocked for mark, blocked in MARKS.items() if mark in lowered), "")


__all__ = ["ALL_IMAGES", "INPUT_IMAGE", "MARKS", "PROMPT", "SOME_IMAGES", "Blocked", "blocked_by"]
