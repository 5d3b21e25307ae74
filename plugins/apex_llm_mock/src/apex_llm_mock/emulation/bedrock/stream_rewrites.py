"""Ways to spoil the messages of a stream; each takes them and the number of those with content that stay before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from apex_llm_mock.emulation.bedrock.event_frames import Message, StreamEvent, encode, event_headers, frame
from apex_llm_mock.emulation.bedrock.fault_bodies import HUGE
from apex_llm_mock.emulation.fault_forms import Rewrite
from apex_llm_mock.emulation.sse import Raw

_SAMPLE = StreamEvent("contentBlockDelta", {"delta": {"text": "lost"}, "contentBlockIndex": 0})


def has_content(message: Message) -> bool:
    """Return whether *message* carries a piece of the answer."""
    return isinstance(message, StreamEvent) and message.name in ("contentBlockDelta", "chunk")


def _is_end(message: Message) -> bool:
    return isinstance(message, StreamEvent) and message.name in ("messageStop", "metadata")


def _up_to(messages: Iterator[Message], after: int) -> Iterator[Message]:
    """Yield the beginning: *after* messages with content, never an end."""
    for message in messages:
        if _is_end(message):
            return
        if has_content(message):
            if after == 0:
                return
            after -= 1
        yield message


def then(*last: Message) -> Rewrite:
    """Return a rewriting that breaks off and ends with the *last* messages."""

    def rewrite(messages: Iterator[Message], after: int) -> Iterator[Message]:
        yield from _up_to(messages, after)
        yield from last

    return rewrite


def inserted(extra: Message) -> Rewrite:
    """Return a rewriting that puts *extra* after so many messages with content, and goes on."""

    def rewrite(messages: Iterator[Message], after: int) -> Iterator[Message]:
        waiting = True
        for message in messages:
            if waiting and ((has_content(message) and after == 0) or _is_end(message)):
                waiting = False
                yield extra
            elif has_content(message):
                after -= 1
            yield message

    return rewrite


def changed(change: Callable[[bytes], bytes]) -> Rewrite:
    """Return a rewriting that damages the bytes of one message with content, and goes on."""

    def rewrite(messages: Iterator[Message], after: int) -> Iterator[Message]:
        for message in messages:
            if has_content(message):
                if after == 0:
                    yield Raw(change(encode(message)))
                    after -= 1
                    continue
                after -= 1
            yield message

    return rewrite


def flipped(place: int) -> Callable[[bytes], bytes]:
    """Return a change of one bit of the byte at *place*."""

    def change(data: bytes) -> bytes:
        damaged = bytearray(data)
        damaged[place] ^= 1
        return bytes(damaged)

    return change


def cut(messages: Iterator[Message], after: int) -> Iterator[Message]:
    """Break off within a frame."""
    yield from _up_to(messages, after)
    yield Raw(encode(_SAMPLE)[:-7])


def huge(messages: Iterator[Message], after: int) -> Iterator[Message]:
    """Announce a frame of 20 MB, and send most of it."""
    yield from _up_to(messages, after)
    yield Raw(frame(event_headers("contentBlockDelta"), b"x" * HUGE)[:-64])


def without(name: str) -> Rewrite:
    """Return a rewriting that leaves out the events of that *name*; a stream of chunks lacks its last one."""

    def rewrite(messages: Iterator[Message], _after: int) -> Iterator[Message]:
        held: Message | None = None
        for message in messages:
            if held is not None:
                yield held
            held = None if isinstance(message, StreamEvent) and message.name == name else message
        if held is not None and not (isinstance(held, StreamEvent) and held.name == "chunk"):
            yield held

    return rewrite


def metadata_first(messages: Iterator[Message], _after: int) -> Iterator[Message]:
    """Hold messageStop back until everything else is out."""
    held: list[Message] = []
    for message in messages:
        if isinstance(message, StreamEvent) and message.name == "messageStop":
            held.append(message)
        else:
            yield message
    yield from held


def announced(messages: Iterator[Message], _after: int) -> Iterator[Message]:
    """Announce every block, as no Bedrock does: text by an empty start."""
    begun: set[int] = set()
    for message in messages:
        if isinstance(message, StreamEvent) and "contentBlockIndex" in message.document:
            index = message.document["contentBlockIndex"]
            if message.name == "contentBlockDelta" and index not in begun:
                yield StreamEvent("contentBlockStart", {"start": {}, "contentBlockIndex": index})
            begun.add(index)
        yield message


def stopped(reason: str, *, empty: bool = False) -> dict[str, Any]:
    """Return what makes an answer end for *reason*, whole or streamed; an *empty* one has no content."""

    def document(answer: dict[str, Any]) -> dict[str, Any]:
        if empty:
            answer = {**answer, "output": {"message": {"role": "assistant", "content": []}}}
        return {**answer, "stopReason": reason}

    def rewrite(messages: Iterator[Message], _after: int) -> Iterator[Message]:
        for message in messages:
            if isinstance(message, StreamEvent):
                if empty and message.name.startswith("contentBlock"):
                    continue
                if message.name == "messageStop":
                    yield StreamEvent("messageStop", {**message.document, "stopReason": reason})
                    continue
            yield message

    return {"document": document, "rewrite": rewrite}


__all__ = [
    "announced",
    "changed",
    "cut",
    "flipped",
    "has_content",
    "huge",
    "inserted",
    "metadata_first",
    "stopped",
    "then",
    "without",
]
