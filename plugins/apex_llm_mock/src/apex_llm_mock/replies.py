"""What the mock answers: an echo, a fixed text, a script, tool calls, JSON; cut to length and at stop words."""

from __future__ import annotations

import json
from typing import Any, NamedTuple
from zlib import crc32

from apex_llm_core.models import (
    ChatGenerationOptions,
    ChatMessage,
    ContentPart,
    DocumentPart,
    FunctionCall,
    GenerateRequest,
    ImagePart,
    ReasoningPart,
    ResponseFormat,
    TextPart,
    ToolCallPart,
)
from apex_llm_mock import tokens, tool_calls
from apex_llm_mock.schemas import example
from apex_llm_mock.settings import MockSettings, Reply


class Answer(NamedTuple):
    """One choice, before it becomes a result or chunks."""

    text: str
    finish_reason: str
    tool_calls: tuple[ToolCallPart, ...] = ()
    reasoning: str = ""

    @property
    def tokens(self) -> int:
        """The tokens of everything in it."""
        total = tokens.count(self.text)
        if not self.reasoning and not self.tool_calls:
            return total
        total += tokens.count(self.reasoning)
        for part in self.tool_calls:
            total += tokens.count(part.name) + tokens.count(part.arguments)
        return total


class Replier:
    """Writes answers; keeps the place in the script."""

    def __init__(self, settings: MockSettings) -> None:
        self._settings = settings
        self._place = 0

    def next_scripted(self) -> Reply | None:
        """Return the script's next entry and move on, None without a script."""
        script = self._settings.script
        if not script:
            return None
        place = self._place
        self._place += 1
        return script[place % len(script) if self._settings.script_end == "cycle" else min(place, len(script) - 1)]

    def answers(self, request: GenerateRequest, scripted: Reply | None, room: int | None) -> list[Answer]:
        """Return as many answers as the request wants, each of at most *room* tokens."""
        options = request.options
        prompt = prompt_of(request.messages)
        if scripted is not None:
            answer = self._from_script(request, scripted, prompt)
        elif isinstance(options, ChatGenerationOptions):
            answer = self._composed(request, options, prompt)
        else:
            answer = Answer(self._written(prompt), "stop")
        answers = [answer]
        if options.n is not None and options.n > 1:
            answers += [self._alternative(request, answer, number) for number in range(2, options.n + 1)]
        limit = room
        if options.max_tokens is not None and (room is None or options.max_tokens < room):
            limit = options.max_tokens
        if limit is None and not options.stop:
            return answers
        return [_shortened(answer, options.stop or (), limit) for answer in answers]

    def _written(self, prompt: str) -> str:
        reply = self._settings.reply
        return prompt if reply == "echo" else reply.replace("{prompt}", prompt)

    def _composed(self, request: GenerateRequest, options: ChatGenerationOptions, prompt: str) -> Answer:
        effort = options.reasoning_effort
        reasoning = f"Thinking about: {prompt}" if effort is not None and effort != "none" else ""
        results = tool_calls.results_in(request.messages) if len(request.messages) > 1 else None
        if options.tools or options.functions or options.tool_choice is not None:
            chosen = tool_calls.choose(options, prompt, answered=results is not None)
            if chosen:
                key = self._key(request, prompt)
                calls = tuple(tool_calls.call(tool, prompt, key=key) for tool in chosen)
                return Answer("", "tool_calls", calls, reasoning)
        text = self._written(prompt) if results is None else results
        if options.response_format is not None:
            text = _in_format(options.response_format, text, prompt)
        return Answer(text, "stop", (), reasoning)

    def _from_script(self, request: GenerateRequest, reply: Reply, prompt: str) -> Answer:
        key = self._key(request, prompt)
        calls = tuple(
            ToolCallPart(
                id=call.id or tool_calls.call_id(f"{key}/{position}", call.name),
                name=call.name,
                arguments=json.dumps(dict(call.arguments)) if call.arguments_text is None else call.arguments_text,
            )
            for position, call in enumerate(reply.tool_calls)
        )
        reason = reply.finish_reason or ("tool_calls" if calls else "stop")
        return Answer(reply.text.replace("{prompt}", prompt), reason, calls, reply.reasoning)

    def _key(self, request: GenerateRequest, prompt: str) -> str:
        # The length of the conversation keeps the ids of its turns apart.
        return f"{self._settings.seed}/{len(request.messages)}/{prompt}"

    def _alternative(self, request: GenerateRequest, answer: Answer, number: int) -> Answer:
        """Tell alternative *number* from the first: a counter behind plain text, other ids for tool calls."""
        calls = tuple(
            ToolCallPart(
                id=tool_calls.call_id(f"{part.id}/{number}", part.name), name=part.name, arguments=part.arguments
            )
            for part in answer.tool_calls
        )
        shape = getattr(request.options, "response_format", None)
        plain = answer.text and (shape is None or shape.type == "text")
        return answer._replace(text=f"{answer.text} ({number})" if plain else answer.text, tool_calls=calls)


def message_of(answer: Answer, request: GenerateRequest) -> ChatMessage:
    """Return the assistant's message; a caller who offered `functions` gets a `function_call`."""
    if not answer.tool_calls and not answer.reasoning:
        return ChatMessage(role="assistant", content=answer.text)
    parts: list[ContentPart] = []
    if answer.reasoning:
        parts.append(ReasoningPart(text=answer.reasoning))
    if answer.text:
        parts.append(TextPart(text=answer.text))
    options = request.options
    if answer.tool_calls and isinstance(options, ChatGenerationOptions) and options.functions and not options.tools:
        first = answer.tool_calls[0]
        return ChatMessage(
            role="assistant", content=parts, function_call=FunctionCall(name=first.name, arguments=first.arguments)
        )
    return ChatMessage(role="assistant", content=[*parts, *answer.tool_calls])


def logprobs_of(text: str) -> list[dict[str, Any]]:
    """Return a made-up log probability for each token, the same for the same token."""
    pieces = tokens.split(text)
    return [
        {"token": piece, "logprob": -(crc32(piece.encode("utf-8", "surrogatepass")) % 1000) / 1000} for piece in pieces
    ]


def prompt_of(messages: tuple[ChatMessage, ...]) -> str:
    """Return the last user message as text; images and documents leave a note of themselves."""
    for message in reversed(messages):
        if message.role == "user":
            content = message.content
            if isinstance(content, str):
                return content
            if any(not isinstance(part, TextPart) for part in content):
                return " ".join(filter(None, map(_note, content)))
            return message.text
    return messages[-1].text


def _note(part: object) -> str:
    if isinstance(part, TextPart):
        return part.text
    if isinstance(part, ImagePart):
        return f"[image {part.media_type or part.url}]"
    if isinstance(part, DocumentPart):
        return f"[document {part.name or part.media_type or 'text'}]"
    return ""


def _in_format(shape: ResponseFormat, text: str, prompt: str) -> str:
    if shape.type == "text":
        return text
    if shape.type == "json_schema" and shape.schema is not None:
        return json.dumps(example(shape.schema, prompt), ensure_ascii=False)
    try:
        already = isinstance(json.loads(text), dict)
    except ValueError:
        already = False
    return text if already else json.dumps({"reply": text}, ensure_ascii=False)


def _shortened(answer: Answer, stop: tuple[str, ...], limit: int | None) -> Answer:
    """End the answer at the first stop word, then where its tokens are used up: reasoning, text, tool arguments."""
    if stop:
        ends = [place for word in stop if word and (place := answer.text.find(word)) >= 0]
        if ends:
            answer = answer._replace(text=answer.text[: min(ends)], finish_reason="stop")
    if limit is None or answer.tokens <= limit:
        return answer
    reasoning = tokens.cut(answer.reasoning, limit)
    left = limit - tokens.count(reasoning)
    text = tokens.cut(answer.text, left)
    left -= tokens.count(text)
    calls: list[ToolCallPart] = []
    for part in answer.tool_calls:
        left -= tokens.count(part.name)
        if left < 0:
            break
        arguments = tokens.cut(part.arguments, left)
        left -= tokens.count(arguments)
        calls.append(ToolCallPart(id=part.id, name=part.name, arguments=arguments))
    return Answer(text, "length", tuple(calls), reasoning)


__all__ = ["Answer", "Replier", "logprobs_of", "message_of", "prompt_of"]
