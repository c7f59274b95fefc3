"""What rests where: the databases of a configured folder, opened by their URLs."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

from anyio import to_thread

from quarterdeck.app.implementations import SCHEMAS, STATES, STORES, resolve
from quarterdeck.core.errors import Misconfigured
from quarterdeck.settings import Configuration
from quarterdeck.store.base import Erasing, Journal, KeyValue, Records
from quarterdeck.store.lock import FolderLock

__all__ = [
    "Store",
    "WholeStore",
    "database",
    "in_turn",
    "migrated",
    "opened_states",
    "opened_store",
    "path_of",
    "scheme_of",
    "sealing_secret",
    "shared",
]

_SERVING_WAIT_S = 0.8  # a request that cannot be stored is refused within a second
_SERVING_ANSWER_S = 2.0
_WORKING_WAIT_S = _WORKING_ANSWER_S = 10.0  # a run that is being advanced has time


class Store(Protocol):
    """What rests in one database, under the protocols it is used by."""

    @property
    def journal(self) -> Journal: ...

    @property
    def records(self) -> Records: ...

    @property
    def keyvalue(self) -> KeyValue: ...

    async def close(self) -> None: ...


class WholeStore(Store, Protocol):
    """A store with what takes things out of it."""

    @property
    def erasing(self) -> Erasing: ...


@contextlib.asynccontextmanager
async def opened_store(configuration: Configuration, *, serving: bool) -> AsyncIterator[WholeStore]:
    """Journal, records and state of a folder, brought to this version, while the block lasts.

    Args:
        serving: Somebody waits for what is stored, so that a database that does not answer is an error at once.

    Raises:
        Misconfigured: There is no such engine, or another server holds the data of an engine that is for one.
        SchemaMismatch: It was written by a newer or another program.
        StoreUnavailable: It cannot be opened.
    """
    url = database(configuration)
    scheme = scheme_of(url)
    opener = resolve(STORES, scheme, "store")
    async with contextlib.AsyncExitStack() as stack:
        store: WholeStore
        if shared(configuration):
            settings = configuration.settings
            store = await opener(
                url,
                wait_s=_SERVING_WAIT_S if serving else _WORKING_WAIT_S,
                answer_s=_SERVING_ANSWER_S if serving and not settings.worker.in_server else _WORKING_ANSWER_S,
                max_connections=settings.store.max_connections,
            )
        else:
            stack.enter_context(FolderLock(configuration.data))
            store = opener(path_of(url, configuration.folder))
        stack.push_async_callback(store.close)
        yield store


def database(configuration: Configuration) -> str:
    """URL of the journal. It may hold a password."""
    url = configuration.settings.store.database_url
    return url.get_secret_value() if url else f"sqlite:///{configuration.data}"


def shared(configuration: Configuration) -> bool:
    """True if several processes may work on the journal at once."""
    return scheme_of(database(configuration)) != "sqlite"


async def migrated(configuration: Configuration, target: int | None = None) -> None:
    """Bring the journal's database up or down to a version of its schema, the newest by default.

    Raises as `opened_store` does, and Misconfigured for a version there is not.
    """
    url = database(configuration)
    migrate = resolve(SCHEMAS, scheme_of(url), "store")
    if shared(configuration):
        await migrate(url, target)
        return
    with FolderLock(configuration.data):
        await migrate(path_of(url, configuration.folder), target)


@contextlib.asynccontextmanager
async def opened_states(configuration: Configuration, store: Store) -> AsyncIterator[KeyValue]:
    """Where snapshots rest while the block lasts. Nothing is asked of it yet: a server starts while it is away.

    Raises Misconfigured if the URL is none, or its client is not installed.
    """
    settings = configuration.settings.store
    if settings.state_url is None:
        yield store.keyvalue
        return
    url = settings.state_url.get_secret_value()
    scheme = scheme_of(url)
    states = await resolve(STATES, scheme, "place for snapshots").open(url, secret=await sealing_secret(configuration))
    try:
        yield states
    finally:
        await states.close()


async def sealing_secret(configuration: Configuration) -> bytes:
    """What bytes are sealed with that leave the database."""
    given = configuration.settings.store.state_secret
    if given is not None:
        return given.get_secret_value().encode()
    async with in_turn(configuration):
        return _made_secret(configuration.data / "state.key")


def _made_secret(path: Path) -> bytes:
    """The secret of a data folder, made at first use."""
    if not path.exists():
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123 - a descriptor
            file.write(secrets.token_hex(32).encode())
    return path.read_bytes()


@contextlib.asynccontextmanager
async def in_turn(configuration: Configuration) -> AsyncIterator[None]:
    """What processes that share a data folder do one after the other: making keys, bringing in documents."""
    lock = FolderLock(configuration.data, name="setup", wait=True)
    await to_thread.run_sync(lock.acquire)
    try:
        yield
    finally:
        lock.release()


def scheme_of(url: str) -> str:
    """What stands in front of ``://``. Raises Misconfigured if nothing does."""
    scheme, separator, _ = url.partition("://")
    if not separator:  # the rest of a URL may hold a password, so it stays out of messages
        raise Misconfigured("a store is named by a URL such as sqlite:///path")
    return scheme


def path_of(url: str, folder: Path) -> Path:
    """Three slashes: relative to the folder; four: absolute."""
    return folder / url.partition("://")[2].removeprefix("/")
