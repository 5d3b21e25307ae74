"""Counts of what an emulator is doing, and a way to wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import attrs


@attrs.define(kw_only=True)
class Counts:
    """The state of an emulator in numbers."""

    #: Requests so far, those being answered, and the streams among those.
    requests: int = 0
    open_requests: int = 0
    open_streams: int = 0
    #: Streams so far.
    streams: int = 0
    #: Clients that hung up before their answer was complete.
    disconnects: int = 0
    #: Events sent, of all streams.
    reads_sent: int = 0


class Traffic:
    """Keeps the counts; used on the emulator's event loop only."""

    def __init__(self) -> None:
        self.counts = Counts()
        self._waiting: set[asyncio.Future[None]] = set()

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count one request while it is answered."""
        self.counts.requests += 1
        self.counts.open_requests += 1
        self._changed()
        try:
            yield
        finally:
            self.counts.open_requests -= 1
            self._changed()

    @contextmanager
    def stream(self) -> Iterator[None]:
        """Count one stream while it is sent."""
        self.counts.streams += 1
        self.counts.open_streams += 1
        self._changed()
        try:
            yield
        finally:
            self.counts.open_streams -= 1
            self._changed()

    def disconnected(self) -> None:
        """Count a client that hung up."""
        self.counts.disconnects += 1
        self._changed()

    def sent(self) -> None:
        """Count what one read should bring."""
        self.counts.reads_sent += 1
        if self._waiting:
            self._changed()

    async def until(self, condition: Callable[[Counts], bool]) -> None:
        """Wait until *condition* holds for the counts."""
        while not condition(self.counts):
            change = asyncio.get_running_loop().create_future()
            self._waiting.add(change)
            try:
                await change
            finally:
                self._waiting.discard(change)

    def _changed(self) -> None:
        for change in self._waiting:
            if not change.done():
                change.set_result(None)


__all__ = ["Counts", "Traffic"]
