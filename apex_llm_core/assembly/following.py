"""The files that the configuration in force was read from: followed, so that a change of them is a reload."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from apex_llm_core.config.loading import watched_files
from apex_llm_core.config.watching import FileWatcher, Snapshot


class ConfigurationFiles:
    """The files as they were when they were read last, and the task that follows them."""

    def __init__(self) -> None:
        self._files: tuple[Path, ...] = ()
        self._seen: Snapshot | None = None
        self._task: asyncio.Task[None] | None = None

    async def look(self, source: str | os.PathLike[str] | None, environ: Mapping[str, str]) -> None:
        """Note how the files of *source* are now; to be done before they are read, so that no change is missed."""
        self._files = watched_files(None if source is None else Path(source), environ=environ)
        self._seen = await asyncio.to_thread(Snapshot.of, self._files)

    def follow(
        self,
        interval: Callable[[], float],
        reload: Callable[[], Awaitable[None]],
        rejected: Callable[[Exception], None],
    ) -> None:
        """Reload whenever the files have changed, from now on instead of what was followed before.

        Args:
            interval: tells the seconds between two looks; 0: no longer.
            reload: puts the changed configuration in force, after another `look`.
            rejected: told why a changed configuration cannot be used.
        """
        task, self._task = self._task, None
        if task is not None and task is asyncio.current_task():
            # It reloads, and sees by itself what is in force then.
            self._task = task
            return
        if task is not None:
            task.cancel()
        if self._files and interval():
            self._task = asyncio.get_running_loop().create_task(self._reload_on_change(interval, reload, rejected))

    async def forget(self) -> None:
        """Follow nothing any more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _reload_on_change(
        self,
        interval: Callable[[], float],
        reload: Callable[[], Awaitable[None]],
        rejected: Callable[[Exception], None],
    ) -> None:
        while (seconds := interval()) and self._files:
            await FileWatcher(self._files, seconds, since=self._seen).changed()
            try:
                await reload()
            except Exception as error:
                # Whatever it is, the next change may mend it.
                rejected(error)


__all__ = ["ConfigurationFiles"]
