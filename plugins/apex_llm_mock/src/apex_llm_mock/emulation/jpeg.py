"""Small real JPEG files: a symmetric pattern of grey blocks, each a flat colour, so that no transform is needed."""

from __future__ import annotations

import struct
from hashlib import blake2b

GRID = 8
#: Pixels of one side of a block of JPEG.
BLOCK = 8
#: The flat component of a block is its colour times eight, divided by this.
_QUANTUM = 8
#: Codes of the standard luminance table for differences of so many bits.
_CODES = ("00", "010", "011", "100", "101", "110", "1110", "11110", "111110", "1111110", "11111110", "111111110")
#: How many codes there are of each length, and what they mean: all of the table above, and "the rest is zero".
_DC_TABLE = bytes([0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0]) + bytes(range(12))
_AC_TABLE = bytes([1] + [0] * 15) + b"\x00"
_END_OF_BLOCK = "0"


def encode_grey(key: str, width: int, height: int) -> bytes:
    """Return a JPEG of *width* by *height* pixels; the same *key* gives the same bytes."""
    columns, rows = -(-width // BLOCK), -(-height // BLOCK)
    digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=GRID * GRID // 2).digest()
    bits = []
    previous = 0
    for row in range(rows):
        line = row * GRID // rows * (GRID // 2)
        for column in range(columns):
            cell = column * GRID // columns
            colour = digest[line + min(cell, GRID - 1 - cell)] - 128
            bits.append(_difference(colour - previous) + _END_OF_BLOCK)
            previous = colour
    coded = "".join(bits)
    coded += "1" * (-len(coded) % 8)
    scan = int(coded, 2).to_bytes(len(coded) // 8, "big").replace(b"\xff", b"\xff\x00")
    return b"".join(
        (
            b"\xff\xd8",
            _segment(0xE0, b"JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"),
            _segment(0xDB, b"\x00" + bytes([_QUANTUM] * 64)),
            _segment(0xC0, struct.pack(">BHHB", 8, height, width, 1) + b"\x01\x11\x00"),
            _segment(0xC4, b"\x00" + _DC_TABLE),
            _segment(0xC4, b"\x10" + _AC_TABLE),
            _segment(0xDA, b"\x01\x01\x00\x00\x3f\x00"),
            scan,
            b"\xff\xd9",
        )
    )


def _difference(value: int) -> str:
    """Return the code of a difference between two blocks: its number of bits, then the bits, complemented if negative."""
    size = abs(value).bit_length()
    if size == 0:
        return _CODES[0]
    return _CODES[size] + format(value if value > 0 else value + (1 << size) - 1, f"0{size}b")


def _segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


__all__ = ["BLOCK", "GRID", "encode_grey"]
