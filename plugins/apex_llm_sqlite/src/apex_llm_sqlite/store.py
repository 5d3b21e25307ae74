"""The state store: a database in a thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from apex_llm_sqlite.database import Database

T = TypeVar("T")


class SqliteStore:
    """Keys and bytes in one SQLite file, for all processes of one machine that name it.

    What `put` writes is bounded: the longest written goes first. What `transact` writes is state: it stays until its time has
    come, however much is cached beside it.

    One thread has the connection, so calls happen one after the other, in the order they were made, and the event loop never
    waits for the disk. A call that is cancelled before its turn does not happen; later it happens all the same, and nobody is
    told.

    Every method raises `sqlite3.Error` when the file cannot be read or written, for example because another process wrote for
    longer than the busy timeout, and `ConfigurationError` when it is no such file.

    Args:
        path: the file; made, for its owner alone, when it is not there. '~' is the home folder.
        busy_timeout: seconds to wait for other processes.
        max_entries: entries that `put` wrote kept at most.
        max_bytes: bytes of keys and values that `put` wrote kept at most. A single entry that is larger is not kept at all.
        wall: seconds of the wall clock.
    """

    def __init__(
        self,
        path: str,
        *,
        busy_timeout: float = 5.0,
        max_entries: int = 10_000,
        max_bytes: int = 256_000_000,
        wall: Callable[[], float],
    ) -> None:
        # Absolute, because the application may change its folder before the first use.
        place = Path(path).expanduser().absolute()
        self._database = Database(
            place, busy_timeout=busy_timeout, max_entries=max_entries, max_bytes=max_bytes, wall=wall
        )
        # Starts no thread yet.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="apex-llm-sqlite")
        self._closed = False

    async def get(self, key: str) -> bytes | None:
        """Return the value, None when absent or expired."""
        return await self._run(partial(self._database.get, key))

    async def put(self, key: str, value: bytes, ttl: float | None) -> None:
        """Keep *value* for *ttl* seconds, None for as long as there is room."""
        await self._run(partial(self._database.put, key, value, ttl))

    async def delete(self, key: str) -> None:
        """Forget *key*; absent keys are no error."""
        await self._run(partial(self._database.delete, key))

    async def transact(
        self,
        keys: Sequence[str],
        change: Callable[[Mapping[str, bytes]], Mapping[str, bytes | None]],
        ttl: float | None,
    ) -> None:
        """Let *change* see *keys* and write what it returns, all or nothing; no process comes in between.

        *change* is called in the store's thread.
        """
        await self._run(partial(self._database.transact, keys, change, ttl))

    async def close(self) -> None:
        """End what was called before, then close the file; further calls of this change nothing."""
        if self._closed:
            return
        self._closed = True
        closing = asyncio.get_running_loop().run_in_executor(self._thread, self._database.close)
        # Ends when it has closed the file, whether somebody waits for it or not.
        self._thread.shutdown(wait=False)
        await asyncio.shield(closing)

    async def _run(self, work: Callable[[], T]) -> T:
        if self._closed:
            raise RuntimeError("the state store is closed")
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


__all__ = ["SqliteStore"]
