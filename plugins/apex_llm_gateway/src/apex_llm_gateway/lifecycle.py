"""A service from its start to its end, as signals and other processes want it.

======== =========================== ================================
 state     stop()                      reload()
======== =========================== ================================
starting  the start is given up        it is read again once it serves
serving   it drains                    the configuration is read again
draining  it ends at once              nothing
======== =========================== ================================
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal

from apex_llm_gateway.announcement import tell
from apex_llm_gateway.serving import Service


class Lifecycle:
    """Runs a service once.

    Args:
        service: not started yet.
        linger: seconds between "no longer ready" and "accepts no more".
        tell: takes one line for whoever runs the gateway.
    """

    def __init__(self, service: Service, *, linger: float = 0.0, tell: Callable[[str], None] = tell) -> None:
        self.state: Literal["starting", "serving", "draining", "ended"] = "starting"
        self._service = service
        self._linger = linger
        self._tell = tell
        self._wanted = asyncio.Event()
        self._hurry = asyncio.Event()
        self._starting: asyncio.Task[None] | None = None
        self._serves = asyncio.Event()
        self._reloading: set[asyncio.Task[bool]] = set()

    async def run(self, ready: Callable[[Service], None]) -> None:
        """Start, call *ready*, serve until `stop`, and end.

        Raises:
            ConfigurationError: the service cannot start.
            PluginError: a plugin that cannot be done without is broken.
        """
        try:
            if await self._start():
                await self._serve(ready)
        finally:
            self.state = "ended"
            for task in self._reloading:
                task.cancel()

    async def _serve(self, ready: Callable[[Service], None]) -> None:
        service = self._service
        try:
            self.state = "serving"
            ready(service)
            self._serves.set()
            await self._wanted.wait()
        finally:
            self.state = "draining"
            for task in self._reloading:
                task.cancel()
            ended = await service.stop(linger=self._linger, hurry=self._hurry)
            if ended:
                self._tell(f"{ended} request{'s' if ended > 1 else ''} under way did not finish in time")

    def stop(self) -> None:
        """End gently; asked again, at once."""
        if self._wanted.is_set():
            self._hurry.set()
        self.drain()

    def drain(self) -> None:
        """End gently, however often this is asked."""
        self._wanted.set()
        if self._starting is not None:
            self._starting.cancel()

    def hurry(self) -> None:
        """End at once."""
        self._hurry.set()
        self.drain()

    def reload(self) -> asyncio.Task[bool] | None:
        """Begin to read the configuration again; None when it is to end.

        What starts just now may have read what has changed since: it does so again as soon as it serves.
        """
        if self.state in {"draining", "ended"} or self._wanted.is_set():
            return None
        task = asyncio.get_running_loop().create_task(self._reload())
        self._reloading.add(task)
        task.add_done_callback(self._reloading.discard)
        return task

    async def _reload(self) -> bool:
        await self._serves.wait()
        return await self._service.reload()

    async def _start(self) -> bool:
        self._starting = task = asyncio.get_running_loop().create_task(self._service.start())
        if self._wanted.is_set():
            task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait((task,))
            if not self._wanted.is_set():
                raise
            return False
        finally:
            self._starting = None
        return True


__all__ = ["Lifecycle"]
