"""What signals mean to a gateway."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol


class Stoppable(Protocol):
    """What signals reach."""

    def stop(self) -> None:
        """End gently; asked again, at once."""

    def reload(self) -> object:
        """Begin to read the configuration again."""


@contextmanager
def signals(stoppable: Stoppable) -> Iterator[None]:
    """Let SIGTERM and SIGINT stop *stoppable*, and SIGHUP reload it; one that comes of a closed terminal stops it, too."""
    loop = asyncio.get_running_loop()
    at_terminal = _at_terminal()

    def hang_up() -> None:
        if at_terminal and not _at_terminal():
            stoppable.stop()
        else:
            stoppable.reload()

    handlers = {"SIGTERM": stoppable.stop, "SIGINT": stoppable.stop, "SIGHUP": hang_up}
    numbers = [number for number in signal.Signals if number.name in handlers]
    # Where a loop takes no signals, Ctrl-C still cancels it.
    with suppress(NotImplementedError):
        for number in numbers:
            loop.add_signal_handler(number, handlers[number.name])
    try:
        yield
    finally:
        with suppress(NotImplementedError):
            for number in numbers:
                loop.remove_signal_handler(number)


def _at_terminal() -> bool:
    try:
        return sys.stdin is not None and sys.stdin.isatty()
    except (OSError, ValueError):
        return False


__all__ = ["Stoppable", "signals"]
