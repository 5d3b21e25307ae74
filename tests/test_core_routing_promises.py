"""What the configuration promises and a look at single modules does not show."""

from __future__ import annotations

from contextlib import suppress

import pytest

from apex_llm_core import (
    Caller,
    ConfigurationError,
    ConfigurationWarning,
    LLMError,
    LLMProviderManager,
    ModelNotFoundError,
    PluginError,
    RateLimitError,
    hookimpl,
)
from apex_llm_core.errors import ServiceUnavailableError, UnknownError
from apex_llm_core.models import (
    ChatGenerationChunk,
    ChatGenerationResult,
    ChatMessage,
    EmbeddingResult,
    HealthState,
    HealthStatus,
    Usage,
)
from apex_llm_core.testing import FakeClock, run_virtual


class Provider:
    """Answers with its name; *batches* are what it streams, *vectors* what it embeds."""

    def __init__(self, error=None, batches=None, vectors=None):
        self.error = error
        self.batches = batches
        self.vectors = vectors
        self.models = []

    @hookimpl
    async def apex_generate(self, request, context):
        self.models.append(request.model)
        if self.error is not None:
            raise self.error
        message = ChatMessage(role="assistant", content=context.candidate.provider)
        return ChatGenerationResult(message=message, model="made up", provider="made up", usage=Usage(prompt_tokens=1))

    @hookimpl
    async def apex_stream(self, request, context):
        for batch in self.batches:
            if isinstance(batch, Exception):
                raise batch
            yield batch

    @hookimpl
    async def apex_embed(self, request, context):
        return EmbeddingResult(embeddings=self.vectors or [(1.0,)] * len(request.texts), model="m", provider="p")


def down():
    return ServiceUnavailableError("down", retryable=False)


def scene(config, providers, play):
    """Run *play(manager)* over *providers* by name: (provider, models)."""
    clock = FakeClock()

    async def main():
        async with LLMProviderManager(config, clock=clock) as manager:
            for name, (provider, models) in providers.items():
                await manager.register_provider(provider, name=name, models=models)
            return await play(manager)

    return run_virtual(main(), clock=clock)


class TestCache:
    def test_a_rule_that_forbids_a_provider_forbids_its_remembered_answers(self):
        config = {
            "manager": {"cache_enabled": True},
            "routes": [{"name": "eu", "tier": "eu", "providers": ["b"]}, {"name": "us", "providers": ["a"]}],
        }

        async def play(manager):
            return [
                (result.provider, result.cached)
                for tier in ("us", "eu", "us")
                for result in [await manager.generate_chat("hi", model="m", caller=Caller(user="x", tier=tier))]
            ]

        answers = scene(config, {"a": (Provider(), ["m"]), "b": (Provider(), ["m"])}, play)
        assert answers == [("a", False), ("b", False), ("a", True)]


class TestDefaults:
    def ask(self, manager_table, providers, **options):
        async def play(manager):
            result = await manager.generate_chat("hi", **options)
            return result.provider, result.model

        return scene({"manager": manager_table, "seed": 1}, providers, play)

    def test_the_default_provider_serves_what_names_no_model(self):
        for seed in range(5):
            providers = {name: (Provider(), ["m"]) for name in "abc"}
            assert self.ask({"default_provider": "b"}, providers) == ("b", "m"), seed

    def test_others_take_over_from_the_default_provider(self):
        providers = {"a": (Provider(), ["m"]), "b": (Provider(error=down()), ["m"])}
        assert self.ask({"default_provider": "b"}, providers) == ("a", "m")

    def test_a_request_that_names_its_model_does_not_care(self):
        providers = {"a": (Provider(), ["m"]), "b": (Provider(), ["n"])}
        assert self.ask({"default_provider": "b"}, providers, model="m") == ("a", "m")

    def test_the_default_model_counts_at_an_explicit_provider_that_lists_it(self):
        providers = {"a": (Provider(), ["x", "m"]), "b": (Provider(), ["m"])}
        assert self.ask({"default_model": "m"}, providers, provider="a") == ("a", "m")

    def test_a_default_model_that_cannot_do_it_gives_way_to_one_that_can(self):
        config = {
            "manager": {"default_model": "mock-large"},
            "providers": [{"name": "mock", "type": "mock"}],
        }

        async def play(manager):
            return (await manager.generate_embedding("hi")).model

        assert scene(config, {}, play) == "mock-embed"


class TestLimits:
    limits = ({"name": "L", "scope": "model", "match": "m", "requests": 1, "per": 3600.0},)

    def test_a_model_is_limited_under_every_name_it_is_asked_by(self):
        config = {"limits": list(self.limits), "routes": [{"model": "alias", "to_model": "m"}]}

        async def play(manager):
            await manager.generate_chat("hi", model="m")
            with pytest.raises(RateLimitError, match="'L' is reached for 'm'"):
                await manager.generate_chat("hi", model="alias")

        scene(config, {"a": (Provider(), ["m"])}, play)

    def test_a_reload_forgives_nothing(self):
        async def play(manager):
            await manager.generate_chat("hi", model="m")
            await manager.reload()
            with pytest.raises(RateLimitError):
                await manager.generate_chat("hi", model="m")

        scene({"limits": list(self.limits)}, {"a": (Provider(), ["m"])}, play)


class TestFallback:
    def test_without_fallback_an_open_breaker_is_still_passed_over(self):
        config = {"manager": {"fallback_enabled": False, "circuit_breaker_threshold": 2}, "seed": 3}
        broken, sound = Provider(error=down()), Provider()

        async def play(manager):
            for _ in range(40):
                with suppress(LLMError):
                    await manager.generate_chat("hi", model="m")

        scene(config, {"a": (broken, ["m"]), "b": (sound, ["m"])}, play)
        assert (len(broken.models), len(sound.models)) == (2, 38)

    def test_without_fallback_a_failure_ends_the_request(self):
        async def play(manager):
            with pytest.raises(ServiceUnavailableError) as caught:
                await manager.generate_chat("hi", model="m")
            return len(caught.value.attempts)

        providers = {"a": (Provider(error=down()), ["m"]), "b": (Provider(error=down()), ["m"])}
        assert scene({"manager": {"fallback_enabled": False}}, providers, play) == 1

    def test_fallback_models_are_those_of_the_model_that_a_rule_put_in_place(self):
        config = {
            "routes": [{"model": "smart", "to_model": "gpt"}],
            "fallback": {"models": {"gpt": ["claude"]}},
        }

        async def play(manager):
            return (await manager.generate_chat("hi", model="smart")).model

        providers = {"a": (Provider(error=down()), ["gpt"]), "b": (Provider(), ["claude"])}
        assert scene(config, providers, play) == "claude"

    def test_an_explicit_provider_is_not_asked_for_fallback_models_it_does_not_list(self):
        broken = Provider(error=down())

        async def play(manager):
            with pytest.raises(ServiceUnavailableError):
                await manager.generate_chat("hi", model="gpt", provider="a")

        providers = {"a": (broken, ["gpt"]), "b": (Provider(), ["claude"])}
        scene({"fallback": {"models": {"gpt": ["claude"]}}}, providers, play)
        assert broken.models == ["gpt"]

    @pytest.mark.parametrize(
        ("said", "kind"),
        [(down(), ServiceUnavailableError), (RateLimitError("later", retry_after=5.0), RateLimitError)],
    )
    def test_what_the_provider_said_survives_a_strategy_that_breaks_later(self, said, kind):
        class Breaking:
            @hookimpl
            def apex_select(self, request, candidates, turn):
                yield candidates[0]
                raise ZeroDivisionError

        class Offer:
            @hookimpl
            def apex_register(self, registrar):
                registrar.strategy("breaking", lambda config, settings, runtime: Breaking())

        async def main():
            config = {"manager": {"selection_strategy": "breaking"}}
            async with LLMProviderManager(config, plugins=[Offer()]) as manager:
                for name in "ab":
                    await manager.register_provider(Provider(error=said), name=name, models=["m"])
                # A look at who else is left, before a long wait, must not lose it either.
                with pytest.raises(kind) as caught:
                    await manager.generate_chat("hi", model="m", retry_count=1)
            assert caught.value is said
            assert isinstance(said.__cause__, PluginError)
            assert said.attempts

        run_virtual(main())


def stop(index=0):
    return ChatGenerationChunk(finish_reason="stop", index=index)


class TestAnswers:
    async def read(self, manager, **options):
        return [chunk async for chunk in manager.generate_chat_stream("hi", model="m", **options)]

    @pytest.mark.parametrize("first", [[], ChatGenerationChunk(text="bare"), ["text"]])
    def test_a_stream_that_begins_with_nothing_of_use_falls_back(self, first):
        broken = Provider(batches=[first, down()])
        sound = Provider(batches=[[ChatGenerationChunk(text="ok"), stop()]])
        chunks = scene({"seed": 1, "routes": []}, {"a": (broken, ["m"]), "b": (sound, ["m"])}, self.read)
        assert "".join(chunk.text for chunk in chunks) == "ok"

    def test_a_wrong_batch_is_told_by_its_hook(self):
        async def play(manager):
            with pytest.raises(UnknownError, match="no list of chunks from apex_stream: ChatGenerationChunk"):
                await self.read(manager)

        scene({}, {"a": (Provider(batches=[stop()]), ["m"])}, play)

    @pytest.mark.parametrize(
        "batches",
        [
            [[ChatGenerationChunk(text="x"), stop(0)]],
            [[ChatGenerationChunk(text="x"), stop(0), stop(0)]],
            [[ChatGenerationChunk(text="x"), ChatGenerationChunk(text="y", index=1), stop(1)]],
        ],
    )
    def test_every_choice_asked_for_must_end(self, batches):
        async def play(manager):
            with pytest.raises(ServiceUnavailableError, match="incomplete"):
                await self.read(manager, n=2)

        scene({}, {"a": (Provider(batches=batches), ["m"])}, play)

    def test_two_choices_that_end_are_complete(self):
        async def play(manager):
            return len(await self.read(manager, n=2))

        assert scene({}, {"a": (Provider(batches=[[stop(1)], [stop(0)]]), ["m"])}, play) == 2

    def test_results_have_the_names_of_the_candidate(self):
        async def play(manager):
            result = await manager.generate_chat("hi", model="m")
            return result.provider, result.model

        assert scene({}, {"a": (Provider(), ["m"])}, play) == ("a", "m")

    def test_a_vector_too_few_is_a_failure_of_the_provider(self):
        async def play(manager):
            result = await manager.generate_embedding(["one", "two"], model="m")
            return result.provider, manager.stats()["attempts"]

        providers = {"a": (Provider(vectors=[(1.0,)]), ["m"]), "b": (Provider(), ["m"])}
        for seed in range(4):
            provider, attempts = scene({"seed": seed}, providers, play)
            assert provider == "b"
            assert all(entry["outcomes"] == {"unknown_error": 1} for entry in attempts if entry["provider"] == "a")


class TestSecrets:
    secret = "canary-in-a-coal-mine"

    def test_what_middleware_and_health_checks_say_is_scrubbed(self):
        secret = self.secret

        class Telling:
            @hookimpl
            async def apex_around_generate(self, request, context, call_next):
                raise ValueError(secret)

        class Sick(Provider):
            @hookimpl
            async def apex_health(self, context):
                return HealthStatus(status=HealthState.DEGRADED, message=f"key {secret} is old")

        class Offer:
            @hookimpl
            def apex_register(self, registrar):
                registrar.middleware("telling", lambda config, settings, runtime: Telling())

        config = {
            "middleware": [{"type": "telling"}],
            "providers": [
                {"name": "mock", "type": "mock", "auth": {"type": "none", "credentials": {"api_key": "env:CANARY"}}}
            ],
        }

        async def main():
            manager = LLMProviderManager(config, plugins=[Offer()], environ={"CANARY": secret})
            async with manager:
                await manager.register_provider(Sick(), name="sick", models=["m"])
                with pytest.raises(UnknownError) as caught:
                    await manager.generate_chat("hi", model="m")
                assert secret not in str(caught.value)
                health = await manager.get_health()
                assert health["sick"].message == "key *** is old"

        run_virtual(main())


BROKEN = {"providers": [{"name": "bad", "type": "broken"}, {"name": "good", "type": "mock"}]}


class TestBroken:
    class Offer:
        @hookimpl
        def apex_register(self, registrar):
            def fail(config, settings, runtime):
                raise OSError("no licence file")

            registrar.provider("broken", fail)

    def run(self, play):
        async def main():
            manager = LLMProviderManager(BROKEN, plugins=[self.Offer()])
            with pytest.warns(ConfigurationWarning, match=r"no licence file.*going on without it"):
                await manager.start()
            try:
                return await play(manager)
            finally:
                await manager.close()

        return run_virtual(main())

    def test_a_provider_that_could_not_start_is_unavailable(self):
        async def play(manager):
            return {name: status.status.value for name, status in (await manager.get_health()).items()}

        assert self.run(play) == {"bad": "unavailable", "good": "healthy"}

    def test_asking_for_it_tells_why_it_is_not_there(self):
        async def play(manager):
            with pytest.raises(ModelNotFoundError, match=r"'bad' could not be started: .*no licence file"):
                await manager.generate_chat("hi", provider="bad")

        self.run(play)

    def test_a_factory_that_knows_what_is_wrong_is_told_where(self):
        class Offer:
            @hookimpl
            def apex_register(self, registrar):
                def refuse(config, settings, runtime):
                    raise ConfigurationError("needs a region")

                registrar.provider("broken", refuse)

        async def main():
            with pytest.raises(ConfigurationError, match=r"^providers\[0\]: needs a region"):
                await LLMProviderManager(BROKEN, plugins=[Offer()]).start()

        run_virtual(main())
