"""Which sizes the image models draw: some in pixels, some in proportions only."""

from __future__ import annotations

import re

from apex_llm_core.errors import InvalidRequestError

_SIZE = re.compile(r"([1-9][0-9]{0,4})[xX]([1-9][0-9]{0,4})", re.ASCII)
_RATIO = re.compile(r"([1-9][0-9]?):([1-9][0-9]?)", re.ASCII)
#: Stability's proportions.
RATIOS = ("16:9", "1:1", "21:9", "2:3", "3:2", "4:5", "5:4", "9:16", "9:21")
#: How far a size may be from a proportion: the models' own pictures of 16:9 are 1344x768.
_TOLERANCE = 0.02
#: All sizes of Titan Image Generator.
_SQUARE = ((1024, 1024), (768, 768), (512, 512))
_UPRIGHT = (
    *((768, 1152), (384, 576), (768, 1280), (384, 640), (896, 1152)),
    *((448, 576), (768, 1408), (384, 704), (640, 1408), (320, 704)),
)
_TITAN = frozenset((*_SQUARE, *_UPRIGHT, *((down, across) for across, down in _UPRIGHT), (1152, 640), (1173, 640)))
_CANVAS_RULE = (
    "sides of 320 to 4096 pixels, divisible by 16, at most 4 times as long as wide, at most 4194304 pixels in all"
)


class UnfitSizeError(ValueError):
    """The model does not draw this size; says which it draws."""


def pixels(size: str, model: str) -> tuple[int, int]:
    """Return width and height that *size*, "WIDTHxHEIGHT", asks of Amazon's *model*.

    Raises:
        InvalidRequestError: *size* is not of this form.
        UnfitSizeError: the model is known not to draw this size.
    """
    width, height = _parsed(size)
    if "nova-canvas" in model:
        fits = (
            all(320 <= side <= 4096 and side % 16 == 0 for side in (width, height))
            and max(width, height) <= 4 * min(width, height)
            and width * height <= 4_194_304
        )
        if not fits:
            raise UnfitSizeError(f"size {size!r}: Nova Canvas draws {_CANVAS_RULE}; for example '1024x1024'")
    elif "titan-image" in model and (width, height) not in _TITAN:
        near = "{}x{}".format(*min(_TITAN, key=lambda known: (abs(known[0] - width) + abs(known[1] - height), known)))
        raise UnfitSizeError(
            f"size {size!r}: Titan Image Generator does not draw it; the nearest is {near!r}, others are '1024x1024', "
            "'768x1280', '1280x768', '1152x896', '896x1152'"
        )
    return width, height


def ratio(size: str) -> str:
    """Return the proportion that *size* asks of Stability's models; it may be a proportion itself.

    Raises:
        InvalidRequestError: *size* has neither form.
        UnfitSizeError: the models draw no such proportion.
    """
    written = _RATIO.fullmatch(size)
    width, height = (int(written[1]), int(written[2])) if written else _parsed(size)
    for known in RATIOS:
        across, down = map(int, known.split(":"))
        if abs(width * down / (height * across) - 1) <= _TOLERANCE:
            return known
    raise UnfitSizeError(
        f"size {size!r}: the model draws the proportions {', '.join(RATIOS)} only; for example '1024x1024'"
    )


def _parsed(size: str) -> tuple[int, int]:
    match = _SIZE.fullmatch(size)
    if match is None:
        raise InvalidRequestError(f"size is {size!r}; expected WIDTHxHEIGHT in pixels, for example '1024x1024'")
    return int(match[1]), int(match[2])


__all__ = ["RATIOS", "UnfitSizeError", "pixels", "ratio"]
