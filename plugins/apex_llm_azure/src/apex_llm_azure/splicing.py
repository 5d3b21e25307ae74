"""Events that differ from an earlier one in nothing but their text are read without parsing them.

Nearly all events of a stream are such. What stands before and after the text is compared byte by byte, so a spliced event
says what a parsed one would, by construction; whatever else differs, or might, is parsed. Pure, no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import islice
from operator import itemgetter, methodcaller
from typing import Any

from apex_llm_core.converters import decode
from apex_llm_core.models import ChatGenerationChunk, text_chunks

_CONTENT = re.compile(rb'"content": ?"')
#: From so many events on it pays to look at them together.
_MANY = 3
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
        before = self._before
        rest = events[position:] if position else events
        texts = self._together(rest) if len(rest) >= _MANY and rest[0].startswith(before) else []
        if len(texts) < len(rest):
            self._one_by_one(rest, texts)
        if texts:
            self._misses = 0
            chunks += text_chunks(texts, self._index)
        elif rest:
            self._misses += 1
        return position + len(texts)

    def _together(self, events: Sequence[bytes]) -> list[str]:
        """Return the texts of the first events, as far as they begin alike; of none if not all of those fit."""
        before, after = self._before, self._after
        if not events[-1].startswith(before):
            # The last read of an answer begins like all the others.
            events = events[: [*map(methodcaller("startswith", before), events)].index(False)]
        insides = [*map(itemgetter(slice(len(before), -len(after))), events)]
        # Put together again they are the same exactly when all fit: faster than to look at the ends of each.
        if b"%b%b%b" % (before, (after + before).join(insides), after) != b"".join(events) or b"" in insides:
            return []
        try:
            text = b'"'.join(insides).decode()
        except UnicodeDecodeError:
            return []
        if "\\" not in text and text.isprintable():
            texts = text.split('"')
            if len(texts) == len(events):
                return texts
        texts = []
        for inside in insides:
            read = _string(inside)
            if read is None:
                break
            texts.append(read)
        return texts

    def _one_by_one(self, events: Sequence[bytes], texts: list[str]) -> None:
        """Add the texts of further events, behind those of *texts*, to these, until one does not fit."""
        before, after = self._before, self._after
        start, end = len(before), -len(after)
        least = start - end
        for event in islice(events, len(texts), None):
            if not (event.startswith(before) and event.endswith(after)) or len(event) <= least:
                break
            read = _string(event[start:end])
            if read is None:
                break
            texts.append(read)

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


def _is_plain(text: str) -> bool:
    """Return whether *text* stands in JSON as it is."""
    return '"' not in text and "\\" not in text and text.isprintable()


def _string(inside: bytes) -> str | None:
    """Return the text of which *inside* is the JSON form without its quotes; None: it is none."""
    try:
        text = inside.decode()
        # A string is valid within the bytes around it exactly when it is by itself.
        read = text if _is_plain(text) else decode(b'"%b"' % inside)
    except ValueError:
        return None
    return read if type(read) is str else None


__all__ = ["Splicer"]
