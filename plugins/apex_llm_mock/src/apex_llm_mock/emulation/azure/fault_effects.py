"""From what a fault says to the answer that is sent."""

from __future__ import annotations

from email.utils import formatdate
from typing import Any

import attrs

from apex_llm_mock.emulation.answers import StreamedAnswer, WholeAnswer, document_answer, encoded
from apex_llm_mock.emulation.azure.chat import Completion
from apex_llm_mock.emulation.fault_forms import Fault, InsteadFault, StreamFault, UnstreamedFault, WholeFault
from apex_llm_mock.emulation.fault_orders import FaultOrder
from apex_llm_mock.emulation.sse import PLAIN, in_groups

#: So many chunks with content come before a stream's fault unless the order says otherwise.
CHUNKS_BEFORE = 1


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


def streamed(completion: Completion, fault: Fault | None, order: FaultOrder | None, pace: Pace) -> StreamedAnswer:
    """Return the stream of *completion* as *fault* disfigures it."""
    events = completion.events(pace.chunk_size)
    grouped = in_groups(pace.chunks_per_read)
    if not isinstance(fault, StreamFault):
        return StreamedAnswer(reads=grouped(PLAIN.frames(events)), pause=pace.read_pause)
    if fault.rewrite is not None:
        wanted = order.after_chunks if order is not None else None
        events = fault.rewrite(events, CHUNKS_BEFORE if wanted is None else wanted)
    return StreamedAnswer(
        reads=(fault.reads or grouped)(fault.framing.frames(events)),
        pause=pace.slow_pause if fault.slow else pace.read_pause,
        ending=fault.ending,
        content_type=fault.content_type,
    )


def whole(served: WholeAnswer | Completion, fault: Fault | None) -> WholeAnswer:
    """Return what was *served* in one piece, as *fault* disfigures it."""
    if isinstance(fault, UnstreamedFault) and fault.answer is not None:
        return fault.answer
    answer = document_answer(_document(served, fault)) if isinstance(served, Completion) else served
    if isinstance(fault, WholeFault) and fault.body is not None:
        return fault.body(answer)
    return answer


def _document(served: Completion, fault: Fault | None) -> dict[str, Any]:
    document = served.document()
    if isinstance(fault, (WholeFault, StreamFault)) and fault.document is not None:
        return fault.document(document)
    return document


def _bytes(body: Any) -> bytes:
    if isinstance(body, bytes):
        return body
    return body.encode() if isinstance(body, str) else encoded(body)


__all__ = ["CHUNKS_BEFORE", "Pace", "instead", "streamed", "whole"]
