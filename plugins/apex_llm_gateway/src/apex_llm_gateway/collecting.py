"""The garbage collector of a process that does nothing but serve.

What is made at the start is never garbage, so nobody should look for it there. Requests leave hardly any cycles: their memory
is freed by counting, as always, and Python's own pace of looking for cycles would take a twentieth of each request's time.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

#: New containers between two collections of the young ones; Python's own is 700.
_YOUNG = 20_000


@contextmanager
def postponed() -> Iterator[None]:
    """Collect nothing before `begin`: among modules that are imported it would take a tenth of the start."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def begin() -> None:
    """Collect from now on, less often, and only what is made from now on."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, 20, 100)
    gc.enable()


__all__ = ["begin", "postponed"]
