from __future__ import annotations

import asyncio
import inspect
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from apex_llm_core.blocking import BlockingManager
from apex_llm_core.errors import AuthenticationError, ConfigurationError, InvalidRequestError, ServiceUnavailableError
from apex_llm_core.manager import LLMProviderManager


@pytest.fixture
def opened(stage):
    """Open a blocking manager over scripted providers, on the real clock; no script of these tests waits for time."""
    managers = []

    def opened(scripts, **more):
        scene = stage(scripts, **more)
        manager = BlockingManager(scene.config, plugins=scene.plugins, environ={})
        managers.append(manager)
        return scene, manager

    yield opened
    for manager in managers:
        manager.close()


def eventually(condition):
    """Wait for another thread until *condition* holds; fail after five seconds."""
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.001)


def test_has_the_public_face_of_the_manager():
    def face(cls):
        return {name for name in vars(cls) if not name.startswith("_")}

    assert face(BlockingManager) == face(LLMProviderManager) - {"start"}
    for name in face(BlockingManager) - {"close"}:
        original = inspect.getattr_static(LLMProviderManager, name)
        if callable(original):
            assert inspect.signature(getattr(BlockingManager, name)) == inspect.signature(original)


def test_every_method(opened, scripted):
    scene, manager = opened({"a": []})
    seen = []
    manager.subscribe("test", seen.append)
    assert manager.generate_chat("hi", model="m").message.text == "ok"
    assert manager.generate_text("hi", model="m").text == "ok"
    assert manager.generate_embedding(["a", "bb"], model="m").embeddings[1] == (2.0, 1.0)
    assert manager.generate_image("a cat", model="m").images == ("aW1n",)
    assert [model.id for model in manager.get_models()] == ["m"]
    assert set(manager.get_capabilities()) == set(manager.get_health()) == {"a"}
    assert manager.register_provider(scripted.ScriptedProvider(), name="b", models=["n"]).get_name() == "b"
    assert manager.generate_chat("hi", model="n").provider == "b"
    manager.deregister_provider("b")
    manager.reload(scene.config)
    assert manager.config.providers[0].name == "a"
    assert [handle.get_name() for handle in manager.providers] == ["a"]
    assert manager.failures == []
    assert len(manager.stats()["requests"]) == 5
    assert len(seen) > 5


class TestStreams:
    def test_are_plain_iterables(self, opened):
        scene, manager = opened({"a": [["x", "y"], ["z"]]})
        stream = manager.generate_chat_stream("hi", model="m")
        assert [chunk.text for chunk in stream] == ["x", "y", ""]
        assert (stream.stream.provider, stream.stream.usage) == ("a", scene.a.usage)
        assert list(stream) == []
        assert "".join(chunk.text for chunk in manager.generate_text_stream("hi", model="m")) == "z"

    def test_left_early_are_closed(self, opened):
        scene, manager = opened({"a": [["x", ...], ["x", ...]]})
        with manager.generate_chat_stream("hi", model="m") as stream:
            assert next(stream).text == "x"
        other = manager.generate_chat_stream("hi", model="m")
        next(other)
        other.close()
        other.close()
        assert (scene.a.opened, scene.a.closed) == (2, 2)

    def test_raise_typed_errors(self, opened):
        _, manager = opened({"a": [["x", ServiceUnavailableError("down")]]})
        stream = manager.generate_chat_stream("hi", model="m")
        assert next(stream).text == "x"
        with pytest.raises(ServiceUnavailableError, match="down"):
            next(stream)

    def test_outlive_their_manager_quietly(self, opened):
        _, manager = opened({"a": [["x", ...]]})
        with manager.generate_chat_stream("hi", model="m") as stream:
            next(stream)
            manager.close()


class TestErrors:
    def test_of_requests_pass(self, opened):
        _, manager = opened({"a": [AuthenticationError("who are you")]})
        with pytest.raises(AuthenticationError) as caught:
            manager.generate_chat("hi", model="m")
        assert caught.value.provider == "a"
        with pytest.raises(InvalidRequestError, match="empty"):
            manager.generate_chat_stream([])

    def test_of_the_start_leave_no_thread(self):
        before = threading.active_count()
        with pytest.raises(ConfigurationError):
            BlockingManager({"providers": 5})
        assert threading.active_count() == before


class TestClosing:
    def test_twice_and_from_two_threads(self, stage):
        scene = stage({"a": []})
        before = threading.active_count()
        with BlockingManager(scene.config, plugins=scene.plugins, environ={}) as manager:
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(lambda _: manager.close(), range(2)))
            manager.close()
        assert threading.active_count() == before
        assert [what for what, _ in scene.a.life] == ["startup", "shutdown"]

    @pytest.mark.parametrize(
        "call",
        [
            lambda manager: manager.generate_chat("hi"),
            lambda manager: manager.generate_chat_stream("hi"),
            lambda manager: manager.stats(),
        ],
    )
    def test_calls_afterwards_are_refused(self, opened, call):
        _, manager = opened({"a": []})
        manager.close()
        with pytest.raises(RuntimeError, match="closed"):
            call(manager)

    def test_ends_calls_of_other_threads(self, opened):
        scene, manager = opened({"a": [...]}, providers={"a": {"timeout": 0}}, manager={"deadline": 0})
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(manager.generate_chat, "hi", model="m")
            eventually(lambda: scene.a.running)
            manager.close()
            assert waiting.exception(timeout=5) is not None
        assert scene.a.running == 0


def test_many_threads_at_once(opened):
    _, manager = opened({"a": []})

    def work(number):
        if number % 2:
            return manager.generate_chat("hi", model="m").message.text
        return "".join(chunk.text for chunk in manager.generate_chat_stream("hi", model="m"))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(80))) == ["ok"] * 80
    assert manager.stats()["candidates"][0]["attempts"] == 80
    assert manager.stats()["candidates"][0]["in_flight"] == 0


def test_inside_a_running_loop(opened):
    _, manager = opened({"a": []})

    async def notebook():
        return manager.generate_chat("hi", model="m").message.text

    assert asyncio.run(notebook()) == "ok"


def test_from_its_own_loop_it_does_not_wait_for_itself(opened):
    refusals = []

    def call(_request, _context):
        with pytest.raises(RuntimeError, match="would wait for itself") as caught:
            manager.generate_chat("hi", model="m")
        refusals.append(caught.value)

    _, manager = opened({"a": [[call, "fine"]]})
    assert manager.generate_chat("hi", model="m").message.text == "fine"
    assert len(refusals) == 1


@pytest.mark.parametrize("kind", ["call", "stream"])
def test_an_interruption_cancels_the_upstream(opened, monkeypatch, kind):
    scene, manager = opened({"a": [...]}, providers={"a": {"timeout": 0}}, manager={"deadline": 0})

    def interrupted(future, timeout=None):
        eventually(lambda: scene.a.running)
        raise KeyboardInterrupt

    stream = manager.generate_chat_stream("hi", model="m")
    calls = {"call": lambda: manager.generate_chat("hi", model="m"), "stream": lambda: next(stream)}
    with monkeypatch.context() as patch:
        patch.setattr("apex_llm_core.blocking.Future.result", interrupted)
        with pytest.raises(KeyboardInterrupt):
            calls[kind]()
    eventually(lambda: not scene.a.running)
    assert manager.stats()["candidates"][0]["in_flight"] == 0
    # The manager goes on.
    assert manager.generate_chat("hi", model="m").message.text == "ok"
