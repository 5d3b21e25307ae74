"""Events that differ from an earlier one in nothing but their text are read without parsing them.

Nearly all events of a stream are such. What stands before and after the text is compared byte by byte, so a spliced event
says what a parsed one would, by construction; whatever else differs, or might, is parsed. Pure, no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from apex_llm_core.converters import decode
from apex_llm_core.models import ChatGenerationChunk, text_chunk

_CONTENT = re.compile(rb'"content": ?"')
#: After so many events in a row that did not fit, there is little hope: some services add padding of random length.
_PATIENCE = 4


class Splicer:
    """Learns an event whose only news is a text, and recognises those like it."""

    __slots__ = ("_after", "_before", "_index", "_misses")

    def __init__(self) -> None:
        #: What stands around the text; no event begins and ends with the first values.
        self._before = b"\n"
        self._after = b"\n"
        self._index = 0
        self._misses = _PATIENCE

    @property
    def hopeful(self) -> bool:
        """Whether the next event is likely to fit although the last did not."""
        return self._misses < _PATIENCE

    def run(self, events: Sequence[bytes], position: int, chunks: list[ChatGenerationChunk]) -> int:
        """Add the chunks of the events from *position* on that fit; return the position of the first that does not."""
        before, after, index = self._before, self._after, self._index
        start, end = len(before), -len(after)
        least = start - end
        began = position
        for event in events[position:] if position else events:
            if not (event.startswith(before) and event.endswith(after)) or len(event) <= least:
                break
            middle = event[start:end]
            try:
                text = middle.decode()
                if '"' in text or "\\" in text or not text.isprintable():
                    # A string is valid within these bytes exactly when it is by itself.
                    text = decode(b'"%b"' % middle)
            except ValueError:
                break
            if type(text) is not str:
                break
            chunks.append(text_chunk(text, index))
            position += 1
        if position > began:
            self._misses = 0
        elif position < len(events):
            self._misses += 1
        return position

    def learn(self, event: bytes, document: Mapping[str, Any]) -> None:
        """Take *event* as the measure of those to come, if *document*, which it is, has no news but a text."""
        choices = document.get("choices")
        if not choices or len(choices) > 1 or document.get("usage") is not None or "error" in document:
            return
        choice = choices[0]
        delta = choice.get("delta")
        if (
            not delta
            or len(delta) > 1
            or choice.get("finish_reason") is not None
            or choice.get("logprobs") is not None
            or type(index := choice.get("index", 0)) is not int
        ):
            return
        found = _CONTENT.search(event)
        if found is None or event.count(b'"content"') > 1:
            return
        start = found.end()
        end = event.find(b'"', start)
        if event[start:end] != delta.get("content", "").encode("utf-8", "replace"):
            # Escapes, or another member of the name: another event will do.
            return
        self._before, self._after, self._index = event[:start], event[end:], index


__all__ = ["Splicer"]
