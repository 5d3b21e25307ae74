"""Requests made to fit a candidate that cannot do all they ask for: nothing is lost silently, and never the essence.

=============  =================================================  ==================================================
it lacks       drop                                               emulate
=============  =================================================  ==================================================
stream         asked for the whole answer                         the same
text           cannot serve                                       asked in chat, where it can chat
json           `response_format` is left out                      an instruction, with the schema in it, instead
reasoning      `reasoning_effort` is left out                     the same
tools          tools are left out, calls and results of before    the same
               are written as text; cannot serve where a tool
               must be called
vision         a note stands for each image; cannot serve where   the same
               a user's message was nothing else
documents      the same as for images                             their text, where they have one, else a note
anything else  cannot serve                                       cannot serve
=============  =================================================  ==================================================

Both lower `max_tokens` to what the candidate can write at most.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import attrs

from apex_llm_core.converters import dumps
from apex_llm_core.models.candidates import Candidate
from apex_llm_core.models.messages import ChatMessage
from apex_llm_core.models.options import FunctionChoice, ResponseFormat
from apex_llm_core.models.requests import GenerateRequest, Request
from apex_llm_core.routing.rewriting import Rewritten, tools_as_text, without_documents, without_images

#: What may become of what a candidate lacks; as in the configuration.
Policy = Literal["error", "drop", "emulate"]

_ADAPTABLE = frozenset({"stream", "text", "json", "reasoning", "tools", "vision", "documents"})
#: Options that neither say what is asked nor how much may be spent on it.
_DISPENSABLE = frozenset(
    {
        *("temperature", "top_p", "frequency_penalty", "presence_penalty", "stop", "seed", "n", "user"),
        *("logprobs", "top_logprobs", "parallel_tool_calls", "response_format", "reasoning_effort"),
    }
)
_TOOLS = ("tools", "functions", "tool_choice", "function_call", "parallel_tool_calls")
_SYSTEM = frozenset({"system", "developer"})


@attrs.frozen(kw_only=True, eq=False)
class Adapted:
    """A request for one candidate, and what was changed for it: "response_format: emulated by an instruction"."""

    request: GenerateRequest
    changes: tuple[str, ...] = ()


def adapt(request: Request, lacking: frozenset[str], candidate: Candidate, policy: Policy) -> Adapted | None:
    """Return *request* as *candidate* can serve it, None where it cannot be or may not be.

    Args:
        request: what was asked for; only generation can be adapted.
        lacking: the capabilities that the request needs and the candidate has not.
        candidate: who is to serve it.
        policy: "error": nothing may change; "drop": things may be left out; "emulate": or be done by other means.
    """
    if not isinstance(request, GenerateRequest) or not lacking <= _ADAPTABLE:
        return None
    if policy == "error":
        return None if lacking else Adapted(request=request)
    draft = _Draft(request)
    declared = candidate.capabilities
    if "stream" in lacking:
        draft.ask_for_the_whole()
    if "text" in lacking:
        if policy == "drop" or (declared is not None and "chat" not in declared):
            return None
        draft.ask_in_chat()
    if "tools" in lacking and not draft.leave_out_tools():
        return None
    if "tools" in lacking or (declared is not None and "tools" not in declared):
        # Without tools of its own, a request with results of tools does not say that it needs them.
        draft.write_out_tools()
    if "json" in lacking:
        if policy == "drop":
            draft.leave_out("response_format")
        elif not draft.instruct_format():
            return None
    if "reasoning" in lacking:
        draft.leave_out("reasoning_effort")
    if "vision" in lacking and not draft.leave_out_images():
        return None
    if "documents" in lacking and not draft.leave_out_documents(with_text=policy == "emulate"):
        return None
    draft.lower_max_tokens(candidate.max_output_tokens)
    return draft.finish()


def without(request: GenerateRequest, parameters: Iterable[str]) -> Adapted | None:
    """Return *request* without *parameters*, which a candidate does not take; None where they cannot be spared.

    Args:
        request: what was asked for.
        parameters: names of options, of parameters in `extra`, "images" or "documents".
    """
    draft = _Draft(request)
    for name in dict.fromkeys(parameters):
        if not draft.spare(name):
            return None
    return draft.finish() if draft.changes else None


class _Draft:
    """A request while it is changed. What returns a bool tells whether the essence is still there."""

    def __init__(self, request: GenerateRequest) -> None:
        self._request = request
        self._kind = request.kind
        self._stream = request.stream
        self._messages = request.messages
        self._options = request.options
        self.changes: list[str] = []
        self._left_out: set[str] = set()

    def finish(self) -> Adapted:
        if not self.changes:
            return Adapted(request=self._request)
        request = attrs.evolve(
            self._request, kind=self._kind, stream=self._stream, messages=self._messages, options=self._options
        )
        return Adapted(request=request, changes=tuple(self.changes))

    def spare(self, name: str) -> bool:
        """Leave out what *name* stands for."""
        if name in self._left_out:
            # With another, without which it says nothing.
            return True
        if name in {"tools", "functions"}:
            # There may be calls and results of before, and no tools any more.
            known = len(self.changes)
            self.write_out_tools()
            return not self._forces_a_tool() and (self.leave_out(*_TOOLS) or len(self.changes) > known)
        if name in {"tool_choice", "function_call"}:
            return not self._forces_a_tool() and self.leave_out(name)
        if name == "images":
            return self.leave_out_images()
        if name == "documents":
            return self.leave_out_documents(with_text=False)
        if name == "logprobs":
            return self.leave_out("logprobs", "top_logprobs")
        return self.leave_out(name) if name in _DISPENSABLE else self._leave_out_extra(name.removeprefix("extra."))

    def ask_for_the_whole(self) -> None:
        self._stream = False
        self.changes.append("stream: emulated from the whole answer")

    def ask_in_chat(self) -> None:
        self._kind, self._options = "chat", self._request.chat_options
        self.changes.append("text: emulated by chat")

    def lower_max_tokens(self, highest: int | None) -> None:
        asked = self._options.max_tokens
        if asked is not None and highest is not None and asked > highest:
            self._options = attrs.evolve(self._options, max_tokens=highest)
            self.changes.append(f"max_tokens: {asked} lowered to {highest}")

    def leave_out(self, *names: str) -> bool:
        options: Any = self._options
        given = [name for name in names if getattr(options, name, None) is not None]
        self._options = attrs.evolve(options, **dict.fromkeys(given))
        self._left_out.update(given)
        self.changes.extend(f"{name}: dropped" for name in given)
        return bool(given)

    def leave_out_tools(self) -> bool:
        return not self._forces_a_tool() and self.leave_out(*_TOOLS)

    def write_out_tools(self) -> None:
        rewritten = tools_as_text(self._messages)
        if rewritten.as_text:
            self._messages = rewritten.messages
            self.changes.append(f"tool calls and results: written as text ({rewritten.as_text})")

    def instruct_format(self) -> bool:
        options: Any = self._options
        wanted: ResponseFormat = options.response_format
        try:
            instruction = _instruction(wanted)
        except TypeError:
            # The schema has no JSON form; nobody could take it.
            return False
        self._options = attrs.evolve(options, response_format=None)
        head = 0
        while head < len(self._messages) and self._messages[head].role in _SYSTEM:
            head += 1
        # After what the application says, in the role it speaks in.
        role = self._messages[head - 1].role if head else "system"
        said = ChatMessage(role=role, content=instruction)
        self._messages = (*self._messages[:head], said, *self._messages[head:])
        self.changes.append("response_format: emulated by an instruction")
        return True

    def leave_out_images(self) -> bool:
        return self._replace("images", without_images(self._messages))

    def leave_out_documents(self, *, with_text: bool) -> bool:
        return self._replace("documents", without_documents(self._messages, with_text=with_text))

    def _replace(self, what: str, rewritten: Rewritten) -> bool:
        self._messages = rewritten.messages
        if rewritten.as_text:
            self.changes.append(f"{what}: emulated by their text ({rewritten.as_text})")
        if rewritten.as_note:
            self.changes.append(f"{what}: dropped ({rewritten.as_note})")
        return not rewritten.hollow

    def _forces_a_tool(self) -> bool:
        options = self._request.chat_options
        choice = options.function_call if options.tool_choice is None else options.tool_choice
        return isinstance(choice, FunctionChoice) or choice not in {None, "auto", "none"}

    def _leave_out_extra(self, name: str) -> bool:
        extra = self._options.extra
        if extra is None or name not in extra:
            return False
        kept = {key: value for key, value in extra.items() if key != name}
        self._options = attrs.evolve(self._options, extra=kept or None)
        self.changes.append(f"extra.{name}: dropped")
        return True


def _instruction(wanted: ResponseFormat) -> str:
    only = "and nothing else: no words around it, no code fence"
    if wanted.schema is None:
        return f"Your answer to the user is one JSON object {only}."
    return (
        f"Your answer to the user is one JSON document that keeps to this JSON Schema, {only}.\n{dumps(wanted.schema)}"
    )


__all__ = ["Adapted", "Policy", "adapt", "without"]
