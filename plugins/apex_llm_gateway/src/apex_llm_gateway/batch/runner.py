"""Asks the lines of a batch: several at a time, at the pace the providers allow, each until it is finished."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Protocol

import attrs

from apex_llm_gateway.batch.journal import Finished, Journal
from apex_llm_gateway.batch.lines import Line, Unreadable, lines_of
from apex_llm_gateway.batch.pace import Pace
from apex_llm_gateway.batch.tally import Tally
from apex_llm_gateway.http import Reply
from apex_llm_gateway.operations import OPERATIONS

#: Lines read at a time.
_PORTION = 200
#: Lines in hand for each that may be under way: those that wait for another try do not keep the others waiting.
_IN_HAND = 4
#: Seconds between two looks at whether all that is written is safe.
_SYNC = 1.0
#: Seconds that lines under way have when the run is interrupted.
_GRACE = 10.0
_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
_TOO_FAST = frozenset({429, 503})
_FIRST_WAIT = 1.0
_LONGEST_WAIT = 60.0


class Ask(Protocol):
    """Answers one line; what fails is an answer, too."""

    def __call__(self, line: Line, /) -> Awaitable[Reply]:
        """Return the answer."""


@attrs.frozen(kw_only=True)
class Plan:
    """How a batch is run."""

    source: Path
    #: Lines under way at most.
    concurrency: int = 8
    #: Lines under way at first; more as long as nobody refuses them for their pace. None: all that may be.
    at_first: int | None = None
    #: How often a line is tried that fails in a way that may pass.
    attempts: int = 5
    #: Stop asking when so much is known to be spent; None: never.
    max_cost: float | None = None


class Runner:
    """Runs one batch once.

    Args:
        plan: how.
        journal: open; gets a record for every line.
        ask: answers a line.
        tally: counts what happens.
        clock: monotonic seconds.
        tell: takes one line for whoever runs the batch.
    """

    def __init__(
        self,
        plan: Plan,
        journal: Journal,
        ask: Ask,
        tally: Tally,
        *,
        clock: Callable[[], float],
        tell: Callable[[str], None],
    ) -> None:
        self._plan = plan
        self._journal = journal
        self._ask = ask
        self._tally = tally
        self._clock = clock
        self._tell = tell
        self._pace = Pace(plan.concurrency, plan.at_first)
        #: Whether the line whose turn is next has something new to look at.
        self._changed = asyncio.Event()
        self._turn = asyncio.Lock()
        #: Whether no line is asked any more.
        self._over = asyncio.Event()
        self._in_hand = asyncio.Semaphore(plan.concurrency * _IN_HAND)
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None

    @property
    def pace(self) -> Pace:
        """How many lines are under way, and may be."""
        return self._pace

    async def run(self) -> None:
        """Finish every line that is not finished yet.

        When it is cancelled, no further line is asked, those under way have ten seconds to be finished and written.

        Raises:
            OSError: a file cannot be read or written.
        """
        syncing = asyncio.create_task(self._sync_often())
        try:
            try:
                async for line in self._lines():
                    if self._failure is not None or self._too_dear():
                        break
                    await self._in_hand.acquire()
                    task = asyncio.create_task(self._finish(line))
                    self._tasks.add(task)
                    task.add_done_callback(self._done)
                while self._tasks and self._failure is None:
                    await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                self._tally.stopped = "interrupted"
                await self._let_finish()
                raise
            if self._failure is not None:
                raise self._failure
        finally:
            syncing.cancel()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(syncing, *self._tasks, return_exceptions=True)
            await asyncio.to_thread(self._journal.sync)

    async def _lines(self) -> AsyncIterator[Line]:
        """Yield the lines to ask; those that cannot be are written down."""
        every = lines_of(self._plan.source, OPERATIONS)
        while portion := await asyncio.to_thread(_some, every):
            for line in portion:
                if self._journal.finished.covers(line):
                    continue
                if isinstance(line, Unreadable):
                    self._journal.unreadable(line)
                    self._tally.failed(line.code)
                else:
                    yield line

    async def _finish(self, line: Line) -> None:
        """Ask *line* until there is something to write down."""
        for number in range(1, self._plan.attempts + 1):
            if not await self._my_turn():
                return
            began = self._clock()
            try:
                answered = await self._ask(line)
            finally:
                self._pace.ended()
                self._changed.set()
            wait = self._verdict(answered, number, began)
            if wait is None:
                self._journal.answered(line, answered.status, answered.headers.get("x-request-id", ""), answered.body)
                self._tally.answered(answered)
                return
            await _wait(self._over, wait)

    def _verdict(self, answered: Reply, number: int, began: float) -> float | None:
        """Return the seconds after which the line is asked again, None when it is finished; also sets the pace."""
        headers, status = answered.headers, answered.status
        if status not in _TRANSIENT or headers.get("x-should-retry") == "false":
            self._pace.went_well()
            return None
        told = headers.get("Retry-After")
        retry_after = float(told) if told is not None else None
        if status in _TOO_FAST:
            self._pace.slow_down(began, self._clock(), retry_after)
            self._tally.slowed += 1
        if number >= self._plan.attempts:
            return None
        self._tally.retried += 1
        if status in _TOO_FAST:
            # The pace makes everybody wait, this line too.
            return 0.0
        return min(_FIRST_WAIT * 2 ** (number - 1), _LONGEST_WAIT) if retry_after is None else retry_after

    async def _my_turn(self) -> bool:
        """Wait until the pace allows another line, and count it; false when no line is asked any more."""
        # Lines wait in a row: an end wakes the first of them, not all.
        async with self._turn:
            while not self._too_dear() and not self._over.is_set():
                wait = self._pace.wait(self._clock())
                if wait == 0.0:
                    self._pace.began()
                    return True
                self._changed.clear()
                await _wait(self._changed, wait)
        return False

    def _too_dear(self) -> bool:
        most = self._plan.max_cost
        if most is not None and self._tally.cost >= most:
            self._tally.stopped = "max_cost"
            self._over.set()
        return self._tally.stopped == "max_cost"

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._in_hand.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = self._failure or error

    async def _let_finish(self) -> None:
        self._over.set()
        self._changed.set()
        if self._tasks:
            under_way = self._pace.in_flight
            if under_way:
                lines = f"{under_way:,} line{'s' if under_way > 1 else ''} under way"
                self._tell(f"{lines} may take {_GRACE:g} seconds more; another Ctrl-C leaves them for the next run")
            await asyncio.wait(self._tasks, timeout=_GRACE)

    async def _sync_often(self) -> None:
        while True:
            await asyncio.sleep(_SYNC)
            await asyncio.to_thread(self._journal.sync)


def survey(source: Path, finished: Finished) -> Tally:
    """Return the tally of a run of *source* that has yet to begin; blocking.

    Only lines of *source* are counted, whatever else earlier runs finished into the same files.

    Raises:
        JournalError: a line was another one when it was finished.
        OSError: *source* cannot be read.
    """
    tally = Tally()
    for line in lines_of(source, OPERATIONS):
        tally.lines += 1
        if finished.covers(line):
            tally.skipped += 1
            tally.failed_before += finished.failed(line)
    return tally


async def _wait(event: asyncio.Event, seconds: float | None) -> None:
    """Wait for *event*, but not longer than so many seconds; None: as long as it takes."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _some(lines: Iterator[Line | Unreadable]) -> list[Line | Unreadable]:
    return list(islice(lines, _PORTION))


__all__ = ["Ask", "Plan", "Runner", "survey"]
