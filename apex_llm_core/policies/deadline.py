"""Silence and deadlines: one timer for all requests in flight instead of one for each.

A `Watch` is armed around an await. When its time comes the sweeper cancels the task, and the watch turns that cancellation,
and only that one, into an `LLMTimeoutError`, in the manner of `asyncio.timeout`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf
from types import TracebackType

from apex_llm_core.errors import LLMTimeoutError

#: Between two looks at all watches at least this many seconds pass, however many are armed.
_LEAST_STEP = 0.01


class Sweeper:
    """Keeps all armed watches and one timer for the earliest of them."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        #: The one loop all this happens in, known from the first watch on; looking it up costs a system call.
        self.loop: asyncio.AbstractEventLoop | None = None
        self._armed: set[Watch] = set()
        self._timer: asyncio.TimerHandle | None = None
        #: By the clock; infinite when no timer is running.
        self.fires_at = inf

    def watch(self, *, silence: float | None, deadline: float | None) -> Watch:
        """Make a watch: *silence* in seconds (None or 0 is no limit), *deadline* by the clock (None is never)."""
        return Watch(self, silence or inf, inf if deadline is None else deadline)

    def arm(self, watch: Watch) -> None:
        """Look after *watch* until `disarm`."""
        self._armed.add(watch)

    def disarm(self, watch: Watch) -> None:
        """Forget *watch*."""
        self._armed.discard(watch)

    def close(self) -> None:
        """Stop the timer, unless somebody waits under a watch: then it stops after the last of them."""
        if self._armed:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self.fires_at = None, inf

    def schedule(self, when: float) -> None:
        """Let the timer fire at *when*, which is earlier than it would."""
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(max(0.0, when - self.clock()), self._sweep)
        self.fires_at = when

    def _sweep(self) -> None:
        self._timer, self.fires_at = None, inf
        now = self.clock()
        soonest = inf
        for watch in list(self._armed):
            if watch.expires <= now:
                self._armed.discard(watch)
                watch.expire()
            elif watch.expires < soonest:
                soonest = watch.expires
        if soonest < inf:
            self.schedule(max(soonest, now + _LEAST_STEP))


class Watch:
    """Use as ``with watch: await …``; `touch` restarts the count of silent seconds.

    A stream stays inside one ``with`` and brackets the time its consumer takes by `pause` and `resume`: that silence is
    not the provider's.
    """

    __slots__ = ("_cancelling", "_deadline", "_limitless", "_silence", "_sweeper", "_task", "expired", "expires")

    def __init__(self, sweeper: Sweeper, silence: float, deadline: float) -> None:
        self._sweeper = sweeper
        self._silence = silence
        self._deadline = deadline
        self._limitless = silence == deadline == inf
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self.expires = inf
        self.expired = False

    def touch(self) -> None:
        """Note that something arrived."""
        expires = self._sweeper.clock() + self._silence
        deadline = self._deadline
        self.expires = expires if expires < deadline else deadline  # noqa: FURB136 - once per read; min() costs more

    def pause(self) -> None:
        """Stop counting."""
        self.expires = inf

    def resume(self) -> None:
        """Count again, for the task that runs now."""
        if self._limitless:
            return
        sweeper = self._sweeper
        if sweeper.loop is None:
            sweeper.loop = asyncio.get_running_loop()
        task = self._task = asyncio.current_task(sweeper.loop)
        if task is not None:
            self._cancelling = task.cancelling()
        self.touch()
        if self.expires < sweeper.fires_at:
            sweeper.schedule(self.expires)

    def expire(self) -> None:
        """Cancel the task; called by the sweeper."""
        self.expired = True
        if self._task is not None:
            self._task.cancel()

    def __enter__(self) -> None:
        self.resume()
        if not self._limitless:
            self._sweeper.arm(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self.expired:
            self._sweeper.disarm(self)
            return
        # A second cancellation, by somebody else, must go on as one.
        if self._task is not None and self._task.uncancel() <= self._cancelling and error is not None:
            raise LLMTimeoutError(self._why()) from error

    def _why(self) -> str:
        if self._sweeper.clock() >= self._deadline:
            return "the deadline of the request passed before the answer was complete; raise 'deadline' or ask for less"
        return f"nothing arrived for {self._silence:g} seconds; raise the provider's 'timeout' or check whether it is reachable"


__all__ = ["Sweeper", "Watch"]
