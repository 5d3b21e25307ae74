from __future__ import annotations

import pytest

from apex_llm_core.errors import ConfigurationWarning, ModelNotFoundError
from apex_llm_core.markers import hookimpl
from apex_llm_core.models import (
    Caller,
    ChatMessage,
    DocumentPart,
    FunctionDefinition,
    ImagePart,
    ModelInfo,
    ProviderCapabilities,
    ResponseFormat,
    TextPart,
)
from apex_llm_core.plugin.registry import _UNLISTED_KEPT

VISION = [ChatMessage(role="user", content=[TextPart(text="what is it?"), ImagePart(url="https://example.com/a.png")])]
DOCUMENT = [ChatMessage(role="user", content=[DocumentPart(text="read this")])]
TOOLS = {"tools": [FunctionDefinition(name="f")]}
JSON = {"response_format": ResponseFormat(type="json")}


def served_by(scene, prompt="hi", **keywords):
    """Return the (provider, model) that serves a request."""
    result = scene.chat(prompt, **keywords)
    return result.provider, result.model


def models(*ids, **facts):
    return {"models": [{"id": name, **facts} for name in ids]}


class TestExplicitProvider:
    def test_is_the_only_one_asked(self, stage):
        scene = stage({"a": [], "b": [KeyError("broken")]})
        with pytest.raises(Exception, match="broken"):
            scene.chat(provider="b")
        assert scene.called == "b"

    def test_passes_unlisted_models_through(self, stage):
        scene = stage({"a": []})
        assert served_by(scene, model="brand-new", provider="a") == ("a", "brand-new")
        assert scene.a.calls[0].provider_model_id == "brand-new"

    def test_maps_listed_models(self, stage):
        scene = stage({"a": []}, providers={"a": models("m", provider_model_id="m-2024")})
        served_by(scene, provider="a")
        assert scene.a.calls[0].provider_model_id == "m-2024"

    def test_unlisted_models_leave_no_lasting_trace(self, stage):
        scene = stage({"a": []})

        async def body(manager):
            for number in range(2 * _UNLISTED_KEPT):
                await manager.generate_chat("hi", model=f"guess-{number}", provider="a")
            generation = manager._generation
            return [
                len(known)
                for known in (
                    generation.engine.router._routes,
                    generation.balancer._standings,
                    generation.balancer.breakers._breakers,
                    manager.providers[0]._unlisted,
                )
            ]

        assert max(scene.run(body)) <= _UNLISTED_KEPT + 1

    def test_unknown_names_the_nearest(self, stage):
        error = stage({"azure-east": [], "bedrock": []}).failed_chat(ModelNotFoundError, provider="azure-est")
        assert "did you mean 'azure-east'?" in str(error)
        assert error.attempts == ()

    def test_disabled_is_told(self, stage):
        scene = stage({"a": [], "b": []}, providers={"b": {"enabled": False}})
        assert "'b' is disabled" in str(scene.failed_chat(ModelNotFoundError, provider="b"))


class TestModels:
    def test_unknown_names_the_nearest(self, stage):
        scene = stage({"a": []}, providers={"a": models("gpt-4o", "claude-sonnet")})
        error = scene.failed_chat(ModelNotFoundError, model="gpt-40")
        assert "'gpt-40'; did you mean 'gpt-4o'?" in str(error)
        assert (error.model, error.attempts) == ("gpt-40", ())

    def test_of_disabled_providers_are_unknown(self, stage):
        scene = stage({"a": [], "b": []}, providers={"a": models("m"), "b": {"enabled": False, **models("n")}})
        scene.failed_chat(ModelNotFoundError, model="n")
        assert scene.called == ""

    @pytest.mark.parametrize(
        ("manager", "keywords", "expected"),
        [
            ({}, {}, ("a", "a1")),
            ({"default_model": "b1"}, {}, ("b", "b1")),
            ({"default_provider": "b"}, {}, ("b", "b1")),
            ({"default_provider": "b", "default_model": "a2"}, {}, ("a", "a2")),
            ({"default_model": "a2"}, {"provider": "b"}, ("b", "b1")),
            ({"default_provider": "b"}, {"provider": "a"}, ("a", "a1")),
        ],
    )
    def test_default(self, stage, manager, keywords, expected):
        scene = stage({"a": [], "b": []}, providers={"a": models("a1", "a2"), "b": models("b1")}, manager=manager)
        assert served_by(scene, model="", **keywords) == expected

    def test_default_is_the_first_that_can_do_it(self, stage):
        scene = stage(
            {"a": [], "b": []},
            providers={
                "a": {"models": [{"id": "small", "capabilities": ["chat"]}]},
                "b": {
                    "models": [
                        {"id": "deaf", "capabilities": ["chat"]},
                        {"id": "seer", "capabilities": ["chat", "vision"]},
                    ]
                },
            },
        )
        assert served_by(scene, VISION, model="") == ("b", "seer")

    def test_no_default_can_do_it(self, stage):
        scene = stage({"a": []}, providers={"a": models("m", capabilities=["embed"])})
        error = scene.failed_chat(ModelNotFoundError, model="")
        assert "names no model and no configured model can do chat; pass model=" in str(error)


class TestNeeds:
    @pytest.mark.parametrize(
        ("needed", "prompt", "keywords"),
        [
            ("vision", VISION, {}),
            ("documents", DOCUMENT, {}),
            ("tools", "hi", TOOLS),
            ("json", "hi", JSON),
            ("reasoning", "hi", {"reasoning_effort": "low"}),
        ],
    )
    def test_narrow_the_candidates(self, stage, needed, prompt, keywords):
        providers = {"a": models("m", capabilities=["chat"]), "b": models("m", capabilities=["chat", needed])}
        assert served_by(stage({"a": [], "b": []}, providers=providers), prompt, **keywords) == ("b", "m")
        scene = stage({"a": []}, providers={"a": models("m", capabilities=["chat"])})
        with pytest.raises(ModelNotFoundError, match=f"a lacks {needed}"):
            scene.chat(prompt, **keywords)

    def test_streams(self, stage):
        scene = stage(
            {"a": [], "b": []},
            providers={"a": models("m", capabilities=["chat"]), "b": models("m", capabilities=["chat", "stream"])},
        )

        async def body(manager):
            stream = manager.generate_chat_stream("hi", model="m")
            return [chunk async for chunk in stream] and stream.provider

        assert scene.run(body) == "b"

    def test_undeclared_capabilities_exclude_nobody(self, stage):
        assert served_by(stage({"a": []}), VISION, **TOOLS) == ("a", "m")

    def test_a_chat_model_answers_a_prompt(self, stage):
        scene = stage({"a": []}, providers={"a": models("m", capabilities=["chat"])})
        assert scene.run(lambda manager: manager.generate_text("hi", model="m")).provider == "a"

    def test_the_providers_own_table_counts_unless_configured(self, stage, scripted):
        class Knowing(scripted.ScriptedProvider):
            @hookimpl
            def apex_capabilities(self):
                return ProviderCapabilities(models={"big": ModelInfo(id="big", capabilities={"chat"})})

        def scene(**facts):
            made = stage({"a": []}, providers={"a": models("m", provider_model_id="big", **facts)})
            made.providers["a"] = Knowing()
            return made

        with pytest.raises(ModelNotFoundError, match="a lacks vision"):
            scene().chat(VISION)
        assert served_by(scene(capabilities=["chat", "vision"]), VISION) == ("a", "m")

    def test_an_absent_hook_is_an_unsupported_operation(self, stage):
        class Embedder:
            @hookimpl
            async def apex_embed(self, request, context):
                raise AssertionError

        scene = stage({"a": []})
        scene.providers["a"] = Embedder()
        with pytest.raises(ModelNotFoundError, match="a lacks chat"):
            scene.chat()


class TestRules:
    def scene(self, stage, *routes, **tables):
        return stage(
            {"a": [], "b": [], "c": []},
            providers={
                "a": {"region": "us", "tags": ["fast"], **models("m", "cheap")},
                "b": {"region": "eu", "tags": ["fast", "ptu"]},
                "c": {"region": "eu"},
            },
            routes=list(routes),
            **tables,
        )

    @pytest.mark.parametrize(
        ("rule", "expected"),
        [
            ({"providers": ["c", "b"]}, ("b", "m")),
            ({"regions": ["eu"]}, ("b", "m")),
            ({"tags": ["ptu"]}, ("b", "m")),
            ({"tags": ["fast", "ptu"]}, ("b", "m")),
            ({"regions": ["eu"], "providers": ["a", "c"]}, ("c", "m")),
            ({"to_model": "cheap"}, ("a", "cheap")),
            ({"model": "m*", "providers": ["c"]}, ("c", "m")),
            ({"model": "?", "providers": ["c"]}, ("c", "m")),
            ({"model": "x*", "providers": ["c"]}, ("a", "m")),
            ({"operation": "chat", "providers": ["c"]}, ("c", "m")),
            ({"operation": "embed", "providers": ["c"]}, ("a", "m")),
        ],
    )
    def test_narrow(self, stage, rule, expected):
        assert served_by(self.scene(stage, rule)) == expected

    def test_first_match_wins(self, stage):
        scene = self.scene(stage, {"model": "x", "providers": ["a"]}, {"providers": ["c"]}, {"providers": ["b"]})
        with pytest.warns(ConfigurationWarning, match="routes.2.: is never reached"):
            served = served_by(scene)
        assert served == ("c", "m")

    @pytest.mark.parametrize(
        ("rule", "caller", "matches"),
        [
            ({"user": "team-*"}, Caller(user="team-red"), True),
            ({"user": "team-*"}, Caller(user="alice"), False),
            ({"user": "team-*"}, Caller(), False),
            ({"tier": "gold"}, Caller(tier="gold"), True),
            ({"tier": "gold"}, Caller(tier="silver"), False),
            ({"role": "admin"}, Caller(roles={"user", "admin"}), True),
            ({"role": "admin"}, Caller(roles={"administrator"}), False),
            ({"user": "a*", "tier": "gold"}, Caller(user="alice", tier="silver"), False),
        ],
    )
    def test_match_the_caller(self, stage, rule, caller, matches):
        assert served_by(self.scene(stage, {**rule, "providers": ["c"]}), caller=caller) == (
            "c" if matches else "a",
            "m",
        )

    def test_that_leave_nobody_are_named(self, stage):
        error = self.scene(stage, {"name": "residency", "regions": ["ap"]}).failed_chat(ModelNotFoundError)
        assert "the routing rule 'residency' leaves no provider for model 'm'; without it: a, b, c" in str(error)

    def test_hold_for_an_explicit_provider_too(self, stage):
        scene = self.scene(stage, {"regions": ["eu"]})
        assert "leaves no provider" in str(scene.failed_chat(ModelNotFoundError, provider="a"))
        assert served_by(self.scene(stage, {"regions": ["eu"]}), provider="c") == ("c", "m")

    def test_choose_the_strategy(self, stage, scripted):
        class Backwards:
            @hookimpl
            def apex_select(self, request, candidates, turn):
                return reversed(candidates)

        plugin = scripted.Plugin(lambda registrar: registrar.strategy("backwards", lambda *_: Backwards()))
        scene = self.scene(stage, {"tier": "odd", "strategy": "backwards"}, plugins=[plugin])

        async def body(manager):
            odd = await manager.generate_chat("hi", model="m", caller=Caller(tier="odd"))
            return odd.provider, (await manager.generate_chat("hi", model="m")).provider

        assert scene.run(body) == ("c", "a")
