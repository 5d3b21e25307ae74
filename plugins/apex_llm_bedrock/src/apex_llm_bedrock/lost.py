"""Options that a request loses, with the reason where it is not simply that the model has no such option."""

from __future__ import annotations

from typing import Self


class Lost(str):
    """The name of an option, and why it is not sent: it is the value or the company it is in that the model refuses."""

    __slots__ = ("why",)

    why: str

    def __new__(cls, name: str, why: str) -> Self:
        """Return *name* with its reason."""
        lost = super().__new__(cls, name)
        lost.why = why
        return lost


__all__ = ["Lost"]
