"""Content blocks of a streamed answer, which its events name by number: words, calls, thoughts. A pure state machine, no I/O.

A call without arguments gets ``{}``, since the core's arguments are JSON. A block of reasoning is handed out twice: in pieces
as they come, and whole with its signature, to be sent back unchanged. Where a tool stands for the form of the answer, its
arguments are the text; what the model says beside it counts only if it does not call that tool.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Literal

from apex_llm_bedrock.answers import Reading
from apex_llm_core.models import ChatGenerationChunk, ReasoningPart, ToolCallDelta, text_chunk

#: In place of the index of a call: of the tool that stands for the answer, and of what nobody is told.
_ANSWER, _NOBODYS = -1, -2
Chunks = list[ChatGenerationChunk]
#: What a block of reasoning has: `data` is encrypted.
ThoughtMember = Literal["text", "signature", "data"]


class ContentBlocks:
    """The blocks of one answer; every method returns the chunks that its event makes.

    Args:
        reading: what the request says of its answer.
    """

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        #: By block: the index of its call.
        self._calls: dict[int, int] = {}
        #: Blocks of calls that have no arguments so far.
        self._bare: set[int] = set()
        self._said: list[str] = []
        self._thoughts: dict[int, dict[str, str]] = {}
        #: How often tools of the caller were called.
        self.calls = 0

    @property
    def answered(self) -> bool:
        """Whether the tool that stands for the answer was called."""
        return _ANSWER in self._calls.values()

    def say(self, text: str) -> Chunks:
        """Take words."""
        if not text:
            return []
        if self._reading.json_tool:
            self._said.append(text)
            return []
        return [text_chunk(text, 0)]

    def call(self, block: int, call_id: str, name: str) -> Chunks:
        """Take the beginning of a call of the tool that goes by *name* over the wire."""
        self._bare.add(block)
        if self._reading.json_tool and name == self._reading.json_tool:
            # One answer is wanted.
            self._calls[block] = _NOBODYS if self.answered else _ANSWER
            return []
        index = self._calls[block] = self.calls
        self.calls += 1
        call = ToolCallDelta(index=index, id=call_id, name=self._reading.names.original(name))
        return [ChatGenerationChunk(tool_calls=(call,))]

    def ignore(self, block: int) -> None:
        """Take the beginning of a call that is no business of the caller."""
        self._calls[block] = _NOBODYS

    def argue(self, block: int, arguments: str) -> Chunks:
        """Take a piece of a call's arguments.

        Raises:
            KeyError: *block* did not begin a call.
        """
        index = self._calls[block]
        if not arguments or index == _NOBODYS:
            return []
        self._bare.discard(block)
        if index == _ANSWER:
            return [text_chunk(arguments, 0)]
        return [ChatGenerationChunk(tool_calls=(ToolCallDelta(index=index, arguments=arguments),))]

    def think(self, block: int, member: ThoughtMember, piece: str) -> Chunks:
        """Take a piece of a block of reasoning: of its text, its signature, or what is encrypted in base64.

        Raises:
            ValueError: an encrypted piece is no base64.
        """
        if not piece:
            return []
        so_far = self._thoughts.setdefault(block, {})
        so_far[member] = _joined(so_far.get(member, ""), piece) if member == "data" else so_far.get(member, "") + piece
        return [ChatGenerationChunk(reasoning=piece)] if member == "text" else []

    def stop(self, block: int) -> Chunks:
        """Take the end of *block*."""
        chunks: Chunks = []
        if block in self._bare:
            chunks += self.argue(block, "{}")
            self._bare.discard(block)
        thought = self._thoughts.pop(block, None)
        if thought:
            part = (
                ReasoningPart(data=thought["data"])
                if "data" in thought
                else ReasoningPart(text=thought.get("text", ""), signature=thought.get("signature"))
            )
            chunks.append(ChatGenerationChunk(reasoning_part=part))
        return chunks

    def close(self) -> Chunks:
        """Take the end of the answer: of all blocks that did not end, and of words that waited for a call."""
        chunks = [chunk for block in sorted(self._bare | self._thoughts.keys()) for chunk in self.stop(block)]
        said, self._said = "".join(self._said), []
        return [*chunks, text_chunk(said, 0)] if said and not self.answered else chunks


def _joined(first: str, second: str) -> str:
    """Return two pieces in base64 as one; each may end with its own padding."""
    if first.endswith("="):
        return b64encode(b64decode(first, validate=True) + b64decode(second, validate=True)).decode()
    return first + second


__all__ = ["ContentBlocks", "ThoughtMember"]
