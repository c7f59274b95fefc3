"""The audit log of a configured folder: its witness, and the log opened without a server."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Collection
from pathlib import Path

from anyio import to_thread

from quarterdeck.app.implementations import STATES, STORES, resolve
from quarterdeck.app.stores import Store, in_turn, path_of, scheme_of, sealing_secret
from quarterdeck.core.errors import Misconfigured, NotFound
from quarterdeck.service.witness import Witness
from quarterdeck.settings import Configuration
from quarterdeck.store.base import Records
from quarterdeck.store.checkpoint_places import FileCheckpoints, KeptCheckpoints, PrintedCheckpoints
from quarterdeck.store.checkpoints import Checkpoint, CheckpointPlace, Signer
from quarterdeck.store.sqlite_store import DATABASE_NAME

__all__ = ["check_checkpoints", "checkpoints_of", "key_file", "opened_log", "opened_witness"]


@contextlib.asynccontextmanager
async def opened_witness(configuration: Configuration, records: Records) -> AsyncIterator[Witness | None]:
    """Who signs checkpoints while the block lasts; None if the configuration names no place for them.

    Raises Misconfigured for a place within the data folder, or one there is not, and for a key that is damaged.
    """
    settings = configuration.settings.audit
    if settings.checkpoints_url is None:
        yield None
        return
    place = await _place(configuration, settings.checkpoints_url.get_secret_value())
    try:
        async with in_turn(configuration):  # of processes that share the folder one makes the key
            signer = await to_thread.run_sync(Signer.of, key_file(configuration))
        yield Witness(records, signer, place, interval_s=settings.interval_s, every_rows=settings.every_rows)
    finally:
        await place.close()


def key_file(configuration: Configuration) -> Path:
    """Where the key lies that signs checkpoints."""
    given = configuration.settings.audit.key_file
    return configuration.data / "audit.key" if given is None else configuration.folder / given


async def checkpoints_of(configuration: Configuration, tenants: Collection[str]) -> list[Checkpoint]:
    """What the configured second place holds: all of a file; where only a tenant's last can be asked for, that of these.

    Raises Misconfigured, StoreUnavailable, and InvalidInput for a line that is no checkpoint.
    """
    url = configuration.settings.audit.checkpoints_url
    if url is None:
        return []
    place = await _place(configuration, url.get_secret_value())
    try:
        if isinstance(place, FileCheckpoints):
            return await to_thread.run_sync(place.read)
        found = [await place.latest(tenant) for tenant in tenants]
        return [each for each in found if each is not None]
    finally:
        await place.close()


def check_checkpoints(configuration: Configuration) -> None:
    """Raises Misconfigured if the file of checkpoints is none, or within the data folder. Nothing is opened."""
    url = configuration.settings.audit.checkpoints_url
    if url is not None and scheme_of(url.get_secret_value()) == "file":
        _file(configuration, url.get_secret_value())


@contextlib.asynccontextmanager
async def opened_log(url: str, folder: Path) -> AsyncIterator[Records]:
    """The records in a database that is there already, beside whoever else has it open, while the block lasts.

    Args:
        url: ``sqlite:///FOLDER`` or ``postgresql://..``.
        folder: What a relative path in it is relative to.

    Raises:
        NotFound: There is no such database. Others as `app.stores.opened_store` does.
    """
    opener = resolve(STORES, scheme_of(url), "store")
    store: Store
    if scheme_of(url) == "sqlite":
        path = path_of(url, folder)
        if not (path / DATABASE_NAME).is_file():
            raise NotFound(f"there is no database in {path}")
        store = opener(path)
    else:
        store = await opener(url, migrate=False, wait_s=10.0, answer_s=60.0)
    try:
        yield store.records
    finally:
        await store.close()


async def _place(configuration: Configuration, url: str) -> CheckpointPlace:
    scheme = scheme_of(url)
    if scheme == "stdout":
        return PrintedCheckpoints()
    if scheme == "file":
        return FileCheckpoints(_file(configuration, url))
    kind = resolve(STATES, scheme, "place for checkpoints")
    return KeptCheckpoints(await kind.open(url, secret=await sealing_secret(configuration)))


def _file(configuration: Configuration, url: str) -> Path:
    path = path_of(url, configuration.folder).resolve()
    if path.is_relative_to(configuration.data) or path.is_dir():
        raise Misconfigured(
            f"audit.checkpoints_url: {path} must be a file outside of the data folder: who can change the one could "
            "change the other"
        )
    return path
