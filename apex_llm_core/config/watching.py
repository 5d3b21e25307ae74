"""Watching files: when one of them has changed and its writer is done.

=============================  ==================================================================================
a look shows                   what follows
=============================  ==================================================================================
what was told last             nothing; a change that was undone is none
something else, the first time  another look soon, after at most a second; after a whole interval when a file is gone
the same as the look before    it is told, once
=============================  ==================================================================================

A look asks the file system and reads nothing: the target of a symbolic link, by device, inode, size and times. So it sees a
file that is written in place, one that is renamed over another, a link that leads elsewhere (mounted ConfigMaps of
Kubernetes are such), a file that appears, and one that vanishes. Two equal looks keep a file that is half written, or
away for a moment, from being told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import attrs

#: What a look shows of one file: None where there is none, else what changes with it.
Trace = tuple[int, ...] | None
#: Writers are done sooner; and a change should not take two long intervals to be noticed.
_SETTLING = 1.0


@attrs.frozen
class Snapshot:
    """What one look showed of all files, in their order."""

    traces: tuple[Trace, ...]

    @classmethod
    def of(cls, files: Sequence[Path]) -> Snapshot:
        """Look at *files* now. Blocking; call it in a thread from asynchronous code."""
        return cls(tuple(map(_trace, files)))

    def lacks(self, other: Snapshot) -> bool:
        """Return whether a file is missing here that *other* has."""
        return any(trace is None is not before for trace, before in zip(self.traces, other.traces, strict=True))


class FileWatcher:
    """Waits for changes of files.

    Args:
        files: which; some may not exist yet.
        interval: seconds from one look to the next.
        since: what was there when the files were read, looked at before they were; None: what the first look shows.
        sleep: how to wait.
    """

    def __init__(
        self,
        files: Sequence[Path],
        interval: float,
        *,
        since: Snapshot | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        #: May be changed; what is waited for at that moment keeps its time.
        self.interval = interval
        self._files = tuple(files)
        self._told = since
        self._sleep = sleep

    async def changed(self) -> tuple[Path, ...]:
        """Wait until files have changed since the last time this returned, and return which.

        What changes while nobody waits is told at the next call. May be cancelled at any time, and called again.
        """
        if self._told is None:
            self._told = await self._look()
        pause, before = self.interval, self._told
        while True:
            await self._sleep(pause)
            seen = await self._look()
            if seen == self._told:
                pause = self.interval
            elif seen == before:
                changed = zip(self._files, seen.traces, self._told.traces, strict=True)
                self._told = seen
                return tuple(file for file, now, then in changed if now != then)
            else:
                pause = self.interval if seen.lacks(self._told) else min(self.interval, _SETTLING)
            before = seen

    async def _look(self) -> Snapshot:
        return await asyncio.to_thread(Snapshot.of, self._files)


def _trace(file: Path) -> Trace:
    try:
        found = file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        # It is there and cannot be had, for example for want of a permission: another state to be told.
        return (error.errno or 0,)
    # The time of the last change of the inode tells what keeps its size and sets its own time back, and new permissions.
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


__all__ = ["FileWatcher", "Snapshot"]
