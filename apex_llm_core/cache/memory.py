"""The built-in state store ``memory``: one process, one event loop, gone at exit."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from apex_llm_core.interfaces import StateStore
from apex_llm_core.markers import hookimpl


class MemoryStore:
    """Keys and bytes in a dict; the least recently used go first when there are too many.

    Args:
        max_entries: entries kept at most, at least 1.
        clock: monotonic seconds.
    """

    def __init__(self, *, max_entries: int, clock: Callable[[], float]) -> None:
        self._max_entries = max_entries
        self._clock = clock
        #: Value and expiry (None: never) by key, the least recently used first.
        self._entries: OrderedDict[str, tuple[bytes, float | None]] = OrderedDict()

    async def get(self, key: str) -> bytes | None:
        """Return the value, None when absent or expired."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        value, expiry = entry
        if expiry is not None and expiry <= self._clock():
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return value

    async def put(self, key: str, value: bytes, ttl: float | None) -> None:
        """Keep *value* for *ttl* seconds, None for as long as there is room."""
        self._entries[key] = (value, None if ttl is None else self._clock() + ttl)
        self._entries.move_to_end(key)
        if len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)

    async def delete(self, key: str) -> None:
        """Forget *key*; absent keys are no error."""
        self._entries.pop(key, None)

    async def close(self) -> None:
        """Forget everything."""
        self._entries.clear()


class MemoryStorePlugin:
    """What is registered as the state store ``memory``."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock

    @hookimpl
    def apex_state_store(self, config: Mapping[str, Any]) -> StateStore:
        """Open an empty store of `max_entries`."""
        return MemoryStore(max_entries=config["max_entries"], clock=self._clock)


__all__ = ["MemoryStore", "MemoryStorePlugin"]
