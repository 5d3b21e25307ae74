"""Virtual time: a clock that moves only when told, and an event loop that lives by it."""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class FakeClock:
    """Seconds that pass only by `advance`; call it to read them."""

    def __init__(self, start: float = 1000.0) -> None:
        self._now = start

    def __call__(self) -> float:
        """Return the present second."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let *seconds* pass."""
        if seconds < 0:
            raise ValueError(f"time does not run backwards: {seconds}")
        self._now += seconds


class _JumpingSelector(selectors.SelectSelector):
    """Never waits for time: jumps the clock to the next timer instead."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock
        #: Work in threads; while there is any, real time must pass and virtual time must not.
        self.threads = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout > 0 and not self.threads:
            ready = super().select(0)
            if not ready:
                # At least to the next number that can be told from this one: late in virtual time a short wait is less.
                self._clock.advance(max(timeout, math.ulp(self._clock())))
            return ready
        return super().select(None if self.threads and timeout != 0 else timeout)


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self, clock: FakeClock) -> None:
        self._virtual_clock = clock
        self._jumping = _JumpingSelector(clock)
        super().__init__(self._jumping)

    def time(self) -> float:
        now = self._virtual_clock()
        # Timers are due when they are nearer than this; late in virtual time no float is.
        self._clock_resolution = max(1e-9, math.ulp(now))
        return now

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        self._jumping.threads += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._thread_done)
        return future

    def _thread_done(self, _future: asyncio.Future[Any]) -> None:
        self._jumping.threads -= 1


def run_virtual(coroutine: Coroutine[Any, Any, T], *, clock: FakeClock | None = None) -> T:
    """Run *coroutine* on an event loop whose time is *clock*: sleeps and timeouts cost no real time.

    Give the same clock to what is under test (`LLMProviderManager(..., clock=clock)`).

    Raises:
        AssertionError: the coroutine left tasks running.
    """
    loop = _VirtualLoop(clock if clock is not None else FakeClock())

    async def guarded() -> T:
        result = await coroutine
        # Cancelled tasks need a turn of the loop to end.
        await asyncio.sleep(0)
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task() and not task.done()]
        if left:
            raise AssertionError(f"left running: {', '.join(str(task.get_coro()) for task in left)}")
        return result

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(guarded())


__all__ = ["FakeClock", "run_virtual"]
