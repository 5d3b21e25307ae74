from __future__ import annotations

import attrs
import pytest

from apex_llm_core.config.schema import ModelConfig, ProviderConfig
from apex_llm_core.errors import ModelNotFoundError, PluginError
from apex_llm_core.hookspecs import Registrar
from apex_llm_core.models import LiveFacts, ModelInfo, ProviderCapabilities
from apex_llm_core.plugin.discovery import PROVIDERS, PluginSource
from apex_llm_core.plugin.registrar import PluginRegistrar
from apex_llm_core.plugin.registry import ProviderHandle, ProviderRegistry, make_candidate, served_models

SOURCE = PluginSource(name="acme", group=PROVIDERS, distribution="acme-llm", version="2.3", value="acme")


def factory(config, settings, runtime):
    return object()


@attrs.frozen
class Settings:
    region: str = ""


class TestRegistrar:
    def test_is_what_plugins_are_promised(self):
        offered = {name for name in vars(Registrar) if not name.startswith("_")}
        assert offered == {"provider", "strategy", "middleware", "observer", "secret_scheme", "state_store", "table"}
        assert all(callable(getattr(PluginRegistrar(), name)) for name in offered)

    def test_keeps_what_is_registered_with_its_origin(self):
        registrar = PluginRegistrar()
        with registrar.registering("acme-module", SOURCE):
            registrar.provider("acme", factory, Settings, auth=["api_key", "none"], auth_required=True)
            registrar.strategy("acme", factory)
        found = registrar.get("provider", "acme")
        assert (found.kind, found.plugin, found.source) == ("provider", "acme-module", SOURCE)
        assert (found.auth, found.auth_required, found.settings) == (("api_key", "none"), True, Settings)
        assert registrar.names("strategy") == ["acme"]
        assert [found.kind for found in registrar.of_plugin("acme-module", "strategy")] == ["strategy"]
        assert registrar.get("middleware", "acme") is None

    @pytest.mark.parametrize(
        ("arguments", "problem"),
        [
            (("", factory), "without a name"),
            (("acme", "factory"), "cannot be called: 'factory'"),
            (("acme", factory, dict), "settings that are no attrs class"),
        ],
    )
    def test_refuses_what_cannot_work(self, arguments, problem):
        registrar = PluginRegistrar()
        with (
            registrar.registering("acme-module", SOURCE),
            pytest.raises(PluginError, match=rf"acme-llm 2\.3.*{problem}"),
        ):
            registrar.provider(*arguments)

    def test_two_plugins_with_one_name_are_both_named(self):
        registrar = PluginRegistrar()
        with registrar.registering("acme-module", SOURCE):
            registrar.provider("acme", factory)
        rival = attrs.evolve(SOURCE, distribution="rival", version="7")
        with registrar.registering("rival-module", rival), pytest.raises(PluginError) as caught:
            registrar.provider("acme", factory)
        assert "rival 7" in str(caught.value)
        assert "acme-llm 2.3 has registered already" in str(caught.value)

    def test_a_failure_takes_everything_back(self):
        registrar = PluginRegistrar()

        def register():
            with registrar.registering("acme-module", SOURCE):
                registrar.provider("acme", factory)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            register()
        assert registrar.names("provider") == []


def handle_of(name="a", *, models=("m",), enabled=True, hooks=("apex_generate",), capabilities=None, **config):
    config = ProviderConfig(
        name=name, type="acme", enabled=enabled, models=tuple(ModelConfig(id=model) for model in models), **config
    )
    capabilities = capabilities or ProviderCapabilities()
    handle = ProviderHandle(
        config=config, instance=None, hooks=dict.fromkeys(hooks, factory), capabilities=capabilities
    )
    for model in served_models(config, capabilities):
        handle.candidates[model.id] = make_candidate(config, model, capabilities, LiveFacts())
    return handle


class TestRegistry:
    def test_comes_and_goes(self):
        registry = ProviderRegistry()
        versions = [registry.version]
        for name in "ab":
            registry.add(handle_of(name))
            versions.append(registry.version)
        assert [handle.get_name() for handle in registry] == ["a", "b"]
        assert [candidate.provider for candidate in registry.candidates("m")] == ["a", "b"]
        assert registry.remove("a").get_name() == "a"
        versions.append(registry.version)
        assert "a" not in registry
        assert [candidate.provider for candidate in registry.candidates("m")] == ["b"]
        assert len(registry) == 1
        assert len(set(versions)) == 4

    def test_disabled_providers_give_no_candidates(self):
        registry = ProviderRegistry()
        registry.add(handle_of(enabled=False))
        with pytest.raises(ModelNotFoundError, match="there is none to choose from"):
            registry.candidates("m")

    @pytest.mark.parametrize("look", ["get", "remove"])
    def test_unknown_names_the_nearest(self, look):
        registry = ProviderRegistry()
        registry.add(handle_of("azure-east"))
        with pytest.raises(ModelNotFoundError, match="did you mean 'azure-east'"):
            getattr(registry, look)("azure-eats")


class TestHandle:
    def test_operations_are_the_hooks(self):
        handle = handle_of(hooks=("apex_generate", "apex_stream", "apex_embed", "apex_health"))
        assert handle.operations == {"text", "chat", "stream", "embed"}
        assert handle.get_type() == "acme"

    def test_features_declare_no_absent_operation(self):
        handle = handle_of(capabilities=ProviderCapabilities(features={"chat", "image", "vision", "tools"}))
        assert handle.features == {"text", "chat", "vision", "tools"}

    @pytest.mark.parametrize(
        ("hooks", "declared", "needs", "served"),
        [
            (("apex_generate",), None, {"chat", "vision"}, True),
            (("apex_generate",), None, {"chat", "stream"}, False),
            (("apex_stream",), None, {"chat", "stream"}, True),
            (("apex_stream",), None, {"chat"}, False),
            (("apex_generate",), {"chat"}, {"text"}, True),
            (("apex_generate",), {"text"}, {"chat"}, False),
            (("apex_generate",), {"chat"}, {"chat", "vision"}, False),
            (("apex_embed",), {"embed"}, {"embed"}, True),
            (("apex_generate",), {"embed"}, {"embed"}, False),
        ],
    )
    def test_serves(self, hooks, declared, needs, served):
        handle = handle_of(hooks=hooks)
        candidate = attrs.evolve(handle.candidates["m"], capabilities=declared and frozenset(declared))
        assert handle.serves(candidate, frozenset(needs)) is served


class TestFacts:
    table = ProviderCapabilities(
        models={
            "gpt-4o": ModelInfo(
                id="gpt-4o", capabilities={"chat", "vision"}, max_tokens=128_000, cost_per_input_token=2e-6
            )
        },
        served=[ModelInfo(id="own", provider_model_id="own-1", capabilities={"chat"}, max_tokens=10)],
    )

    def candidate(self, **model):
        config = ProviderConfig(name="a", type="acme", region="eu", tags=("ptu",), priority=3, weight=2.0)
        return make_candidate(config, ModelConfig(**model), self.table, LiveFacts())

    @pytest.mark.parametrize(
        "model",
        [
            {"id": "gpt-4o"},
            {"id": "smart", "provider_model_id": "gpt-4o"},
            {"id": "smart", "provider_model_id": "deployment-7", "base_model": "gpt-4o"},
            {"id": "gpt-4o", "provider_model_id": "deployment-7"},
        ],
    )
    def test_come_from_the_providers_table(self, model):
        candidate = self.candidate(**model)
        assert candidate.capabilities == {"chat", "vision"}
        assert (candidate.max_tokens, candidate.cost_per_input_token) == (128_000, 2e-6)
        assert (candidate.region, candidate.tags, candidate.priority, candidate.weight) == ("eu", {"ptu"}, 3, 2.0)

    def test_of_the_configuration_win(self):
        candidate = self.candidate(id="gpt-4o", capabilities=("chat",), max_tokens=9, cost_per_input_token=0.0)
        assert (candidate.capabilities, candidate.max_tokens, candidate.cost_per_input_token) == ({"chat"}, 9, 0.0)

    def test_unknown_stay_unknown(self):
        candidate = self.candidate(id="mystery")
        assert (candidate.capabilities, candidate.max_tokens, candidate.cost_per_output_token) == (None, None, None)

    def test_a_provider_serves_its_own_models_when_none_is_configured(self):
        handle = handle_of(models=(), capabilities=self.table)
        [model] = handle.models
        assert (model.id, model.provider_model_id, model.max_tokens, model.provider) == ("own", "own-1", 10, "a")
        assert [model.id for model in handle_of(models=("x",), capabilities=self.table).models] == ["x"]
