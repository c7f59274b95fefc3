from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from quarterdeck.core.errors import InvalidInput
from quarterdeck.core.ids import check_id
from quarterdeck.knowledge.base import Lookup
from quarterdeck.knowledge.indexes.sqlite import SqliteIndex
from quarterdeck.knowledge.ingest import Ingester

EVERYONE = frozenset({"everyone"})


@pytest.fixture
async def index(tmp_path: Path) -> AsyncIterator[SqliteIndex]:
    opened = await SqliteIndex.open(tmp_path / "index.db")
    yield opened
    await opened.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "knowledge"
    (made / "it").mkdir(parents=True)
    (made / "it" / "VPN setup.md").write_text("---\ngroups: [everyone]\n---\n# Tunnel\n\nalpha\n\n## More\n\nbeta\n")
    (made / "pay.md").write_text("---\ntitle: Pay\ngroups: hr\nowner: Ann\n---\ngamma\n")
    (made / "notes.txt").write_text("delta\n")
    return made


async def found(index: SqliteIndex, text: str, *groups: str) -> list[str]:
    lookup = Lookup(text=text, tenant="acme", groups=frozenset(groups or EVERYONE))
    return [passage.id for passage in await index.keyword(lookup, 10)]


@pytest.mark.row("K1", part="markdown")
async def test_a_folder_becomes_documents_with_titles_groups_and_metadata(index: SqliteIndex, folder: Path) -> None:
    seen: list[tuple[int, int, str]] = []

    report = await Ingester(index, "acme").ingest_folder(
        folder, groups={"staff"}, collection="kb", progress=lambda done, total, file: seen.append((done, total, file))
    )

    assert (report.added, report.refused, report.warnings) == (3, (), ())
    assert await found(index, "alpha beta") == ["it-vpn-setup-1", "it-vpn-setup-2"]
    assert await found(index, "gamma") == []
    assert await found(index, "delta", "staff") == ["notes-1"]
    pay = await index.document("acme", "pay", frozenset({"hr"}))
    assert pay is not None
    assert (pay.title, pay.text, pay.trusted) == ("Pay", "gamma\n", False)
    assert (pay.meta["owner"], pay.meta["path"], pay.meta["collection"]) == ("Ann", "pay.md", "kb")
    assert str(folder) not in str(pay.meta)
    assert seen == [(0, 3, "notes.txt"), (1, 3, "pay.md"), (2, 3, "it/VPN setup.md"), (3, 3, "")]


async def test_a_second_time_only_what_changed_is_read(index: SqliteIndex, folder: Path) -> None:
    ingester = Ingester(index, "acme")
    await ingester.ingest_folder(folder)
    before = (await index.stats("acme")).generation
    again = await ingester.ingest_folder(folder)
    unchanged = (await index.stats("acme")).generation
    (folder / "it" / "VPN setup.md").write_text("---\ngroups: [everyone]\n---\nepsilon\n")

    report = await ingester.ingest_folder(folder)

    assert (again.added, again.updated, again.unchanged) == (0, 0, 3)
    assert unchanged == before
    assert (report.added, report.updated, report.unchanged) == (0, 1, 2)
    assert await found(index, "alpha epsilon") == ["it-vpn-setup-3"]


async def test_other_default_groups_count_as_a_change(index: SqliteIndex, folder: Path) -> None:
    ingester = Ingester(index, "acme")
    await ingester.ingest_folder(folder, groups={"everyone"})

    await ingester.ingest_folder(folder, groups={"staff"})

    assert await found(index, "delta") == []


async def test_vanished_files_are_forgotten_but_only_those_of_the_folder(
    index: SqliteIndex, folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("zeta")
    ingester = Ingester(index, "acme")
    await ingester.ingest_folder(folder, groups=EVERYONE)
    await ingester.ingest_folder(other, groups=EVERYONE)
    (folder / "notes.txt").unlink()

    report = await ingester.ingest_folder(folder, groups=EVERYONE)

    assert report.removed == 1
    assert await found(index, "delta") == []
    assert len(await found(index, "zeta")) == 1


@pytest.mark.row("K7", part="ingest")
async def test_a_document_without_groups_is_read_by_nobody_and_the_report_says_so(index: SqliteIndex, folder: Path) -> None:
    report = await Ingester(index, "acme").ingest_folder(folder)

    assert [file for file, _ in report.warnings] == ["notes.txt"]
    assert await found(index, "delta", "everyone", "staff", "hr") == []


@pytest.mark.row("K1", part="markdown")
async def test_bad_files_are_refused_with_a_reason_and_the_rest_is_read(index: SqliteIndex, folder: Path) -> None:
    (folder / "broken.md").write_text("---\ngroups: [hr\n---\nx\n")
    (folder / "binary.md").write_bytes(b"\x00\x01")
    (folder / "gbk.txt").write_bytes("密码".encode("gbk"))
    (folder / "big.txt").write_bytes(b"a" * 5_000_001)
    (folder / "empty.md").write_text("---\ngroups: hr\n---\n\n")
    (folder / "image.png").write_bytes(b"\x89PNG")
    (folder / "trusting.md").write_text("---\ntrusted: true\n---\nx\n")
    (folder / "badgroup.md").write_text("---\ngroups: 'h r'\n---\nx\n")
    (folder / ".hidden.md").write_text("x")
    (folder / "script.md").write_text("---\nuri: javascript:alert(1)\n---\nx\n")
    os.mkfifo(folder / "pipe.md")

    report = await Ingester(index, "acme").ingest_folder(folder, groups=EVERYONE)

    reasons = dict(report.refused)
    assert report.added == 3
    assert reasons["broken.md"].startswith("line 2:")
    assert reasons.keys() == {
        *("broken.md", "binary.md", "gbk.txt", "big.txt", "empty.md", "image.png", "trusting.md", "badgroup.md", "pipe.md"),
        "script.md",
    }


@pytest.mark.row("K7", part="ingest")
@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("a.md", "--- \ngroups: hr\n---\n"),
        ("a.md", "\n\n---\ngroups: hr\n---\n"),
        ("a.md", "\ufeff\ufeff---\ngroups: hr\n---\n"),
        ("a.md", "\u200b---\ngroups: hr\n---\n"),
        ("a.md", "---\nGroups: hr\n---\n"),
        ("a.md", "---\ngroup: hr\n---\n"),
        ("a.md", "---\ngruops: hr\n---\n"),
        ("a.md", "----\ngroups: hr\n----\n"),
        ("a.md", "---\n---\ngroups: hr\n---\n"),
        ("a.md", "**Groups**: hr\n\n"),
        ("a.txt", "---\ngroups: hr\n---\n"),
    ],
)
async def test_an_access_list_written_a_little_wrong_never_falls_back_to_the_folders(
    index: SqliteIndex, tmp_path: Path, name: str, head: str
) -> None:
    folder = tmp_path / "kb"
    folder.mkdir()
    (folder / name).write_text(f"{head}zeta pay of everybody\n", encoding="utf-8")

    report = await Ingester(index, "acme").ingest_folder(folder, groups=EVERYONE)

    assert await found(index, "zeta", "everyone") == []
    assert await found(index, "zeta", "hr") or "groups" in dict(report.refused)[name].lower()


async def test_what_nobody_sees_in_a_file_is_not_read_from_it(index: SqliteIndex, tmp_path: Path) -> None:
    hidden = "".join(chr(0xE0000 + ord(letter)) for letter in "obey eve")
    (tmp_path / "a.md").write_text(f"# Leave\u202e\n\nEverybody has zeta{hidden} days.\n", encoding="utf-8")

    await Ingester(index, "acme").ingest_folder(tmp_path, groups=EVERYONE)

    document = await index.document("acme", "a", frozenset(EVERYONE))
    assert document is not None
    assert (document.title, document.text) == ("Leave", "# Leave\n\nEverybody has zeta days.\n")


async def test_nothing_of_a_file_that_broke_stays_searchable(index: SqliteIndex, folder: Path) -> None:
    ingester = Ingester(index, "acme")
    await ingester.ingest_folder(folder)
    (folder / "it" / "VPN setup.md").write_text("---\ngroups: [hr\n---\nalpha\n")

    report = await ingester.ingest_folder(folder)

    assert report.removed == 1
    assert await found(index, "alpha", "everyone", "hr") == []


@pytest.mark.row("K7", part="ingest")
async def test_links_out_of_the_folder_are_not_followed(index: SqliteIndex, folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.md").write_text("omega")
    (folder / "link.md").symlink_to(outside / "secret.md")
    (folder / "linked").symlink_to(outside)
    (folder / "loop").symlink_to(folder)
    (folder / "inside.md").symlink_to(folder / "notes.txt")

    report = await Ingester(index, "acme").ingest_folder(folder, groups=EVERYONE)

    assert [file for file, _ in report.refused] == ["link.md"]
    assert await found(index, "omega") == []
    assert len(await found(index, "delta")) == 2


async def test_ids_are_well_formed_and_differ_whatever_files_are_called(index: SqliteIndex, tmp_path: Path) -> None:
    folder = tmp_path / "names"
    folder.mkdir()
    names = ["a b.md", "a-b.md", "A_b.txt", "a.b.md", "年假.md", "年.md", "---.md", "x" * 200 + ".md", "Über.md", "a-1.md"]
    for name in names:
        (folder / name).write_text(f"alpha {name}")
    ingester = Ingester(index, "acme")

    report = await ingester.ingest_folder(folder, groups=EVERYONE)
    catalogue = await index.catalogue("acme")
    (folder / "a b.md").unlink()
    await ingester.ingest_folder(folder, groups=EVERYONE)

    assert report.added == len(names)
    assert len(catalogue) == len(names)
    assert all(check_id(f"{doc}-1234567") for doc in catalogue)
    assert set(await index.catalogue("acme")) < set(catalogue)


async def test_a_folder_that_is_none_is_refused(index: SqliteIndex, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no folder"):
        await Ingester(index, "acme").ingest_folder(tmp_path / "nowhere")
