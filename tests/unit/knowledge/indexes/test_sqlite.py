from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from quarterdeck.core.errors import Misconfigured, StoreUnavailable
from quarterdeck.knowledge.base import Chunk, Document, Lookup
from quarterdeck.knowledge.indexes import sqlite
from quarterdeck.knowledge.indexes.sqlite import SqliteIndex

EVERYONE = frozenset({"everyone"})


def document(id: str, text: str) -> tuple[Document, list[Chunk]]:
    made = Document(id=id, tenant="acme", title="", text=text, groups=EVERYONE)
    return made, [Chunk(text=text, start=0, end=len(text))]


async def found(index: SqliteIndex, text: str) -> list[str]:
    return [passage.id for passage in await index.keyword(Lookup(text=text, tenant="acme", groups=EVERYONE), 10)]


@pytest.mark.row("K10", part="sqlite")
async def test_an_index_is_there_after_reopening(tmp_path: Path) -> None:
    first = await SqliteIndex.open(tmp_path / "index.db")
    await first.upsert(*document("one", "alpha"))
    await first.close()

    again = await SqliteIndex.open(tmp_path / "index.db")

    assert await found(again, "alpha") == ["one-1"]
    await again.close()


async def test_two_opened_indexes_see_each_others_changes(tmp_path: Path) -> None:
    one = await SqliteIndex.open(tmp_path / "index.db")
    other = await SqliteIndex.open(tmp_path / "index.db")

    await one.upsert(*document("one", "alpha"))
    await other.upsert(*document("two", "alpha beta"))

    assert sorted(await found(one, "alpha")) == sorted(await found(other, "alpha")) == ["one-1", "two-1"]
    assert (await one.stats("acme")).generation == 2
    await one.close()
    await other.close()


@pytest.mark.row("K10", part="sqlite")
async def test_an_index_of_another_analyzer_is_refused_and_asks_to_be_made_anew(tmp_path: Path) -> None:
    index = await SqliteIndex.open(tmp_path / "index.db")
    await index.close()
    with sqlite3.connect(tmp_path / "index.db") as db:
        db.execute("UPDATE identity SET value = 'words/0' WHERE name = 'analyzer'")
    db.close()

    with pytest.raises(Misconfigured, match="re-index"):
        await SqliteIndex.open(tmp_path / "index.db")


async def test_a_file_that_is_no_index_is_refused_and_left_alone(tmp_path: Path) -> None:
    noise, foreign = tmp_path / "noise.db", tmp_path / "foreign.db"
    noise.write_bytes(b"no database at all " * 100)
    db = sqlite3.connect(foreign)
    db.execute("CREATE TABLE customers(name TEXT)")
    db.close()

    for path in (noise, foreign):
        with pytest.raises(Misconfigured):
            await SqliteIndex.open(path)

    assert noise.read_bytes().startswith(b"no database")


async def test_a_folder_that_does_not_exist_is_said_to_be_unavailable(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        await SqliteIndex.open(tmp_path / "nowhere" / "index.db")


async def test_a_closed_index_says_so(tmp_path: Path) -> None:
    index = await SqliteIndex.open(tmp_path / "index.db")
    await index.close()

    with pytest.raises(StoreUnavailable):
        await found(index, "alpha")
    with pytest.raises(StoreUnavailable):
        await index.upsert(*document("one", "alpha"))


async def test_words_of_most_passages_are_looked_up_only_if_there_are_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "COMMON_FROM", 4)
    index = await SqliteIndex.open(tmp_path / "index.db")
    for number in range(10):
        await index.upsert(*document(f"d{number}", f"company word{number}"))

    assert await found(index, "company word3") == ["d3-1"]
    assert len(await found(index, "company")) == 10
    await index.close()


async def test_the_full_text_tables_stay_sound_over_many_changes(tmp_path: Path) -> None:
    index = await SqliteIndex.open(tmp_path / "index.db")
    for turn in range(5):
        for number in range(10):
            await index.upsert(*document(f"d{number}", f"alpha turn{turn} 第{number}篇"))
    await index.delete("acme", [f"d{number}" for number in range(0, 10, 2)])
    await index.close()

    db = sqlite3.connect(tmp_path / "index.db")
    db.execute("INSERT INTO fts(fts) VALUES('integrity-check')")
    counts = [db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("fts", "passage", "acl", "document")]
    orphans = db.execute("SELECT count(*) FROM acl WHERE passage NOT IN (SELECT id FROM passage)").fetchone()[0]
    db.close()

    assert counts == [5, 5, 5, 5]
    assert orphans == 0
