from __future__ import annotations

import functools
import types

import attrs
import pytest

from apex_llm_core.errors import PluginError
from apex_llm_core.hookspecs import HOOKSPECS
from apex_llm_core.markers import HOOK_PREFIX, hookimpl
from apex_llm_core.plugin.discovery import PROVIDERS, PluginSource
from apex_llm_core.plugin.manager import PluginManager
from apex_llm_core.plugin.validation import HOOKS, problems

SOURCE = PluginSource(name="acme", group=PROVIDERS, distribution="acme-llm", version="2.3", value="acme")


def plugin_with(**attributes):
    return type("Plugin", (), attributes)()


@hookimpl
async def generate(self, request, context):
    """A correct `apex_generate`."""


def only_problem(plugin):
    [problem] = problems(plugin)
    return problem


def test_every_hook_of_the_specification_is_known():
    expected = {name for spec in HOOKSPECS for name in vars(spec) if name.startswith(HOOK_PREFIX)}
    assert set(HOOKS) == expected
    assert len(expected) > 15


def test_a_correct_plugin_has_no_problems():
    @hookimpl
    async def stream(self, request, context):
        yield []

    @hookimpl
    def around(self, request, context, call_next):
        return call_next(request, context)

    @hookimpl
    def select(self, request, candidates, turn):
        yield from candidates

    plugin = plugin_with(
        apex_generate=generate, apex_stream=stream, apex_around_stream=around, apex_select=select, helper=5
    )
    assert problems(plugin) == []


class TestNames:
    def test_misspelt(self):
        problem = only_problem(plugin_with(apex_genrate=generate))
        assert problem == "apex_genrate is no hook; did you mean 'apex_generate'?"

    def test_far_from_everything(self):
        assert "apex_zzzzzz is no hook; valid: " in only_problem(plugin_with(apex_zzzzzz=generate))

    def test_without_a_marker(self):
        async def apex_generate(self, request, context):
            pass

        assert "apex_generate lacks its marker; write @hookimpl above it" in only_problem(
            plugin_with(apex_generate=apex_generate)
        )

    @pytest.mark.parametrize("value", [5, functools.partial(generate), property(lambda self: 1 / 0)])
    def test_no_function(self, value):
        assert "apex_generate is not a function" in only_problem(plugin_with(apex_generate=value))


class TestParameters:
    def problem(self, function):
        return only_problem(plugin_with(apex_generate=hookimpl(function)))

    def test_wrong(self):
        async def apex_generate(self, request, ctx):
            pass

        problem = self.problem(apex_generate)
        assert "apex_generate takes (request, ctx); expected (request, context)" in problem
        assert problem.endswith("async def apex_generate(self, request, context):")

    def test_missing_and_additional(self):
        async def fewer(self, request):
            pass

        async def more(self, request, context, options):
            pass

        assert "takes (request); expected (request, context)" in self.problem(fewer)
        assert "takes (request, context, options); expected" in self.problem(more)

    def test_defaults(self):
        async def apex_generate(self, request, context=None):
            pass

        assert "gives 'context' a default" in self.problem(apex_generate)

    def test_keyword_only_and_collecting(self):
        async def keyword_only(self, request, *, context):
            pass

        async def collecting(self, *arguments):
            pass

        assert "has the parameter context, but hooks take plain positional" in self.problem(keyword_only)
        assert "has the parameter *arguments" in self.problem(collecting)


class TestForms:
    @pytest.mark.parametrize(
        "hook", ["apex_generate", "apex_embed", "apex_startup", "apex_around_generate", "apex_resolve_secret"]
    )
    def test_sync_instead_of_async(self, hook):
        parameters = ", ".join(HOOKS[hook].parameters)
        made = {}
        exec(f"def hook(self, {parameters}): pass", made)  # noqa: S102 - signatures are the subject
        problem = only_problem(plugin_with(**{hook: hookimpl(made["hook"])}))
        assert problem == f"{hook} must be a coroutine function: async def {hook}(self, {parameters}):"

    @pytest.mark.parametrize("hook", ["apex_select", "apex_event", "apex_capabilities", "apex_state_store"])
    def test_async_instead_of_sync(self, hook):
        parameters = "".join(f", {name}" for name in HOOKS[hook].parameters)
        made = {}
        exec(f"async def hook(self{parameters}): pass", made)  # noqa: S102 - signatures are the subject
        assert f"{hook} must be a plain function" in only_problem(plugin_with(**{hook: hookimpl(made["hook"])}))

    def test_a_stream_that_returns(self):
        @hookimpl
        async def apex_stream(self, request, context):
            return []

        assert "apex_stream must be an async generator function" in only_problem(plugin_with(apex_stream=apex_stream))

    def test_an_async_generator_that_should_return(self):
        @hookimpl
        async def apex_generate(self, request, context):
            yield

        assert "must be a coroutine function" in only_problem(plugin_with(apex_generate=apex_generate))

    @pytest.mark.parametrize("keyword", ["wrapper", "hookwrapper"])
    def test_wrappers(self, keyword):
        def apex_generate(self, request, context):
            yield

        problem = only_problem(plugin_with(apex_generate=hookimpl(**{keyword: True})(apex_generate)))
        assert "marked as a wrapper, which cannot wrap a coroutine; write a middleware" in problem


class TestObjects:
    def test_a_class(self):
        class Acme:
            apex_generate = generate

        assert only_problem(Acme) == "Acme is a class; hooks need an instance: write Acme()"

    def test_comparing_by_value(self):
        @attrs.define
        class Acme:
            apex_generate = generate

        assert "Acme compares by value" in only_problem(Acme())
        assert problems(attrs.define(eq=False)(type("Same", (), {"apex_generate": generate}))()) == []

    def test_static_methods_and_functions_of_the_instance(self):
        @hookimpl
        async def free(request, context):
            pass

        instance = plugin_with()
        instance.apex_generate = free
        assert problems(plugin_with(apex_generate=staticmethod(free))) == []
        assert problems(instance) == []

    def test_modules(self):
        module = types.ModuleType("acme_plugin")
        module.apex_register = hookimpl(lambda registrar: None)
        assert problems(module) == []
        module.apex_register = hookimpl(lambda registry: None)
        assert only_problem(module).endswith("def apex_register(registrar):")

    def test_properties_do_not_run(self):
        class Acme:
            apex_generate = generate

            @property
            def client(self):
                raise AssertionError("somebody looked")

        manager = PluginManager()
        manager.add(Acme(), "acme")
        assert manager.implementation("acme", "apex_generate") is not None


class TestManager:
    def test_all_problems_are_told_with_their_origin(self):
        with pytest.raises(PluginError) as caught:
            PluginManager().add(plugin_with(apex_genrate=generate, apex_streem=generate), "provider:acme", SOURCE)
        message = str(caught.value)
        assert message.startswith("plugin 'acme' (from acme-llm 2.3): ")
        assert "did you mean 'apex_generate'?" in message
        assert "did you mean 'apex_stream'?" in message

    def test_a_broken_plugin_leaves_its_name_free(self):
        manager = PluginManager()
        with pytest.raises(PluginError):
            manager.add(plugin_with(apex_genrate=generate), "acme")
        second = plugin_with(apex_generate=generate)
        manager.add(second, "acme")
        assert manager.implementation("acme", "apex_generate").__self__ is second

    def test_names_are_unique(self):
        manager = PluginManager()
        first = plugin_with(apex_generate=generate)
        manager.add(first, "acme")
        with pytest.raises(PluginError, match="'acme' is already registered; names must be unique"):
            manager.add(plugin_with(apex_generate=generate), "acme")
        assert manager.implementation("acme", "apex_generate").__self__ is first

    def test_one_object_has_one_name(self):
        manager = PluginManager()
        plugin = plugin_with(apex_generate=generate)
        manager.add(plugin, "acme")
        with pytest.raises(PluginError, match="acme"):
            manager.add(plugin, "other")
        assert manager.implementation("other", "apex_generate") is None
        assert manager.implementation("acme", "apex_generate").__self__ is plugin

    def test_removal(self):
        manager = PluginManager()
        manager.add(plugin_with(apex_generate=generate), "acme")
        manager.remove("acme")
        manager.remove("acme")
        assert manager.implementation("acme", "apex_generate") is None
