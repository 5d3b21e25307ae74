"""From the core's messages to the turns of Converse, which takes much less than other services do.

====================================================  ===============================================================
the core has                                          Converse gets
====================================================  ===============================================================
system and developer messages anywhere                one list of system blocks; for a model without system prompts,
                                                      text before the first turn
messages of one role in a row                         one turn
results of tools, in any order and any message        all of one turn's calls in the next user turn, first and in order
results and other content for models that take one    the results, an assistant's ".", then the rest
of them only
blank text                                            nothing: the service refuses it
an assistant's reasoning and nothing else             nothing: newer models take it for the beginning of an answer
a conversation that does not begin with the user      one that begins with a user's "."
documents without any text in their turn              a text "." beside them
arguments of calls that are no JSON object            ``{"arguments": "…"}``
cache hints                                           at most four cache points, where the model takes them, never
                                                      directly after a document
====================================================  ===============================================================
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from apex_llm_bedrock.cache_points import add_cache_point, limit_cache_points
from apex_llm_bedrock.families import Family
from apex_llm_bedrock.media import DocumentNames, media_block
from apex_llm_bedrock.tool_names import ToolNames, written_id
from apex_llm_core.converters import decode
from apex_llm_core.errors import InvalidRequestError
from apex_llm_core.models import (
    CacheHintPart,
    ChatMessage,
    ContentPart,
    DocumentPart,
    ImagePart,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

Block = dict[str, Any]
#: Stands where the service asks for words and there are none.
_NOTHING_TO_SAY = "."
_SYSTEM = frozenset({"system", "developer"})


@attrs.frozen(kw_only=True)
class Conversation:
    """System blocks and turns as they go over the wire."""

    system: list[Block]
    turns: list[Block]
    #: Whether tools occur in them.
    has_tools: bool = False
    #: Results of tools come last, and what the model thought before it called them is not there.
    thoughtless: bool = False


@attrs.define(kw_only=True, eq=False)
class _Turn:
    role: str
    blocks: list[Block] = attrs.field(factory=list)
    #: Results of tools, by the id of their call as it is written.
    results: dict[str, Block] = attrs.field(factory=dict)
    #: Calls, in order.
    calls: list[str] = attrs.field(factory=list)

    @property
    def silent(self) -> bool:
        """Whether there is nothing to send."""
        return not self.results and all("reasoningContent" in block or "cachePoint" in block for block in self.blocks)


def wire_conversation(messages: Sequence[ChatMessage], family: Family, names: ToolNames) -> Conversation:
    """Return *messages* as Converse takes them.

    Raises:
        InvalidRequestError: nothing is left to send, a call has no result, or a part has no form here; names the place.
    """
    if len(messages) == 1 and messages[0].role == "user" and type(text := messages[0].content) is str and text.strip():
        # What most requests are.
        turn: Block = {"role": "user", "content": [{"text": text}]}
        return Conversation(system=[], turns=[turn])
    writer = _Writer(family, names)
    for position, message in enumerate(messages):
        try:
            writer.add(message, f"messages[{position}]")
        except (AttributeError, TypeError) as error:
            raise InvalidRequestError(
                f"messages[{position}] has a part with a member of the wrong type: {error}"
            ) from error
    return writer.finish()


class _Writer:
    def __init__(self, family: Family, names: ToolNames) -> None:
        self._family = family
        self._names = names
        self._documents = DocumentNames()
        self._system: list[Block] = []
        self._turns: list[_Turn] = []
        #: Older spelling: ids of calls that have none, by the function's name.
        self._unnamed: dict[str, str] = {}
        self._number = 0

    def add(self, message: ChatMessage, where: str) -> None:
        if message.function_call is not None and message.role != "assistant":
            raise InvalidRequestError(f"{where}: only assistant messages make tool calls")
        if message.role in _SYSTEM:
            self._add_system(message, where)
            return
        turn = self._turn("assistant" if message.role == "assistant" else "user")
        if message.role == "function":
            self._add_result(turn, self._unnamed[message.name or ""], message.text, is_error=False, where=where)
            return
        if message.role == "tool" and isinstance(message.content, str):
            raise InvalidRequestError(f"{where} has role 'tool' but no tool result that names its call")
        for part in _parts(message):
            self._add_part(turn, part, where)
        if message.function_call is not None:
            self._number += 1
            call_id = self._unnamed[message.function_call.name] = f"call_{self._number}"
            call = ToolCallPart(id=call_id, name=message.function_call.name, arguments=message.function_call.arguments)
            self._add_part(turn, call, where)

    def finish(self) -> Conversation:
        if self._turns and self._turns[-1].silent:
            self._turns.pop()
        self._check_calls()
        has_tools = any(turn.calls for turn in self._turns)
        turns = [wire for turn in self._turns for wire in self._wire(turn)]
        if not self._family.system and self._system:
            self._say_first(turns)
        if not turns:
            raise InvalidRequestError("messages say nothing: Bedrock needs at least one user message that is not blank")
        if turns[0]["role"] == "assistant":
            turns.insert(0, {"role": "user", "content": [{"text": _NOTHING_TO_SAY}]})
        limit_cache_points(self._system, turns)
        if turns[-1]["role"] == "assistant":
            _strip_beginning(turns[-1]["content"])
        return Conversation(system=self._system, turns=turns, has_tools=has_tools, thoughtless=self._is_thoughtless())

    def _is_thoughtless(self) -> bool:
        if len(self._turns) < 2 or not self._turns[-1].results:
            return False
        return not any("reasoningContent" in block for block in self._turns[-2].blocks)

    def _turn(self, role: str) -> _Turn:
        turns = self._turns
        if turns and turns[-1].role != role and turns[-1].silent:
            # What is around it grows together.
            turns.pop()
        if not turns or turns[-1].role != role:
            turns.append(_Turn(role=role))
        return turns[-1]

    def _add_system(self, message: ChatMessage, where: str) -> None:
        for part in _parts(message):
            if isinstance(part, TextPart):
                if part.text.strip():
                    self._system.append({"text": part.text})
            elif isinstance(part, CacheHintPart):
                if "system" in self._family.cache_points and self._system:
                    add_cache_point(self._system, part)
            else:
                raise InvalidRequestError(f"{where}: a {message.role} message takes text only, no {part.type}")

    def _add_part(self, turn: _Turn, part: ContentPart, where: str) -> None:
        if isinstance(part, TextPart):
            if part.text.strip():
                turn.blocks.append({"text": part.text})
        elif isinstance(part, ImagePart | DocumentPart):
            if turn.role != "user":
                raise InvalidRequestError(f"{where}: Bedrock takes an {part.type} in user messages only")
            turn.blocks.append(media_block(part, self._documents, where))
        elif isinstance(part, ToolCallPart):
            if turn.role != "assistant":
                raise InvalidRequestError(f"{where}: only assistant messages make tool calls")
            call_id = written_id(part.id)
            turn.calls.append(call_id)
            use = {"toolUseId": call_id, "name": self._names.written(part.name), "input": _arguments(part.arguments)}
            turn.blocks.append({"toolUse": use})
        elif isinstance(part, ToolResultPart):
            self._add_result(turn, part.tool_call_id, part.content, is_error=part.is_error, where=where)
        elif isinstance(part, ReasoningPart):
            block = _reasoning(part, self._family)
            if block is not None and turn.role == "assistant":
                turn.blocks.append(block)
        elif "messages" in self._family.cache_points:
            after_results = bool(turn.results) and not self._family.tool_results_alone
            add_cache_point(turn.blocks, part, after_results=after_results)

    def _add_result(self, turn: _Turn, call_id: str, content: str, *, is_error: bool, where: str) -> None:
        if turn.role != "user":
            raise InvalidRequestError(f"{where}: results of tools stand in messages of role 'tool' or 'user'")
        call_id = written_id(call_id)
        if call_id in turn.results:
            raise InvalidRequestError(f"{where} is a second result of tool call {call_id!r}; send one")
        result: Block = {"toolUseId": call_id, "content": [{"text": content}] if content.strip() else [{"json": {}}]}
        if is_error:
            if self._family.tool_result_status:
                result["status"] = "error"
            else:
                result["content"] = [{"text": f"Error: {content}"}]
        turn.results[call_id] = {"toolResult": result}

    def _check_calls(self) -> None:
        """See that the turn after one with calls has their results, and no others."""
        for turn, following in zip(self._turns, [*self._turns[1:], _Turn(role="user")], strict=False):
            if turn.calls and len(set(turn.calls)) < len(turn.calls):
                raise InvalidRequestError("one assistant turn has two tool calls with the same id")
            if turn.role != "assistant":
                continue
            missing = [call for call in turn.calls if call not in following.results]
            if missing:
                raise InvalidRequestError(
                    f"tool call {missing[0]!r} has no result before the next assistant message; "
                    "Bedrock needs one for each call, so add a message of role 'tool'"
                )
            stray = following.results.keys() - set(turn.calls)
            if stray:
                raise InvalidRequestError(
                    f"the result of tool call {min(stray)!r} does not follow the assistant message that makes the call"
                )
            following.results = {call: following.results[call] for call in turn.calls}

    def _wire(self, turn: _Turn) -> Iterator[Block]:
        """Yield what becomes of *turn*: itself, or three turns where results must stand alone."""
        results, others = list(turn.results.values()), turn.blocks
        if any("document" in block for block in others) and not any("text" in block for block in others):
            others = [*others, {"text": _NOTHING_TO_SAY}]
        if results and others and self._stands_alone(others):
            # A cache point that leads belongs to the results.
            cached = 1 if "cachePoint" in others[0] else 0
            yield {"role": turn.role, "content": [*results, *others[:cached]]}
            yield {"role": "assistant", "content": [{"text": _NOTHING_TO_SAY}]}
            yield {"role": turn.role, "content": others[cached:]}
        else:
            yield {"role": turn.role, "content": [*results, *others]}

    def _stands_alone(self, others: Sequence[Block]) -> bool:
        if self._family.tool_results_alone:
            return True
        return not self._family.media_beside_tool_results and any("document" in block for block in others)

    def _say_first(self, turns: list[Block]) -> None:
        said = [block for block in self._system if "text" in block]
        if turns and turns[0]["role"] == "user":
            turns[0]["content"][:0] = said
        else:
            turns.insert(0, {"role": "user", "content": said})
        self._system = []


def _parts(message: ChatMessage) -> Sequence[ContentPart]:
    content = message.content
    return (TextPart(text=content),) if isinstance(content, str) else content


def _arguments(text: str) -> Any:
    """Return the input of a call; the service takes objects only, and models do not always write one."""
    if not text.strip():
        return {}
    try:
        found = decode(text.encode("utf-8", "replace"))
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"arguments": text}


def _reasoning(part: ReasoningPart, family: Family) -> Block | None:
    """Return the block that gives reasoning back; None where the model takes none, or not what another model wrote."""
    if family.reasoning_back == "signed":
        if part.data is not None:
            return {"reasoningContent": {"redactedContent": part.data}}
        return _thought({"text": part.text, "signature": part.signature}) if part.signature else None
    return _thought({"text": part.text}) if family.reasoning_back == "text" and part.text.strip() else None


def _thought(said: Block) -> Block:
    return {"reasoningContent": {"reasoningText": said}}


def _strip_beginning(blocks: list[Block]) -> None:
    """Strip the end of the last words: the beginning of an answer, which these are, may not end in blanks."""
    for position in range(len(blocks) - 1, -1, -1):
        if "cachePoint" not in blocks[position]:
            if "text" in blocks[position]:
                blocks[position] = {"text": blocks[position]["text"].rstrip()}
            return


__all__ = ["Conversation", "wire_conversation"]
