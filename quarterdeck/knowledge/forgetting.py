"""What is taken out of an index is taken out of what was remembered of it, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from quarterdeck.core.answers import Passage
from quarterdeck.knowledge.base import Chunk, Document, Edition, IndexStats, KnowledgeIndex, Lookup, Vector
from quarterdeck.store.cache import Shelf

__all__ = ["Forgetting"]


class Forgetting:
    """`KnowledgeIndex` around another, and around the shelves that hold passages, answers and vectors made from it.

    Nothing that is remembered is given to whom it is closed, nor once its document is gone: that is seen to where it is
    looked up. Here the bytes go as well, all of the tenant's, since an answer does not say which documents it rests on.
    """

    def __init__(self, index: KnowledgeIndex, shelves: Sequence[Shelf]) -> None:
        self._index = index
        self._shelves = shelves

    async def upsert(
        self,
        document: Document,
        chunks: Sequence[Chunk],
        vectors: Sequence[Vector | None] = (),
        *,
        generation: int | None = None,
    ) -> None:
        await self._index.upsert(document, chunks, vectors, generation=generation)

    async def delete(self, tenant: str, doc_ids: Sequence[str], *, generation: int | None = None) -> int:
        gone = await self._index.delete(tenant, doc_ids, generation=generation)
        if gone:
            await self._forget(tenant)
        return gone

    async def set_groups(self, tenant: str, doc_id: str, groups: frozenset[str]) -> None:
        await self._index.set_groups(tenant, doc_id, groups)
        await self._forget(tenant)

    async def keyword(self, lookup: Lookup, k: int) -> list[Passage]:
        return await self._index.keyword(lookup, k)

    async def vector(self, lookup: Lookup, vector: Vector, k: int) -> list[Passage]:
        return await self._index.vector(lookup, vector, k)

    async def passages(self, tenant: str, passage_ids: Sequence[str], groups: frozenset[str]) -> dict[str, Passage]:
        return await self._index.passages(tenant, passage_ids, groups)

    async def document(
        self, tenant: str, doc_id: str, groups: frozenset[str], *, edition: int | None = None
    ) -> Document | None:
        return await self._index.document(tenant, doc_id, groups, edition=edition)

    async def documents(self, tenant: str, groups: frozenset[str], *, after: str = "", limit: int = 100) -> list[Document]:
        return await self._index.documents(tenant, groups, after=after, limit=limit)

    async def readable(self, tenant: str, doc_ids: Sequence[str], groups: frozenset[str]) -> frozenset[str]:
        return await self._index.readable(tenant, doc_ids, groups)

    async def editions(self, tenant: str, doc_id: str, groups: frozenset[str]) -> list[Edition]:
        return await self._index.editions(tenant, doc_id, groups)

    async def catalogue(self, tenant: str) -> Mapping[str, Mapping[str, str]]:
        return await self._index.catalogue(tenant)

    async def stats(self, tenant: str) -> IndexStats:
        return await self._index.stats(tenant)

    async def close(self) -> None:
        await self._index.close()

    async def _forget(self, tenant: str) -> None:
        for shelf in self._shelves:
            await shelf.forget(tenant)
