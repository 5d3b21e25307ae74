from __future__ import annotations

import asyncio
import base64
import itertools
import json
import math
from contextlib import aclosing, asynccontextmanager, suppress
from hashlib import sha256

import aiohttp
import attrs
import pytest
from aiohttp import web

from apex_llm_core.errors import InvalidRequestError, LLMErrorType, ModelNotFoundError, ServiceUnavailableError
from apex_llm_core.markers import hookimpl
from apex_llm_core.models import (
    ChatGenerationChunk,
    ChatGenerationResult,
    ChatMessage,
    Choice,
    EmbeddingResult,
    HealthState,
    HealthStatus,
    ImageGenerationResult,
    ModelInfo,
    ProviderCapabilities,
    ToolCallDelta,
    ToolCallPart,
    Usage,
)
from apex_llm_core.testing.guard import overrides_standard_test
from apex_llm_core.testing.provider import ProviderConformance
from apex_llm_core.testing.runtime import FakeRuntime

ARGUMENTS = '{"city": "Paris", "unit": "celsius"}'


class Sound:
    """A provider without fault; the broken ones below each change one thing."""

    def __init__(self):
        self.calls = 0

    async def upstream(self):
        await asyncio.sleep(0.1)

    def known(self, context):
        candidate = context.candidate
        if candidate.provider_model_id == "no-such-model":
            raise ModelNotFoundError("no such model", provider=candidate.provider, model=candidate.model)
        return candidate

    def choices(self, request):
        options = request.chat_options
        if options.tools and options.tool_choice == "required":
            part = ToolCallPart(id="call_1", name="get_weather", arguments=ARGUMENTS)
            return [Choice(message=ChatMessage(role="assistant", content=[part]), finish_reason="tool_calls")]
        text = ARGUMENTS if options.response_format else request.messages[0].text
        return [
            Choice(index=index, message=ChatMessage(role="assistant", content=text), finish_reason="stop")
            for index in range(options.n or 1)
        ]

    def usage(self):
        return Usage(prompt_tokens=3, completion_tokens=2)

    @hookimpl
    async def apex_generate(self, request, context):
        candidate = self.known(context)
        self.calls += 1
        await self.upstream()
        await self.upstream()
        return ChatGenerationResult.of(
            self.choices(request), provider=candidate.provider, model=candidate.model, usage=self.usage()
        )

    @hookimpl
    async def apex_stream(self, request, context):
        self.known(context)
        await self.upstream()
        choices = self.choices(request)
        for choice in choices:
            for call in choice.message.tool_calls:
                yield [ChatGenerationChunk(tool_calls=(ToolCallDelta(index=0, id=call.id, name=call.name),))]
                await self.upstream()
                yield [ChatGenerationChunk(tool_calls=(ToolCallDelta(index=0, arguments=call.arguments),))]
            yield [ChatGenerationChunk(text=choice.message.text, index=choice.index)]
            await self.upstream()
        yield [ChatGenerationChunk(finish_reason=choice.finish_reason, index=choice.index) for choice in choices]
        yield [ChatGenerationChunk(usage=self.usage())]

    def vector(self, text, length):
        numbers = [byte - 127.5 for byte in sha256(text.encode()).digest()[:length]]
        return tuple(number / math.hypot(*numbers) for number in numbers)

    @hookimpl
    async def apex_embed(self, request, context):
        candidate = self.known(context)
        vectors = tuple(self.vector(text, request.options.dimensions or 8) for text in request.texts)
        return EmbeddingResult(embeddings=vectors, provider=candidate.provider, model=candidate.model)

    @hookimpl
    async def apex_image(self, request, context):
        candidate = self.known(context)
        image = base64.b64encode(b"\x89PNG\r\n\x1a\n and so on").decode()
        return ImageGenerationResult(
            images=(image,), media_type="image/png", provider=candidate.provider, model=candidate.model
        )

    @hookimpl
    async def apex_models(self, context):
        return [ModelInfo(id="one"), ModelInfo(id="two")]

    @hookimpl
    async def apex_health(self, context):
        return HealthStatus(status=HealthState.HEALTHY)

    @hookimpl
    def apex_capabilities(self):
        return ProviderCapabilities(features=("chat", "text", "stream", "tools", "json", "embed", "image"))


def kit_for(provider, **switches):
    class Kit(ProviderConformance):
        chat_model = embed_model = image_model = "one"
        deterministic = True

        def make_provider(self, runtime):
            return provider()

    for name, value in switches.items():
        setattr(Kit, name, value)
    return Kit


def failing(kit):
    """The standard tests that fail, by name."""
    failed = set()
    for name in dir(kit):
        if not name.startswith("test_"):
            continue
        try:
            getattr(kit(), name)()
        except (Exception, pytest.fail.Exception):
            failed.add(name)
        except pytest.skip.Exception:
            pass
    return failed


class TestSound(kit_for(Sound)):
    pass


FORM = "test_hooks_have_the_specified_form"
RULES = "test_stream_keeps_the_rules"
EARLY = "test_stream_closes_early"
CANCEL = "test_generate_can_be_cancelled_anywhere"
CANCEL_STREAM = "test_stream_can_be_cancelled_anywhere"
TOOLS = "test_tools_are_called_and_answered"
EMBED = "test_embeddings_keep_count_and_order"
UNKNOWN = "test_an_unknown_model_is_a_typed_error"
INDEPENDENT = "test_instances_are_independent"

BROKEN = []


def fails(*tests, **switches):
    def note(cls):
        BROKEN.append(pytest.param(cls, set(tests), switches, id=cls.__name__))
        return cls

    return note


@fails(FORM)
class Unmarked(Sound):
    async def apex_health(self, context):
        return HealthStatus(status=HealthState.HEALTHY)


@fails(FORM)
class Misspelt(Sound):
    @hookimpl
    async def apex_modells(self, context):
        return []


@fails(FORM)
class Defaults(Sound):
    @hookimpl
    async def apex_models(self, context=None):
        return [ModelInfo(id="one")]


@fails(FORM)
class KeywordOnly(Sound):
    @hookimpl
    async def apex_generate(self, request, context, *, extra=None):
        return await Sound.apex_generate(self, request, context)


@fails("test_provider_is_compared_by_identity", FORM)
@attrs.define
class ComparedByValue(Sound):
    calls: int = 0


@fails("test_results_name_the_candidate")
class OwnNames(Sound):
    @hookimpl
    async def apex_generate(self, request, context):
        return attrs.evolve(await super().apex_generate(request, context), provider="openai")


@fails("test_usage_is_consistent", RULES)
class WrongTotal(Sound):
    def usage(self):
        return Usage(prompt_tokens=3, completion_tokens=2, total_tokens=6)


@fails("test_usage_is_consistent", RULES)
class NoUsage(Sound):
    def usage(self):
        return None


@fails("test_generate_answers_chat_and_text")
class SilentOnText(Sound):
    def choices(self, request):
        choices = super().choices(request)
        if request.kind == "chat" or request.stream:
            return choices
        return [attrs.evolve(choices[0], message=ChatMessage(role="assistant"))]


@fails("test_generate_answers_chat_and_text")
class ChoicesContradict(Sound):
    @hookimpl
    async def apex_generate(self, request, context):
        result = await super().apex_generate(request, context)
        changed = request.kind == "text"
        return attrs.evolve(result, finish_reason="length") if changed else result


@fails("test_choices_are_given_or_refused", "test_stream_gives_or_refuses_choices")
class OneChoiceOnly(Sound):
    def choices(self, request):
        return super().choices(request)[:1]


@fails("test_choices_are_given_or_refused", "test_stream_gives_or_refuses_choices", supports_choices=False)
class ChoicesDenied(Sound):
    pass


@fails("test_switches_match_the_hooks", supports_tools=False)
class ToolsDenied(Sound):
    pass


@fails("test_switches_match_the_hooks", supports_stream=False)
class StreamDenied(Sound):
    pass


@fails("test_switches_match_the_hooks", embed_model="")
class ModelUnnamed(Sound):
    pass


class WithCalls(Sound):
    part = ToolCallPart(id="call_1", name="get_weather", arguments=ARGUMENTS)

    def choices(self, request):
        choices = super().choices(request)
        if not choices[0].message.tool_calls:
            return choices
        return [attrs.evolve(choices[0], message=ChatMessage(role="assistant", content=[self.part]))]


@fails(TOOLS, "test_tool_calls_are_streamed")
class ArgumentsNotJson(WithCalls):
    part = ToolCallPart(id="call_1", name="get_weather", arguments="city=Paris")


@fails(TOOLS, "test_tool_calls_are_streamed")
class CallWithoutId(WithCalls):
    part = ToolCallPart(id="", name="get_weather", arguments=ARGUMENTS)


@fails(TOOLS, "test_tool_calls_are_streamed")
class InventedTool(WithCalls):
    part = ToolCallPart(id="call_1", name="get_time", arguments=ARGUMENTS)


@fails("test_json_mode_gives_json")
class Prose(Sound):
    def choices(self, request):
        if request.chat_options.response_format is None:
            return super().choices(request)
        message = ChatMessage(role="assistant", content="Here is your JSON: {}")
        return [Choice(message=message, finish_reason="stop")]


class OtherStream(Sound):
    """All tests of streams see what `alter` makes of the sound one."""

    def alter(self, batch):
        return [batch]

    @hookimpl
    async def apex_stream(self, request, context):
        async with aclosing(super().apex_stream(request, context)) as stream:
            async for batch in stream:
                for altered in self.alter(batch):
                    yield altered


STREAM_RULES = {
    RULES,
    "test_stream_and_generate_agree",
    "test_stream_gives_or_refuses_choices",
    "test_tool_calls_are_streamed",
    CANCEL_STREAM,
    "test_concurrent_streams_do_not_mix",
    INDEPENDENT,
}


@fails(*STREAM_RULES)
class EmptyLists(OtherStream):
    def alter(self, batch):
        return [batch, []]


@fails(*STREAM_RULES)
class ChunksInTuples(OtherStream):
    def alter(self, batch):
        return [tuple(batch)]


@fails(*STREAM_RULES)
class Unfinished(OtherStream):
    def alter(self, batch):
        return [] if batch[0].finish_reason else [batch]


@fails(*STREAM_RULES)
class FinishedTwice(OtherStream):
    def alter(self, batch):
        return [batch, batch] if batch[0].finish_reason else [batch]


@fails(*STREAM_RULES)
class UsageFirst(OtherStream):
    def alter(self, batch):
        if batch[0].usage:
            return []
        return [[ChatGenerationChunk(usage=self.usage())], batch] if batch[0].finish_reason else [batch]


@fails("test_stream_and_generate_agree")
class OtherText(OtherStream):
    def alter(self, batch):
        return (
            [[attrs.evolve(chunk, text=chunk.text.upper()) for chunk in batch]] if len(batch[0].text) < 12 else [batch]
        )


@fails("test_stream_and_generate_agree")
class OtherFinishReason(OtherStream):
    def alter(self, batch):
        return [[attrs.evolve(c, finish_reason="end_turn") if c.finish_reason == "stop" else c for c in batch]]


@fails(CANCEL)
class SwallowsCancellation(Sound):
    @hookimpl
    async def apex_generate(self, request, context):
        try:
            return await super().apex_generate(request, context)
        except asyncio.CancelledError:
            return await super().apex_generate(request, context)


@fails(CANCEL)
class TranslatesCancellation(Sound):
    @hookimpl
    async def apex_generate(self, request, context):
        try:
            return await super().apex_generate(request, context)
        except BaseException as error:
            if isinstance(error, ModelNotFoundError):
                raise
            raise ServiceUnavailableError("broken") from error


@fails(CANCEL)
class Shields(Sound):
    @hookimpl
    async def apex_generate(self, request, context):
        return await asyncio.shield(asyncio.ensure_future(super().apex_generate(request, context)))


@fails(CANCEL_STREAM)
class StreamSwallowsCancellation(Sound):
    @hookimpl
    async def apex_stream(self, request, context):
        async with aclosing(super().apex_stream(request, context)) as stream:
            batches = [batch async for batch in stream]
        for batch in batches:
            yield batch
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.1)


@fails(EARLY, CANCEL_STREAM)
class LeavesReaderRunning(Sound):
    @hookimpl
    async def apex_stream(self, request, context):
        queue = asyncio.Queue()

        async def read():
            async with aclosing(Sound.apex_stream(self, request, context)) as stream:
                async for batch in stream:
                    queue.put_nowait(batch)
            queue.put_nowait(None)

        self.known(context)
        self.reader = asyncio.ensure_future(read())
        while (batch := await queue.get()) is not None:
            yield batch


@fails(EARLY, CANCEL_STREAM)
class LeavesInnerGeneratorOpen(Sound):
    @hookimpl
    async def apex_stream(self, request, context):
        async for batch in super().apex_stream(request, context):
            yield batch
            await asyncio.sleep(0.1)


@fails(EARLY)
class YieldsInFinally(Sound):
    @hookimpl
    async def apex_stream(self, request, context):
        self.known(context)
        ended = False
        try:
            async with aclosing(super().apex_stream(request, context)) as stream:
                async for batch in stream:
                    yield batch
            ended = True
        finally:
            if not ended:
                yield [ChatGenerationChunk(finish_reason="stop")]


@fails(EARLY, CANCEL, CANCEL_STREAM, upstream_calls=lambda _: 1)
class GoesOnUpstream(Sound):
    pass


class OtherVectors(Sound):
    def alter(self, vectors):
        return vectors

    @hookimpl
    async def apex_embed(self, request, context):
        result = await super().apex_embed(request, context)
        return attrs.evolve(result, embeddings=(found := self.alter(result.embeddings)), embedding=found[0])


@fails(EMBED)
class Reversed(OtherVectors):
    def alter(self, vectors):
        return vectors[::-1] if len(vectors) > 1 else vectors


@fails(EMBED)
class Deduplicated(OtherVectors):
    def alter(self, vectors):
        return tuple(dict.fromkeys(vectors))


@fails(EMBED)
class NotNormalised(OtherVectors):
    def alter(self, vectors):
        return tuple(tuple(2 * number for number in vector) for vector in vectors)


@fails(EMBED, unit_vectors=False)
class NotFinite(OtherVectors):
    def alter(self, vectors):
        return tuple((math.nan, *vector[1:]) for vector in vectors)


@fails("test_dimensions_are_honoured_or_refused")
class DimensionsIgnored(Sound):
    def vector(self, text, length):
        return super().vector(text, 8)


class OtherImages(Sound):
    image = ""
    media_type: str | None = "image/png"

    @hookimpl
    async def apex_image(self, request, context):
        result = await super().apex_image(request, context)
        return attrs.evolve(result, images=(self.image or result.images[0],), media_type=self.media_type)


@fails("test_images_decode")
class DataUrl(OtherImages):
    image = "data:image/png;base64,iVBORw0KGgo="


@fails("test_images_decode")
class WrongMediaType(OtherImages):
    media_type = "image/jpeg"


@fails("test_images_decode")
class MediaTypeMissing(OtherImages):
    media_type = None


@fails("test_health_spends_nothing")
class HealthSpends(Sound):
    @hookimpl
    async def apex_health(self, context):
        await self.apex_generate(None, context)
        return HealthStatus(status=HealthState.HEALTHY)


@fails("test_health_spends_nothing")
class HealthSpendsQuietly(Sound):
    @hookimpl
    async def apex_health(self, context):
        try:
            await self.apex_generate(None, context)
        except Exception:
            return HealthStatus(status=HealthState.UNAVAILABLE)
        return HealthStatus(status=HealthState.HEALTHY)


_SOLD = itertools.count()


@fails("test_health_spends_nothing", tokens_spent=lambda _: next(_SOLD))
class HealthSpendsUpstream(Sound):
    pass


@fails("test_health_spends_nothing")
class HealthIsTrue(Sound):
    @hookimpl
    async def apex_health(self, context):
        return True


@fails("test_models_are_listed")
class ListedTwice(Sound):
    @hookimpl
    async def apex_models(self, context):
        return [ModelInfo(id="one"), ModelInfo(id="one")]


@fails(UNKNOWN)
class RawErrors(Sound):
    def known(self, context):
        if context.candidate.provider_model_id == "no-such-model":
            raise KeyError("no-such-model")
        return context.candidate


@fails(UNKNOWN)
class ErrorsInOwnName(Sound):
    def known(self, context):
        if context.candidate.provider_model_id == "no-such-model":
            raise ModelNotFoundError("no such model", provider="openai")
        return context.candidate


@fails("test_failures_are_typed_errors")
class WrongErrorType(Sound):
    def known(self, context):
        if context.candidate.provider_model_id == "no-such-model":
            return super().known(context)
        return context.candidate


@fails("test_concurrent_calls_do_not_mix")
class KeepsTheRequest(Sound):
    @hookimpl
    async def apex_generate(self, request, context):
        self.request = request
        await self.upstream()
        return await super().apex_generate(self.request, context)


@fails("test_concurrent_streams_do_not_mix")
class KeepsTheChunk(Sound):
    @hookimpl
    async def apex_stream(self, request, context):
        async with aclosing(super().apex_stream(request, context)) as stream:
            async for batch in stream:
                self.batch = batch
                await asyncio.sleep(0.1)
                yield self.batch


@fails(INDEPENDENT)
class SharedHistory(Sound):
    history: list[str] = []  # noqa: RUF012 - the mistake under test

    async def upstream(self):
        self.history.append("called")


@fails(INDEPENDENT)
class SharedCount(Sound):
    count = 0

    async def upstream(self):
        type(self).count += 1


_CACHE: dict[str, int] = {}


@fails(INDEPENDENT)
class SharedCache(Sound):
    def __init__(self):
        super().__init__()
        self.cache = _CACHE

    async def upstream(self):
        self.cache["calls"] = self.cache.get("calls", 0) + 1


class OtherCapabilities(Sound):
    features: frozenset[str] = frozenset({"chat", "text", "stream", "tools", "json", "embed", "image"})


@fails("test_capabilities_are_constant")
class UnknownWord(Sound):
    @hookimpl
    def apex_capabilities(self):
        return ProviderCapabilities(features=("chat", "tools", "json", "telepathy"))


@fails("test_capabilities_are_constant")
class ChangingFacts(Sound):
    @hookimpl
    def apex_capabilities(self):
        self.calls += 1
        served = (ModelInfo(id=f"model-{self.calls}"),)
        return ProviderCapabilities(features=("chat", "tools", "json"), served=served)


class ChatOnly:
    """A sound provider with one hook and its table."""

    @hookimpl
    async def apex_generate(self, request, context):
        return await Sound.apex_generate(Sound(), request, context)

    @hookimpl
    def apex_capabilities(self):
        return ProviderCapabilities(features=("chat", "text"))


@fails("test_capabilities_are_constant")
class DeclaredWithoutHook(ChatOnly):
    @hookimpl
    def apex_capabilities(self):
        return ProviderCapabilities(features=("chat", "text", "embed"))


@fails("test_switches_match_the_hooks", supports_capabilities=False)
class CapabilitiesDenied(ChatOnly):
    pass


class TestChatOnly(kit_for(ChatOnly)):
    pass


class WithSharedTask(Sound):
    """Fetches credentials once for all calls; a call that is cancelled does not take them from the others."""

    fetching: asyncio.Future[None] | None = None

    async def fetch(self):
        await asyncio.sleep(5)

    async def upstream(self):
        if self.fetching is None:
            self.fetching = asyncio.ensure_future(self.fetch())
        await asyncio.shield(self.fetching)

    @hookimpl
    async def apex_shutdown(self, runtime):
        if self.fetching is not None:
            self.fetching.cancel()


class TestWithSharedTask(kit_for(WithSharedTask, shared_tasks=frozenset({"WithSharedTask.fetch"}))):
    pass


def test_a_shared_task_must_be_declared():
    assert failing(kit_for(WithSharedTask)) >= {CANCEL, CANCEL_STREAM}


class Refusing(Sound):
    """Refuses what its model has not, and says so."""

    def choices(self, request):
        if request.chat_options.n is not None:
            raise InvalidRequestError("n is not supported")
        return super().choices(request)

    @hookimpl
    async def apex_embed(self, request, context):
        if request.options.dimensions is not None:
            raise InvalidRequestError("dimensions is not supported")
        return await super().apex_embed(request, context)


class TestRefusing(kit_for(Refusing, supports_choices=False, supports_dimensions=False)):
    pass


@pytest.mark.parametrize(("provider", "tests", "switches"), BROKEN)
def test_kit_finds_the_fault(provider, tests, switches):
    if provider is WrongErrorType:
        switches = {"failures": lambda self: {LLMErrorType.RATE_LIMIT_ERROR: lambda runtime: FailingWrongly()}}
    assert failing(kit_for(provider, **switches)) == tests


class FailingWrongly(Sound):
    def known(self, context):
        raise ServiceUnavailableError("too many requests")


class FailingRightly(Sound):
    def known(self, context):
        raise ServiceUnavailableError("gone")


def test_right_failures_pass():
    switches = {"failures": lambda self: {LLMErrorType.SERVICE_UNAVAILABLE_ERROR: lambda runtime: FailingRightly()}}
    assert failing(kit_for(Sound, **switches)) == set()


def test_every_standard_test_is_failed_by_some_broken_provider():
    failed = {test for broken in BROKEN for test in broken.values[1]}
    standard = {name for name in dir(ProviderConformance) if name.startswith("test_")}
    # The first needs an installed plugin; the other is the guard, which has tests of its own.
    not_here = {"test_registered_factory_is_installed", "test_no_standard_test_is_overridden"}
    assert standard - failed == not_here


def test_every_standard_test_helps_with_trouble():
    for name in dir(ProviderConformance):
        if name.startswith("test_"):
            assert "Troubleshooting:" in getattr(ProviderConformance, name).__doc__, name


def test_a_standard_test_cannot_be_replaced_in_silence():
    class Silent(kit_for(Sound)):
        def test_images_decode(self):
            pass

    class Declared(kit_for(Sound)):
        @overrides_standard_test(reason="the images are drawn by hand")
        def test_images_decode(self):
            pass

    assert failing(Silent) == {"test_no_standard_test_is_overridden"}
    assert failing(Declared) == set()


class Server:
    """A loopback server that answers slowly and knows which calls are in progress."""

    def __init__(self):
        self.in_progress = 0

    async def answer(self, request):
        self.in_progress += 1
        try:
            text = (await request.json())["text"]
            response = web.StreamResponse()
            await response.prepare(request)
            for word in text.split(" "):
                await asyncio.sleep(0.005)
                await response.write(json.dumps(word).encode() + b"\n")
            return response
        finally:
            self.in_progress -= 1

    @asynccontextmanager
    async def running(self):
        application = web.Application()
        application.router.add_post("/", self.answer)
        runner = web.AppRunner(application, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield "http://{}:{}/".format(*runner.addresses[0])
        finally:
            await runner.cleanup()


class OverHttp:
    """A sound provider that speaks HTTP."""

    def __init__(self, url):
        self.url = url

    @hookimpl
    async def apex_startup(self, runtime):
        self.session = aiohttp.ClientSession()

    @hookimpl
    async def apex_shutdown(self, runtime):
        await self.session.close()

    @hookimpl
    async def apex_stream(self, request, context):
        if context.provider_model_id == "no-such-model":
            raise ModelNotFoundError("no such model")
        if request.options.n is not None:
            raise InvalidRequestError("n is not supported")
        async with self.session.post(self.url, json={"text": request.messages[0].text}) as response:
            async for line in response.content:
                yield [ChatGenerationChunk(text=json.loads(line) + " ")]
        yield [ChatGenerationChunk(finish_reason="stop", usage=Usage(prompt_tokens=3, completion_tokens=2))]


class BackgroundHttp(OverHttp):
    @hookimpl
    async def apex_stream(self, request, context):
        async def read():
            async with aclosing(OverHttp.apex_stream(self, request, context)) as stream:
                return [batch async for batch in stream]

        task = asyncio.ensure_future(read())
        # What the kit leaves behind when it reports this provider is not to be reported once more.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        for batch in await asyncio.shield(task):
            yield batch


class OverHttpKit(ProviderConformance):
    chat_model = "one"
    virtual_time = False
    supports_choices = False
    cancellation_points = 8
    provider: type = OverHttp

    @asynccontextmanager
    async def serving(self, clock):
        self.server = Server()
        async with self.server.running() as self.url:
            yield FakeRuntime(clock=clock)

    def make_provider(self, runtime):
        return self.provider(self.url)

    def upstream_calls(self):
        return self.server.in_progress


class TestOverHttp(OverHttpKit):
    pass


def test_a_call_that_goes_on_in_the_background_is_found_on_real_time():
    class Kit(OverHttpKit):
        provider = BackgroundHttp
        patience = 0.0

    with pytest.raises(AssertionError, match=r"left behind: task .*BackgroundHttp"):
        Kit().test_stream_can_be_cancelled_anywhere()
