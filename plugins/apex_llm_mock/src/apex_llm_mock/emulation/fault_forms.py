"""What a fault can do to an answer. Catalogues give the forms names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, Protocol

import attrs

from apex_llm_mock.emulation.answers import Ending, WholeAnswer
from apex_llm_mock.emulation.sse import Reads

#: drop: hang up before the head. garbage: a head that is none. hang: silence. slow: a late head. redirect: elsewhere.
Connection = Literal["drop", "garbage", "hang", "slow", "redirect"]


@attrs.frozen(kw_only=True)
class InsteadFault:
    """Another answer comes instead of the one that was asked for, whatever was asked."""

    doc: str
    answer: WholeAnswer
    #: Send the header ``retry-after`` with the date so many seconds ahead.
    date_ahead: float | None = None
    #: So many bytes follow the body.
    filler: int = 0


@attrs.frozen(kw_only=True)
class ConnectionFault:
    """Something happens to the connection before an answer comes."""

    doc: str
    what: Connection


@attrs.frozen(kw_only=True)
class WholeFault:
    """The document, or its bytes, are changed. Strikes answers that are not streamed."""

    doc: str
    document: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    body: Callable[[WholeAnswer], WholeAnswer] | None = None


#: Rewrites the events of a stream, whatever those are to the emulator; the number says how many events with content come
#: before the fault.
Rewrite = Callable[[Iterator[Any], int], Iterator[Any]]


class Framer(Protocol):
    """Turns events into bytes."""

    def frames(self, events: Iterable[Any], /) -> Iterator[bytes]:
        """Yield the bytes of one event after the other."""


@attrs.frozen(kw_only=True)
class StreamFault:
    """The events, their bytes, or the end of a stream are changed. Strikes streams; for *document*, see `WholeFault`."""

    doc: str
    rewrite: Rewrite | None = None
    #: How events become bytes, and how those are cut; None: as the emulator usually does.
    framing: Framer | None = None
    reads: Reads | None = None
    ending: Ending = "close"
    slow: bool = False
    #: "" is the usual one.
    content_type: str = ""
    document: Callable[[dict[str, Any]], dict[str, Any]] | None = None


@attrs.frozen(kw_only=True)
class UnstreamedFault:
    """A stream was asked for, and one document comes."""

    doc: str
    #: This answer, or the whole document.
    answer: WholeAnswer | None = None


Fault = InsteadFault | ConnectionFault | WholeFault | StreamFault | UnstreamedFault


def concerns(fault: Fault, *, streamed: bool) -> bool:
    """Return whether *fault* has anything to do with an answer that is streamed, or is not."""
    if isinstance(fault, (StreamFault, UnstreamedFault)):
        return streamed or (isinstance(fault, StreamFault) and fault.document is not None)
    return not (isinstance(fault, WholeFault) and streamed)


__all__ = [
    "Connection",
    "ConnectionFault",
    "Fault",
    "Framer",
    "InsteadFault",
    "Rewrite",
    "StreamFault",
    "UnstreamedFault",
    "WholeFault",
    "concerns",
]
