"""Bodies of type multipart/form-data (RFC 7578), in memory: image edits are a few megabytes."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import NamedTuple


class Field(NamedTuple):
    """One field; with a file name it is a file of `media_type`."""

    name: str
    value: bytes
    filename: str = ""
    media_type: str = ""


def multipart(fields: Iterable[Field]) -> tuple[bytes, str]:
    """Return the body and its content type."""
    fields = list(fields)
    boundary = secrets.token_hex(16)
    # A boundary inside a value would end it; with 128 random bits this loop never runs twice.
    while any(boundary.encode() in field.value for field in fields):
        boundary = secrets.token_hex(16)
    parts: list[bytes] = []
    for field in fields:
        disposition = f'form-data; name="{_quoted(field.name)}"'
        if field.filename:
            disposition += f'; filename="{_quoted(field.filename)}"'
        head = f"--{boundary}\r\nContent-Disposition: {disposition}\r\n"
        if field.media_type:
            head += f"Content-Type: {field.media_type}\r\n"
        parts += (head.encode(), b"\r\n", field.value, b"\r\n")
    parts.append(f"--{boundary}--\r\n".encode())
    return b"".join(parts), f"multipart/form-data; boundary={boundary}"


def _quoted(text: str) -> str:
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


__all__ = ["Field", "multipart"]
