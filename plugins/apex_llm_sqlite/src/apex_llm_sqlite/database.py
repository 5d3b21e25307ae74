"""One SQLite file of keys and bytes. Blocking, for one thread.

- WAL: readers never wait. Writers wait for each other, each transaction is `BEGIN IMMEDIATE`, so that what was read is still
  true when it is written. `synchronous` is NORMAL: a process that is killed loses nothing that was committed, a machine that
  loses power may lose the last moments, and neither damages the file.
- Times are of the wall clock. What has expired is not seen, and goes a few at a time with whatever is written.
- Entries of `put` are bounded by number and size, which triggers keep count of for all processes; those of `transact` are not.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from apex_llm_core.errors import ConfigurationError

#: "APEX" in the header of the file says whose it is.
_APPLICATION = int.from_bytes(b"APEX", "big")
_VERSION = 1
#: Expired entries that go with one that is written, and old ones at most.
_PURGED = 16
#: Keys in one statement.
_BATCH = 500
#: Seconds between two looks at a file that is locked while it is made.
_LOOK_AGAIN = 0.01

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS entries (
    number INTEGER PRIMARY KEY,         -- in the order of writing
    key BLOB NOT NULL UNIQUE,           -- UTF-8, with lone surrogates
    value BLOB NOT NULL,
    expires REAL,                       -- seconds since 1970; NULL: never
    cached INTEGER NOT NULL             -- 1: may be dropped for want of room
);
CREATE INDEX IF NOT EXISTS entries_expires ON entries (expires) WHERE expires IS NOT NULL;
CREATE INDEX IF NOT EXISTS entries_cached ON entries (number) WHERE cached = 1;
CREATE TABLE IF NOT EXISTS totals (entries INTEGER NOT NULL, bytes INTEGER NOT NULL);
INSERT INTO totals SELECT 0, 0 WHERE NOT EXISTS (SELECT * FROM totals);
CREATE TRIGGER IF NOT EXISTS entries_in AFTER INSERT ON entries WHEN NEW.cached = 1 BEGIN
    UPDATE totals SET entries = entries + 1, bytes = bytes + length(NEW.key) + length(NEW.value);
END;
CREATE TRIGGER IF NOT EXISTS entries_out AFTER DELETE ON entries WHEN OLD.cached = 1 BEGIN
    UPDATE totals SET entries = entries - 1, bytes = bytes - length(OLD.key) - length(OLD.value);
END;
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_VERSION};
"""  # noqa: S608 - two numbers


def check(path: Path, busy_timeout: float) -> None:
    """Make the file if it is not there, and read all of it.

    Raises:
        ConfigurationError: it cannot be made or used, or is damaged.
    """
    with closing(_open(path, busy_timeout)) as connection:
        try:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.Error as error:
            raise _unusable(path, str(error)) from error
        if found != "ok":
            raise _unusable(path, " ".join(found.split()))


class Database:
    """The file, opened at its first use; for the thread that uses it first."""

    def __init__(
        self, path: Path, *, busy_timeout: float, max_entries: int, max_bytes: int, wall: Callable[[], float]
    ) -> None:
        self._path = path
        self._busy_timeout = busy_timeout
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._wall = wall
        self._connection: sqlite3.Connection | None = None

    def get(self, key: str) -> bytes | None:
        """Return the value, None when absent or expired."""
        return self._read(self._opened(), [key]).get(key)

    def put(self, key: str, value: bytes, ttl: float | None) -> None:
        """Keep *value* for *ttl* seconds, None for as long as there is room."""
        name = _encoded(key)
        with self._writing() as connection:
            connection.execute("DELETE FROM entries WHERE key = ?", (name,))
            if len(name) + len(value) <= self._max_bytes:
                self._insert(connection, name, value, self._expiry(ttl), cached=True)
                self._make_room(connection)

    def delete(self, key: str) -> None:
        """Forget *key*; absent keys are no error."""
        with self._writing() as connection:
            connection.execute("DELETE FROM entries WHERE key = ?", (_encoded(key),))

    def transact(
        self,
        keys: Sequence[str],
        change: Callable[[Mapping[str, bytes]], Mapping[str, bytes | None]],
        ttl: float | None,
    ) -> None:
        """Let *change* see *keys* and write what it returns, all or nothing."""
        with self._writing() as connection:
            changed = change(self._read(connection, keys))
            expiry = self._expiry(ttl)
            for key, value in changed.items():
                name = _encoded(key)
                if value is not None and self._update(connection, name, value, expiry):
                    continue
                connection.execute("DELETE FROM entries WHERE key = ?", (name,))
                if value is not None:
                    self._insert(connection, name, value, expiry, cached=False)

    def close(self) -> None:
        """Close the file; the last process that does so tidies it."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = _open(self._path, self._busy_timeout)
        return self._connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        connection = self._opened()
        connection.execute("BEGIN IMMEDIATE")
        before = connection.total_changes
        try:
            yield connection
            if connection.total_changes != before:
                self._purge(connection)
            connection.execute("COMMIT")
        except BaseException:
            # After some errors SQLite has rolled back by itself.
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise

    def _read(self, connection: sqlite3.Connection, keys: Sequence[str]) -> dict[str, bytes]:
        names = {_encoded(key): key for key in keys}
        wanted, now = list(names), self._wall()
        found: dict[str, bytes] = {}
        for first in range(0, len(wanted), _BATCH):
            some = wanted[first : first + _BATCH]
            places = ",".join("?" * len(some))
            rows = connection.execute(
                f"SELECT key, value FROM entries WHERE key IN ({places}) AND (expires IS NULL OR expires > ?)",  # noqa: S608 - question marks
                (*some, now),
            )
            found.update((names[name], value) for name, value in rows)
        return found

    @staticmethod
    def _update(connection: sqlite3.Connection, name: bytes, value: bytes, expiry: float | None) -> bool:
        sql = "UPDATE entries SET value = ?, expires = ? WHERE key = ? AND cached = 0"
        return connection.execute(sql, (value, expiry, name)).rowcount == 1

    @staticmethod
    def _insert(
        connection: sqlite3.Connection, name: bytes, value: bytes, expiry: float | None, *, cached: bool
    ) -> None:
        sql = "INSERT INTO entries (key, value, expires, cached) VALUES (?, ?, ?, ?)"
        connection.execute(sql, (name, value, expiry, int(cached)))

    def _make_room(self, connection: sqlite3.Connection) -> None:
        # Bounded, should the bounds have become much lower: what is left goes with the next that are written.
        for _ in range(_PURGED):
            entries, size = connection.execute("SELECT entries, bytes FROM totals").fetchone()
            if entries <= self._max_entries and size <= self._max_bytes:
                return
            connection.execute(
                "DELETE FROM entries WHERE number = (SELECT number FROM entries WHERE cached = 1 ORDER BY number LIMIT 1)"
            )

    def _purge(self, connection: sqlite3.Connection) -> None:
        connection.execute(
            "DELETE FROM entries WHERE number IN (SELECT number FROM entries WHERE expires <= ? LIMIT ?)",
            (self._wall(), _PURGED),
        )

    def _expiry(self, ttl: float | None) -> float | None:
        return None if ttl is None else self._wall() + ttl


def _open(path: Path, busy_timeout: float) -> sqlite3.Connection:
    """Open the file, make it what it has to be.

    Raises:
        ConfigurationError: it cannot be made or used.
    """
    _create(path)
    connection = None
    try:
        connection = sqlite3.connect(path, timeout=busy_timeout, isolation_level=None)
        _prepare(connection, path, time.monotonic() + busy_timeout)
    except BaseException as error:
        if connection is not None:
            connection.close()
        if isinstance(error, sqlite3.Error):
            raise _unusable(path, str(error)) from error
        raise
    return connection


def _create(path: Path) -> None:
    try:
        # Never open and close a file that may be in use: that would end the locks this process has on it.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR))
    except FileExistsError:
        if not path.is_file():
            raise _unusable(path, "it is no file") from None
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from error


def _prepare(connection: sqlite3.Connection, path: Path, until: float) -> None:
    while True:
        try:
            _check_origin(connection, path)
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            if mode != "wal":
                raise _unusable(path, f"its file system has no write-ahead log (the journal mode stays {mode!r})")
            connection.execute("PRAGMA synchronous = NORMAL")
            if not _version(connection):
                connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
            return
        except sqlite3.OperationalError as error:
            # Processes that start together: a change of the journal mode does not wait for others as everything else does.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= until:
                raise
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            time.sleep(_LOOK_AGAIN)


def _check_origin(connection: sqlite3.Connection, path: Path) -> None:
    # One look at all of it: another process may make the tables at this moment.
    connection.execute("BEGIN")
    owner = connection.execute("PRAGMA application_id").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    version = _version(connection)
    connection.execute("COMMIT")
    if owner != _APPLICATION and (owner or tables):
        raise _unusable(path, "it is the database of another application")
    if version > _VERSION:
        raise _unusable(path, "a later version of apex-llm-sqlite made it")


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def _encoded(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")


def _unusable(path: Path, reason: str) -> ConfigurationError:
    return ConfigurationError(f"{str(path)!r} cannot be used as a state store: {reason}", key="state.options.path")


__all__ = ["Database", "check"]
