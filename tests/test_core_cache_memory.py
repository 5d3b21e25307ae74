from __future__ import annotations

import asyncio

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from apex_llm_core.cache.memory import MemoryStore, MemoryStorePlugin
from apex_llm_core.interfaces import StateStore
from apex_llm_core.testing import FakeClock, run_virtual


class TestMemoryStore:
    def test_is_a_state_store(self):
        assert isinstance(MemoryStore(max_entries=1, clock=FakeClock()), StateStore)

    def test_the_plugin_opens_one_of_the_configured_bounds(self):
        async def main() -> None:
            store = MemoryStorePlugin(FakeClock()).apex_state_store({"max_entries": 1, "max_bytes": 4})
            await store.put("a", b"1", None)
            await store.put("b", b"2", None)
            assert await store.get("a") is None
            assert await store.get("b") == b"2"
            await store.put("c", b"1234", None)
            assert await store.get("c") is None

        run_virtual(main())

    def test_entries_expire_to_the_second(self):
        async def main() -> None:
            clock = FakeClock()
            store = MemoryStore(max_entries=10, clock=clock)
            await store.put("key", b"value", 5.0)
            clock.advance(4.999)
            assert await store.get("key") == b"value"
            clock.advance(0.001)
            assert await store.get("key") is None
            assert (store.entries, store.size) == (0, 0)

        run_virtual(main())

    def test_the_least_recently_used_goes_first(self):
        async def main() -> None:
            store = MemoryStore(max_entries=2, clock=FakeClock())
            await store.put("a", b"1", None)
            await store.put("b", b"2", None)
            await store.get("a")
            await store.put("c", b"3", None)
            assert [await store.get(key) for key in "abc"] == [b"1", None, b"3"]

        run_virtual(main())

    def test_keys_and_values_together_stay_within_the_bytes(self):
        async def main() -> None:
            store = MemoryStore(max_entries=100, max_bytes=10, clock=FakeClock())
            await store.put("a", b"1234", None)
            await store.put("b", b"1234", None)
            assert store.size == 10
            await store.put("c", b"12345678", None)
            assert [await store.get(key) for key in "abc"] == [None, None, b"12345678"]
            assert store.size == 9

        run_virtual(main())

    def test_an_entry_of_exactly_the_bound_is_kept_and_a_larger_one_takes_the_old_one_along(self):
        async def main() -> None:
            store = MemoryStore(max_entries=100, max_bytes=10, clock=FakeClock())
            await store.put("a", b"123456789", None)
            assert await store.get("a") == b"123456789"
            await store.put("a", b"1234567890", None)
            assert await store.get("a") is None
            assert store.size == 0

        run_virtual(main())

    @pytest.mark.parametrize(("key", "size"), [("é", 2), ("漢", 3), ("\ud800", 3)])
    def test_keys_count_as_bytes(self, key, size):
        async def main() -> None:
            store = MemoryStore(max_entries=10, clock=FakeClock())
            await store.put(key, b"", None)
            assert store.size == size

        run_virtual(main())

    def test_close_forgets(self):
        async def main() -> None:
            store = MemoryStore(max_entries=10, clock=FakeClock())
            await store.put("key", b"value", None)
            await store.close()
            assert await store.get("key") is None
            assert (store.entries, store.size) == (0, 0)

        run_virtual(main())


class TestTransact:
    def test_sees_what_is_there_and_writes_what_it_returns(self):
        async def main() -> None:
            clock = FakeClock()
            store = MemoryStore(max_entries=10, clock=clock)
            await store.put("a", b"1", None)
            await store.put("b", b"2", None)
            await store.put("late", b"3", 1.0)
            clock.advance(1)
            seen = []

            def change(found):
                seen.append(dict(found))
                return {"a": None, "c": b"new"}

            await store.transact(["a", "b", "late", "c"], change, 5.0)
            assert seen == [{"a": b"1", "b": b"2"}]
            assert [await store.get(key) for key in "abc"] == [None, b"2", b"new"]
            clock.advance(5)
            assert await store.get("c") is None
            assert await store.get("b") == b"2"

        run_virtual(main())

    def test_what_change_raises_is_raised_and_nothing_is_written(self):
        async def main() -> None:
            store = MemoryStore(max_entries=10, clock=FakeClock())
            await store.put("a", b"1", None)

            def change(found):
                raise LookupError("not so")

            with pytest.raises(LookupError, match="not so"):
                await store.transact(["a"], change, None)
            assert await store.get("a") == b"1"

        run_virtual(main())

    @pytest.mark.parametrize(
        "changed", [{"a": b"0123456789"}, {"a": b"0123", "b": b"01234"}, {"a": b"", "b": b"", "c": b"", "d": b""}]
    )
    def test_what_has_no_room_is_refused_as_a_whole(self, changed):
        async def main() -> None:
            store = MemoryStore(max_entries=3, max_bytes=10, clock=FakeClock())
            await store.put("a", b"1", None)
            with pytest.raises(ValueError, match=r"3 entries of 10 bytes"):
                await store.transact(["a"], lambda _: changed, None)
            assert await store.get("a") == b"1"
            assert (store.entries, store.size) == (1, 2)

        run_virtual(main())

    def test_interleaved_transactions_lose_nothing(self):
        async def main() -> None:
            store = MemoryStore(max_entries=10, clock=FakeClock())

            async def count() -> None:
                for _ in range(20):
                    await store.transact(["n"], lambda found: {"n": b"%d" % (int(found.get("n", b"0")) + 1)}, None)
                    await asyncio.sleep(0)

            await asyncio.gather(*(count() for _ in range(10)))
            assert await store.get("n") == b"200"

        run_virtual(main())


class MemoryStoreAgainstList(RuleBasedStateMachine):
    """The reference is a list from the least to the most recently used."""

    MAX_ENTRIES, MAX_BYTES = 3, 12

    def __init__(self):
        super().__init__()
        self.clock = FakeClock(0.0)
        self.store = MemoryStore(max_entries=self.MAX_ENTRIES, max_bytes=self.MAX_BYTES, clock=self.clock)
        self.entries: list[tuple[str, bytes, float]] = []

    keys = st.sampled_from("abcde")
    values = st.binary(max_size=6) | st.sampled_from([b"x" * 11, b"x" * 12])
    ttls = st.none() | st.integers(0, 5)

    def write(self, key, value, ttl):
        self.entries = [entry for entry in self.entries if entry[0] != key]
        if value is None or len(key) + len(value) > self.MAX_BYTES:
            return
        self.entries.append((key, value, float("inf") if ttl is None else self.clock() + ttl))
        while len(self.entries) > self.MAX_ENTRIES or self.size() > self.MAX_BYTES:
            del self.entries[0]

    def read(self, key):
        found = next((entry for entry in self.entries if entry[0] == key), None)
        if found is None:
            return None
        self.entries.remove(found)
        if found[2] <= self.clock():
            return None
        self.entries.append(found)
        return found[1]

    def size(self):
        return sum(len(key) + len(value) for key, value, _ in self.entries)

    @rule(key=keys, value=values, ttl=ttls)
    def put(self, key, value, ttl):
        asyncio.run(self.store.put(key, value, ttl))
        self.write(key, value, ttl)

    @rule(key=keys)
    def get(self, key):
        assert asyncio.run(self.store.get(key)) == self.read(key)

    @rule(key=keys)
    def delete(self, key):
        asyncio.run(self.store.delete(key))
        self.entries = [entry for entry in self.entries if entry[0] != key]

    @rule(changes=st.dictionaries(keys, st.none() | st.binary(max_size=6), max_size=3), ttl=ttls)
    def transact(self, changes, ttl):
        seen = []

        def change(found):
            seen.append(dict(found))
            return changes

        expected = {key: value for key in changes if (value := self.read(key)) is not None}
        if sum(len(key) + len(value) for key, value in changes.items() if value is not None) > self.MAX_BYTES:
            with pytest.raises(ValueError, match="a transaction writes"):
                asyncio.run(self.store.transact(list(changes), change, ttl))
        else:
            asyncio.run(self.store.transact(list(changes), change, ttl))
            for key in [key for key, value in changes.items() if value is None]:
                self.write(key, None, ttl)
            for key, value in changes.items():
                if value is not None:
                    self.write(key, value, ttl)
        assert seen == [expected]

    @rule(seconds=st.integers(1, 3))
    def wait(self, seconds):
        self.clock.advance(seconds)

    @invariant()
    def holds_as_much(self):
        assert self.store.entries == len(self.entries)
        assert self.store.size == self.size()


MemoryStoreAgainstList.TestCase.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
TestMemoryStoreAgainstList = MemoryStoreAgainstList.TestCase
