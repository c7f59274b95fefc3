"""The embedded index as something to copy from, whichever analyzer and embedder it was written with."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anyio import to_thread

from quarterdeck.core.errors import Misconfigured, StoreUnavailable
from quarterdeck.knowledge.base import Chunk, Document

__all__ = ["SqliteArchive"]

_TENANTS = "SELECT DISTINCT tenant FROM document ORDER BY tenant"
_IDS = "SELECT id FROM document WHERE tenant = ? ORDER BY id"
_DOCUMENT = """
SELECT edition.title, edition.text, document.groups, document.trusted, document.uri, document.meta
FROM document JOIN edition ON edition.tenant = document.tenant AND edition.doc = document.id AND edition.n = document.edition
WHERE document.tenant = ? AND document.id = ?
"""
_CHUNKS = "SELECT text, start, end, heading FROM passage WHERE tenant = ? AND doc = ? ORDER BY start, n"


class SqliteArchive:
    """`knowledge.ingest_copy.Archive` of one SQLite file, read as it stands while others may write it."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    @classmethod
    async def open(cls, path: Path) -> SqliteArchive:
        """Raises Misconfigured if there is no such file, or it is no index of this or the last schema."""
        return cls(await to_thread.run_sync(_open, path))

    async def tenants(self) -> list[str]:
        return [tenant for (tenant,) in await self._rows(_TENANTS)]

    async def ids(self, tenant: str) -> list[str]:
        return [doc for (doc,) in await self._rows(_IDS, tenant)]

    async def read(self, tenant: str, doc_id: str) -> tuple[Document, Sequence[Chunk]] | None:
        return await to_thread.run_sync(self._read, tenant, doc_id)

    async def close(self) -> None:
        self._db.close()

    async def _rows(self, statement: str, *values: str) -> list[Any]:
        return await to_thread.run_sync(lambda: self._execute(statement, values))

    def _read(self, tenant: str, doc_id: str) -> tuple[Document, Sequence[Chunk]] | None:
        self._execute("BEGIN")  # a document and its passages as of one moment
        try:
            rows = self._execute(_DOCUMENT, (tenant, doc_id))
            chunks = [
                Chunk(text=text, start=start, end=end, heading_path=tuple(json.loads(heading)))
                for text, start, end, heading in self._execute(_CHUNKS, (tenant, doc_id))
            ]
        finally:
            self._execute("COMMIT")
        if not rows:
            return None
        title, text, groups, trusted, uri, meta = rows[0]
        document = Document(
            id=doc_id,
            tenant=tenant,
            title=title,
            text=text,
            groups=frozenset(json.loads(groups)),
            trusted=bool(trusted),
            uri=uri,
            meta=json.loads(meta),
        )
        return document, chunks

    def _execute(self, statement: str, values: Sequence[str] = ()) -> list[Any]:
        try:
            return self._db.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise StoreUnavailable(f"the index cannot be read: {error}") from error


def _open(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise Misconfigured(f"there is no index at {path}")
    db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False)
    try:
        db.execute(_DOCUMENT, ("", "")).fetchall()
        db.execute(_CHUNKS, ("", "")).fetchall()
    except sqlite3.Error as error:
        db.close()
        raise Misconfigured(f"{path} is no index that can be copied: {error}") from error
    return db
