"""One Postgres database: connections that work under its row-level security, and what becomes of its errors.

A unit of work is a coroutine function of a connection. It is run again when somebody else was faster (a key taken meanwhile,
a deadlock), so it must begin from nothing each time.

Two roles. `quarterdeck_app` sees the rows of one tenant; the tenant is a setting of the session and is sent only when it
differs from the one the connection had before. So connections go to the server itself or through a pooler in session mode;
in transaction mode the setting would land in somebody else's session. `quarterdeck_dispatch` sees of every tenant which runs
want a worker, and nothing else.
"""

from __future__ import annotations

import re
import select
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import Any, LiteralString, TypeVar, cast

import psycopg
from anyio import CancelScope, current_time, to_thread
from psycopg import conninfo, errors
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from quarterdeck.core.errors import InvalidInput, Misconfigured, SchemaMismatch, StoreUnavailable
from quarterdeck.store.migrate import POSTGRES, Connection, applied, check, load, migrate

__all__ = [
    "KEEP_SCHEMA",
    "PATIENCE",
    "PostgresConnection",
    "PostgresDatabase",
    "administer",
    "check_postgres",
    "migrate_postgres",
    "together",
]

T = TypeVar("T")

_ROLES = ("quarterdeck_app", "quarterdeck_dispatch")
_CONNECT_S = 2  # the least libpq takes
_RECONNECT_S = 2.0  # then an attempt is given up, so that the pause before the next one does not grow
_TIMES = 5  # a unit is tried
PATIENCE = 30.0  # at most: how many times as long as usual a unit may take
_HOST, _PORT = re.compile("@?[^@]*"), re.compile("[0-9,]*")  # a socket may be abstract, hosts and ports several
_CROSSING = 2  # connections at most that look across tenants

# A setting of the session, in a transaction of its own: no rollback of later work can bring back the one before.
_SET_TENANT = "SELECT set_config('quarterdeck.tenant', %s, false)"
_NOBODY = "."  # whose row a probe writes: no tenant has a dot in its id
_PROBE = "SELECT 1"
_PROBE_WRITE = """INSERT INTO keyvalue (tenant, key, bytes, updated_at) VALUES ('.', 'probe', '', now())
ON CONFLICT (tenant, key) DO UPDATE SET updated_at = excluded.updated_at"""

_FASTER = (errors.UniqueViolation, errors.DeadlockDetected, errors.SerializationFailure)

# A login may have a schema of its own name, found by "$user"; as another role it would look for one of that role's name.
KEEP_SCHEMA: LiteralString = """SELECT set_config('search_path',
  array_to_string(ARRAY(SELECT quote_ident(found) FROM unnest(current_schemas(false)) AS found), ', '), false)"""

# What a server may have as its default, but statements here must not find otherwise. Rows are read again after a lock was
# waited for only in this isolation; compiling costs more than any of these statements. A process that stands still within a
# transaction would hold its rows, the end of its tenant's audit log among them, from all others until it goes on.
_SETTINGS = """{keep_schema}; SET ROLE {role}; SET TIME ZONE 'UTC'; SET jit = off; SET statement_timeout = {timeout_ms};
SET idle_in_transaction_session_timeout = '5s';
SET default_transaction_isolation = 'read committed'; SET default_transaction_read_only = off"""


class _Outrun(StoreUnavailable):
    """Somebody else was faster; looked at again, it may come out differently."""


class PostgresConnection(psycopg.AsyncConnection[TupleRow]):
    """A connection that remembers whose rows it sees.

    Attributes:
        tenant: As the server was told; None when that is not certain.
    """

    tenant: str | None = None


Unit = Callable[[PostgresConnection], Awaitable[T]]
Pool = AsyncConnectionPool[PostgresConnection]


@asynccontextmanager
async def together(connection: PostgresConnection) -> AsyncIterator[None]:
    """A transaction whose statements leave together, until somebody asks for the answer of one.

    Whatever is raised in it undoes it; psycopg's Rollback does only that.
    """
    try:
        async with connection.pipeline():
            await connection.execute("BEGIN")
            yield
            await connection.execute("COMMIT")
    except BaseException as error:
        if connection.pgconn.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
            with suppress(psycopg.Error):  # a connection that cannot even do that is not used again
                await connection.rollback()
        if not isinstance(error, psycopg.Rollback):
            raise


class PostgresDatabase:
    """A database, open. Safe to use from many tasks of one event loop.

    Lost connections are noticed before they are used, and replaced; when the server comes back, so do they, within seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        wait_s: float = 0.8,
        answer_s: float = 10.0,
        max_connections: int = 10,
        settings: LiteralString = "",
    ) -> None:
        """
        Args:
            wait_s: How long a unit waits for a connection.
            answer_s: How long it then may take; a server that does not answer is as good as none.
            settings: Statements that each connection begins with.

        Raises:
            Misconfigured: The URL is none of a Postgres database.
        """
        self._wait_s = wait_s
        self._answer_s = answer_s
        target = _target(url)
        self._app = _pool(target, _ROLES[0], answer_s, wait_s=wait_s, most=max_connections, settings=settings)
        self._dispatch = _pool(target, _ROLES[1], answer_s, wait_s=wait_s, most=_CROSSING)
        self._failed = False  # a unit, since the last probe

    async def open(self) -> None:
        """Let connections be made, in the background."""
        await self._app.open()
        await self._dispatch.open()

    async def run(self, tenant: str, unit: Unit[T], *, patience: float = 1.0) -> T:
        """Run a unit as this tenant. Once it has begun, a cancellation waits until it has ended.

        Args:
            patience: How many times as long as usual it may take, up to `PATIENCE`.

        Raises:
            StoreUnavailable: The database is away, or did not answer in time; then a write may have happened all the same.
            InvalidInput: A value cannot be stored.
        """
        return await self._run(self._app, tenant, unit, patience)

    async def run_across(self, unit: Unit[T]) -> T:
        """Run a query that looks at the runs of every tenant. Raises StoreUnavailable as `run` does."""
        return await self._run(self._dispatch, None, unit, 1.0)

    async def probe(self) -> None:
        """Raises StoreUnavailable unless the database answers, and can be written to if anything has failed lately."""
        statement = _PROBE_WRITE if self._failed else _PROBE
        await self.run(_NOBODY, lambda connection: connection.execute(statement))
        self._failed = False

    async def close(self) -> None:
        """Let go of all connections. May be called again."""
        await self._app.close()
        await self._dispatch.close()

    async def _run(self, pool: Pool, tenant: str | None, unit: Unit[T], patience: float) -> T:
        attempt = 1
        while True:
            try:
                with _translated():
                    result = await self._once(pool, tenant, unit, patience)
            except _Outrun:
                attempt += 1
                if attempt > _TIMES:
                    raise
            except StoreUnavailable:
                self._failed = True
                raise
            else:
                return result

    async def _once(self, pool: Pool, tenant: str | None, unit: Unit[T], patience: float) -> T:
        connection = await self._taken(pool)
        # A cancelled statement costs its connection, and whoever cancels could not know whether it was carried out.
        with CancelScope(shield=True):
            try:
                with CancelScope(deadline=current_time() + self._answer_s * patience):
                    if tenant is not None and connection.tenant != tenant:
                        await _become(connection, tenant)
                    return await unit(connection)
            finally:
                await pool.putconn(connection)
        raise StoreUnavailable(f"the database did not answer within {self._answer_s * patience:g} s")

    async def _taken(self, pool: Pool) -> PostgresConnection:
        until = time.monotonic() + self._wait_s
        while True:
            connection = await pool.getconn(until - time.monotonic())
            if not _says_something(connection):
                return connection
            # Between two units a server has little to say but goodbye: ask, rather than fail in the middle of a unit.
            with CancelScope(deadline=current_time() + self._wait_s, shield=True), suppress(psycopg.Error):
                await connection.execute("")
                return connection
            with CancelScope(shield=True):
                await pool.putconn(connection)


async def migrate_postgres(url: str, target: int | None = None) -> None:
    """Bring the schema up or down to a version, the newest by default. Replicas that start together take turns.

    Raises:
        SchemaMismatch: It was written by a newer or another program.
        StoreUnavailable: The database cannot be reached.
    """
    await to_thread.run_sync(partial(_with_connection, _target(url), lambda connection: _migrate(connection, target)))


async def check_postgres(url: str) -> None:
    """Make sure that the schema is the one of this program. Raises as `migrate_postgres` does."""
    await to_thread.run_sync(_with_connection, _target(url), _check)


async def administer(url: str, work: Callable[[Connection], None]) -> None:
    """Have something done with the rights of the login itself, on a connection in autocommit mode, in a thread.

    Raises:
        Misconfigured: The URL is none of a Postgres database.
        StoreUnavailable: The database cannot be reached.
    """
    await to_thread.run_sync(_as_login, _target(url), work)


def _as_login(target: dict[str, Any], work: Callable[[Connection], None]) -> None:
    with _translated(), psycopg.connect(**target, autocommit=True) as opened:
        work(cast(Connection, opened))  # it takes any statement, but says so only of constants


def _with_connection(target: dict[str, Any], work: Callable[[Connection], None]) -> None:
    with _translated(), psycopg.connect(**target, autocommit=True) as opened:
        connection = cast(Connection, opened)  # it takes any statement, but says so only of constants
        work(connection)
        for role in _ROLES if applied(connection, POSTGRES) else ():
            try:
                connection.execute(f"SET ROLE {role}")
            except errors.InsufficientPrivilege as error:
                raise Misconfigured(f"the database login may not act as {role}: GRANT {role} TO that login") from error
            connection.execute("RESET ROLE")


def _migrate(connection: Connection, target: int | None) -> None:
    migrate(connection, load("postgres"), target, dialect=POSTGRES)


def _check(connection: Connection) -> None:
    migrations = load("postgres")
    present = applied(connection, POSTGRES)
    check(present, migrations)
    if len(present) != len(migrations):
        raise SchemaMismatch(f"the database has schema version {len(present)}, this program needs {len(migrations)}")


def _target(url: str) -> dict[str, Any]:
    """What to connect to and how. Raises Misconfigured without saying what the URL is: it may hold a password."""
    form = "postgresql://user:password@host:port/name"
    try:
        given = conninfo.conninfo_to_dict(url)
    except psycopg.Error:
        raise Misconfigured(f"the database URL is not of the form {form}") from None
    # An @ or a / in a password that was not escaped makes a piece of it the host, or the port, and errors would tell it.
    if not _HOST.fullmatch(str(given.get("host", ""))) or not _PORT.fullmatch(str(given.get("port", ""))):
        raise Misconfigured(f"the database URL is not of the form {form}; in a password, @ is written %40 and / %2F")
    # A peer that vanished without a word is noticed by the kernel.
    customary = {
        "connect_timeout": _CONNECT_S,
        "application_name": "quarterdeck",
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 15_000,
    }
    return {**customary, **given}


def _pool(
    target: dict[str, Any], role: str, answer_s: float, *, wait_s: float, most: int, settings: LiteralString = ""
) -> Pool:
    usual = _SETTINGS.format(keep_schema=KEEP_SCHEMA, role=role, timeout_ms=round(answer_s * PATIENCE * 1000))

    async def configure(connection: PostgresConnection) -> None:
        await connection.set_autocommit(True)
        await connection.execute(f"{usual}; {settings}" if settings else usual)

    return AsyncConnectionPool(
        kwargs=target,
        connection_class=PostgresConnection,
        configure=configure,
        open=False,
        min_size=0,
        max_size=most,
        timeout=wait_s,
        reconnect_timeout=_RECONNECT_S,
        name=role,
    )


async def _become(connection: PostgresConnection, tenant: str) -> None:
    connection.tenant = None
    await connection.execute(_SET_TENANT, (tenant,))
    connection.tenant = tenant


def _says_something(connection: PostgresConnection) -> bool:
    """True if there is something to read from an idle connection, its end for example. Costs a microsecond or two."""
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (psycopg.DataError, errors.ProgramLimitExceeded) as error:
        raise InvalidInput(f"a value cannot be stored: {_reason(error)}") from error
    except UnicodeEncodeError as error:
        raise InvalidInput(f"a value cannot be stored: {error.reason}") from error
    except _FASTER as error:
        raise _Outrun(f"others write the same rows all the time: {_reason(error)}") from error
    except psycopg.Error as error:
        raise StoreUnavailable(f"the database cannot be used now: {_reason(error)}") from error


def _reason(error: psycopg.Error) -> str:
    """The message without its details, which may hold values."""
    return error.diag.message_primary or str(error).partition("\n")[0]
