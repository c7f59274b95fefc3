from __future__ import annotations

from pathlib import Path

import pytest

from quarterdeck.core.errors import Misconfigured
from quarterdeck.knowledge.base import Lookup, Space
from quarterdeck.knowledge.indexes.sqlite import SqliteIndex
from quarterdeck.knowledge.indexes.sqlite_archive import SqliteArchive
from quarterdeck.knowledge.ingest import Ingester, IngestReport
from quarterdeck.knowledge.ingest_copy import copy_tenant
from quarterdeck.knowledge.ingest_document import Recipe
from tests.unit.service.intake import Letters

RECIPE = Recipe(size=60, embedder="letters")
LETTERS = Space(embedder="letters", dim=26)


async def filled(path: Path) -> None:
    """An index of words with documents of two tenants, one of which nobody may read."""
    folder = path / "kb"
    folder.mkdir()
    (folder / "vpn.md").write_text(
        "---\ngroups: [it]\nowner: Ann\n---\n# VPN\n\n## Sessions\n\nomega lasts twelve hours. Then it simply ends again.\n"
    )
    (folder / "page.html").write_text(
        "<!doctype html><html><body><h1>Pay</h1><h2>Bonus</h2><p>alpha is paid in May.</p></body></html>"
    )
    (folder / "closed.md").write_text("# Closed\n\nomega nobody\n")
    index = await SqliteIndex.open(path / "old.db")
    for tenant in ("acme", "globex"):
        await Ingester(index, tenant).ingest_folder(folder, collection="kb", trusted=True)
    await index.set_groups("acme", "page", frozenset({"hr"}))
    await index.close()


async def copied(path: Path, embedder: Letters) -> dict[str, IngestReport]:
    archive = await SqliteArchive.open(path / "old.db")
    index = await SqliteIndex.open(path / "new.db", LETTERS)
    try:
        return {
            tenant: await copy_tenant(archive, index, tenant, recipe=RECIPE, embedder=embedder)
            for tenant in await archive.tenants()
        }
    finally:
        await index.close()
        await archive.close()


@pytest.mark.row("K8", part="copied")
async def test_documents_of_all_tenants_come_over_with_their_groups_cut_and_embedded_anew(tmp_path: Path) -> None:
    await filled(tmp_path)

    reports = await copied(tmp_path, Letters())

    index = await SqliteIndex.open(tmp_path / "new.db", LETTERS)
    assert {tenant: report.added for tenant, report in reports.items()} == {"acme": 3, "globex": 3}
    vpn = await index.document("acme", "vpn", frozenset({"it"}))
    assert vpn is not None
    assert (vpn.title, vpn.trusted, vpn.meta["owner"], vpn.groups) == ("VPN", True, "Ann", frozenset({"it"}))
    found = await index.keyword(Lookup(text="omega", tenant="acme", groups=frozenset({"it", "hr", "everyone"})), 9)
    assert [(passage.doc_id, passage.heading_path) for passage in found] == [("vpn", ("Sessions",))]
    assert all(len(passage.text) <= 60 for passage in found)
    (vector,) = (await Letters().embed(["omega"], None)).vectors  # type: ignore[arg-type]  # it looks at no context
    near = await index.vector(Lookup(text="", tenant="acme", groups=frozenset({"hr"})), vector, 9)
    assert {(passage.doc_id, passage.heading_path[-1]) for passage in near} == {("page", "Bonus")}
    assert set(await index.catalogue("acme")) == {"vpn", "page", "closed"}
    await index.close()


@pytest.mark.row("K8", part="copied")
async def test_copying_again_brings_only_what_changed_meanwhile(tmp_path: Path) -> None:
    await filled(tmp_path)
    embedder = Letters()
    await copied(tmp_path, embedder)
    asked = len(embedder.asked)
    old = await SqliteIndex.open(tmp_path / "old.db")
    await old.set_groups("acme", "vpn", frozenset({"hr"}))
    await old.close()

    report = (await copied(tmp_path, embedder))["acme"]

    index = await SqliteIndex.open(tmp_path / "new.db", LETTERS)
    assert (report.added, report.updated, report.unchanged) == (0, 2, 1)
    # The one that nobody may read cannot be looked for, and is written again.
    assert len(embedder.asked) > asked
    assert await index.document("acme", "vpn", frozenset({"it"})) is None
    assert await index.document("acme", "vpn", frozenset({"hr"})) is not None
    await index.close()


async def test_what_is_no_index_cannot_be_copied_from(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database at all, but long enough to be looked at as one" * 10)

    for name in ("nowhere.db", "text.db"):
        with pytest.raises(Misconfigured, match=name):
            await SqliteArchive.open(tmp_path / name)
