"""Embeddings: unit norm, the same for the same text and seed. Similar texts are not similar here."""

from __future__ import annotations

import struct
from hashlib import shake_256
from math import hypot


def embed(text: str, *, dimensions: int, seed: int) -> tuple[float, ...]:
    """Return the vector of *text*.

    A shorter vector is the normalised beginning of a longer one, as with real models that let `dimensions` be chosen.
    """
    digest = shake_256(f"{seed}\0{text}".encode("utf-8", "surrogatepass")).digest(2 * dimensions)
    # Odd numbers are never zero, so there is always a direction.
    numbers = [2 * number + 1 for number in struct.unpack(f">{dimensions}h", digest)]
    length = hypot(*numbers)
    return tuple([number / length for number in numbers])


__all__ = ["embed"]
