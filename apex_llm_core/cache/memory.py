"""The built-in state store ``memory``: one process, one event loop, gone at exit."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from apex_llm_core.interfaces import StateStore
from apex_llm_core.markers import hookimpl


class MemoryStore:
    """Keys and bytes in a dict; the least recently used go first when there are too many or they are too large.

    Args:
        max_entries: entries kept at most, at least 1.
        max_bytes: bytes of keys and values kept at most. A single entry that is larger is not kept at all.
        clock: monotonic seconds.
    """

    def __init__(self, *, max_entries: int, max_bytes: int = 256_000_000, clock: Callable[[], float]) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._clock = clock
        #: Value and expiry (None: never) by key, the least recently used first.
        self._entries: OrderedDict[str, tuple[bytes, float | None]] = OrderedDict()
        self._bytes = 0

    @property
    def entries(self) -> int:
        """How many entries are held, with those that expired and were not asked for since."""
        return len(self._entries)

    @property
    def size(self) -> int:
        """The size of their keys and values in bytes."""
        return self._bytes

    async def get(self, key: str) -> bytes | None:
        """Return the value, None when absent or expired."""
        return self._read(key)

    async def put(self, key: str, value: bytes, ttl: float | None) -> None:
        """Keep *value* for *ttl* seconds, None for as long as there is room."""
        if _size(key, value) > self._max_bytes:
            # What it was to replace is out of date.
            self._forget(key)
        else:
            self._write(key, value, self._expiry(ttl))

    async def delete(self, key: str) -> None:
        """Forget *key*; absent keys are no error."""
        self._forget(key)

    async def transact(
        self,
        keys: Sequence[str],
        change: Callable[[Mapping[str, bytes]], Mapping[str, bytes | None]],
        ttl: float | None,
    ) -> None:
        """Let *change* see *keys* and write what it returns, all or nothing; nothing comes in between on one event loop.

        Raises:
            ValueError: what is to be written has no room in the whole store; nothing was changed.
        """
        found: dict[str, bytes] = {}
        for key in keys:
            value = self._read(key)
            if value is not None:
                found[key] = value
        changed = change(found)
        written = {key: value for key, value in changed.items() if value is not None}
        size = sum(_size(key, value) for key, value in written.items())
        if len(written) > self._max_entries or size > self._max_bytes:
            raise ValueError(
                f"a transaction writes {len(written)} entries of {size} bytes; "
                f"the store holds {self._max_entries} entries of {self._max_bytes} bytes"
            )
        for key in changed.keys() - written.keys():
            self._forget(key)
        expiry = self._expiry(ttl)
        for key, value in written.items():
            self._write(key, value, expiry)

    async def close(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._bytes = 0

    def _expiry(self, ttl: float | None) -> float | None:
        return None if ttl is None else self._clock() + ttl

    def _read(self, key: str) -> bytes | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        value, expiry = entry
        if expiry is not None and expiry <= self._clock():
            self._forget(key)
            return None
        self._entries.move_to_end(key)
        return value

    def _write(self, key: str, value: bytes, expiry: float | None) -> None:
        self._forget(key)
        self._entries[key] = (value, expiry)
        self._bytes += _size(key, value)
        while self._bytes > self._max_bytes or len(self._entries) > self._max_entries:
            oldest, (dropped, _) = self._entries.popitem(last=False)
            self._bytes -= _size(oldest, dropped)

    def _forget(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= _size(key, entry[0])


def _size(key: str, value: bytes) -> int:
    # Names of users may be in a key, and names may hold anything.
    return len(value) + (len(key) if key.isascii() else len(key.encode("utf-8", "surrogatepass")))


class MemoryStorePlugin:
    """What is registered as the state store ``memory``."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock

    @hookimpl
    def apex_state_store(self, config: Mapping[str, Any]) -> StateStore:
        """Open an empty store with the bounds that *config* gives: `max_entries`, `max_bytes`."""
        bounds = {name: config[name] for name in ("max_entries", "max_bytes") if name in config}
        return MemoryStore(clock=self._clock, **bounds)


__all__ = ["MemoryStore", "MemoryStorePlugin"]
