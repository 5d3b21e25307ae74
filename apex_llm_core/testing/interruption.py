"""Cancelling a call at each of its awaits, and finding what it left behind."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Coroutine, Generator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import attrs


class _Interrupting:
    """Runs a coroutine and cancels the running task when it suspends for the given time, counted from 0."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], at: int) -> None:
        self._coroutine = coroutine
        self._at = at
        self.reached = False

    def __await__(self) -> Generator[Any, Any, Any]:
        inner = self._coroutine.__await__()
        error: BaseException | None = None
        suspensions = 0
        while True:
            try:
                waited = inner.send(None) if error is None else inner.throw(error)
            except StopIteration as stop:
                return stop.value
            if suspensions == self._at:
                self.reached = True
                task = asyncio.current_task()
                assert task is not None
                # The task cancels what it is about to wait for, just as if somebody else had cancelled it there.
                task.cancel()
            suspensions += 1
            try:
                yield waited
            except BaseException as caught:  # handed on to the coroutine, cancellation above all
                error = caught
            else:
                error = None


async def interrupt(coroutine: Coroutine[Any, Any, Any], at: int) -> bool:
    """Run *coroutine* and cancel it at its await number *at*, counted from 0.

    Returns:
        False when it ended before it came so far.

    Raises:
        AssertionError: it did not end with `CancelledError`.
    """
    interrupting = _Interrupting(coroutine, at)

    async def run() -> Any:
        return await interrupting

    task = asyncio.ensure_future(run())
    await asyncio.wait([task])
    if not interrupting.reached:
        task.result()
        return False
    if task.cancelled():
        return True
    error = task.exception()
    if error is not None:
        raise AssertionError(
            f"cancelled at await {at}, it raised {type(error).__name__}: {error}; CancelledError must pass"
        ) from error
    raise AssertionError(f"cancelled at await {at}, it went on and returned; CancelledError must pass")


@attrs.define(eq=False)
class Leaks:
    """The tasks and async generators that were started while watched."""

    tasks: list[asyncio.Task[Any]] = attrs.field(factory=list)
    generators: list[AsyncGenerator[Any, Any]] = attrs.field(factory=list)

    def left(self, shared: Collection[str] = ()) -> list[str]:
        """Return what is still there, by name, without tasks whose coroutines have a qualified name in *shared*."""
        running = [
            f"task {task.get_coro()}"
            for task in self.tasks
            if not task.done() and getattr(task.get_coro(), "__qualname__", "") not in shared
        ]
        # A finished or closed generator has no frame.
        opened = [
            f"async generator {generator}" for generator in self.generators if getattr(generator, "ag_frame", None)
        ]
        return running + opened


_watching: ContextVar[Leaks | None] = ContextVar("_watching", default=None)


@asynccontextmanager
async def watching() -> AsyncIterator[Leaks]:
    """Watch the tasks and async generators that the body starts, directly or through other tasks.

    A server that runs on the same loop was started before and is not watched.
    """
    loop = asyncio.get_running_loop()
    hooks = sys.get_asyncgen_hooks()
    factory = loop.get_task_factory()
    leaks = Leaks()

    def new_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **keywords: Any) -> Any:
        task = (
            asyncio.Task(coroutine, loop=loop, **keywords) if factory is None else factory(loop, coroutine, **keywords)
        )
        if _watching.get() is leaks:
            leaks.tasks.append(task)  # type: ignore[arg-type]
        return task

    def first_iteration(generator: AsyncGenerator[Any, Any]) -> None:
        # Kept from the garbage collector, which would close it in the end and hide that nobody else did.
        if _watching.get() is leaks:
            leaks.generators.append(generator)
        if hooks.firstiter is not None:
            hooks.firstiter(generator)

    loop.set_task_factory(new_task)
    sys.set_asyncgen_hooks(firstiter=first_iteration, finalizer=hooks.finalizer)
    token = _watching.set(leaks)
    try:
        yield leaks
    finally:
        _watching.reset(token)
        sys.set_asyncgen_hooks(*hooks)
        loop.set_task_factory(factory)


__all__ = ["Leaks", "interrupt", "watching"]
