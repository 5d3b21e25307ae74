"""Small real PNG files, drawn from a hash of the prompt: a symmetric pattern of squares in two colours."""

from __future__ import annotations

import re
import struct
import zlib
from hashlib import blake2b

GRID = 8
LARGEST_SIDE = 2048
#: Pixels of one side of the tile that counts as a token.
TILE = 32

_SIZE = re.compile(r"([0-9]{1,5})x([0-9]{1,5})")


def parse_size(size: str) -> tuple[int, int]:
    """Return width and height in pixels of "WIDTHxHEIGHT".

    Raises:
        ValueError: it is not of that form, or a side is not between 1 and 2048.
    """
    found = _SIZE.fullmatch(size)
    if found is None:
        raise ValueError(f"size is {size!r}; expected 'WIDTHxHEIGHT' in pixels, for example '256x256'")
    width, height = int(found[1]), int(found[2])
    if not (1 <= width <= LARGEST_SIDE and 1 <= height <= LARGEST_SIDE):
        raise ValueError(f"size is {size!r}; each side must be between 1 and {LARGEST_SIDE} pixels")
    return width, height


def tokens(width: int, height: int) -> int:
    """Return the output tokens of an image."""
    return -(-width // TILE) * -(-height // TILE)


def draw(key: str, width: int, height: int) -> bytes:
    """Return a PNG of *width* by *height* pixels; the same *key* gives the same bytes."""
    digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=GRID + 3).digest()
    colour = bytes(64 + byte // 2 for byte in digest[GRID:])
    rows: list[bytes] = []
    for row in range(GRID):
        half = [digest[row] >> bit & 1 for bit in range(GRID // 2)]
        # Cell borders are rounded the same way everywhere, so the widths add up whatever the size.
        bits = "".join("01"[cell] * _extent(column, width) for column, cell in enumerate(half + half[::-1]))
        line = int(bits.ljust(-(-width // 8) * 8, "0"), 2).to_bytes(-(-width // 8), "big")
        rows.extend([b"\0" + line] * _extent(row, height))
    # One bit a pixel, palette.
    header = struct.pack(">IIBBBBB", width, height, 1, 3, 0, 0, 0)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", header),
            _chunk(b"PLTE", b"\xf4\xf4\xf4" + colour),
            _chunk(b"IDAT", zlib.compress(b"".join(rows), 1)),
            _chunk(b"IEND", b""),
        )
    )


def _extent(cell: int, pixels: int) -> int:
    return (cell + 1) * pixels // GRID - cell * pixels // GRID


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


__all__ = ["GRID", "LARGEST_SIDE", "TILE", "draw", "parse_size", "tokens"]
