from __future__ import annotations

import sqlite3
import subprocess
import sys
from array import array
from hashlib import sha256
from pathlib import Path

import pytest

from quarterdeck.core.errors import Misconfigured, StoreUnavailable
from quarterdeck.knowledge.base import Chunk, Document, Lookup, Space, Vector
from quarterdeck.knowledge.indexes import sqlite, sqlite_vectors
from quarterdeck.knowledge.indexes.sqlite import SqliteIndex

EVERYONE = frozenset({"everyone"})
PLANE = Space(embedder="directions", dim=2)


def document(id: str, text: str) -> tuple[Document, list[Chunk]]:
    made = Document(id=id, tenant="acme", title="", text=text, groups=EVERYONE)
    return made, [Chunk(text=text, start=0, end=len(text))]


async def found(index: SqliteIndex, text: str) -> list[str]:
    return [passage.id for passage in await index.keyword(Lookup(text=text, tenant="acme", groups=EVERYONE), 10)]


def vector(*numbers: float) -> Vector:
    return array("f", numbers)


async def near(index: SqliteIndex, asked: Vector | None = None) -> list[str]:
    lookup = Lookup(text="", tenant="acme", groups=EVERYONE)
    return [passage.id for passage in await index.vector(lookup, asked or vector(1, 0), 10)]


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


# The tables of the first version, which had no vectors and one text for each document.
VERSION_1 = """
CREATE TABLE identity(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE tenant(tenant TEXT PRIMARY KEY, documents INTEGER NOT NULL, passages INTEGER NOT NULL,
  generation INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE document(tenant TEXT NOT NULL, id TEXT NOT NULL, title TEXT NOT NULL, text TEXT NOT NULL, uri TEXT NOT NULL,
  trusted INTEGER NOT NULL, groups TEXT NOT NULL, meta TEXT NOT NULL, next INTEGER NOT NULL, PRIMARY KEY(tenant, id));
CREATE TABLE passage(id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, doc TEXT NOT NULL, n INTEGER NOT NULL,
  text TEXT NOT NULL, heading TEXT NOT NULL, start INTEGER NOT NULL, end INTEGER NOT NULL, UNIQUE(tenant, doc, n));
CREATE TABLE acl(tenant TEXT NOT NULL, grp TEXT NOT NULL, passage INTEGER NOT NULL,
  PRIMARY KEY(tenant, grp, passage)) WITHOUT ROWID;
CREATE INDEX acl_passage ON acl(passage);
CREATE VIRTUAL TABLE fts USING fts5(title, body, tokenize='porter unicode61');
INSERT INTO identity VALUES('analyzer', 'words+bigrams/1'), ('embedder', 'none'), ('schema', '1');
INSERT INTO tenant VALUES('acme', 1, 1, 7);
INSERT INTO document VALUES('acme', 'one', 'One', '年假 alpha', '', 1, '["everyone"]', '{"owner": "IT"}', 4);
INSERT INTO passage VALUES(12, 'acme', 'one', 3, '年假 alpha', '[]', 0, 8);
INSERT INTO acl VALUES('acme', 'everyone', 12);
INSERT INTO fts(rowid, title, body) VALUES(12, 'one', '年假 alpha');
"""


def version_1(path: Path) -> Path:
    db = sqlite3.connect(path)
    db.executescript(VERSION_1)
    db.close()
    return path


async def test_a_file_of_the_first_version_is_taken_over(tmp_path: Path) -> None:
    index = await SqliteIndex.open(version_1(tmp_path / "index.db"))

    held = await index.document("acme", "one", EVERYONE)
    editions = await index.editions("acme", "one", EVERYONE)
    stats = await index.stats("acme")

    assert held is not None
    assert (held.title, held.text, held.meta, held.edition, held.trusted) == ("One", "年假 alpha", {"owner": "IT"}, 1, True)
    assert [(e.number, e.characters, e.sha256) for e in editions] == [(1, 8, sha256("年假 alpha".encode()).hexdigest())]
    assert await found(index, "alpha") == ["one-3"]
    assert (stats.documents, stats.passages, stats.generation) == (1, 1, 7)
    await index.upsert(*document("one", "beta"))
    assert await found(index, "beta") == ["one-4"]
    await index.close()


async def test_a_file_of_the_second_version_is_taken_over(tmp_path: Path) -> None:
    index = await SqliteIndex.open(tmp_path / "index.db", PLANE)
    await index.upsert(*document("one", "alpha"), [vector(1, 0)])
    await index.close()
    db = sqlite3.connect(tmp_path / "index.db")
    db.executescript("DROP TABLE former; UPDATE identity SET value = '2' WHERE name = 'schema'")
    db.close()

    index = await SqliteIndex.open(tmp_path / "index.db", PLANE)
    await index.delete("acme", ["one"])
    await index.upsert(*document("one", "beta"), [vector(1, 0)])

    assert await near(index) == ["one-2"]
    await index.close()


async def test_a_deleted_document_leaves_not_even_its_name_in_the_file(tmp_path: Path) -> None:
    index = await SqliteIndex.open(tmp_path / "index.db")
    await index.upsert(*document("warning-of-anna", "alpha"))

    await index.delete("acme", ["warning-of-anna"])

    db = sqlite3.connect(tmp_path / "index.db")
    said = "".join(db.iterdump())
    db.close()
    await index.close()
    assert "INSERT INTO" in said
    assert "anna" not in said


async def test_a_file_of_the_first_version_has_no_vectors_to_search_by(tmp_path: Path) -> None:
    path = version_1(tmp_path / "index.db")

    with pytest.raises(Misconfigured, match="re-index"):
        await SqliteIndex.open(path, PLANE)

    index = await SqliteIndex.open(path)
    assert await found(index, "alpha") == ["one-3"]
    await index.close()


@pytest.mark.row("K10", part="sqlite")
async def test_two_opened_indexes_see_each_others_vectors(tmp_path: Path) -> None:
    one = await SqliteIndex.open(tmp_path / "index.db", PLANE)
    other = await SqliteIndex.open(tmp_path / "index.db", PLANE)
    seen = [await near(other)]

    await one.upsert(*document("a", "alpha"), [vector(1, 0)])
    seen.append(await near(other))
    await other.upsert(*document("b", "beta"), [vector(1, 1)])
    await one.upsert(*document("a", "gamma"), [vector(0, 1)])
    seen += [await near(one), await near(other)]
    await one.delete("acme", ["b"])
    seen.append(await near(other))

    assert seen == [[], ["a-1"], ["b-1", "a-2"], ["b-1", "a-2"], ["a-2"]]
    await one.close()
    await other.close()


async def test_vectors_of_replaced_passages_are_dropped_when_there_is_no_room_for_new_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_vectors, "BATCH", 3)
    index = await SqliteIndex.open(tmp_path / "index.db", PLANE)
    for number in range(7):
        await index.upsert(*document(f"d{number}", "alpha"), [vector(1, number)])
    seen = []

    for turn in range(20):
        await index.upsert(*document("d3", f"turn {turn}"), [vector(1, -1 - turn)])
        seen.append((await near(index), await near(index, vector(1, -1 - turn)))[1][0])

    assert seen == [f"d3-{turn + 2}" for turn in range(20)]
    assert sorted(await near(index)) == sorted(["d3-21", *(f"d{number}-1" for number in range(7) if number != 3)])
    await index.close()


async def test_an_index_with_vectors_without_numpy_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "quarterdeck.knowledge.indexes.sqlite_vectors", raising=False)
    monkeypatch.setitem(sys.modules, "numpy", None)

    with pytest.raises(Misconfigured, match=r"quarterdeck\[vectors\]"):
        await SqliteIndex.open(tmp_path / "index.db", PLANE)

    assert list(tmp_path.iterdir()) == []


def test_the_index_is_imported_without_numpy() -> None:
    code = "import sys, quarterdeck.knowledge.indexes.sqlite; sys.exit('numpy' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
