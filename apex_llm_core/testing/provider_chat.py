"""What every provider of text and chat must do: whole answers, streams, cancellation."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from apex_llm_core.context import CallContext
from apex_llm_core.errors import InvalidRequestError
from apex_llm_core.models import (
    ChatGenerationResult,
    ChatMessage,
    GenerateRequest,
    ResponseFormat,
    ToolCallPart,
    ToolResultPart,
    Usage,
)
from apex_llm_core.testing.interruption import interrupt
from apex_llm_core.testing.provider_setup import MODEL, PROVIDER, WEATHER, ProviderSetup, on_provider
from apex_llm_core.testing.streams import Streamed, put_together

_CALL_TOOL = "What is the weather in Paris? Use get_weather."


class ChatConformance(ProviderSetup):
    """The part of `ProviderConformance` about `apex_generate` and `apex_stream`."""

    # -- whole answers -----------------------------------------------------------------------------------------------

    @on_provider("generate")
    async def test_generate_answers_chat_and_text(self, provider: Any) -> None:
        """Both kinds of request get an assistant's message with text and a finish reason.

        Troubleshooting: for `kind` "text", options are `TextGenerationOptions` without the fields of chat; use
        ``request.chat_options`` to have them all. `choices` must agree with `message` and `finish_reason`: build the result
        with ``ChatGenerationResult.of(choices, ...)``.
        """
        for request in (self.request("Say hello."), self.text_request("Say hello.")):
            result = await self.generate(provider, request)
            assert result.message.text, f"the {request.kind} request got no text"
            assert result.choices[0].message == result.message
            assert result.choices[0].finish_reason == result.finish_reason

    @on_provider("generate")
    async def test_results_name_the_candidate(self, provider: Any) -> None:
        """`provider` and `model` are the configured names, not the type's name or the upstream's id.

        Troubleshooting: take them from ``context.candidate``; the model to call is ``context.provider_model_id``.
        """
        result = await self.generate(provider, self.request())
        assert (result.provider, result.model) == (PROVIDER, MODEL)

    @on_provider("generate")
    async def test_usage_is_consistent(self, provider: Any) -> None:
        """The total is prompt plus completion, both were counted, and their parts are not larger than they are.

        Troubleshooting: cached tokens are part of the prompt, reasoning tokens part of the completion; where the upstream counts
        them apart, add them up. Without numbers from upstream, leave `usage` None and set ``reports_usage = False``.
        """
        result = await self.generate(provider, self.request("Say hello."))
        if self.reports_usage:
            assert result.usage is not None, "there is no usage; set reports_usage = False if the upstream tells none"
        if result.usage is not None:
            self._check_usage(result.usage)

    @on_provider("generate")
    async def test_choices_are_given_or_refused(self, provider: Any) -> None:
        """`n` alternatives come back in order, or asking for them is an `InvalidRequestError`.

        Troubleshooting: an option that cannot be honoured is refused, never ignored. Set ``supports_choices = False`` if
        the upstream has no such option.
        """
        request = self.request("Say hello.", n=3)
        if not self.supports_choices:
            with pytest.raises(InvalidRequestError):
                await self.generate(provider, request)
            return
        result = await self.generate(provider, request)
        assert [choice.index for choice in result.choices] == [0, 1, 2]
        assert all(choice.message.text and choice.finish_reason for choice in result.choices)

    @on_provider("generate", "tools")
    async def test_tools_are_called_and_answered(self, provider: Any) -> None:
        """A required tool is called with an id and JSON arguments; its result is taken and answered.

        Troubleshooting: `arguments` is the JSON text as the model wrote it, the empty string never. Results go back as
        `ToolResultPart` in a message of the role "tool", after the assistant's message with the call.
        """
        options: dict[str, Any] = {"tools": (WEATHER,)}
        first = await self.generate(provider, self.request(_CALL_TOOL, tool_choice="required", **options))
        self._check_calls(first.message.tool_calls, first.finish_reason)
        call = first.message.tool_calls[0]
        second = await self.generate(
            provider,
            self.request(
                (
                    ChatMessage(role="user", content=_CALL_TOOL),
                    first.message,
                    ChatMessage(
                        role="tool", content=[ToolResultPart(tool_call_id=call.id, content="Sunny, 21 degrees.")]
                    ),
                ),
                **options,
            ),
        )
        assert second.message.text, "the tool's result got no answer"

    @on_provider("generate", "json")
    async def test_json_mode_gives_json(self, provider: Any) -> None:
        """`response_format` "json" gives a JSON object, "json_schema" one with what the schema requires.

        Troubleshooting: hand the format to the upstream. If it has none of its own, do not declare the word "json".
        """
        result = await self.generate(
            provider, self.request("Answer with a JSON object.", response_format=ResponseFormat(type="json"))
        )
        assert isinstance(json.loads(result.message.text), dict)
        shape = ResponseFormat(type="json_schema", name="weather", schema=WEATHER.parameters)
        result = await self.generate(provider, self.request("The weather in Paris as JSON.", response_format=shape))
        assert {"city", "unit"} <= json.loads(result.message.text).keys()

    # -- streams -----------------------------------------------------------------------------------------------------

    @on_provider("stream")
    async def test_stream_keeps_the_rules(self, provider: Any) -> None:
        """Lists are not empty, chunks join to text, each choice has one finish reason at its end, usage comes last.

        Troubleshooting: yield a list per network read with all its chunks, and nothing when a read completed none
        (``context.touch()`` instead). Keep usage back until the last finish reason is out.
        """
        for request in (self.request("Say hello.", stream=True), self.text_request("Say hello.", stream=True)):
            streamed = await self.stream(provider, request)
            assert streamed.text, f"the {request.kind} request got no text"
            if self.reports_usage:
                assert streamed.usage is not None, "there is no usage; some upstreams send it on request only"
            if streamed.usage is not None:
                self._check_usage(streamed.usage)

    @on_provider("stream", "generate")
    async def test_stream_and_generate_agree(self, provider: Any) -> None:
        """Both ways give an answer of the same form; of the same text and usage where answers are deterministic.

        Troubleshooting: convert finish reasons in one place for both.
        """
        whole = await self.generate(provider, self.request("Say hello."))
        streamed = await self.stream(provider, self.request("Say hello.", stream=True))
        assert streamed.choices[0].finish_reason == whole.finish_reason
        assert bool(streamed.choices[0].calls) == bool(whole.message.tool_calls)
        assert len(streamed.choices) == len(whole.choices)
        if self.deterministic:
            assert streamed.text == whole.message.text
            assert streamed.usage == whole.usage

    @on_provider("stream")
    async def test_stream_gives_or_refuses_choices(self, provider: Any) -> None:
        """The chunks of `n` alternatives carry their index, or asking for them is an `InvalidRequestError`.

        Troubleshooting: see `test_choices_are_given_or_refused`; every choice has a finish reason of its own.
        """
        request = self.request("Say hello.", n=3, stream=True)
        if not self.supports_choices:
            with pytest.raises(InvalidRequestError):
                await self.stream(provider, request)
            return
        streamed = await self.stream(provider, request)
        assert len(streamed.choices) == 3
        assert all(choice.text for choice in streamed.choices)

    @on_provider("stream", "tools")
    async def test_tool_calls_are_streamed(self, provider: Any) -> None:
        """The pieces of a tool call join to an id, a name and JSON arguments.

        Troubleshooting: the first piece of a call has its `id` and `name`; pieces of one call share their `index`.
        """
        streamed = await self.stream(
            provider, self.request(_CALL_TOOL, stream=True, tools=(WEATHER,), tool_choice="required")
        )
        self._check_calls(streamed.choices[0].tool_calls, streamed.choices[0].finish_reason)

    @on_provider("stream")
    async def test_stream_closes_early(self, provider: Any) -> None:
        """A stream that is closed after its first list, or before it, leaves nothing open.

        Troubleshooting: release the upstream in ``finally``; never ``yield`` there. A generator inside yours is not closed with
        it: wrap it in ``contextlib.aclosing``.
        """
        async with self.leaving_nothing("a stream closed after its first list"):
            stream = self._open_stream(provider)
            await anext(stream)
            await stream.aclose()
            with pytest.raises(StopAsyncIteration):
                await anext(stream)
        async with self.leaving_nothing("a stream closed before its first list"):
            await self._open_stream(provider).aclose()

    # -- cancellation ------------------------------------------------------------------------------------------------

    @on_provider("generate")
    async def test_generate_can_be_cancelled_anywhere(self, provider: Any) -> None:
        """Cancelled at any of its awaits, a call ends with `CancelledError` and leaves nothing running.

        Troubleshooting: never catch `BaseException` or `CancelledError` without raising it again; do not shield the upstream
        call; start tasks in an ``asyncio.TaskGroup`` only.
        """
        for at in range(self.cancellation_points):
            async with self.leaving_nothing(f"a call cancelled at await {at}"):
                reached = await interrupt(provider.apex_generate(self.request(), self.context()), at)
            if not reached:
                break
        await self.generate(provider, self.request())

    @on_provider("stream")
    async def test_stream_can_be_cancelled_anywhere(self, provider: Any) -> None:
        """Cancelled at any of its awaits, a stream ends with `CancelledError` and leaves nothing running.

        Troubleshooting: as for `test_generate_can_be_cancelled_anywhere`; the core closes the generator afterwards, so release
        the upstream in ``finally``.
        """
        for at in range(self.cancellation_points):
            async with self.leaving_nothing(f"a stream cancelled at await {at}"):
                reached = await interrupt(self.stream(provider, self.request(stream=True)), at)
            if not reached:
                break
        await self.stream(provider, self.request(stream=True))

    # -- steps -------------------------------------------------------------------------------------------------------

    async def generate(self, provider: Any, request: GenerateRequest) -> ChatGenerationResult:
        """Call `apex_generate` and check what every result must have."""
        result = await provider.apex_generate(request, self.context(request.kind))
        assert type(result) is ChatGenerationResult, f"apex_generate returned a {type(result).__name__}"
        assert result.choices, "the result has no choices"
        for choice in result.choices:
            assert choice.message.role == "assistant"
            assert choice.finish_reason, "a choice has no finish reason"
        return result

    async def stream(self, provider: Any, request: GenerateRequest, context: CallContext | None = None) -> Streamed:
        """Read `apex_stream` to its end and check the rules of streams."""
        async with aclosing(provider.apex_stream(request, context or self.context(request.kind))) as stream:
            return put_together([batch async for batch in stream])

    def _open_stream(self, provider: Any) -> AsyncGenerator[Any, None]:
        stream: AsyncGenerator[Any, None] = provider.apex_stream(self.request(stream=True), self.context())
        return stream

    def _check_usage(self, usage: Usage) -> None:
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
        assert usage.prompt_tokens > 0, "the prompt cost no tokens"
        assert usage.completion_tokens > 0, "the answer cost no tokens"
        assert 0 <= usage.cached_tokens + usage.cache_write_tokens <= usage.prompt_tokens
        assert 0 <= usage.reasoning_tokens <= usage.completion_tokens

    def _check_calls(self, calls: tuple[ToolCallPart, ...], finish_reason: str | None) -> None:
        assert calls, "no tool was called although one was required"
        assert finish_reason == "tool_calls", f"the finish reason is {finish_reason!r}; expected 'tool_calls'"
        assert len({call.id for call in calls}) == len(calls), "two calls have the same id"
        for call in calls:
            assert call.id, "a tool call has no id"
            assert call.name == WEATHER.name, f"the tool {call.name!r} was not offered"
            assert {"city", "unit"} <= json.loads(call.arguments).keys(), "required arguments are missing"


__all__ = ["ChatConformance"]
