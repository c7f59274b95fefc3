"""Documents of one index into another: cut and embedded anew, with the groups they have.

An index is made anew beside the one that serves, and then takes its place: nobody who searches waits, or sees half of it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import PurePosixPath
from typing import Protocol

from anyio import to_thread

from quarterdeck.core.context import Context, Principal
from quarterdeck.core.ids import content_hash
from quarterdeck.knowledge.base import Chunk, Document, KnowledgeIndex
from quarterdeck.knowledge.ingest import Book, IngestReport, Outcome, Progress
from quarterdeck.knowledge.ingest_document import Prepared, Recipe, cut, vectors_of
from quarterdeck.knowledge.parsers import markdown
from quarterdeck.knowledge.parsers.base import Block
from quarterdeck.models.embeddings import Embedder

__all__ = ["Archive", "copy_tenant"]

_EMBED_TIMEOUT_S = 300.0


class Archive(Protocol):
    """An index as something to copy from, whatever it was written with. It asks nobody's permission: for administrators."""

    async def tenants(self) -> list[str]: ...

    async def ids(self, tenant: str) -> list[str]:
        """Of all documents of the tenant, in order."""
        ...

    async def read(self, tenant: str, doc_id: str) -> tuple[Document, Sequence[Chunk]] | None:
        """A document's present edition with its chunks; None for one that is gone by now."""
        ...

    async def close(self) -> None: ...


async def copy_tenant(
    archive: Archive,
    index: KnowledgeIndex,
    tenant: str,
    *,
    recipe: Recipe,
    embedder: Embedder | None = None,
    progress: Progress | None = None,
) -> IngestReport:
    """Bring all documents of a tenant over. What is there as it is here is left alone, so it can be repeated.

    Raises:
        StoreUnavailable: One of the two cannot be used; as the embedder does.
    """
    book = Book(progress)
    ids = await archive.ids(tenant)
    present = await index.catalogue(tenant)
    for number, doc_id in enumerate(ids):
        book.begins(number, len(ids), doc_id)
        found = await archive.read(tenant, doc_id)
        if found is not None:
            outcome = await _copy(index, *found, recipe=recipe, embedder=embedder, known=doc_id in present)
            await book.record([outcome], len(ids))
    book.begins(len(ids), len(ids), "")
    return book.report


async def _copy(
    index: KnowledgeIndex,
    document: Document,
    chunks: Sequence[Chunk],
    *,
    recipe: Recipe,
    embedder: Embedder | None,
    known: bool,
) -> Outcome:
    # By its groups it is found there, if it is there as it is here; without any nobody finds it, and it is written again.
    there = await index.document(document.tenant, document.id, document.groups)
    made_from = content_hash([document.meta.get("hash", ""), recipe.name])
    wanted = replace(document, meta={**document.meta, "hash": made_from})
    if there is not None and _same(there, wanted):
        return Outcome(item=document.id, outcome="unchanged", doc_id=document.id)
    cut_anew = await to_thread.run_sync(cut, wanted, _blocks(document, chunks), recipe)
    prepared = Prepared(document=wanted, chunks=cut_anew or chunks, warnings=())
    if embedder is None:
        await index.upsert(wanted, prepared.chunks)
    else:
        principal = Principal(user="ingest", tenant=document.tenant)
        context = Context(principal=principal, run_id="ingest", deadline=time.monotonic() + _EMBED_TIMEOUT_S)
        (vectors,) = await vectors_of(embedder, [prepared], context)
        await index.upsert(wanted, prepared.chunks, vectors)
    return Outcome(
        item=document.id,
        outcome="updated" if known else "added",
        doc_id=document.id,
        chunks=len(prepared.chunks),
    )


def _same(there: Document, document: Document) -> bool:
    return (there.text, there.groups, there.title, there.uri, there.trusted, dict(there.meta)) == (
        document.text,
        document.groups,
        document.title,
        document.uri,
        document.trusted,
        dict(document.meta),
    )


def _blocks(document: Document, chunks: Sequence[Chunk]) -> Sequence[Block]:
    """The structure of a document: of Markdown it stands in the text; of others, as far as the chunks have it."""
    if PurePosixPath(document.meta.get("path", "")).suffix.lower() in (".md", ".markdown"):
        return markdown.blocks_of(document.text)
    blocks: list[Block] = []
    for path, section in groupby(chunks, key=lambda chunk: chunk.heading_path):
        some = list(section)
        blocks.append(Block(start=some[0].start, end=max(chunk.end for chunk in some), heading_path=path))
    return blocks
