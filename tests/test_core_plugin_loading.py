"""Plugins as they are in the world: installed distributions, found by their metadata, loaded by configuration."""

from __future__ import annotations

import importlib.metadata
import sys
import tomllib
from pathlib import Path

import pytest

from apex_llm_core.errors import ConfigurationError, ConfigurationWarning, PluginError
from apex_llm_core.manager import LLMProviderManager
from apex_llm_core.markers import hookimpl
from apex_llm_core.models import PluginFailed
from apex_llm_core.plugin.discovery import EXTENSIONS, PROVIDERS, STRATEGIES
from apex_llm_core.testing import run_virtual

HEAD = """
from apex_llm_core.markers import hookimpl
from apex_llm_core.models import ChatGenerationResult, ChatMessage
"""
PROVIDER = f"""{HEAD}
class Acme:
    def __init__(self, name="acme"):
        self.name = name

    @hookimpl
    async def apex_generate(self, request, context):
        message = ChatMessage(role="assistant", content=f"from {{self.name}}")
        return ChatGenerationResult(
            message=message, provider=context.candidate.provider, model=context.candidate.model
        )
"""
REGISTER = """
@hookimpl
def apex_register(registrar):
    registrar.provider("acme", lambda config, settings, runtime: Acme(config.name))
"""
BOOM = "raise RuntimeError('imported')"


def config_of(*types, **tables):
    return {
        "providers": [{"name": f"my-{kind}", "type": kind, "models": [{"id": f"{kind}-1"}]} for kind in types],
        **tables,
    }


def run(config, body=None, **more):
    async def main():
        async with LLMProviderManager(config, environ={}, **more) as manager:
            return await body(manager) if body is not None else None

    return run_virtual(main())


async def ask(manager, **keywords):
    return (await manager.generate_chat("hi", **keywords)).message.text


@pytest.fixture
def acme(install):
    """Install acme-llm 2.3; what its plugin module consists of may be given."""

    def acme(source=PROVIDER + REGISTER, name="acme", **more):
        install(
            f"{name}-llm",
            "2.3",
            modules={f"{name}_llm.plugin": source},
            entry_points={PROVIDERS: {name: f"{name}_llm.plugin"}},
            **more,
        )

    return acme


def failure(config):
    """Start with *config*, whose only provider is broken, and return the error."""
    with pytest.raises(PluginError) as caught:
        run(config)
    error = caught.value
    assert (error.distribution, error.version) == ("acme-llm", "2.3")
    assert "acme-llm 2.3" in str(error)
    return str(error)


def test_an_installed_provider_serves(acme):
    acme()
    assert run(config_of("acme"), lambda manager: ask(manager, model="acme-1")) == "from my-acme"


def test_only_configured_plugins_are_imported(acme):
    acme()
    acme(BOOM, "other")
    assert run(config_of("acme"), ask) == "from my-acme"
    assert not any(name.startswith("other_llm") for name in sys.modules)


def test_unknown_types_name_place_and_nearest(acme):
    acme()
    with pytest.raises(ConfigurationError) as caught:
        run(config_of("acne"))
    assert str(caught.value) == "providers[0].type: no provider called 'acne' is installed; did you mean 'acme'?"


@pytest.mark.parametrize(
    ("tables", "key", "what"),
    [
        ({"manager": {"selection_strategy": "costs"}}, "manager.selection_strategy", "no strategy called 'costs'"),
        ({"routes": [{"strategy": "costs"}]}, "routes[0].strategy", "no strategy called 'costs'"),
        ({"middleware": [{"type": "audit"}]}, "middleware[0].type", "no middleware called 'audit'"),
        ({"state": {"type": "memry"}, "manager": {"cache_enabled": True}}, "state.type", "did you mean 'memory'?"),
        # Nothing is kept in it, and what is installed besides is no state store.
        ({"state": {"type": "redis"}}, "state.type", "is installed; valid: memory, sqlite"),
    ],
)
def test_other_unknown_plugins(acme, tables, key, what):
    acme()
    with pytest.raises(ConfigurationError) as caught:
        run(config_of("acme", **tables))
    assert caught.value.key == key
    assert what in str(caught.value)


#: The distribution of every provider and strategy of this project, by group and name.
OURS = {
    (group, name): project["project"]["name"]
    for project in (
        tomllib.loads(path.read_text("utf-8"))
        for path in sorted(Path(__file__).parents[1].glob("plugins/*/pyproject.toml"))
    )
    for group in (PROVIDERS, STRATEGIES)
    for name in project["project"].get("entry-points", {}).get(group, {})
}


@pytest.mark.parametrize(
    ("tables", "distribution"),
    [
        *(
            ({"providers": [{"name": "p", "type": name}]}, distribution)
            if group == PROVIDERS
            else ({"manager": {"selection_strategy": name}}, distribution)
            for (group, name), distribution in OURS.items()
        ),
        ({"state": {"type": "sqlite"}, "manager": {"cache_enabled": True}}, "apex-llm-sqlite"),
    ],
)
def test_what_is_ours_and_not_installed_is_named_by_its_distribution(acme, monkeypatch, tables, distribution):
    acme()
    every = importlib.metadata.distributions
    monkeypatch.setattr(
        importlib.metadata, "distributions", lambda: (each for each in every() if each.name != distribution)
    )
    with pytest.raises(ConfigurationError, match=f"is installed: pip install {distribution}$"):
        run({**config_of("acme"), **tables})


class TestBroken:
    @pytest.mark.parametrize(
        ("source", "reason"),
        [
            (BOOM, "cannot be imported: RuntimeError: imported"),
            ("import acme_sdk", "cannot be imported: ModuleNotFoundError"),
            (PROVIDER, "has no apex_register(registrar), so it offers nothing"),
            (PROVIDER + "def apex_register(registrar): pass", "apex_register lacks its marker"),
            (PROVIDER + "@hookimpl\ndef apex_register(registry): pass", "takes (registry); expected (registrar)"),
            (PROVIDER + "@hookimpl\ndef apex_registr(registrar): pass", "did you mean 'apex_register'?"),
            (HEAD + "@hookimpl\ndef apex_register(registrar): 1 / 0", "apex_register failed: ZeroDivisionError"),
            (
                PROVIDER + REGISTER.replace('"acme"', '"acne"'),
                "registers no provider called 'acme'; did you mean 'acne'?",
            ),
            (PROVIDER + REGISTER.replace("Acme(config.name)", "1 / 0"), "making provider 'my-acme' failed: ZeroDiv"),
            (PROVIDER + REGISTER.replace("Acme(config.name)", "Acme"), "Acme is a class; hooks need an instance"),
            (PROVIDER + REGISTER.replace("Acme(config.name)", "object()"), "has none of the hooks of a provider"),
            (PROVIDER.replace("apex_generate", "apex_genrate") + REGISTER, "did you mean 'apex_generate'?"),
            (PROVIDER.replace("async def", "def") + REGISTER, "must be a coroutine function"),
            (PROVIDER.replace("context)", "ctx)") + REGISTER, "takes (request, ctx); expected (request, context)"),
        ],
    )
    def test_is_told_with_its_origin(self, acme, source, reason):
        acme(source)
        assert reason in failure(config_of("acme"))

    def test_by_incompatibility(self, acme):
        acme(BOOM, requires=["apex-llm-core>=9"])
        assert "needs apex-llm-core >=9" in failure(config_of("acme"))

    def test_by_a_rival(self, acme, install):
        acme()
        install("rival", "7.0", modules={}, entry_points={PROVIDERS: {"acme": "rival.plugin"}})
        assert "acme-llm 2.3, rival 7.0; uninstall all but one" in failure(config_of("acme"))

    def test_does_not_hide_the_others(self, acme):
        acme(BOOM)
        acme(PROVIDER + REGISTER.replace('"acme"', '"other"'), "other")
        events = []

        async def body(manager):
            [reported] = manager.failures
            return reported, await ask(manager, model="other-1")

        async def main():
            manager = LLMProviderManager(config_of("acme", "other"), environ={})
            manager.subscribe("test", events.append)
            async with manager:
                return await body(manager)

        with pytest.warns(ConfigurationWarning, match=r"acme-llm 2\.3.*going on without it"):
            failure, answer = run_virtual(main())
        assert answer == "from my-other"
        assert (failure.plugin, failure.distribution, failure.version) == ("acme", "acme-llm", "2.3")
        [event] = [event for event in events if isinstance(event, PluginFailed)]
        assert (event.plugin, event.distribution, event.version) == ("acme", "acme-llm", "2.3")

    @pytest.mark.parametrize(
        "capabilities", ["return 5", "raise LookupError('no table')"], ids=["wrong type", "exception"]
    )
    def test_capabilities_do_not_hide_the_others(self, acme, capabilities):
        hook = f"\n    @hookimpl\n    def apex_capabilities(self):\n        {capabilities}\n"
        acme(PROVIDER + hook + REGISTER)
        acme(PROVIDER + REGISTER.replace('"acme"', '"other"'), "other")
        with pytest.warns(ConfigurationWarning, match="apex_capabilities"):
            assert run(config_of("acme", "other"), ask) == "from my-other"


SETTINGS = """
import attrs

@attrs.frozen(kw_only=True)
class Settings:
    region: str
    retries: int = 3

@hookimpl
def apex_register(registrar):
    registrar.provider("acme", lambda config, settings, runtime: Acme(settings.region), Settings)
"""


class TestSettings:
    def test_reach_the_factory(self, acme):
        acme(PROVIDER + SETTINGS)
        config = config_of("acme")
        config["providers"][0]["options"] = {"region": "north"}
        assert run(config, ask) == "from north"

    @pytest.mark.parametrize(
        ("options", "key", "message"),
        [
            ({}, "providers[0].options.region", "is required"),
            ({"region": "north", "retrys": 1}, "providers[0].options.retrys", "'retries'"),
            ({"region": "north", "retries": "many"}, "providers[0].options.retries", "expected a whole number"),
        ],
    )
    def test_that_do_not_fit_are_told_with_their_place(self, acme, options, key, message):
        acme(PROVIDER + SETTINGS)
        config = config_of("acme")
        config["providers"][0]["options"] = options
        with pytest.raises(ConfigurationError) as caught:
            run(config)
        assert caught.value.key == key
        assert message in str(caught.value)


class TestSeveralEntryPoints:
    def test_of_one_module_register_once(self, install):
        both = """
@hookimpl
def apex_register(registrar):
    registrar.provider("acme", lambda config, settings, runtime: Acme())
    registrar.provider("acme-eu", lambda config, settings, runtime: Acme("eu"))
    registrar.strategy("acme-rank", lambda config, settings, runtime: Rank())
    registrar.observer("acme-watch", lambda config, settings, runtime: Watch())

class Rank:
    @hookimpl
    def apex_select(self, request, candidates, turn):
        return reversed(candidates)

class Watch:
    @hookimpl
    def apex_event(self, event):
        SEEN.append(event)

SEEN = []
"""
        value = "acme_llm.plugin"
        install(
            "acme-llm",
            modules={value: PROVIDER + both},
            entry_points={
                PROVIDERS: {"acme": value, "acme-eu": value},
                STRATEGIES: {"acme-rank": value},
                EXTENSIONS: {"acme-watch": value},
            },
        )
        config = config_of("acme", "acme-eu", manager={"selection_strategy": "acme-rank"})
        config["acme-watch"] = {}
        for provider in config["providers"]:
            provider["models"] = [{"id": "m"}]
        assert run(config, lambda manager: ask(manager, model="m")) == "from eu"
        assert sys.modules[value].SEEN

    def test_serve_without_a_configuration(self, install, monkeypatch):
        value = "acme_llm.plugin"
        install(
            "acme-llm",
            modules={
                value: PROVIDER.replace(
                    "    @hookimpl",
                    "    @hookimpl\n"
                    "    def apex_capabilities(self):\n"
                    "        from apex_llm_core.models import ModelInfo, ProviderCapabilities\n"
                    "        return ProviderCapabilities(served=[ModelInfo(id='acme-1')])\n\n"
                    "    @hookimpl",
                )
                + REGISTER
                + '    registrar.provider("acme-eu", lambda config, settings, runtime: Acme("eu"))\n'
            },
            entry_points={PROVIDERS: {"acme": value, "acme-eu": value}},
        )
        with pytest.warns(ConfigurationWarning, match="no configuration given.*acme, acme-eu"):
            names, failures = run(None, facts)
        assert {"acme", "acme-eu"} <= names
        assert not [failure for failure in failures if failure.distribution == "acme-llm"]


async def facts(manager):
    return {handle.get_name() for handle in manager.providers}, manager.failures


class TestHooksOfAnotherKind:
    """Each hook is called of one kind of instance only, so elsewhere it is a mistake."""

    EVENT = "\n    @hookimpl\n    def apex_event(self, event):\n        pass\n"
    AROUND = (
        "\n    @hookimpl\n    async def apex_around_generate(self, request, context, call_next):\n"
        "        raise AssertionError\n"
    )

    def test_a_provider_does_not_wrap_everybody(self, acme):
        acme(PROVIDER + self.AROUND + self.EVENT + REGISTER)
        assert failure(config_of("acme")) == (
            "plugin 'acme' (from acme-llm 2.3): is a provider but has apex_around_generate, apex_event, "
            "which only other kinds have"
        )

    def test_the_others_go_on_without_it(self, acme):
        acme(PROVIDER + self.AROUND + REGISTER)
        acme(PROVIDER + REGISTER.replace('"acme"', '"other"'), "other")
        with pytest.warns(ConfigurationWarning, match="apex_around_generate.*going on without it"):
            answer = run(config_of("acme", "other"), lambda manager: ask(manager, model="other-1"))
        assert answer == "from my-other"

    def test_nor_has_a_module_more_than_its_registration(self, acme):
        acme(PROVIDER + REGISTER + "\n@hookimpl\ndef apex_event(event):\n    pass\n")
        assert "is a module plugin but has apex_event" in failure(config_of("acme"))

    def test_a_provider_registered_at_run_time(self, acme):
        acme()

        class Both:
            @hookimpl
            async def apex_embed(self, request, context):
                raise AssertionError

            @hookimpl
            def apex_select(self, request, candidates, turn):
                return candidates

        async def body(manager):
            with pytest.raises(PluginError, match=r"provider:b.*is a provider but has apex_select"):
                await manager.register_provider(Both(), name="b")
            return len(manager.providers)

        assert run(config_of("acme"), body) == 1


class TestEmbeddedDefault:
    UNFIT = REGISTER.replace(
        'registrar.provider("acme", lambda config, settings, runtime: Acme(config.name))',
        'registrar.provider("unfit", make)',
    )
    MAKE = """
from apex_llm_core.errors import ConfigurationError

def make(config, settings, runtime):
    raise ConfigurationError("there is no region; api_key=canary-4711 neither")
"""

    def test_leaves_out_what_does_not_work_without_a_configuration(self, acme):
        acme()
        acme(HEAD + self.MAKE + self.UNFIT, "unfit")
        events = []

        async def main():
            manager = LLMProviderManager(environ={})
            manager.subscribe("test", events.append)
            async with manager:
                return [handle.get_name() for handle in manager.providers], [str(e) for e in manager.failures]

        with pytest.warns(ConfigurationWarning) as told:
            names, failures = run_virtual(main())
        [serving] = (str(warning.message) for warning in told)
        assert "acme" in serving
        assert "unfit" not in serving
        assert "acme" in names
        assert "unfit" not in names
        assert "plugin 'unfit': there is no region; api_key=*** neither" in failures
        assert "unfit" in {event.plugin for event in events if isinstance(event, PluginFailed)}

    def test_but_a_configured_one_is_the_operators_to_mend(self, acme):
        acme()
        acme(HEAD + self.MAKE + self.UNFIT, "unfit")
        with pytest.raises(ConfigurationError, match="there is no region"):
            run(config_of("acme", "unfit"))
