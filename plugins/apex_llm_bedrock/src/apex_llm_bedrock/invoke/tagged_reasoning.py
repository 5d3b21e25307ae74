"""Reasoning between tags at the beginning of a text, as gpt-oss answers by InvokeModel; the text may come in pieces.

Pure: `feed` it pieces, then `close` it. However the text is cut, the same comes out.
"""

from __future__ import annotations

from typing import NamedTuple

_OPENING, _CLOSING = "<reasoning>", "</reasoning>"


class Split(NamedTuple):
    """What is surely one or the other so far."""

    reasoning: str = ""
    text: str = ""


class TaggedReasoning:
    """Splits one text."""

    __slots__ = ("_held", "_state")

    def __init__(self) -> None:
        self._held = ""
        #: What the next character belongs to; before the first one nobody knows.
        self._state = "unknown"

    def feed(self, piece: str) -> Split:
        """Return what *piece* makes sure."""
        if self._state == "text":
            return Split(text=piece)
        self._held += piece
        if self._state == "unknown":
            if len(self._held) < len(_OPENING) and _OPENING.startswith(self._held):
                return Split()
            if not self._held.startswith(_OPENING):
                return self._rest_is_text()
            self._held = self._held.removeprefix(_OPENING)
            self._state = "reasoning"
        before, closing, after = self._held.partition(_CLOSING)
        if closing:
            self._state, self._held = "text", ""
            return Split(before, after)
        # The end of what came may be the beginning of the tag.
        kept = next(size for size in range(len(_CLOSING) - 1, -1, -1) if self._held.endswith(_CLOSING[:size]))
        sure = self._held[: len(self._held) - kept]
        self._held = self._held[len(sure) :]
        return Split(reasoning=sure)

    def close(self) -> Split:
        """Return what was held back until the end."""
        if self._state == "reasoning":
            held, self._held = self._held, ""
            return Split(reasoning=held)
        return self._rest_is_text()

    def _rest_is_text(self) -> Split:
        held, self._held = self._held, ""
        self._state = "text"
        return Split(text=held)


__all__ = ["Split", "TaggedReasoning"]
