"""What every provider must do, as a test class to subclass."""

from __future__ import annotations

import asyncio
import base64
import json
import math
from collections.abc import AsyncGenerator, Coroutine
from contextlib import ExitStack, aclosing
from typing import Any, Never
from unittest.mock import patch

import pytest

from apex_llm_core.config.schema import ProviderConfig
from apex_llm_core.context import CallContext
from apex_llm_core.errors import InvalidRequestError, LLMError
from apex_llm_core.models import (
    CAPABILITIES,
    ChatGenerationResult,
    ChatMessage,
    EmbeddingResult,
    GenerateRequest,
    HealthStatus,
    ImageGenerationResult,
    ModelInfo,
    ProviderCapabilities,
    ResponseFormat,
    ToolCallPart,
    ToolResultPart,
    Usage,
)
from apex_llm_core.plugin.discovery import PROVIDERS, discover
from apex_llm_core.plugin.manager import PluginManager
from apex_llm_core.plugin.registrar import PluginRegistrar
from apex_llm_core.plugin.validation import problems
from apex_llm_core.testing.interruption import interrupt
from apex_llm_core.testing.isolation import state_of
from apex_llm_core.testing.provider_setup import MODEL, PROVIDER, WEATHER, ProviderSetup, on_provider
from apex_llm_core.testing.runtime import FakeRuntime, make_candidate
from apex_llm_core.testing.streams import Streamed, put_together

#: How many calls run at once.
CROWD = 20
_SWITCHES = ("generate", "stream", "embed", "image", "models", "health", "capabilities", "tools", "json")
_SPENDING = ("apex_generate", "apex_stream", "apex_embed", "apex_image")
#: What the files of these media types begin with.
_MAGIC = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff", "image/gif": b"GIF8", "image/webp": b"RIFF"}
_CALL_TOOL = "What is the weather in Paris? Use get_weather."


class ProviderConformance(ProviderSetup):
    """Subclass it as ``class TestMyProvider(ProviderConformance)``, give `make_provider` and the models' ids.

    ::

        class TestMine(ProviderConformance):
            plugin, name = plugin, "mine"
            chat_model = "mine-1"

            def make_provider(self, runtime):
                return MyProvider(ProviderConfig(name="mine", type="mine"), MySettings(), runtime)

    Runs on virtual time. A provider that speaks HTTP sets ``virtual_time = False`` and starts a loopback server in `serving`.
    The other switches tell what the provider claims; see `ProviderSetup`.
    """

    # -- form --------------------------------------------------------------------------------------------------------

    @on_provider()
    async def test_hooks_have_the_specified_form(self, provider: Any) -> None:
        """Every ``apex_`` method is a known hook, marked, of the right form, with exactly the specified parameters.

        Troubleshooting: the message names the hook and the right signature. Hooks take no defaults and no keyword-only
        parameters; `apex_stream` is ``async def`` with ``yield``; other methods must not begin with ``apex_``.
        """
        assert problems(provider) == []

    @on_provider()
    async def test_provider_is_compared_by_identity(self, provider: Any) -> None:
        """Two providers made alike are different plugins.

        Troubleshooting: pluggy tells plugins apart by ``==``. Write ``@attrs.define(eq=False)``, or drop ``__eq__``.
        """
        assert type(provider).__eq__ is object.__eq__, "the class defines __eq__"
        assert type(provider).__hash__ is object.__hash__, "the class defines __hash__"

    @on_provider()
    async def test_switches_match_the_hooks(self, provider: Any) -> None:
        """The switches deny nothing that is there and claim nothing that is missing; models are named.

        Troubleshooting: leave the switch at None to follow the provider. To keep an ability out, remove its hook or its word
        from `apex_capabilities`; a switch must not hide untested code.
        """
        for ability in _SWITCHES:
            claim, there = getattr(self, f"supports_{ability}"), self.offers(provider, ability)
            assert claim is not False or not there, f"supports_{ability} is False, but the provider offers it"
            assert claim is not True or there, f"supports_{ability} is True, but the provider does not offer it"
        offered = [ability for ability in ("generate", "stream", "embed", "image") if self.offers(provider, ability)]
        assert offered, "the provider implements none of apex_generate, apex_stream, apex_embed, apex_image"
        models = {"generate": "chat_model", "stream": "chat_model", "embed": "embed_model", "image": "image_model"}
        for ability in offered:
            assert getattr(self, models[ability]), f"set {models[ability]}: the provider implements apex_{ability}"

    @on_provider()
    async def test_registered_factory_makes_the_provider(self, provider: Any) -> None:
        """`apex_register` offers the provider type under its name, and so does the installed entry point.

        Troubleshooting: set `plugin` to the module your entry point names and `name` to the entry point's name;
        ``registrar.provider(name, ...)`` takes the same name. After a change in ``pyproject.toml``, install again.
        """
        if self.plugin is None:
            pytest.skip("no plugin module to register: set `plugin` and `name`")
        registrar = PluginRegistrar()
        PluginManager().register_module(self.plugin, "under test", registrar, None)
        assert registrar.names("provider") == [self.name]
        registration = registrar.get("provider", self.name)
        assert registration is not None
        assert callable(registration.factory)
        source = discover(PROVIDERS).get(self.name)
        assert source is not None, f"no installed distribution has the entry point {self.name!r} in {PROVIDERS}"
        assert source.load() is self.plugin

    @on_provider("capabilities")
    async def test_capabilities_are_constant(self, provider: Any) -> None:
        """`apex_capabilities` gives the same facts each time, in known words, for abilities that have a hook.

        Troubleshooting: build the table once, at import or in the factory. "embed" and "image" need their hooks; "text", "chat",
        "tools" and the like need `apex_generate` or `apex_stream`; "stream" needs `apex_stream`.
        """
        table = provider.apex_capabilities()
        assert type(table) is ProviderCapabilities
        assert provider.apex_capabilities() == table, "two calls give different facts"
        words = set(table.features)
        for info in (*table.models.values(), *table.served):
            assert type(info) is ModelInfo
            words |= info.capabilities or set()
        assert words <= CAPABILITIES, f"unknown words {sorted(words - CAPABILITIES)}"
        served = [info.id for info in table.served]
        assert len(set(served)) == len(served), "a served model appears twice"
        for word in words:
            hooks = {"embed": ["embed"], "image": ["image"], "stream": ["stream"]}.get(word, ["generate", "stream"])
            assert any(self.offers(provider, hook) for hook in hooks), f"{word!r} is declared, but its hook is missing"

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

    # -- embeddings and images ---------------------------------------------------------------------------------------

    @on_provider("embed")
    async def test_embeddings_keep_count_and_order(self, provider: Any) -> None:
        """There is one vector per text in the order of the texts, all of one length, finite, and of length one if claimed.

        Troubleshooting: an upstream that takes one text or a few at a time needs several calls; sort its answers by index. Set
        ``unit_vectors = False`` if the model does not normalise.
        """
        texts = ("a quiet harbour", "the second law of thermodynamics", "Zürich", "a quiet harbour")
        result = await self.embed(provider, *texts)
        vectors = result.embeddings
        assert result.embedding == vectors[0]
        assert len({len(vector) for vector in vectors}) == 1, "the vectors differ in length"
        assert len(vectors[0]) > 0
        assert all(math.isfinite(number) for vector in vectors for number in vector)
        if self.unit_vectors:
            assert all(math.isclose(math.hypot(*vector), 1.0, abs_tol=1e-3) for vector in vectors)
        for position, text in enumerate(texts):
            alone = (await self.embed(provider, text)).embedding
            assert math.dist(alone, vectors[position]) < 1e-3, f"vector {position} is not that of its text"
        assert math.dist(vectors[0], vectors[1]) > 1e-3, "different texts have the same vector"

    @on_provider("embed")
    async def test_dimensions_are_honoured_or_refused(self, provider: Any) -> None:
        """Half as many `dimensions` give vectors half as long, or asking for them is an `InvalidRequestError`.

        Troubleshooting: an option that cannot be honoured is refused, never ignored. Set ``supports_dimensions = False`` if
        the model has one length.
        """
        half = len((await self.embed(provider, "a quiet harbour")).embedding) // 2
        if not self.supports_dimensions:
            with pytest.raises(InvalidRequestError):
                await self.embed(provider, "a quiet harbour", dimensions=half)
            return
        assert len((await self.embed(provider, "a quiet harbour", dimensions=half)).embedding) == half

    @on_provider("image")
    async def test_images_decode(self, provider: Any) -> None:
        """Images are base64 of the declared media type, or URLs without one; names are the candidate's.

        Troubleshooting: give base64 without a ``data:`` prefix, and `media_type` with it.
        """
        result = await provider.apex_image(self.image_request(), self.context("image"))
        assert type(result) is ImageGenerationResult
        assert (result.provider, result.model) == (PROVIDER, MODEL)
        assert result.images, "there is no image"
        for image in result.images:
            if result.media_type is None:
                assert image.startswith(("https://", "http://")), "neither a URL nor declared as base64"
            else:
                content = base64.b64decode(image, validate=True)
                magic = _MAGIC.get(result.media_type)
                assert magic is None or content.startswith(magic), f"the image is not {result.media_type}"

    # -- the provider as a whole ---------------------------------------------------------------------------------------

    @on_provider("health")
    async def test_health_spends_nothing(self, provider: Any) -> None:
        """`apex_health` returns a status and sells no tokens.

        Troubleshooting: ask for the list of models or the like; a provider without a free call returns the state "unknown".
        """
        before = self.tokens_spent()
        with ExitStack() as spies:
            for name in _SPENDING:
                if hasattr(type(provider), name):
                    spies.enter_context(patch.object(type(provider), name, _refuse_to_spend))
            status = await provider.apex_health(self.context("health", candidate=None))
        assert type(status) is HealthStatus
        assert self.tokens_spent() == before, "the health check spent tokens"

    @on_provider("models")
    async def test_models_are_listed(self, provider: Any) -> None:
        """`apex_models` lists models with distinct ids.

        Troubleshooting: read every page of the upstream's list; an upstream without a list needs no `apex_models`.
        """
        models = await provider.apex_models(self.context("models", candidate=None))
        assert type(models) is list
        assert all(type(model) is ModelInfo and model.id for model in models)
        assert len({model.id for model in models}) == len(models), "a model is listed twice"

    @on_provider()
    async def test_an_unknown_model_is_a_typed_error(self, provider: Any) -> None:
        """A model that the provider does not know raises an `LLMError`, whole or streamed, in the candidate's names.

        Troubleshooting: map every failure of the upstream to the subclass that fits, with ``raise ... from``. Set
        ``unknown_model = None`` if the provider takes any name.
        """
        if self.unknown_model is None:
            pytest.skip("the provider takes any name of a model")
        candidate = make_candidate(PROVIDER, MODEL, provider_model_id=self.unknown_model)
        for call in self._chat_calls(provider, self.context(candidate=candidate)):
            with pytest.raises(LLMError) as caught:
                await call
            self._check_error(caught.value)

    @on_provider()
    async def test_failures_are_typed_errors(self, provider: Any) -> None:
        """Each failure of `failures` raises its own type, whole or streamed, in the candidate's names.

        Troubleshooting: see `errors` for what each type means; the class follows from the type.
        """
        if not self.failures():
            pytest.skip("no failing providers: give `failures`")
        for kind, make in self.failures().items():
            async with self.started(FakeRuntime(), make) as failing:
                for call in self._chat_calls(failing, self.context()):
                    with pytest.raises(LLMError) as caught:
                        await call
                    assert caught.value.type is kind
                    self._check_error(caught.value)

    @on_provider("generate")
    async def test_concurrent_calls_do_not_mix(self, provider: Any) -> None:
        """Many calls at once each get their own answer.

        Troubleshooting: keep nothing of a request in the provider; whatever belongs to a call is a local variable. Override
        `belongs` if answers do not repeat the prompt.
        """
        markers = [f"marker-{number:02d}-of-this-call" for number in range(CROWD)]
        requests = [self.request(f"Repeat this word: {marker}") for marker in markers]
        results = await asyncio.gather(*(self.generate(provider, request) for request in requests))
        for marker, result in zip(markers, results, strict=True):
            assert self.belongs(marker, result.message.text), f"the call with {marker} got {result.message.text!r}"

    @on_provider("stream")
    async def test_concurrent_streams_do_not_mix(self, provider: Any) -> None:
        """Many streams at once each get their own chunks.

        Troubleshooting: as for `test_concurrent_calls_do_not_mix`; a decoder belongs to one stream.
        """
        markers = [f"marker-{number:02d}-of-this-stream" for number in range(CROWD)]
        requests = [self.request(f"Repeat this word: {marker}", stream=True) for marker in markers]
        results = await asyncio.gather(*(self.stream(provider, request) for request in requests))
        for marker, result in zip(markers, results, strict=True):
            assert self.belongs(marker, result.text), f"the stream with {marker} got {result.text!r}"

    @on_provider()
    async def test_instances_are_independent(self, provider: Any) -> None:
        """Using one instance changes neither another one nor their class.

        Troubleshooting: make lists, caches and counters in ``__init__``, never in the class or the module.
        """
        async with self.serving(FakeRuntime().clock) as runtime, self.started(runtime) as other:
            before = state_of(other), state_of(type(provider))
            for call in self._chat_calls(provider, self.context()):
                await call
            if self.can(provider, "embed"):
                await self.embed(provider, "a quiet harbour")
            assert state_of(type(provider)) == before[1], "using an instance changed its class"
            assert state_of(other) == before[0], "using an instance changed another one"

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
        batches = []
        async with aclosing(provider.apex_stream(request, context or self.context(request.kind))) as stream:
            async for batch in stream:
                batches.append(batch)
        return put_together(batches)

    async def embed(self, provider: Any, *texts: str, **options: Any) -> EmbeddingResult:
        """Call `apex_embed` and check what every result must have."""
        result = await provider.apex_embed(self.embed_request(*texts, **options), self.context("embed"))
        assert type(result) is EmbeddingResult, f"apex_embed returned a {type(result).__name__}"
        assert (result.provider, result.model) == (PROVIDER, MODEL)
        assert len(result.embeddings) == len(texts), f"{len(texts)} texts gave {len(result.embeddings)} vectors"
        return result

    def _open_stream(self, provider: Any) -> AsyncGenerator[Any, None]:
        stream: AsyncGenerator[Any, None] = provider.apex_stream(self.request(stream=True), self.context())
        return stream

    def _chat_calls(self, provider: Any, context: CallContext) -> list[Coroutine[Any, Any, Any]]:
        calls: list[Coroutine[Any, Any, Any]] = []
        if self.can(provider, "generate"):
            calls.append(provider.apex_generate(self.request(), context))
        if self.can(provider, "stream"):
            calls.append(self.stream(provider, self.request(stream=True), context))
        return calls

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

    def _check_error(self, error: LLMError) -> None:
        # The core fills in names that a provider left out, but wrong ones would stay.
        assert error.provider in (None, PROVIDER), f"the error names the provider {error.provider!r}"
        assert error.model in (None, MODEL), f"the error names the model {error.model!r}"
        assert error.message, "the error has no message"


def _refuse_to_spend(*_: Any) -> Never:
    raise AssertionError("the health check calls a hook that spends tokens")


__all__ = ["ProviderConformance"]
