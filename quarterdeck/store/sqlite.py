"""One SQLite database: a thread that writes, a thread that reads, and group commit between them.

What many tasks want written at the same time shares one transaction, and so one fsync. A unit of work is a function of the
connection; it runs in the writer's thread and must be repeatable, because a unit that fails half-way makes the others of its
batch run again.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from anyio import to_thread

from quarterdeck.core.errors import Misconfigured, QuarterdeckError, StoreUnavailable
from quarterdeck.store.migrate import load, migrate

__all__ = ["SqliteDatabase", "connect", "make", "unusable"]

T = TypeVar("T")
Unit = Callable[[sqlite3.Connection], T]

BATCH = 256  # units per transaction: beyond that a commit's latency grows and its cost per unit does not fall
OLDEST_SQLITE = (3, 35, 0)  # RETURNING, generated columns, upsert with a partial index
_BUSY_S = 30.0  # how long another process (a command that approves) may hold the write lock

_PRAGMAS = (
    # A turn of 1 kB messages fills three quarters of a page of 4 kB, and the next row does not fit in the rest.
    "PRAGMA page_size = 8192",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",  # NORMAL survives kill -9 but not power loss; "started" must be on disk before the effect
    "PRAGMA foreign_keys = ON",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -8000",  # kB
    "PRAGMA wal_autocheckpoint = 500",  # pages
    "PRAGMA journal_size_limit = 16777216",  # bytes the WAL is cut back to after a burst
)

# Nobody's row: no tenant has a dot in its id. As long as what a question writes, since a shorter one still finds room on a
# full disk, in pages that are half empty.
_PROBE = "REPLACE INTO keyvalue (tenant, key, bytes, updated_at) VALUES ('.', 'probe', zeroblob(65536), 0)"


def make(path: Path) -> None:
    """Make the file of a database for its owner only, where it is not there: SQLite would make it readable for everybody.

    One that is there is not touched. POSIX locks of a process on a file end when it closes any descriptor of it, and without
    them another program that closes the database, such as `audit verify`, takes itself for the last one and deletes the
    write-ahead log this process goes on writing into.

    Raises:
        OSError: It cannot be made.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def connect(path: Path) -> sqlite3.Connection:
    """A connection in autocommit mode with the settings every connection needs.

    Raises:
        StoreUnavailable: The file cannot be opened or is no database.
        Misconfigured: The SQLite library is too old.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise Misconfigured(f"SQLite {sqlite3.sqlite_version} is too old: {'.'.join(map(str, OLDEST_SQLITE))} is needed")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        make(path)
        connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise unusable(path, error) from error
    try:
        for pragma in _PRAGMAS:
            connection.execute(pragma)
    except sqlite3.Error as error:
        connection.close()
        raise unusable(path, error) from error
    return connection


def unusable(path: str | os.PathLike[str], error: OSError | sqlite3.Error) -> StoreUnavailable:
    """What is said of a file that cannot be opened, or is damaged, or no database."""
    if isinstance(error, OSError | sqlite3.OperationalError):
        advice = "see that it is a file this program may write, as it may its folder, and that the disk has room"
    else:
        advice = "put a copy of it back in its place, or move it away to begin anew"
    return StoreUnavailable(f"the database {path} cannot be used: {error}; {advice}")


class _Job:
    """A unit and whoever waits for it."""

    __slots__ = ("error", "future", "loop", "unit", "value")

    def __init__(self, unit: Unit[Any], loop: asyncio.AbstractEventLoop) -> None:
        self.unit = unit
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.value: Any = None
        self.error: Exception | None = None

    def settle(self) -> None:
        """Tell whoever waits; nobody does after a cancellation. Runs in the loop's thread."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.value)
        else:
            self.future.set_exception(self.error)


class _HalfDone(Exception):
    """A unit failed after it had written something."""


class _Lane:
    """A thread with a connection of its own, which takes jobs from a queue in batches."""

    def __init__(self, name: str, connection: sqlite3.Connection, batch: int) -> None:
        self._connection = connection
        self._batch = batch
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._closed = False
        # A daemon: a program that forgets to close must still be able to end, and SQLite survives it.
        self._thread = threading.Thread(target=self._serve, name=f"quarterdeck-{name}", daemon=True)
        self._thread.start()

    async def submit(self, unit: Unit[T]) -> T:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        job = _Job(unit, asyncio.get_running_loop())
        self._queue.put(job)
        result: T = await job.future
        return result

    def close(self) -> None:
        """Finish what is queued and end the thread. Blocks; may be called again."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
        self._thread.join()

    def _serve(self) -> None:
        queue, going = self._queue, True
        while going:
            job = queue.get()
            batch: list[_Job] = []
            try:
                while job is not None and len(batch) < self._batch:
                    batch.append(job)
                    job = queue.get_nowait()
            except Empty:
                pass
            else:
                if job is None:
                    going = False
                else:
                    batch.append(job)
            if batch:
                self._run(batch)
                _deliver(batch)
        self._connection.close()

    def _run(self, batch: Sequence[_Job]) -> None:
        """Give every job of the batch its value or error."""
        raise NotImplementedError


class _Reader(_Lane):
    def _run(self, batch: Sequence[_Job]) -> None:
        for job in batch:
            _attempt(job, self._connection)


class _Writer(_Lane):
    failed = False  # the last transaction, or a unit of it, could not be written

    def _run(self, batch: Sequence[_Job]) -> None:
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                for job in batch:
                    self._optimistic(job)
            except _HalfDone:
                # Rare, so the rest pays only then for a savepoint each.
                connection.execute("ROLLBACK")
                connection.execute("BEGIN IMMEDIATE")
                for job in batch:
                    self._guarded(job)
            connection.execute("COMMIT")
            self.failed = any(isinstance(job.error, StoreUnavailable) for job in batch)
        except sqlite3.Error as error:
            self.failed = True
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")  # a full disk has rolled back already
            for job in batch:
                job.value, job.error = None, _unavailable(error)

    def _optimistic(self, job: _Job) -> None:
        written = self._connection.total_changes
        _attempt(job, self._connection)
        if job.error is not None and (self._connection.total_changes != written or not self._connection.in_transaction):
            raise _HalfDone

    def _guarded(self, job: _Job) -> None:
        self._connection.execute("SAVEPOINT unit")
        _attempt(job, self._connection)
        if job.error is not None:
            self._connection.execute("ROLLBACK TO unit")
        self._connection.execute("RELEASE unit")


def _attempt(job: _Job, connection: sqlite3.Connection) -> None:
    job.value = job.error = None
    try:
        job.value = job.unit(connection)
    except QuarterdeckError as error:
        job.error = error
    except sqlite3.Error as error:
        job.error = _unavailable(error)
    except Exception as error:  # noqa: BLE001 - the edge of a thread: it belongs to the caller, the thread serves on
        job.error = error


def _unavailable(error: sqlite3.Error) -> StoreUnavailable:
    unavailable = StoreUnavailable(f"the database cannot be used now: {error}")
    unavailable.__cause__ = error
    return unavailable


def _deliver(batch: Sequence[_Job]) -> None:
    """Wake each loop once, not once per job: a wake-up is a write to a socket."""
    loops: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
    for job in batch:
        loops.setdefault(job.loop, []).append(job)
    for loop, jobs in loops.items():
        try:
            loop.call_soon_threadsafe(_settle, jobs)
        except RuntimeError:  # the loop was closed meanwhile, so nobody waits any more
            continue


def _settle(jobs: Sequence[_Job]) -> None:
    for job in jobs:
        job.settle()


class SqliteDatabase:
    """A database file, open. Safe to use from many tasks and loops; a unit never runs in the caller's thread."""

    def __init__(self, writer: _Writer, reader: _Lane) -> None:
        self._writer = writer
        self._reader = reader

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> SqliteDatabase:
        """Open or make the file and bring its schema up to date. Blocks for some milliseconds: for the start of a program.

        Raises:
            SchemaMismatch: It was written by a newer or another program.
            StoreUnavailable: It cannot be opened.
        """
        writer = connect(Path(path))
        try:
            migrate(writer, load("sqlite"))
            reader = connect(Path(path))
            reader.execute("PRAGMA query_only = ON")
        except sqlite3.Error as error:
            writer.close()
            raise unusable(path, error) from error
        except BaseException:
            writer.close()
            raise
        return cls(_Writer("writer", writer, BATCH), _Reader("reader", reader, 1))

    async def write(self, unit: Unit[T]) -> T:
        """Run a unit in a transaction shared with others; durable when it returns.

        Whatever the unit raises undoes what it wrote, and only that. If the waiting task is cancelled, it may still happen.

        Raises:
            StoreUnavailable: The database is closed, locked, full or damaged.
        """
        return await self._writer.submit(unit)

    async def probe(self) -> None:
        """Raises StoreUnavailable if writing failed last time and fails still: a full disk is read without complaint."""
        if self._writer.failed:
            await self.write(lambda connection: connection.execute(_PROBE))

    async def read(self, query: Unit[T]) -> T:
        """Run a query in the reader's thread. It sees everything written before it was asked.

        Raises:
            StoreUnavailable: The database is closed or damaged.
        """
        return await self._reader.submit(query)

    async def close(self) -> None:
        """Finish what is queued, fold the write-ahead log into the file and close it. May be called again."""
        await to_thread.run_sync(self._reader.close)
        await to_thread.run_sync(self._writer.close)
