"""Images inside requests: what they are, or why they cannot be read."""

from __future__ import annotations

import binascii
import struct
from base64 import b64decode
from typing import NamedTuple

_PNG = b"\x89PNG\r\n\x1a\n"


class PictureIn(NamedTuple):
    """An image that came with a request; sizes in pixels, 0 where the format does not tell them at its beginning."""

    data: bytes
    format: str
    width: int = 0
    height: int = 0


def read_base64(text: str) -> PictureIn | None:
    """Return the image in *text*, None when it is no base64 of a PNG, JPEG, GIF or WebP."""
    try:
        data = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    if data.startswith(_PNG) and len(data) >= 24:
        width, height = struct.unpack(">II", data[16:24])
        return PictureIn(data, "png", width, height)
    if data.startswith(b"\xff\xd8\xff"):
        return PictureIn(data, "jpeg")
    if data.startswith((b"GIF87a", b"GIF89a")) and len(data) >= 10:
        width, height = struct.unpack("<HH", data[6:10])
        return PictureIn(data, "gif", width, height)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return PictureIn(data, "webp")
    return None


def read_data_uri(text: str) -> PictureIn | None:
    """Return the image in *text*, None unless it is a data URI that says what it holds."""
    head, comma, encoded = text.partition(",")
    picture = read_base64(encoded) if comma and head.startswith("data:image/") and head.endswith(";base64") else None
    if picture is None or head != f"data:image/{picture.format};base64":
        return None
    return picture


__all__ = ["PictureIn", "read_base64", "read_data_uri"]
