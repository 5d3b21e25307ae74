"""What every provider must do, as a test class to subclass."""

from __future__ import annotations

import asyncio
import base64
import math
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from typing import Any, Never
from unittest.mock import patch

import pytest

from apex_llm_core.context import CallContext
from apex_llm_core.errors import InvalidRequestError, LLMError
from apex_llm_core.hookspecs import Runtime
from apex_llm_core.models import (
    CAPABILITIES,
    EmbeddingResult,
    HealthStatus,
    ImageGenerationResult,
    ModelInfo,
    ProviderCapabilities,
)
from apex_llm_core.plugin.discovery import PROVIDERS, discover
from apex_llm_core.plugin.manager import PluginManager
from apex_llm_core.plugin.registrar import PluginRegistrar
from apex_llm_core.plugin.validation import problems
from apex_llm_core.testing.isolation import state_of
from apex_llm_core.testing.provider_chat import ChatConformance
from apex_llm_core.testing.provider_setup import MODEL, PROVIDER, on_provider
from apex_llm_core.testing.runtime import make_candidate

#: How many calls run at once.
CROWD = 20
_SWITCHES = ("generate", "stream", "embed", "image", "models", "health", "capabilities", "tools", "json")
_SPENDING = ("apex_generate", "apex_stream", "apex_embed", "apex_image")
#: What the files of these media types begin with.
_MAGIC = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff", "image/gif": b"GIF8", "image/webp": b"RIFF"}


class ProviderConformance(ChatConformance):
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
        cls: Any = type(provider)
        assert cls.__eq__ is object.__eq__, "the class defines __eq__"
        assert cls.__hash__ is object.__hash__, "the class defines __hash__"

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

    def test_registered_factory_is_installed(self) -> None:
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
        before, called = self.tokens_spent(), list[str]()
        with ExitStack() as spies:
            for name in _SPENDING:
                if hasattr(type(provider), name):
                    spies.enter_context(patch.object(type(provider), name, _noting(name, called)))
            status = await provider.apex_health(self.context("health", candidate=None))
        assert not called, f"the health check calls {', '.join(called)}"
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
                await call()
            self._check_error(caught.value)

    def test_failures_are_typed_errors(self) -> None:
        """Each failure of `failures` raises its own type, whole or streamed, in the candidate's names.

        Troubleshooting: see `errors` for what each type means; the class follows from the type.
        """
        if not self.failures():
            pytest.skip("no failing providers: give `failures`")

        async def fail_all(runtime: Runtime) -> None:
            for kind, make in self.failures().items():
                async with self.started(runtime, make) as provider:
                    for call in self._chat_calls(provider, self.context()):
                        with pytest.raises(LLMError) as caught:
                            await call()
                        assert caught.value.type is kind, f"{kind.value} came as {caught.value.type.value}"
                        self._check_error(caught.value)

        self.run_serving(fail_all)

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

    def test_instances_are_independent(self) -> None:
        """Using one instance changes neither another one nor their class.

        Troubleshooting: make lists, caches and counters in ``__init__``, never in the class or the module.
        """

        async def use_one(runtime: Runtime) -> None:
            async with self.started(runtime) as other, self.started(runtime) as provider:
                assert provider is not other, "make_provider returns the same instance twice"
                before, class_before = state_of(other), state_of(type(provider))
                for call in self._chat_calls(provider, self.context()):
                    await call()
                if self.can(provider, "embed"):
                    await self.embed(provider, "a quiet harbour")
                assert state_of(type(provider)) == class_before, "using an instance changed its class"
                assert state_of(other) == before, "using an instance changed another one"

        self.run_serving(use_one)

    # -- steps -------------------------------------------------------------------------------------------------------

    async def embed(self, provider: Any, *texts: str, **options: Any) -> EmbeddingResult:
        """Call `apex_embed` and check what every result must have."""
        result = await provider.apex_embed(self.embed_request(*texts, **options), self.context("embed"))
        assert type(result) is EmbeddingResult, f"apex_embed returned a {type(result).__name__}"
        assert (result.provider, result.model) == (PROVIDER, MODEL)
        assert len(result.embeddings) == len(texts), f"{len(texts)} texts gave {len(result.embeddings)} vectors"
        return result

    def _chat_calls(self, provider: Any, context: CallContext) -> list[Callable[[], Coroutine[Any, Any, Any]]]:
        """Return a whole and a streamed chat call, as far as the provider offers them, not yet begun."""
        calls: list[Callable[[], Coroutine[Any, Any, Any]]] = []
        if self.can(provider, "generate"):
            calls.append(lambda: provider.apex_generate(self.request(), context))
        if self.can(provider, "stream"):
            calls.append(lambda: self.stream(provider, self.request(stream=True), context))
        return calls

    def _check_error(self, error: LLMError) -> None:
        # The core fills in names that a provider left out, but wrong ones would stay.
        assert error.provider in (None, PROVIDER), f"the error names the provider {error.provider!r}"
        assert error.model in (None, MODEL), f"the error names the model {error.model!r}"
        assert error.message, "the error has no message"


def _noting(name: str, called: list[str]) -> Callable[..., Never]:
    def spend(*_: Any) -> Never:
        called.append(name)
        raise AssertionError(f"the health check calls {name}")

    return spend


__all__ = ["ProviderConformance"]
