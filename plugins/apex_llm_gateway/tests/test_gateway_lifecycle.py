from __future__ import annotations

import asyncio
import os
import pty
import signal

import pytest
from apex_llm_gateway.lifecycle import Lifecycle
from apex_llm_gateway.signals import signals

from apex_llm_core.errors import ConfigurationError
from apex_llm_core.testing import FakeClock, run_virtual


class SlowService:
    """Starts, drains and reloads in so many seconds, and notes what happened when."""

    def __init__(self, clock, *, starting=1.0, draining=30.0, fails=None):
        self.clock = clock
        self.starting = starting
        self.draining = draining
        self.fails = fails
        self.notes = []

    def note(self, what):
        self.notes.append((what, self.clock() - 1000.0))

    async def start(self):
        await asyncio.sleep(self.starting)
        if self.fails is not None:
            raise self.fails
        self.note("started")

    async def reload(self):
        await asyncio.sleep(1.0)
        self.note("reloaded")
        return True

    async def stop(self, *, linger, hurry):
        self.note(f"stops after {linger:g}")
        try:
            async with asyncio.timeout(self.draining):
                await hurry.wait()
        except TimeoutError:
            self.note("stopped")
            return 0
        self.note("hurried")
        return 2


class Script:
    """Does things to a lifecycle at given seconds."""

    def __init__(self, *steps, linger=0.0, **service):
        self.clock = FakeClock()
        self.service = SlowService(self.clock, **service)
        self.told = []
        self.states = []
        self.results = []

        async def play():
            lifecycle = Lifecycle(self.service, linger=linger, tell=self.told.append)
            running = asyncio.create_task(lifecycle.run(lambda service: service.note("ready")))
            for at, step in steps:
                await asyncio.sleep(1000.0 + at - self.clock())
                self.results.append(getattr(lifecycle, step)())
                self.states.append(lifecycle.state)
            await running
            self.states.append(lifecycle.state)

        run_virtual(play(), clock=self.clock)


def test_it_serves_until_it_is_stopped_and_then_drains():
    script = Script((5.0, "stop"))
    assert script.service.notes == [("started", 1.0), ("ready", 1.0), ("stops after 0", 5.0), ("stopped", 35.0)]
    assert script.states == ["serving", "ended"]
    assert script.told == []


def test_a_second_stop_ends_it_at_once_and_says_what_was_lost():
    script = Script((5.0, "stop"), (8.0, "stop"), linger=3.0)
    assert script.service.notes[-2:] == [("stops after 3", 5.0), ("hurried", 8.0)]
    assert script.told == ["2 requests under way did not finish in time"]


def test_draining_twice_is_draining_once():
    assert Script((5.0, "drain"), (6.0, "drain")).service.notes[-1] == ("stopped", 35.0)


def test_a_hurry_ends_it_without_draining():
    assert Script((5.0, "hurry")).service.notes[-1] == ("hurried", 5.0)


def test_a_stop_during_the_start_gives_it_up():
    script = Script((0.5, "stop"), starting=100.0)
    assert script.service.notes == []
    assert script.clock() == pytest.approx(1000.5)


def test_a_stop_before_the_start_is_not_forgotten():
    script = Script((0.0, "stop"))
    assert script.service.notes == []


def test_a_start_that_fails_raises_its_error():
    error = ConfigurationError("no such key")
    with pytest.raises(ConfigurationError) as caught:
        Script(fails=error)
    assert caught.value is error


def test_it_reloads_while_it_serves():
    script = Script((2.0, "reload"), (5.0, "stop"), (6.0, "reload"))
    assert [result is None for result in script.results] == [False, True, True]
    assert [note for note in script.service.notes if note[0] == "reloaded"] == [("reloaded", 3.0)]


def test_a_reload_asked_for_during_the_start_is_made_when_it_serves():
    # What changed may have been read before the change: a key that was taken away must not stay.
    script = Script((0.5, "reload"), (5.0, "stop"))
    assert script.service.notes[:3] == [("started", 1.0), ("ready", 1.0), ("reloaded", 2.0)]
    assert script.results[0].result() is True


@pytest.mark.parametrize("more", [{"fails": ConfigurationError("no such key")}, {"starting": 100.0}])
def test_a_reload_asked_for_during_a_start_that_comes_to_nothing_is_given_up(more):
    clock = FakeClock()

    async def play():
        lifecycle = Lifecycle(SlowService(clock, **more))
        running = asyncio.create_task(lifecycle.run(lambda _service: None))
        await asyncio.sleep(0.5)
        reloading = lifecycle.reload()
        await asyncio.sleep(1.0)
        lifecycle.stop()
        await asyncio.wait((running, reloading))
        return reloading.cancelled(), lifecycle.state, running.exception()

    cancelled, state, error = run_virtual(play(), clock=clock)
    assert (cancelled, state) == (True, "ended")
    assert error is more.get("fails")


def test_a_reload_under_way_does_not_outlive_the_service():
    script = Script((2.0, "reload"), (2.5, "stop"))
    assert ("reloaded", 3.0) not in script.service.notes


class Recorder:
    def __init__(self):
        self.heard = asyncio.Queue()

    def stop(self):
        self.heard.put_nowait("stop")

    def reload(self):
        self.heard.put_nowait("reload")


def heard_after(number):
    async def hear():
        recorder = Recorder()
        with signals(recorder):
            os.kill(os.getpid(), number)
            async with asyncio.timeout(5):
                return await recorder.heard.get()

    return asyncio.run(hear())


@pytest.mark.parametrize(("number", "meaning"), [("SIGTERM", "stop"), ("SIGINT", "stop"), ("SIGHUP", "reload")])
def test_signals_mean(number, meaning):
    assert heard_after(getattr(signal, number)) == meaning


def test_the_hangup_of_a_closed_terminal_means_stop(monkeypatch):
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "rb", buffering=0) as terminal:
        monkeypatch.setattr("sys.stdin", terminal)

        async def hear():
            recorder = Recorder()
            with signals(recorder):
                os.kill(os.getpid(), signal.SIGHUP)
                async with asyncio.timeout(5):
                    first = await recorder.heard.get()
                os.close(ours)
                os.kill(os.getpid(), signal.SIGHUP)
                async with asyncio.timeout(5):
                    return first, await recorder.heard.get()

        assert asyncio.run(hear()) == ("reload", "stop")


def test_afterwards_signals_mean_what_they_meant_before():
    heard_after(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
