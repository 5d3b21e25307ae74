from __future__ import annotations

import asyncio

import pytest

from apex_llm_core.errors import LLMTimeoutError
from apex_llm_core.policies.deadline import Sweeper
from apex_llm_core.testing import FakeClock, run_virtual

#: The sweeper looks at all watches at most every hundredth of a second.
STEP = 0.011


def run(body):
    """Run ``await body(sweeper, clock)`` in virtual time and return what it returns, with the seconds it took."""
    clock = FakeClock()
    sweeper = Sweeper(clock)

    async def main():
        result = await body(sweeper, clock)
        assert sweeper._armed == set()
        return result, clock() - 1000

    return run_virtual(main(), clock=clock)


async def expires(sweeper, clock, *, silence=None, deadline=None, inside=None):
    """Wait under a watch, for ever unless *inside* is given; return when, and why, it ended."""
    watch = sweeper.watch(silence=silence, deadline=deadline)
    with pytest.raises(LLMTimeoutError) as caught, watch:
        await (asyncio.Event().wait() if inside is None else inside(watch))
    return clock() - 1000, str(caught.value)


def test_silence_ends_at_its_limit():
    (when, why), _ = run(lambda sweeper, clock: expires(sweeper, clock, silence=7))
    assert when == pytest.approx(7)
    assert "nothing arrived for 7 seconds" in why


def test_the_deadline_ends_exactly_then():
    (when, why), _ = run(lambda sweeper, clock: expires(sweeper, clock, silence=30, deadline=1012.5))
    assert when == pytest.approx(12.5)
    assert "deadline" in why


@pytest.mark.parametrize("silence", [None, 0])
def test_without_limits_nothing_is_watched(silence):
    async def body(sweeper, clock):
        with sweeper.watch(silence=silence, deadline=None):
            assert sweeper._timer is None
            await asyncio.sleep(1e5)

    assert run(body) == (None, 1e5)


def test_touch_starts_the_silence_anew_but_moves_no_deadline():
    async def talk(watch):
        while True:
            await asyncio.sleep(4)
            watch.touch()

    (when, why), _ = run(lambda sweeper, clock: expires(sweeper, clock, silence=5, deadline=1050, inside=talk))
    assert when == pytest.approx(50)
    assert "deadline" in why


def test_silence_after_a_touch_counts_from_it():
    async def once(watch):
        await asyncio.sleep(4)
        watch.touch()
        await asyncio.sleep(99)

    (when, _), _ = run(lambda sweeper, clock: expires(sweeper, clock, silence=5, inside=once))
    assert when == pytest.approx(9)


def test_one_timer_serves_all_watches():
    async def body(sweeper, clock):
        waits = [3, 1, 2, 1.005, 40, 0.5]
        ended = await asyncio.gather(*(expires(sweeper, clock, silence=wait) for wait in waits))
        for wait, (when, _) in zip(waits, ended, strict=True):
            assert wait <= when <= wait + STEP

    run(body)


def test_what_ends_in_time_leaves_no_trace():
    async def body(sweeper, clock):
        async def quick():
            with sweeper.watch(silence=5, deadline=None):
                await asyncio.sleep(1)
            await asyncio.sleep(20)
            return "done"

        return await quick()

    assert run(body)[0] == "done"


def test_a_paused_watch_does_not_expire():
    async def body(sweeper, clock):
        watch = sweeper.watch(silence=5, deadline=None)
        with watch:
            watch.pause()
            await asyncio.sleep(100)
            watch.resume()
            await asyncio.sleep(4)
        return "done"

    assert run(body)[0] == "done"


def test_a_deadline_that_passed_in_a_pause_ends_at_once():
    async def body(sweeper, clock):
        watch = sweeper.watch(silence=5, deadline=1010)

        async def inside():
            watch.pause()
            await asyncio.sleep(100)
            watch.resume()
            await asyncio.sleep(1)

        with pytest.raises(LLMTimeoutError), watch:
            await inside()

    assert run(body)[1] == pytest.approx(100)


def test_somebody_elses_cancellation_is_not_a_timeout():
    async def body(sweeper, clock):
        async def wait():
            with sweeper.watch(silence=5, deadline=None):
                await asyncio.sleep(99)

        task = asyncio.ensure_future(wait())
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    run(body)


def test_a_cancellation_at_the_same_moment_goes_on_as_one():
    async def body(sweeper, clock):
        async def wait():
            with sweeper.watch(silence=5, deadline=None):
                await asyncio.sleep(99)

        task = asyncio.ensure_future(wait())
        asyncio.get_running_loop().call_later(5, task.cancel)
        await asyncio.wait([task])
        assert task.cancelled()

    run(body)


def test_the_task_can_be_cancelled_after_a_timeout():
    async def body(sweeper, clock):
        async def wait():
            with pytest.raises(LLMTimeoutError), sweeper.watch(silence=5, deadline=None):
                await asyncio.sleep(99)
            # The sweeper's cancellation is taken back: a timeout of the standard library works as always.
            assert asyncio.current_task().cancelling() == 0
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await asyncio.sleep(99)

        await asyncio.create_task(wait())

    run(body)


def test_an_error_while_being_ended_is_a_timeout_with_its_cause():
    async def body(sweeper, clock):
        async def clumsy():
            try:
                await asyncio.sleep(99)
            except asyncio.CancelledError:
                raise OSError("closing failed") from None

        with pytest.raises(LLMTimeoutError) as caught, sweeper.watch(silence=5, deadline=None):
            await clumsy()
        return caught.value

    error, _ = run(body)
    assert isinstance(error.__cause__, OSError)


class TestThroughTheManager:
    @pytest.mark.parametrize("operation", ["generate_chat", "generate_text", "generate_embedding", "generate_image"])
    def test_a_hanging_provider_ends_at_its_silence(self, stage, operation):
        scene = stage({"a": [...]}, providers={"a": {"timeout": 7}})

        async def body(manager):
            with pytest.raises(LLMTimeoutError) as caught:
                await getattr(manager, operation)("hi", model="m")
            scene.assert_settled(manager)
            return caught.value

        error = scene.run(body)
        assert scene.clock() == pytest.approx(1007)
        assert (error.provider, error.retryable) == ("a", True)

    @pytest.mark.parametrize("place", ["manager", "request"])
    def test_a_hanging_provider_ends_at_the_deadline(self, stage, place):
        scene = stage({"a": [...], "b": []}, manager={"deadline": 12 if place == "manager" else 99})
        scene.failed_chat(LLMTimeoutError, **({"deadline": 12} if place == "request" else {}))
        assert scene.clock() == pytest.approx(1012)
        # There is no time left for anybody else.
        assert scene.called == "a"

    def test_silence_falls_back(self, stage):
        scene = stage({"a": [...], "b": ["b"]}, providers={"a": {"timeout": 7}})
        assert scene.chat().provider == "b"

    def test_signs_of_life_extend_the_silence_of_a_whole_answer(self, stage):
        def touch(_request, context):
            context.touch()

        scene = stage({"a": [[5, touch, 5, touch, 5, "late"]]}, providers={"a": {"timeout": 7}})
        assert scene.chat().message.text == "late"

    def test_no_limits_at_all(self, stage):
        scene = stage({"a": [[1e5, "late"]]}, providers={"a": {"timeout": 0}}, manager={"deadline": 0})
        assert scene.chat().message.text == "late"

    def test_a_request_under_way_is_watched_after_the_manager_closed(self, stage):
        scene = stage({"a": [...]}, providers={"a": {"timeout": 7}})

        async def body(manager):
            task = asyncio.ensure_future(manager.generate_chat("hi", model="m"))
            await asyncio.sleep(1)
            await manager.close()
            with pytest.raises(LLMTimeoutError):
                await asyncio.wait_for(task, 100)

        scene.run(body)
        assert scene.clock() == pytest.approx(1007)
