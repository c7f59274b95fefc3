"""What an index must be that documents are copied from, whatever it was written with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from quarterdeck.core.errors import Misconfigured
from quarterdeck.knowledge.base import KnowledgeIndex
from quarterdeck.knowledge.indexes.postgres import PostgresIndex
from quarterdeck.knowledge.indexes.postgres_archive import PostgresArchive
from quarterdeck.knowledge.indexes.sqlite import SqliteIndex
from quarterdeck.knowledge.indexes.sqlite_archive import SqliteArchive
from quarterdeck.knowledge.ingest_copy import Archive
from tests.contracts.indexes import PLANE, document, vector, whole

Opened = tuple[Callable[[], Awaitable[KnowledgeIndex]], Callable[[], Awaitable[Archive]]]
TENANTS = ["acme", "globex", "nobody"]


@pytest.fixture(params=["sqlite", "postgres"])
def opening(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    """What opens an index with vectors, and the same as an archive."""
    if request.param == "sqlite":
        path = tmp_path / "index.db"
        return lambda: SqliteIndex.open(path, PLANE), lambda: SqliteArchive.open(path)
    url = request.getfixturevalue("postgres_url_without_index")
    return (
        lambda: PostgresIndex.open(url, PLANE, wait_s=20, answer_s=20),
        lambda: PostgresArchive.open(url, TENANTS),
    )


@pytest.fixture
async def index(opening: Opened) -> AsyncIterator[KnowledgeIndex]:
    opened = await opening[0]()
    yield opened
    await opened.close()


@pytest.mark.row("K8", part="copied")
async def test_an_archive_has_every_document_of_every_tenant_whoever_may_read_it(
    index: KnowledgeIndex, opening: Opened
) -> None:
    one = replace(
        document("one", "alpha beta", groups={"hr"}, meta={"owner": "Ann"}), trusted=True, uri="https://a.example/"
    )
    closed, foreign = document("closed", "gamma", groups=()), document("one", "delta", tenant="globex")
    await index.upsert(replace(one, text="former"), whole(replace(one, text="former")))
    chunks = [replace(chunk, heading_path=("A", "B")) for chunk in whole(one)]
    await index.upsert(one, chunks, [vector(1, 0)])
    for other in (closed, foreign):
        await index.upsert(other, whole(other))

    archive = await opening[1]()

    assert await archive.tenants() == ["acme", "globex"]
    assert await archive.ids("acme") == ["closed", "one"]
    read = await archive.read("acme", "one")
    assert read is not None
    assert read == (replace(one, edition=0, stored_at=None), chunks)
    told = await archive.read("globex", "one")
    assert told is not None
    assert told[0].text == "delta"
    assert await archive.read("nobody", "one") is None
    await archive.close()


async def test_what_holds_no_index_is_no_archive(opening: Opened) -> None:
    with pytest.raises(Misconfigured):
        await opening[1]()
