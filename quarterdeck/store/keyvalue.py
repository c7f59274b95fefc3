"""State by key (row R12): in a folder, in SQLite, in memory. Each gives URIs that `load_uri` understands."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote, urlsplit

from anyio import to_thread

from quarterdeck.core.errors import InvalidInput, Misconfigured, StoreUnavailable
from quarterdeck.core.ids import check_id, new_id
from quarterdeck.store.instants import Clock, to_micros, utc_now
from quarterdeck.store.seal import Seal

if TYPE_CHECKING:
    import sqlite3

    from quarterdeck.store.sqlite import SqliteDatabase

__all__ = ["FolderKeyValue", "MemoryKeyValue", "SqliteKeyValue", "check_key", "state_uri", "uri_key"]

MAX_DEPTH = 8  # ids in a key

_SAVE = """INSERT INTO keyvalue (tenant, key, bytes, updated_at) VALUES (?, ?, ?, ?)
ON CONFLICT (tenant, key) DO UPDATE SET bytes = excluded.bytes, updated_at = excluded.updated_at"""
_LOAD = "SELECT bytes FROM keyvalue WHERE tenant = ? AND key = ?"
_CLEAR_ONE = "DELETE FROM keyvalue WHERE tenant = ? AND key = ?"
_CLEAR_ALL = "DELETE FROM keyvalue WHERE tenant = ?"


def check_key(tenant: str, key: str) -> tuple[str, ...]:
    """The ids a key is made of. Raises InvalidInput for a path that could lead anywhere else."""
    check_id(tenant, "tenant")
    ids = key.split("/")
    if len(ids) > MAX_DEPTH:
        raise InvalidInput(f"key {key[:80]!r} has more than {MAX_DEPTH} parts")
    return tuple(check_id(part, "key") for part in ids)


def state_uri(scheme: str, tenant: str, key: str) -> str:
    """Names a kept state without naming the machine or folder it is on, so that stores can be moved."""
    return f"{scheme}://{tenant}/{key}"


def uri_key(scheme: str, tenant: str, uri: str) -> str | None:
    """The key a URI names; None if it belongs to another tenant.

    Raises:
        InvalidInput: It is no URI of this kind of store.
    """
    found, separator, rest = uri.partition("://")
    owner, slash, key = rest.partition("/")
    if found != scheme or not separator or not slash:
        raise InvalidInput(f"{uri[:80]!r} is no state URI: expected {scheme}://tenant/key")
    check_key(owner, key)
    return key if owner == tenant else None


class MemoryKeyValue:
    """`KeyValue` that ends with the process."""

    scheme = "memory"

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], bytes] = {}

    async def save(self, tenant: str, key: str, payload: bytes) -> str:
        """Keep `payload`, replacing what was there; returns a URI for `load_uri`."""
        check_key(tenant, key)
        self._kept[tenant, key] = bytes(payload)
        return state_uri(self.scheme, tenant, key)

    async def load(self, tenant: str, key: str) -> bytes | None:
        check_key(tenant, key)
        return self._kept.get((tenant, key))

    async def load_uri(self, tenant: str, uri: str) -> bytes | None:
        """What `save` kept under the URI it returned; None for another tenant's."""
        key = uri_key(self.scheme, tenant, uri)
        return None if key is None else await self.load(tenant, key)

    async def clear(self, tenant: str, key: str | None = None) -> int:
        """Forget one key, or without a key all of the tenant's. Returns how many were forgotten."""
        check_key(tenant, key if key is not None else "all")
        gone = [kept for kept in self._kept if kept[0] == tenant and key in (None, kept[1])]
        for kept in gone:
            del self._kept[kept]
        return len(gone)


class SqliteKeyValue:
    """`KeyValue` in a SQLite database."""

    scheme = "sqlite"

    def __init__(self, database: SqliteDatabase, *, clock: Clock = utc_now) -> None:
        self._database = database
        self._clock = clock

    async def save(self, tenant: str, key: str, payload: bytes) -> str:
        """Keep `payload`, replacing what was there; returns a URI for `load_uri`."""
        check_key(tenant, key)
        values = (tenant, key, payload, to_micros(self._clock()))
        await self._database.write(lambda c: c.execute(_SAVE, values).rowcount)
        return state_uri(self.scheme, tenant, key)

    async def load(self, tenant: str, key: str) -> bytes | None:
        check_key(tenant, key)

        def query(connection: sqlite3.Connection) -> bytes | None:
            row = connection.execute(_LOAD, (tenant, key)).fetchone()
            return None if row is None else row[0]

        return await self._database.read(query)

    async def load_uri(self, tenant: str, uri: str) -> bytes | None:
        """What `save` kept under the URI it returned; None for another tenant's."""
        key = uri_key(self.scheme, tenant, uri)
        return None if key is None else await self.load(tenant, key)

    async def clear(self, tenant: str, key: str | None = None) -> int:
        """Forget one key, or without a key all of the tenant's. Returns how many were forgotten."""
        check_key(tenant, key if key is not None else "all")
        if key is None:
            return await self._database.write(lambda c: c.execute(_CLEAR_ALL, (tenant,)).rowcount)
        return await self._database.write(lambda c: c.execute(_CLEAR_ONE, (tenant, key)).rowcount)


class FolderKeyValue:
    """`KeyValue` as files: ``FOLDER/tenant/part/part.bin``, replaced at one stroke.

    With a secret each file is sealed, so that one changed or moved by somebody else is refused instead of believed.
    """

    scheme = "folder"

    def __init__(self, folder: str | os.PathLike[str], *, secret: bytes | None = None) -> None:
        self._folder = Path(folder)
        self._seal = None if secret is None else Seal(secret)

    @classmethod
    async def open(cls, url: str, *, secret: bytes) -> Self:
        """The folder of a URL such as ``file:///var/lib/states``, made at the first save. Raises Misconfigured."""
        parts = urlsplit(url)
        if (
            parts.scheme != "file"
            or parts.netloc not in ("", "localhost")
            or not parts.path.startswith("/")
            or parts.path == "/"
        ):
            raise Misconfigured("a folder of states is named by a URL such as file:///var/lib/states")
        return cls(unquote(parts.path), secret=secret)

    async def save(self, tenant: str, key: str, payload: bytes) -> str:
        """Keep `payload`, replacing what was there; returns a URI for `load_uri`. On disk when it returns."""
        path = self._path(tenant, key)

        def write() -> None:
            _replace(path, payload if self._seal is None else self._seal.close(tenant, key, payload))

        await to_thread.run_sync(write)
        return state_uri(self.scheme, tenant, key)

    async def load(self, tenant: str, key: str) -> bytes | None:
        """What was saved, None if nothing was.

        Raises:
            Misconfigured: The file was changed outside, or written with another secret.
        """
        path = self._path(tenant, key)

        def read() -> bytes | None:
            data = _content(path)
            return data if data is None or self._seal is None else self._seal.open(tenant, key, data)

        return await to_thread.run_sync(read)

    async def load_uri(self, tenant: str, uri: str) -> bytes | None:
        """What `save` kept under the URI it returned; None for another tenant's."""
        key = uri_key(self.scheme, tenant, uri)
        return None if key is None else await self.load(tenant, key)

    async def clear(self, tenant: str, key: str | None = None) -> int:
        """Forget one key, or without a key all of the tenant's. Returns how many were forgotten."""
        if key is None:
            check_id(tenant, "tenant")
            return await to_thread.run_sync(_remove_tree, self._folder / tenant)
        return await to_thread.run_sync(_remove, self._path(tenant, key))

    async def close(self) -> None:
        """Nothing is held open between calls."""

    def _path(self, tenant: str, key: str) -> Path:
        # No id has a dot, so that the file of "a" and the folder of "a/b" never meet.
        *folders, name = check_key(tenant, key)
        return self._folder.joinpath(tenant, *folders, f"{name}.bin")


def _replace(path: Path, data: bytes) -> None:
    """Write beside, sync, rename, sync the folder: a reader sees the old or the new, and so does a crash."""
    beside = path.with_name(f"{path.stem}.{new_id()}.part")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123 - a descriptor
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise StoreUnavailable(f"the state file {path} cannot be written: {error.strerror}") from error


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreUnavailable(f"the state file {path} cannot be read: {error.strerror}") from error


def _remove(path: Path) -> int:
    try:
        path.unlink()
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise StoreUnavailable(f"the state file {path} cannot be removed: {error.strerror}") from error
    return 1


def _remove_tree(folder: Path) -> int:
    count = sum(1 for _ in folder.rglob("*.bin"))
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise StoreUnavailable(f"the state folder {folder} cannot be removed: {error.strerror}") from error
    return count
