from __future__ import annotations

import asyncio
import sqlite3
import stat
import threading

import pytest
from apex_llm_sqlite import SqliteStore

from apex_llm_core.errors import ConfigurationError
from apex_llm_core.interfaces import StateStore


class Wall:
    def __init__(self):
        self.now = 1_700_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def wall():
    return Wall()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.db"


@pytest.fixture
def run(path, wall):
    """Run ``await body(store)`` with a store that is closed afterwards."""

    def run(body, **options):
        async def main():
            store = SqliteStore(str(path), **{"wall": wall, **options})
            try:
                return await body(store)
            finally:
                await store.close()

        return asyncio.run(main())

    return run


def rows(path, sql="SELECT count(*) FROM entries"):
    connection = sqlite3.connect(path)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


class TestEntries:
    def test_is_a_state_store(self, run):
        async def body(store):
            assert isinstance(store, StateStore)

        run(body)

    def test_keeps_and_forgets(self, run):
        async def body(store):
            assert await store.get("k") is None
            await store.put("k", b"\x00one", None)
            await store.put("k", b"two", None)
            assert await store.get("k") == b"two"
            await store.delete("k")
            await store.delete("k")
            assert await store.get("k") is None
            await store.put("", b"", None)
            assert await store.get("") == b""

        run(body)

    @pytest.mark.parametrize("key", ["müller", "\udcff", "a'; DROP TABLE entries; --", "\x00", "k" * 10_000])
    def test_any_text_is_a_key(self, run, key):
        async def body(store):
            await store.put(key, b"v", 10)
            await store.transact([key], lambda found: {key: found[key] + b"w"}, 10)
            assert await store.get(key) == b"vw"

        run(body)

    def test_what_expired_is_not_seen(self, run, wall):
        async def body(store):
            await store.put("short", b"v", 10)
            await store.put("long", b"v", 20)
            await store.put("ever", b"v", None)
            wall.now += 10
            seen = {}
            await store.transact(["short", "long", "ever"], lambda found: seen.update(found) or {}, None)
            assert sorted(seen) == ["ever", "long"]
            assert await store.get("short") is None

        run(body)

    def test_what_expired_goes_a_few_at_a_time(self, run, path, wall):
        async def body(store):
            for number in range(40):
                await store.put(f"k{number}", b"v", 10)
            wall.now += 10
            counts = []
            for _ in range(4):
                await store.put("fresh", b"v", 10)
                counts.append(rows(path)[0][0])
            assert counts == [25, 9, 1, 1]

        run(body)

    def test_a_restart_keeps_everything(self, run):
        async def write(store):
            await store.put("cached", b"c", 100)
            await store.transact(["state"], lambda found: {"state": b"s"}, 100)

        async def read(store):
            return [await store.get(key) for key in ("cached", "state")]

        run(write)
        assert run(read) == [b"c", b"s"]


class TestTransactions:
    def test_sees_what_is_there_and_writes_what_is_said(self, run):
        async def body(store):
            await store.put("a", b"1", None)
            await store.put("b", b"2", None)
            await store.transact(["a", "b", "c"], lambda found: {"a": found["b"], "b": None, "c": b"3"}, None)
            assert [await store.get(key) for key in "abc"] == [b"2", None, b"3"]

        run(body)

    def test_what_change_raises_is_raised_and_nothing_is_written(self, run):
        async def body(store):
            await store.put("a", b"1", None)

            def change(found):
                raise LookupError("no")

            with pytest.raises(LookupError, match="no"):
                await store.transact(["a"], change, None)
            with pytest.raises(sqlite3.Error):
                await store.transact(["a"], lambda found: {"a": b"2", "b": object()}, None)
            assert [await store.get(key) for key in "ab"] == [b"1", None]
            await store.transact(["a"], lambda found: {"a": b"3"}, None)
            assert await store.get("a") == b"3"

        run(body)

    def test_more_keys_than_a_statement_takes(self, run):
        keys = [f"k{number}" for number in range(1203)]

        async def body(store):
            await store.transact([], lambda found: dict.fromkeys(keys, b"v"), None)
            seen = {}
            await store.transact(keys, lambda found: seen.update(found) or {}, None)
            assert len(seen) == 1203

        run(body)

    def test_two_stores_never_come_in_between(self, run, path, wall):
        async def body(store):
            other = SqliteStore(str(path), wall=wall)

            def count(found):
                return {"n": b"%d" % (int(found.get("n", 0)) + 1)}

            await asyncio.gather(*(one.transact(["n"], count, None) for one in [store, other] * 50))
            assert await store.get("n") == b"100"
            await other.close()

        run(body)

    def test_a_cancelled_call_is_whole_or_not_at_all(self, run):
        async def body(store):
            await store.get("k")
            entered, leave = threading.Event(), threading.Event()

            def change(found):
                entered.set()
                leave.wait(30)
                return {"first": b"v", "second": b"v"}

            running = asyncio.create_task(store.transact(["first"], change, None))
            await asyncio.to_thread(entered.wait, 30)
            queued = asyncio.create_task(store.put("queued", b"v", None))
            await asyncio.sleep(0)
            for task in (running, queued):
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            leave.set()
            assert [await store.get(key) for key in ("first", "second", "queued")] == [b"v", b"v", None]

        run(body)

    def test_the_event_loop_never_waits_for_the_file(self, run, path):
        async def body(store):
            await store.put("k", b"v", None)
            blocker = sqlite3.connect(path, isolation_level=None)
            blocker.execute("BEGIN IMMEDIATE")
            write = asyncio.create_task(store.put("k", b"w", None))
            # Turns of the loop go on while the thread waits for the other writer.
            for _ in range(100):
                await asyncio.sleep(0)
            assert not write.done()
            blocker.execute("COMMIT")
            blocker.close()
            await write

        run(body)

    def test_waits_no_longer_than_it_is_told(self, run, path):
        async def body(store):
            await store.put("k", b"v", None)
            blocker = sqlite3.connect(path, isolation_level=None)
            blocker.execute("BEGIN IMMEDIATE")
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                await store.put("k", b"w", None)
            # Who reads does not wait at all.
            assert await store.get("k") == b"v"
            blocker.close()
            await store.put("k", b"w", None)

        run(body, busy_timeout=0.01)


class TestRoom:
    def test_the_longest_written_goes_first(self, run):
        async def body(store):
            for key in ("a", "b", "c"):
                await store.put(key, b"v", None)
            await store.put("a", b"again", None)
            await store.put("d", b"v", None)
            assert [await store.get(key) for key in "abcd"] == [b"again", None, b"v", b"v"]

        run(body, max_entries=3)

    def test_bytes_are_bounded_too(self, run, path):
        async def body(store):
            for key in ("a", "b", "c"):
                await store.put(key, b"v" * 40, None)
            assert [await store.get(key) is None for key in "abc"] == [True, False, False]
            await store.put("b", b"v" * 100, None)
            # What it was to replace is out of date.
            assert await store.get("b") is None
            assert await store.get("c") is not None
            assert rows(path, "SELECT entries, bytes FROM totals") == [(1, 41)]

        run(body, max_bytes=100)

    def test_state_is_not_dropped_for_want_of_room(self, run):
        async def body(store):
            await store.transact([], lambda found: {f"state{n}": b"s" for n in range(5)}, 100)
            await store.put("becomes state", b"c", None)
            await store.transact([], lambda found: {"becomes state": b"s"}, 100)
            for number in range(20):
                await store.put(f"cached{number}", b"c", None)
            for key in ("state0", "state4", "becomes state"):
                assert await store.get(key) == b"s"
            assert [await store.get(f"cached{number}") is None for number in (17, 18, 19)] == [True, False, False]

        run(body, max_entries=2)

    def test_the_totals_are_right_whatever_happens(self, run, path, wall):
        async def body(store):
            for number in range(200):
                key = f"k{number * 7 % 13}"
                match number % 5:
                    case 0 | 1:
                        await store.put(key, b"v" * (number % 17), 5)
                    case 2:
                        await store.delete(key)
                    case 3:
                        await store.transact([key], lambda found, key=key: {key: b"s"}, 5)
                    case 4:
                        wall.now += 2
            counted = rows(
                path, "SELECT count(*), coalesce(sum(length(key) + length(value)), 0) FROM entries WHERE cached"
            )
            assert rows(path, "SELECT entries, bytes FROM totals") == counted

        run(body, max_entries=6)

    def test_lower_bounds_are_reached_step_by_step(self, run, path):
        async def many(store):
            for number in range(40):
                await store.put(f"k{number}", b"v", None)

        async def few(store):
            await store.put("one", b"v", None)
            first = rows(path)[0][0]
            await store.put("two", b"v", None)
            await store.put("three", b"v", None)
            return first, rows(path)[0][0]

        run(many)
        assert run(few, max_entries=5) == (25, 5)


class TestFile:
    def test_is_for_its_owner_alone(self, run, path):
        async def body(store):
            await store.put("k", b"v", None)
            return {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}

        assert run(body) == {"state.db": 0o600, "state.db-wal": 0o600, "state.db-shm": 0o600}

    def test_the_mode_of_an_existing_file_is_the_operators(self, run, path):
        path.touch(mode=0o660)
        path.chmod(0o660)
        run(lambda store: store.put("k", b"v", None))
        assert stat.S_IMODE(path.stat().st_mode) == 0o660

    def test_is_closed_tidily_and_once(self, path, wall):
        async def main():
            store = SqliteStore(str(path), wall=wall)
            await store.put("k", b"v", None)
            await store.close()
            await store.close()
            assert [file.name for file in path.parent.iterdir()] == ["state.db"]
            with pytest.raises(RuntimeError, match="closed"):
                await store.get("k")

        asyncio.run(main())
        for thread in threading.enumerate():
            if thread.name.startswith("apex-llm-sqlite"):
                thread.join(30)
                assert not thread.is_alive()

    def test_does_nothing_before_its_first_use(self, path, wall):
        async def main():
            threads = threading.active_count()
            store = SqliteStore(str(path), wall=wall)
            assert (path.exists(), threading.active_count()) == (False, threads)
            await store.close()

        asyncio.run(main())

    def test_a_relative_path_is_that_of_the_start(self, tmp_path, wall, monkeypatch):
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path)

        async def main():
            store = SqliteStore("state.db", wall=wall)
            monkeypatch.chdir(tmp_path / "elsewhere")
            await store.put("k", b"v", None)
            await store.close()

        asyncio.run(main())
        assert (tmp_path / "state.db").exists()

    def test_a_file_that_cannot_be_used_is_told_at_every_use(self, run, path):
        path.write_bytes(b"no database at all" * 100)

        async def body(store):
            for _ in range(2):
                with pytest.raises(ConfigurationError, match="file is not a database"):
                    await store.get("k")

        run(body)
