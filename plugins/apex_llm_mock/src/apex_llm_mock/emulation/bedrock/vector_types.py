"""The number types in which models return vectors."""

from __future__ import annotations

from collections.abc import Sequence


def int8(vector: Sequence[float]) -> list[int]:
    """Return signed bytes, the largest number at 127."""
    largest = max(map(abs, vector))
    return [round(number * 127 / largest) for number in vector]


def uint8(vector: Sequence[float]) -> list[int]:
    """Return unsigned bytes with zero at 128."""
    return [number + 128 for number in int8(vector)]


def bits(vector: Sequence[float]) -> list[int]:
    """Return one number per dimension, 1 where it is positive."""
    return [int(number > 0) for number in vector]


def packed(vector: Sequence[float], *, signed: bool) -> list[int]:
    """Return a byte for every eight dimensions."""
    flags = bits(vector)
    octets = [int("".join(map(str, flags[start : start + 8])), 2) for start in range(0, len(flags), 8)]
    return [octet - 128 for octet in octets] if signed else octets


__all__ = ["bits", "int8", "packed", "uint8"]
