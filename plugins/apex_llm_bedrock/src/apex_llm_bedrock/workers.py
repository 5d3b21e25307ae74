"""The threads in which botocore works, so that neither the event loop nor its default executor waits for it.

A process that gives credentials may hang, and nobody can stop its thread. Therefore each kind of work has one thread at most,
whoever asks for it meanwhile waits for that one, and no thread keeps the interpreter from ending.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Executor, Future
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Workers:
    """Threads by the work they do."""

    def __init__(self) -> None:
        self._running: dict[Hashable, asyncio.Future[Any]] = {}

    async def run(self, work: Hashable, function: Callable[[], T]) -> T:
        """Call a blocking *function* in a thread, or wait for the one that does *work* already.

        Cancelling leaves the call to its end, and its result to whoever waits for it then.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] | None = self._running.get(work)
        if future is None or future.get_loop() is not loop:
            future = self._running[work] = loop.run_in_executor(_DaemonThreads(), function)
            future.add_done_callback(lambda done: self._forget(work, done))
        return await asyncio.shield(future)

    def close(self) -> None:
        """Let nobody wait for the threads any more; they end when their calls do."""
        for future in list(self._running.values()):
            # Its loop may be gone.
            with suppress(RuntimeError):
                future.cancel()

    def _forget(self, work: Hashable, done: asyncio.Future[Any]) -> None:
        if self._running.get(work) is done:
            del self._running[work]
        if not done.cancelled():
            # Nobody may have waited for a failure.
            done.exception()


class _DaemonThreads(Executor):
    """A new thread for each call; the interpreter waits for those of the standard library's executors when it ends."""

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = function(*args, **kwargs)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        threading.Thread(target=work, name="apex-llm-bedrock-credentials", daemon=True).start()
        return future


__all__ = ["Workers"]
