"""Randomness that is cheap to begin: each request has its own, so that its ranking can be made again."""

from __future__ import annotations

from random import Random
from typing import Any

_WORD = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB


class SplitMix64(Random):
    """A `Random` whose whole state is one number (Steele, Lea and Flood 2014); for rankings, not for secrets.

    The generator of `Random` fills 624 words before the first draw, which takes longer than the ranking. The same seed gives the
    same draws in every version of Python.

    Args:
        seed: any whole number; its low 64 bits count.
    """

    def __init__(self, seed: int) -> None:  # the base class would fill its words: it is not initialized
        self._state = seed & _WORD

    def random(self) -> float:
        """Return a number in [0, 1), with 53 random bits."""
        self._state = z = (self._state + _STEP) & _WORD
        z = ((z ^ (z >> 30)) * _FIRST) & _WORD
        z = ((z ^ (z >> 27)) * _SECOND) & _WORD
        return ((z ^ (z >> 31)) >> 11) * 2.0**-53

    def getrandbits(self, k: int, /) -> int:
        """Return a number of *k* random bits.

        Raises:
            ValueError: *k* is negative.
        """
        if k < 0:
            raise ValueError("the number of bits must not be negative")
        bits = 0
        for _ in range(0, k, 32):
            bits = bits << 32 | int(self.random() * 2**32)
        return bits >> (-k % 32)

    def seed(self, a: Any = None, version: int = 2) -> None:  # noqa: ARG002 - the form of the base class
        """Begin anew.

        Raises:
            TypeError: *a* is no whole number: nothing here draws from the system.
        """
        if not isinstance(a, int):
            raise TypeError(f"the seed must be a whole number, not {type(a).__name__}")
        self._state = a & _WORD
        self.gauss_next = None

    def getstate(self) -> tuple[Any, ...]:
        """Return what `setstate` takes."""
        return (self._state, self.gauss_next)

    def setstate(self, state: tuple[Any, ...]) -> None:
        """Go back to a state that `getstate` told."""
        self._state, self.gauss_next = state

    # `Random.gauss` keeps a spare here, which initialization would set.
    gauss_next: float | None = None


__all__ = ["SplitMix64"]
