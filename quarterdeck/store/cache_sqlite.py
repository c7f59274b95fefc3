"""A cache that outlives the process, in one file beside the data of a deployment; several processes may share it."""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self, TypeVar

from anyio import to_thread

from quarterdeck.core.errors import Misconfigured
from quarterdeck.store.cache import Kept, check_place
from quarterdeck.store.sqlite import make

__all__ = ["SqliteCache"]

log = logging.getLogger(__name__)

T = TypeVar("T")

_BUSY_S = 0.5  # how long another process may be waited for
_APPLICATION = 0x51444343  # written into the file, so that no other database is ever taken for a cache
_KEEP = 0.9  # share of the bound that is left when something has to go, so that not every entry costs another one

_SCHEMA = (
    """CREATE TABLE entry(place INTEGER PRIMARY KEY, tenant TEXT NOT NULL, key TEXT NOT NULL, until REAL NOT NULL,
         size INTEGER NOT NULL, value BLOB NOT NULL, UNIQUE(tenant, key))""",
    "CREATE INDEX entry_until ON entry(until)",
    "CREATE TABLE total(bytes INTEGER NOT NULL)",
    "INSERT INTO total(bytes) VALUES(0)",
    "CREATE TRIGGER entry_came AFTER INSERT ON entry BEGIN UPDATE total SET bytes = bytes + new.size; END",
    "CREATE TRIGGER entry_went AFTER DELETE ON entry BEGIN UPDATE total SET bytes = bytes - old.size; END",
    f"PRAGMA application_id = {_APPLICATION}",
)
_GET = """SELECT key, value, until FROM entry
WHERE tenant = :tenant AND key IN (SELECT value FROM json_each(:keys)) AND until > :now"""
_DROP = "DELETE FROM entry WHERE tenant = :tenant AND key IN (SELECT value FROM json_each(:keys))"
_INSERT = "INSERT INTO entry(tenant, key, until, size, value) VALUES(?, ?, ?, ?, ?)"
# By the bytes and not LIKE, for which '_' means any character and case means nothing.
_FORGET = "DELETE FROM entry WHERE tenant = :tenant AND substr(key, 1, length(:prefix)) = :prefix"
_OVER = "DELETE FROM entry WHERE until <= ?"
_TOTAL = "SELECT bytes FROM total"
_OLDEST = """DELETE FROM entry WHERE place <= (
  SELECT place FROM (SELECT place, sum(size) OVER (ORDER BY place DESC) AS with_newer FROM entry)
  WHERE with_newer > ? ORDER BY place DESC LIMIT 1)"""


class SqliteCache:
    """`Cache` in a SQLite file. When it is full, what was written first goes first.

    Attributes:
        failures: Times the file could not be used; each was a miss.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, max_bytes: int, now: Callable[[], float]) -> None:
        self.failures = 0
        self._path = path
        self._db: sqlite3.Connection | None = connection
        self._max_bytes = max_bytes
        self._now = now
        self._turn = threading.Lock()

    @classmethod
    async def open(cls, path: Path, *, max_bytes: int = 256 << 20, now: Callable[[], float] = time.time) -> Self:
        """Open the cache at `path`, or begin one there; a damaged one is begun anew.

        Args:
            max_bytes: Of the values kept; the file is somewhat larger.
            now: Seconds since 1970.

        Raises:
            Misconfigured: The file is another program's, or cannot be written.
        """
        return cls(path, await to_thread.run_sync(_opened, path), max_bytes, now)

    async def get(self, tenant: str, keys: Sequence[str]) -> dict[str, Kept]:
        check_place(tenant, keys)
        values = {"tenant": tenant, "keys": json.dumps(list(keys)), "now": self._now()}
        rows = await self._use(lambda db: db.execute(_GET, values).fetchall())
        return {key: Kept(value, until) for key, value, until in rows or ()}

    async def put(self, tenant: str, entries: Mapping[str, Kept]) -> None:
        check_place(tenant, list(entries))
        now, most = self._now(), self._max_bytes
        rows = [
            (tenant, key, kept.until, len(kept.value), kept.value)
            for key, kept in entries.items()
            if kept.until > now and len(kept.value) <= most
        ]
        keys = json.dumps(list(entries))

        def write(db: sqlite3.Connection) -> None:
            db.execute(_DROP, {"tenant": tenant, "keys": keys})
            db.executemany(_INSERT, rows)
            db.execute(_OVER, (now,))
            if db.execute(_TOTAL).fetchone()[0] > most:
                db.execute(_OLDEST, (int(_KEEP * most),))

        await self._use(_whole(write))

    async def drop(self, tenant: str, keys: Sequence[str]) -> bool:
        check_place(tenant, keys)
        values = {"tenant": tenant, "keys": json.dumps(list(keys))}
        return await self._use(lambda db: db.execute(_DROP, values)) is not None

    async def forget(self, tenant: str, prefix: str = "") -> bool:
        check_place(tenant, prefix=prefix)
        values = {"tenant": tenant, "prefix": prefix}
        return await self._use(lambda db: db.execute(_FORGET, values)) is not None

    async def close(self) -> None:
        await to_thread.run_sync(self._close)

    async def _use(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        """What the work gives; None if the file cannot be used."""
        return await to_thread.run_sync(self._use_now, work)

    def _use_now(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        with self._turn:
            if self._db is None:
                return None
            try:
                return work(self._db)
            except sqlite3.OperationalError as error:  # locked, full or read-only: that passes
                self._failed(error)
            except sqlite3.DatabaseError as error:
                self._failed(error)
                self._begin_anew()
            return None

    def _failed(self, error: sqlite3.Error) -> None:
        if not self.failures:
            log.warning("the cache %s cannot be used now: %s", self._path.name, error)
        self.failures += 1

    def _begin_anew(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()
        with suppress(Misconfigured):
            _remove(self._path)
            self._db = _opened(self._path)

    def _close(self) -> None:
        with self._turn:
            if self._db is not None:
                self._db.close()
                self._db = None


def _whole(write: Callable[[sqlite3.Connection], None]) -> Callable[[sqlite3.Connection], bool]:
    """The same as one transaction."""

    def work(db: sqlite3.Connection) -> bool:
        db.execute("BEGIN IMMEDIATE")
        try:
            write(db)
        except BaseException:
            with suppress(sqlite3.Error):
                db.execute("ROLLBACK")  # a full disk has rolled back already
            raise
        db.execute("COMMIT")
        return True

    return work


def _opened(path: Path) -> sqlite3.Connection:
    try:
        return _connect(path)
    except sqlite3.OperationalError as error:
        raise Misconfigured(f"the cache {path} cannot be opened: {error}") from error
    except sqlite3.DatabaseError:
        log.warning("the cache %s is damaged and begun anew", path.name)
    try:
        _remove(path)
        return _connect(path)
    except sqlite3.Error as error:
        raise Misconfigured(f"the cache {path} cannot be opened: {error}") from error


def _connect(path: Path) -> sqlite3.Connection:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        make(path)
    except OSError as error:
        raise Misconfigured(f"the cache {path} cannot be opened: {error}") from error
    db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode = wal")
        db.execute("PRAGMA synchronous = normal")  # a power cut may cost the newest entries, and never the file
        _whole(lambda db: _prepare(db, path))(db)
    except BaseException:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    if db.execute("PRAGMA application_id").fetchone()[0] == _APPLICATION:
        return
    if db.execute("SELECT EXISTS(SELECT 1 FROM sqlite_master)").fetchone()[0]:
        raise Misconfigured(f"{path} is another program's database, no cache")
    for statement in _SCHEMA:
        db.execute(statement)


def _remove(path: Path) -> None:
    for name in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
        name.unlink(missing_ok=True)
