"""From what a fault says to the answer that is sent."""

from __future__ import annotations

from collections.abc import Iterator
from email.utils import formatdate
from typing import Any, Protocol

import attrs

from apex_llm_mock.emulation.answers import StreamedAnswer, WholeAnswer, encoded
from apex_llm_mock.emulation.fault_forms import Fault, Framer, InsteadFault, StreamFault, UnstreamedFault, WholeFault
from apex_llm_mock.emulation.fault_orders import FaultOrder
from apex_llm_mock.emulation.sse import in_groups

#: So many chunks with content come before a stream's fault unless the order says otherwise.
CHUNKS_BEFORE = 1


class Answered(Protocol):
    """An answered request whose answer can be one document or a stream."""

    def document(self) -> dict[str, Any]:
        """Return the whole answer."""

    def events(self, chunk_size: int) -> Iterator[Any]:
        """Yield the events of the stream; *chunk_size* in characters."""


@attrs.frozen(kw_only=True)
class Pace:
    """How streams are cut and timed: characters per chunk, chunks per read, seconds between reads."""

    chunk_size: int
    chunks_per_read: int
    read_pause: float
    slow_pause: float


def instead(fault: InsteadFault, order: FaultOrder, *, now: float) -> WholeAnswer:
    """Return the answer of *fault* as *order* changes it; *now* in seconds since 1970."""
    answer = fault.answer
    headers = dict(answer.headers)
    if fault.date_ahead is not None:
        headers["retry-after"] = formatdate(now + fault.date_ahead, usegmt=True)
    headers |= order.headers
    return attrs.evolve(
        answer,
        headers=headers,
        status=answer.status if order.status is None else order.status,
        body=answer.body + b"x" * fault.filler if order.body is None else _bytes(order.body),
    )


def streamed(
    answered: Answered,
    fault: Fault | None,
    order: FaultOrder | None,
    pace: Pace,
    *,
    framing: Framer,
    content_type: str,
) -> StreamedAnswer:
    """Return the stream of *answered* as *fault* disfigures it; *framing* and *content_type* are the usual ones."""
    events = answered.events(pace.chunk_size)
    grouped = in_groups(pace.chunks_per_read)
    if not isinstance(fault, StreamFault):
        return StreamedAnswer(reads=grouped(framing.frames(events)), pause=pace.read_pause, content_type=content_type)
    if fault.rewrite is not None:
        wanted = order.after_chunks if order is not None else None
        events = fault.rewrite(events, CHUNKS_BEFORE if wanted is None else wanted)
    return StreamedAnswer(
        reads=(fault.reads or grouped)((fault.framing or framing).frames(events)),
        pause=pace.slow_pause if fault.slow else pace.read_pause,
        ending=fault.ending,
        content_type=fault.content_type or content_type,
    )


def whole(served: WholeAnswer | Answered, fault: Fault | None, *, content_type: str) -> WholeAnswer:
    """Return what was *served* in one piece, as *fault* disfigures it; *content_type* is that of documents."""
    if isinstance(fault, UnstreamedFault) and fault.answer is not None:
        return fault.answer
    answer = served
    if not isinstance(answer, WholeAnswer):
        document = answer.document()
        if isinstance(fault, (WholeFault, StreamFault)) and fault.document is not None:
            document = fault.document(document)
        answer = WholeAnswer(body=encoded(document), content_type=content_type)
    if isinstance(fault, WholeFault) and fault.body is not None:
        return fault.body(answer)
    return answer


def _bytes(body: Any) -> bytes:
    if isinstance(body, bytes):
        return body
    return body.encode() if isinstance(body, str) else encoded(body)


__all__ = ["CHUNKS_BEFORE", "Answered", "Pace", "instead", "streamed", "whole"]
