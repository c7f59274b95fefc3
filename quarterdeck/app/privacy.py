"""What else holds data of people in a configured folder: documents, caches, snapshots, and the files they rest in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anyio import to_thread

from quarterdeck.app.knowledge import Knowledge
from quarterdeck.core.errors import StoreUnavailable
from quarterdeck.store.base import KeyValue
from quarterdeck.store.erasing_sqlite import scrub
from quarterdeck.store.snapshots import Snapshots

__all__ = ["FolderBelongings"]

_INDEX, _CACHE = "knowledge.db", "cache.db"


class FolderBelongings:
    """`service.privacy.Belongings` of a folder.

    A person's documents are those nobody else may read. Caches hold answers and findings of many; those of the tenant are
    forgotten whole, since they can be made again.

    Args:
        data: The data folder, whose files are written anew.
    """

    def __init__(self, knowledge: Knowledge, states: KeyValue, data: Path) -> None:
        self._knowledge = knowledge
        self._states = states
        self._snapshots = Snapshots(states)
        self._data = data

    async def told(self, tenant: str, user: str | None) -> Sequence[Mapping[str, Any]]:
        """The documents that would be erased, with their texts where they are a person's."""
        if user is None:
            known = await self._knowledge.index.catalogue(tenant)
            return [{"kind": "document", "id": doc_id, "meta": dict(meta)} for doc_id, meta in known.items()]
        own = frozenset({f"user:{user}"})
        told = []
        for doc_id in await self._own(tenant, own):
            document = await self._knowledge.index.document(tenant, doc_id, own)
            if document is not None:
                told.append({"kind": "document", "id": doc_id, "title": document.title, "text": document.text})
        return told

    async def erase(self, tenant: str, user: str | None, run_ids: Sequence[str]) -> int:
        """Documents, snapshots of these runs, and everything that caches hold of the tenant."""
        count = sum([await self._snapshots.forget(tenant, f"runs/{run_id}") for run_id in run_ids])
        if user is None:
            doc_ids = list(await self._knowledge.index.catalogue(tenant))
            count += await self._states.clear(tenant)
        else:
            doc_ids = await self._own(tenant, frozenset({f"user:{user}"}))
        if doc_ids:
            await self._knowledge.index.delete(tenant, doc_ids)
        for shelf in self._knowledge.shelves:
            if not await shelf.forget(tenant):
                raise StoreUnavailable(f"what is remembered of {shelf.name} cannot be forgotten now")
        return count + len(doc_ids)

    async def scrub(self) -> None:
        """Write the files of index and caches anew."""
        for path in (self._data / _INDEX, self._data / _CACHE):
            if path.exists():
                await to_thread.run_sync(scrub, path)

    async def _own(self, tenant: str, names: frozenset[str]) -> list[str]:
        found: list[str] = []
        after = ""
        while page := await self._knowledge.index.documents(tenant, names, after=after, limit=200):
            found += [document.id for document in page if document.groups == names]
            after = page[-1].id
        return found
