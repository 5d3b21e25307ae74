from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import textwrap
import traceback
import warnings

import attrs
import pytest
from loguru import logger

from apex_llm_core.errors import AuthenticationError, LLMError, LLMErrorType, PluginError, ServiceUnavailableError
from apex_llm_core.manager import LLMProviderManager
from apex_llm_core.markers import hookimpl
from apex_llm_core.models import AttemptFinished, BreakerChanged, FellBack, LimitRejected, PluginFailed, RequestFinished
from apex_llm_core.observability.bus import EventBus
from apex_llm_core.observability.logs import _LEVELS, EventLog
from apex_llm_core.observability.metrics import MetricsCollector
from apex_llm_core.redaction import Redactor, Secret
from apex_llm_core.testing import run_virtual

EVENT = FellBack(
    from_provider="a", from_model="m", to_provider="b", to_model="m", error_type=LLMErrorType.UNKNOWN_ERROR
)


def finished(outcome="ok", **facts):
    return RequestFinished(
        **{"operation": "chat", "model": "m", "provider": "a", "outcome": outcome, "duration": 1.0, **facts}
    )


class TestBus:
    def test_tells_all_in_order(self):
        bus, seen = EventBus(), []
        bus.subscribe("one", lambda event: seen.append((1, event)))
        bus.subscribe("two", lambda event: seen.append((2, event)))
        bus.emit(EVENT)
        bus.unsubscribe("one")
        bus.emit(EVENT)
        assert seen == [(1, EVENT), (2, EVENT), (2, EVENT)]

    def test_survives_observers_and_reports_each_once(self):
        bus, seen, calls = EventBus(), [], []

        def broken(event):
            calls.append(event)
            raise LookupError("full")

        bus.subscribe("broken", broken)
        bus.subscribe("worse", broken)
        bus.subscribe("good", seen.append)
        for _ in range(3):
            bus.emit(EVENT)
        reports = [(event.plugin, event.message) for event in seen if type(event) is PluginFailed]
        assert sorted(reports) == [(name, "observer raised LookupError: full") for name in ("broken", "worse")]
        assert seen.count(EVENT) == 3
        assert calls.count(EVENT) == 6

    def test_scrubs_what_failing_plugins_say(self):
        redactor, seen = Redactor(), []
        redactor.learn(Secret("canary-value"))
        bus = EventBus(redactor.scrub)

        def broken(event):
            raise LookupError("canary-value")

        bus.subscribe("good", seen.append)
        bus.subscribe("broken", broken)
        bus.emit(PluginFailed(plugin="a", message="canary-value is wrong", version="1.0"))
        assert [(event.plugin, event.message, event.version) for event in seen] == [
            ("a", "*** is wrong", "1.0"),
            ("broken", "observer raised LookupError: ***", None),
        ]

    def test_a_broken_observer_does_not_disturb_requests(self, stage):
        scene = stage({"a": []})

        async def body(manager):
            manager.subscribe("broken", lambda event: 1 / 0)
            return await manager.generate_chat("hi", model="m")

        assert scene.run(body).message.text == "ok"
        assert [event.plugin for event in scene.events_of(PluginFailed)] == ["subscriber:broken"]


class TestMetrics:
    def test_add_up(self, scripted):
        metrics = MetricsCollector()
        usage = scripted.Usage(prompt_tokens=10, completion_tokens=5, cached_tokens=4)
        for event in [
            finished(usage=usage, cost=2.5),
            finished(usage=attrs.evolve(usage, estimated=True)),
            finished("rate_limit_error"),
            finished(usage=usage, cost=0.0, cached=True),
            finished(operation="embed"),
            EVENT,
            BreakerChanged(provider="a", model="m", previous="closed", current="open"),
            LimitRejected(limit="house", subject="", retry_after=None),
        ]:
            metrics.observe(event)
        found = metrics.snapshot()
        chat, embed = found["requests"]
        assert chat == {
            "operation": "chat",
            "provider": "a",
            "model": "m",
            "outcomes": {"ok": 3, "rate_limit_error": 1},
            "seconds": 4.0,
            "prompt_tokens": 20,
            "completion_tokens": 10,
            "cached_tokens": 8,
            "estimated": 1,
            "cost": 2.5,
            "cost_unknown": 1,
            "from_cache": 1,
            "count": 4,
        }
        assert embed["operation"] == "embed"
        assert found["fallbacks"] == [{"from": "a", "to": "b", "count": 1, "reasons": {"unknown_error": 1}}]
        assert found["breaker_changes"] == [{"provider": "a", "model": "m", "count": 1}]
        assert found["limit_rejections"] == {"house": 1}

    def test_can_be_switched_off(self, stage):
        scene = stage({"a": []}, manager={"metrics_enabled": False})

        async def body(manager):
            await manager.generate_chat("hi", model="m")
            return manager.stats()

        stats = scene.run(body)
        assert stats["requests"] == []
        assert stats["candidates"][0]["attempts"] == 1

    def test_callers_cannot_grow_them_without_bound(self, stage):
        scene = stage({"a": []})

        async def body(manager):
            for number in range(3000):
                for more in ({}, {"provider": "a"}) if number % 10 == 0 else ({},):
                    with contextlib.suppress(LLMError):
                        await manager.generate_chat("hi", model=f"guess-{number}", **more)
            return manager.stats()

        stats = scene.run(body)
        assert len(stats["requests"]) < 1100
        assert len(stats["attempts"]) < 1100
        assert sum(entry["count"] for entry in stats["requests"]) == 3300


def test_the_order_of_events(stage):
    scene = stage({"a": [ServiceUnavailableError("down")], "b": []})
    scene.chat()
    names = [type(event).__name__ for event in scene.events]
    assert names == ["AttemptFinished", "FellBack", "AttemptFinished", "RequestFinished"]
    assert [event.outcome for event in scene.events_of(AttemptFinished)] == ["service_unavailable_error", "ok"]


# -- logs ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def lines():
    """Let the core log into a list, and take everything back afterwards."""
    found = []
    core = logger._core
    before = list(core.activation_list), dict(core.enabled)
    sink = logger.add(lambda message: found.append(message.record), level=0, format="{message}")
    logger.enable("apex_llm_core")
    yield found
    logger.remove(sink)
    core.activation_list, core.enabled = before


class TestLog:
    def test_every_event_has_a_level(self):
        from apex_llm_core.models import events

        kinds = {kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, events.Event)}
        assert kinds - {events.Event} == set(_LEVELS)

    def test_writes_a_line_per_event_with_its_fields(self, lines):
        EventLog(Redactor(), "DEBUG").observe(EVENT)
        [record] = lines
        assert record["message"].startswith("FellBack from_provider=a from_model=m to_provider=b")
        assert record["level"].name == "WARNING"
        assert record["extra"]["fields"]["to_provider"] == "b"

    def test_keeps_the_level(self, lines):
        log = EventLog(Redactor(), "WARNING")
        log.observe(finished())
        log.observe(EVENT)
        assert [record["level"].name for record in lines] == ["WARNING"]

    def test_nobody_forges_lines(self, lines):
        EventLog(Redactor(), "DEBUG").observe(finished(model="größe\r\nERROR forged\x1b[31m\u2028\ud800"))
        [record] = lines
        assert " model=größe\\r\\nERROR forged\\x1b[31m\\u2028\\ud800 " in record["message"]
        assert record["extra"]["fields"]["model"] == "größe\r\nERROR forged\x1b[31m\u2028\ud800"

    def test_scrubs_secrets(self, lines):
        redactor = Redactor()
        redactor.learn(Secret("canary-value"))
        EventLog(redactor, "DEBUG").observe(
            PluginFailed(plugin="a", message="canary-value and Bearer abcdefghijkl were refused")
        )
        [record] = lines
        assert "*** and Bearer *** were refused" in record["message"]
        assert "canary" not in repr(record["extra"])


SCRIPT = """
import asyncio, sys
from loguru import logger
{before}
from apex_llm_core.manager import LLMProviderManager
{config}

async def main():
    async with LLMProviderManager(config, environ={{}}) as manager:
        await manager.generate_chat("hi", model="m")

asyncio.run(main())
print("done")
"""
PLAIN = 'config = {"providers": [{"name": "a", "type": "acme", "models": [{"id": "m"}]}]}'
LOGGING = PLAIN + '\nconfig["logging"] = {"enabled": True, "level": "DEBUG"}'
SEVERAL = """
import asyncio, sys
from loguru import logger
{before}
from apex_llm_core.manager import LLMProviderManager
{config}
quiet = {{**config, "logging": {{"enabled": False}}}}

async def ask(manager, place):
    print(place, file=sys.stderr)
    await manager.generate_chat("hi", model="m")

async def main():
    async with LLMProviderManager(config, environ={{}}) as manager:
        await ask(manager, "== loud")
        await manager.reload(config)
        await asyncio.sleep(0.01)
        await ask(manager, "== loud again")
        await manager.reload(quiet)
        await ask(manager, "== reloaded quiet")
        await manager.reload(config)
        await ask(manager, "== reloaded loud")
    async with LLMProviderManager(quiet, environ={{}}) as manager:
        await ask(manager, "== another one")
    async with LLMProviderManager(config, environ={{}}) as manager, LLMProviderManager(quiet, environ={{}}) as other:
        await ask(other, "== beside a loud one")

asyncio.run(main())
print("done")
"""
ACME = """
from loguru import logger
from apex_llm_core.markers import hookimpl
from apex_llm_core.models import ChatGenerationResult, ChatMessage

logger.info("acme was imported")

class Acme:
    @hookimpl
    async def apex_generate(self, request, context):
        logger.warning("acme was called")
        message = ChatMessage(role="assistant", content="ok")
        return ChatGenerationResult(message=message, provider="a", model="m")

@hookimpl
def apex_register(registrar):
    registrar.provider("acme", lambda config, settings, runtime: Acme())
"""


class TestManners:
    """In a process of their own: loguru's own sink writes to stderr there, as in every application."""

    @pytest.fixture
    def stderr_of(self, install):
        site = install(
            "acme-llm",
            modules={"acme_llm.plugin": ACME},
            entry_points={"apex_llm.providers": {"acme": "acme_llm.plugin"}},
        )

        def stderr_of(config, before="", script=SCRIPT):
            done = subprocess.run(
                [sys.executable, "-c", script.format(before=textwrap.dedent(before), config=config)],
                env={**os.environ, "PYTHONPATH": str(site)},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.stdout == "done\n", done.stderr
            return done.stderr

        return stderr_of

    def test_nothing_by_default(self, stderr_of):
        assert stderr_of(PLAIN) == ""

    def test_the_application_enables_the_core(self, stderr_of):
        lines = stderr_of(PLAIN, 'logger.enable("apex_llm_core")')
        assert "RequestFinished" in lines
        assert "acme" not in lines.replace("provider_type=acme", "")

    def test_the_application_enables_a_plugin(self, stderr_of):
        lines = stderr_of(PLAIN, 'logger.enable("acme_llm")')
        assert "acme was imported" in lines
        assert "acme was called" in lines
        assert "RequestFinished" not in lines

    def test_the_configuration_enables_both(self, stderr_of):
        lines = stderr_of(LOGGING)
        for expected in ("AttemptFinished", "RequestFinished", "acme was imported", "acme was called"):
            assert expected in lines

    def test_what_the_configuration_enables_ends_with_it(self, stderr_of):
        lines = stderr_of(LOGGING, script=SEVERAL)
        by_place = {}
        for line in lines.splitlines():
            if line.startswith("== "):
                place = by_place.setdefault(line.removeprefix("== "), [])
            elif by_place:
                place.append(line)
        told = {
            place: ("RequestFinished" in "".join(found), "acme was called" in "".join(found))
            for place, found in by_place.items()
        }
        assert told == {
            "loud": (True, True),
            "loud again": (True, True),
            "reloaded quiet": (False, False),
            "reloaded loud": (True, True),
            "another one": (False, False),
            # A plugin's own lines belong to no manager: they are heard while one of the managers wants them.
            "beside a loud one": (False, True),
        }

    def test_what_the_application_enabled_stays(self, stderr_of):
        quiet = PLAIN + '\nconfig["logging"] = {"enabled": False}'
        for enabled in ("apex_llm_core", "acme_llm"):
            lines = stderr_of(LOGGING, f'logger.enable("{enabled}")', SEVERAL).partition("== another one")[2]
            assert ("RequestFinished" in lines) == (enabled == "apex_llm_core")
        assert "RequestFinished" in stderr_of(quiet, 'logger.enable("apex_llm_core")')


# -- secrets -------------------------------------------------------------------------------------------------------------

CANARY = "canary-4711-value"


async def ask(manager, how):
    if how == "whole":
        await manager.generate_chat("hi", model="m")
    else:
        async for _ in manager.generate_chat_stream("hi", model="m"):
            pass


def everything_shown(error):
    """All texts by which an error may reach a log."""
    return [str(error), repr(error), error.message, repr(vars(error))]


class TestSecrets:
    @pytest.fixture
    def scene(self, stage, scripted):
        def scene(credential, script):
            made = stage(
                {"a": script},
                providers={"a": {"auth": {"type": "api_key", "credentials": {"api_key": credential}}}},
                environ={"ACME_KEY": CANARY},
                logging={"enabled": True, "level": "TRACE"},
            )
            made.plugins = (
                scripted.Plugin(
                    lambda registrar: registrar.provider(
                        "scripted", lambda config, settings, runtime: made.a, auth=["api_key"]
                    )
                ),
            )
            return made

        return scene

    @pytest.mark.parametrize("credential", [CANARY, "env:ACME_KEY"], ids=["literal", "reference"])
    @pytest.mark.parametrize(
        "make", [lambda: AuthenticationError(f"wrong key {CANARY}"), lambda: KeyError(CANARY)], ids=["typed", "foreign"]
    )
    @pytest.mark.parametrize("how", ["whole", "stream"])
    def test_are_shown_nowhere(self, scene, lines, credential, make, how):
        raised = make()
        made = scene(credential, [raised if how == "whole" else ["x", raised]])
        shown = []

        async def body(manager):
            with pytest.raises(LLMError) as caught:
                await ask(manager, how)
            error = caught.value
            shown.extend([str(error), repr(error), error.message, repr(error.attempts)])
            shown.extend([repr(manager.config), repr(manager.providers), json.dumps(manager.stats()), repr(manager)])
            await manager.get_health()

        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            made.run(body)
        shown.extend(str(warning.message) for warning in told)
        shown.extend(repr(event) for event in made.events)
        shown.extend(record["message"] + repr(record["extra"]) for record in lines)
        assert lines
        assert made.events
        assert not [text for text in shown if CANARY in text]

    @pytest.mark.parametrize("credential", [CANARY, "env:ACME_KEY"], ids=["literal", "reference"])
    def test_are_not_shown_by_a_failed_start(self, scene, scripted, lines, credential):
        made = scene(credential, [])

        class Talkative(scripted.ScriptedProvider):
            @hookimpl
            async def apex_startup(self, runtime):
                raise PermissionError(f"401 for {CANARY}")

        made.providers["a"] = Talkative()

        async def start():
            async with made.make():
                pass

        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            with pytest.raises(PluginError) as caught:
                run_virtual(start())
        assert "401 for ***" in str(caught.value)
        shown = [*everything_shown(caught.value), *(str(warning.message) for warning in told)]
        shown += [record["message"] + repr(record["extra"]) for record in lines]
        assert not [text for text in shown if CANARY in text]
        assert isinstance(caught.value.__cause__, PermissionError)

    def test_a_manager_shows_no_secret_of_its_environment(self):
        manager = LLMProviderManager({}, environ={"KEY": CANARY})
        assert CANARY not in repr(manager) + str(manager)
        assert CANARY not in "".join(traceback.format_stack())
