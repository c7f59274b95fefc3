"""A search that sees every document in one state: the old or the new, never half.

What is found counts only if its record is the document's present one. That alone would not keep halves out, since a batch
may become present after the engine looked through half of it. So its record must also have been seen before the search
began; otherwise the search is made again, with the record now known. A batch that was followed by another leads to a new
search too: the one that follows may have been missed.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from qdrant_client import AsyncQdrantClient, models

from quarterdeck.core.answers import Passage
from quarterdeck.core.errors import StoreUnavailable
from quarterdeck.knowledge.base import Lookup
from quarterdeck.knowledge.indexes.passages import criteria, readable, storable
from quarterdeck.knowledge.indexes.qdrant_link import Names, reaching
from quarterdeck.knowledge.indexes.qdrant_points import any_of, equals, meta_terms, passage_of
from quarterdeck.knowledge.indexes.qdrant_records import Records

__all__ = ["Search"]

ROUNDS = 12  # searches until what was found stands still
SEEN = 50_000  # batches remembered as present before some search


class Search:
    """Searches of one process, which remembers the batches it saw present."""

    def __init__(self, client: AsyncQdrantClient, names: Names, records: Records) -> None:
        self._client = client
        self._names = names
        self._records = records
        self._ticks = itertools.count()
        self._seen: OrderedDict[str, int] = OrderedDict()

    def see(self, batch: str) -> None:
        """Remember that the batch is a document's present one."""
        self._seen.setdefault(batch, next(self._ticks))
        if len(self._seen) > SEEN:
            self._seen.popitem(last=False)

    async def best(self, lookup: Lookup, query: Any, using: str, k: int) -> list[Passage]:
        """The k best passages for the vector `query` that the lookup's groups may read."""
        conditions = _conditions(lookup)
        if conditions is None or k < 1:
            return []
        limit = k
        dead: set[str] = set()
        waiting: dict[str, tuple[str, int]] = {}
        with reaching("searched"):
            for _ in range(ROUNDS):
                began = next(self._ticks)
                hits = await self._hits(conditions, {*dead, *waiting}, query, using, limit)
                batches = {batch: (str(hit["key"]), int(hit["number"])) for batch, hit, _ in hits} | waiting
                present, followed = await self._records.states(batches)
                settled = not followed and all(self._seen.get(batch, began) < began for batch in present)
                kept = [(present[batch], hit, score) for batch, hit, score in hits if batch in present]
                if settled and (len(kept) >= k or len(hits) < limit):
                    return [passage_of(*found) for found in kept[:k] if not lookup.groups.isdisjoint(found[0].groups)]
                for batch in present:
                    self.see(batch)
                dead |= followed
                waiting = {batch: place for batch, place in batches.items() if batch not in present and batch not in dead}
                limit = 2 * limit if settled else limit
        raise StoreUnavailable("what was found changes faster than it can be read")

    async def _hits(
        self, conditions: list[models.Condition], without: set[str], query: Any, using: str, limit: int
    ) -> list[tuple[str, Mapping[str, Any], float]]:
        wanted = models.Filter(must=conditions, must_not=[any_of("batch", without)] if without else None)
        found = await self._client.query_points(
            self._names.passages, query=query, using=using, query_filter=wanted, limit=limit
        )
        return [(point.payload["batch"], point.payload, point.score) for point in found.points if point.payload]


def _conditions(lookup: Lookup) -> list[models.Condition] | None:
    """What a passage must be to be found; None if none can be."""
    groups, where = readable(lookup.groups), criteria(lookup)
    if not groups or not storable(lookup.tenant) or not all(where.values()):
        return None
    allowed = (any_of("meta", [term for one in values for term in meta_terms({key: one})]) for key, values in where.items())
    return [*equals(tenant=lookup.tenant), any_of("groups", groups), *allowed]
