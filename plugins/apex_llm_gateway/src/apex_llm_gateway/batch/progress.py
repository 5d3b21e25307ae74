"""How far a batch is: a bar for a terminal, a line now and then for a pipe, both on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from apex_llm_cli.output import is_terminal

from apex_llm_gateway.batch.pace import Pace
from apex_llm_gateway.batch.tally import Tally

#: Seconds between two looks: for a terminal, and for a pipe.
_BAR = 0.2
_LINES = 10.0


class Show(Protocol):
    """Shows how far it is."""

    #: Seconds between two calls.
    every: float

    def __call__(self, tally: Tally, pace: Pace, seconds: float) -> None:
        """Show it after so many seconds."""


def duration(seconds: float) -> str:
    """Return *seconds* as a clock shows them."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def money(tally: Tally) -> str:
    """Return what was spent as far as it is known; nothing known is "unknown", never zero."""
    if not tally.cost and (tally.cost_unknown or not tally.ended):
        return "unknown"
    # As exact as the summary: many small answers are no zero either.
    return f"{tally.cost:.6f}" + (f" + {tally.cost_unknown:,} unknown" if tally.cost_unknown else "")


def facts(tally: Tally, pace: Pace, seconds: float) -> str:
    """Return rate, money, time left and what is under way in one line."""
    rate = tally.ended / seconds if seconds > 0 else 0.0
    left = max(0, tally.lines - tally.done)
    eta = duration(left / rate) if rate else "?"
    parts = [f"{rate:.1f}/s", f"cost {money(tally)}", f"ETA {eta}", f"{pace.in_flight} under way"]
    if tally.failed_count:
        parts.append(f"{tally.failed_count} failed")
    return ", ".join(parts)


class _Lines:
    every = _LINES

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write

    def __call__(self, tally: Tally, pace: Pace, seconds: float) -> None:
        self._write(f"{tally.done:,} of {tally.lines:,} lines, {facts(tally, pace, seconds)}\n")


class _Bar:
    every = _BAR

    def __init__(self, update: Callable[[Tally, str], None]) -> None:
        self._update = update

    def __call__(self, tally: Tally, pace: Pace, seconds: float) -> None:
        self._update(tally, facts(tally, pace, seconds))


@contextmanager
def progress() -> Iterator[Show]:
    """Return what shows how far it is, as fits standard error."""
    if not is_terminal(sys.stderr):
        yield _Lines(sys.stderr.write)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (BarColumn(bar_width=None), MofNCompleteColumn(), TextColumn("{task.fields[facts]}"))
    with Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False, expand=True) as bars:
        bar = bars.add_task("", total=None, facts="")

        def update(tally: Tally, text: str) -> None:
            bars.update(bar, total=tally.lines, completed=tally.done, facts=text, refresh=True)

        yield _Bar(update)


__all__ = ["Show", "duration", "facts", "money", "progress"]
