"""How the stores of a folder stand, asked without changing them: no table is made, no lock is taken."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path

from anyio import to_thread

from quarterdeck.app.implementations import STATES, resolve
from quarterdeck.app.stores import database, path_of, scheme_of, shared
from quarterdeck.core.errors import StoreUnavailable
from quarterdeck.settings import Configuration
from quarterdeck.store.migrate import POSTGRES, Connection, applied, check, load
from quarterdeck.store.sqlite import unusable
from quarterdeck.store.sqlite_store import DATABASE_NAME

__all__ = ["Standing", "journal_standing", "look_at_redis", "look_at_states"]

_NOBODY = "doctor"  # a tenant there is not


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How the journal's database stands.

    Attributes:
        version: Of its schema; 0 for a new database.
        newest: That this program knows.
        skew_s: Seconds this machine's clock is ahead of the database's; None where they are one.
    """

    engine: str
    version: int
    newest: int
    skew_s: float | None


async def journal_standing(configuration: Configuration) -> Standing:
    """Raises SchemaMismatch for one that is not of this program, StoreUnavailable for one that cannot be reached."""
    url = database(configuration)
    if shared(configuration):
        return await _postgres(url)
    path = path_of(url, configuration.folder) / DATABASE_NAME
    return await to_thread.run_sync(_sqlite, path)


def _sqlite(path: Path) -> Standing:
    migrations = load("sqlite")
    if not path.exists():
        return Standing(engine="SQLite", version=0, newest=len(migrations), skew_s=None)
    try:
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            present = applied(connection)
    except sqlite3.Error as error:
        raise unusable(path, error) from error
    check(present, migrations)
    return Standing(engine="SQLite", version=len(present), newest=len(migrations), skew_s=None)


async def _postgres(url: str) -> Standing:
    from quarterdeck.store.postgres import administer  # its client is optional

    migrations = load("postgres")
    found: list[Standing] = []

    def look(connection: Connection) -> None:
        began = time.time()
        ((theirs,),) = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
        skew_s = (began + time.time()) / 2 - theirs  # half of the round trip is the way there
        present = applied(connection, POSTGRES)
        check(present, migrations)
        found.append(Standing(engine="Postgres", version=len(present), newest=len(migrations), skew_s=skew_s))

    await administer(url, look)
    return found[0]


async def look_at_states(url: str) -> None:
    """Raises StoreUnavailable if the place for snapshots does not answer, and Misconfigured if it is none."""
    # Nothing is read that is sealed, so any secret will do.
    states = await resolve(STATES, scheme_of(url), "place for snapshots").open(url, secret=b"x" * 32)
    try:
        await states.load(_NOBODY, _NOBODY)
    finally:
        await states.close()


async def look_at_redis(url: str) -> None:
    """Raises StoreUnavailable if the Redis that processes share does not answer, and Misconfigured if it is none."""
    try:
        await look_at_states(url)
    except StoreUnavailable as error:
        raise StoreUnavailable(f"the Redis of store.redis_url does not answer: {type(error.__cause__).__name__}") from error
