"""Every engine of the knowledge index, opened as the product opens it, on data that is gone afterwards."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.corpora import NotThere
from quarterdeck.knowledge.base import KnowledgeIndex, Space
from quarterdeck.knowledge.indexes.sqlite import SqliteIndex
from tests.postgres_server import NoPostgres, postgres_server


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An empty index, and what it takes on disk.

    Attributes:
        server: The process that works for the index, with children; None for an engine within this process.
    """

    index: KnowledgeIndex
    disk_bytes: Callable[[], int]
    server: psutil.Process | None = None


Open = Callable[[Space], AbstractAsyncContextManager[Opened]]


@asynccontextmanager
async def sqlite(space: Space) -> AsyncIterator[Opened]:
    with _folder() as folder:
        index = await SqliteIndex.open(Path(folder) / "index.db", space)
        try:
            yield Opened(index=index, disk_bytes=lambda: _size(Path(folder)))
        finally:
            await index.close()


@asynccontextmanager
async def qdrant(space: Space) -> AsyncIterator[Opened]:
    """The client's own engine in this process: exact, slow, and good for the order it gives. Raises NotThere."""
    try:
        from quarterdeck.knowledge.indexes.qdrant import QdrantIndex
    except ImportError as error:
        raise NotThere(str(error)) from error
    with _folder() as folder:
        index = await QdrantIndex.open(f"qdrant+local://{folder}/qdrant", space)
        try:
            yield Opened(index=index, disk_bytes=lambda: _size(Path(folder)))
        finally:
            await index.close()


@asynccontextmanager
async def postgres(space: Space) -> AsyncIterator[Opened]:
    """A server of its own. Raises NotThere."""
    try:
        import psycopg

        from quarterdeck.knowledge.indexes.postgres import PostgresIndex

        with postgres_server() as server:
            url = server.new_database()

            def size() -> int:
                with psycopg.connect(url) as connection:
                    row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
                assert row is not None
                return int(row[0])

            index = await PostgresIndex.open(url, space, wait_s=60, answer_s=60)
            try:
                yield Opened(index=index, disk_bytes=size, server=psutil.Process(server.pid))
            finally:
                await index.close()
    except (ImportError, NoPostgres) as error:
        raise NotThere(str(error)) from error


def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="quarterdeck-bench-")


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
