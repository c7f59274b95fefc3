from __future__ import annotations

from pathlib import Path

import pytest

from quarterdeck.knowledge.forgetting import Forgetting
from quarterdeck.knowledge.indexes.sqlite import SqliteIndex
from quarterdeck.store.cache import Levels, MemoryCache, Shelf
from quarterdeck.store.cache_sqlite import SqliteCache
from tests.contracts.indexes import document, put


@pytest.mark.row("K8", part="removed everywhere")
@pytest.mark.parametrize("change", ["delete", "groups"])
async def test_what_is_taken_out_leaves_no_byte_in_any_level_of_the_cache(tmp_path: Path, change: str) -> None:
    cache = Levels(MemoryCache(), await SqliteCache.open(tmp_path / "cache.db"))
    shelves = [Shelf(cache, name, ttl_s=3600) for name in ("retrieval", "answers", "embeddings")]
    index = Forgetting(await SqliteIndex.open(tmp_path / "index.db"), shelves)
    await put(index, document("plan", "The plan is ZQMARK."))
    for shelf in shelves:
        await shelf.put("acme", {"k": b"The plan is ZQMARK."})
        await shelf.put("globex", {"k": b"another tenant's"})

    if change == "delete":
        await index.delete("acme", ["plan"])
    else:
        await index.set_groups("acme", "plan", frozenset({"hr"}))

    assert [await shelf.get("acme", ["k"]) for shelf in shelves] == [{}, {}, {}]
    assert [await shelf.get("globex", ["k"]) for shelf in shelves] == [{"k": b"another tenant's"}] * 3
    await cache.close()
    await index.close()
    assert not any(b"ZQMARK" in file.read_bytes() for file in tmp_path.glob("cache.db*"))


async def test_nothing_is_forgotten_for_a_document_there_was_not(tmp_path: Path) -> None:
    shelf = Shelf(MemoryCache(), "retrieval", ttl_s=3600)
    index = Forgetting(await SqliteIndex.open(tmp_path / "index.db"), [shelf])
    await shelf.put("acme", {"k": b"kept"})

    assert await index.delete("acme", ["nothing"]) == 0

    assert await shelf.get("acme", ["k"]) == {"k": b"kept"}
    await index.close()
