"""The threads in which botocore works, so that neither the event loop nor its default executor waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Workers:
    """A few threads, started as calls need them: one service that does not answer must not delay the others."""

    def __init__(self, count: int = 8) -> None:
        self._count = count
        self._pool: ThreadPoolExecutor | None = None

    async def run(self, function: Callable[[*Ts], T], *arguments: *Ts) -> T:
        """Call a blocking function in one of the threads. Cancelling leaves the call to its end and drops its result."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._count, thread_name_prefix="apex-llm-bedrock")
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    def close(self) -> None:
        """Let the threads end when their present calls do; calls that have not begun are dropped."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


__all__ = ["Workers"]
