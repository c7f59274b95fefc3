"""The states of documents: found, added one at a time, and cleared away behind.

A record is added under its number and only if that number is free. That one write is the moment of a change: before it the
new passages are nobody's, after it the old ones are. What is left behind is cleared away afterwards, by whoever comes first:
the writer, the next writer of the document, or the next process that opens the index.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

from qdrant_client import AsyncQdrantClient, models

from quarterdeck.knowledge.indexes.qdrant_link import NEVER, Names, scroll
from quarterdeck.knowledge.indexes.qdrant_points import CONTENT, Record, any_of, equals, record_id

__all__ = ["Records"]

_WITHOUT_TEXT = models.PayloadSelectorExclude(exclude=["text"])


class Records:
    """The collection of records."""

    def __init__(self, client: AsyncQdrantClient, names: Names) -> None:
        self._client = client
        self._names = names

    async def head(self, key: str) -> Record | None:
        """The present state of a document; None if there never was one."""
        wanted = models.Filter(must=[*equals(key=key, past=False)])
        found = [Record.read(point.payload or {}) async for point in self._scroll(wanted)]
        if not found:
            return None
        head = max(found, key=lambda record: record.number)
        while following := await self.get([record_id(key, head.number + 1)]):
            head = following[0]
        return head

    async def present(self, records: Sequence[Record]) -> dict[str, Record]:
        """Those of `records` that no other followed, by key."""
        after = {record_id(record.key, record.number + 1): record for record in records}
        points = await self._client.retrieve(self._names.records, list(after), with_payload=False)
        past = {str(point.id) for point in points}
        return {record.key: record for following, record in after.items() if following not in past}

    async def states(self, batches: Mapping[str, tuple[str, int]]) -> tuple[dict[str, Record], set[str]]:
        """Which batches are present, by their records, and which never will be again. The rest is in the making.

        Args:
            batches: The key and number of the record each was written for.
        """
        ids = {record_id(key, number + step) for key, number in batches.values() for step in (0, 1)}
        known = {record.id: record for record in await self.get(ids)} if ids else {}
        present: dict[str, Record] = {}
        dead: set[str] = set()
        for batch, (key, number) in batches.items():
            record = known.get(record_id(key, number))
            if record_id(key, number + 1) in known or (record and record.batch != batch):
                dead.add(batch)
            elif record:
                present[batch] = record
        return present, dead

    async def get(self, ids: Iterable[str]) -> list[Record]:
        """The records of these ids that exist, without their texts."""
        points = await self._client.retrieve(self._names.records, list(ids), with_payload=_WITHOUT_TEXT)
        return [Record.read(point.payload or {}) for point in points]

    async def whole(self, key: str, number: int) -> Record | None:
        """One record with its text."""
        points = await self._client.retrieve(self._names.records, [record_id(key, number)])
        return Record.read(points[0].payload or {}) if points else None

    async def among(self, tenant: str, groups: Sequence[str] | None) -> list[Record]:
        """Records of present documents of a tenant, readable by the groups; some may have been followed by another."""
        conditions: list[models.Condition] = [*equals(tenant=tenant, past=False, gone=False)]
        if groups is not None:
            conditions.append(any_of("groups", groups))
        return [Record.read(point.payload or {}) async for point in self._scroll(models.Filter(must=conditions))]

    async def origins(self, key: str) -> list[Record]:
        """The records that brought a text, newest first."""
        wanted = models.Filter(must=[*equals(key=key), models.FieldCondition(key="edition", range=models.Range(gte=1))])
        found = [Record.read(point.payload or {}) async for point in self._scroll(wanted)]
        return sorted((one for one in found if one.number == one.origin), key=lambda one: -one.number)

    async def untidy(self) -> list[Record]:
        """Records behind which nobody cleared away."""
        return [
            Record.read(point.payload or {})
            async for point in self._scroll(models.Filter(must=[*equals(tidy=False, past=False)]))
        ]

    async def count(self, **values: str | bool) -> int:
        """How many records have these values."""
        return (await self._client.count(self._names.records, models.Filter(must=[*equals(**values)]), exact=True)).count

    async def add(self, record: Record) -> bool:
        """Make this the document's present state; False if another writer was faster."""
        await self._client.upsert(self._names.records, [record.point], update_filter=NEVER)
        # The engine does not say whether it wrote, so the record is asked whose it is.
        return [one.batch for one in await self.get([record.id])] == [record.batch]

    async def tidy(self, record: Record) -> None:
        """Clear away what was before `record`, a state the document has or had. It may be done twice, and late."""
        # A batch of a higher number may be in the making; one of this number that is not the record's lost.
        await self._client.delete(
            self._names.passages,
            models.FilterSelector(
                filter=models.Filter(
                    must=[*equals(key=record.key), _up_to(record.number)], must_not=[*equals(batch=record.batch)]
                )
            ),
        )
        before = models.Filter(must=[*equals(key=record.key), _up_to(record.number - 1)])
        await self._client.set_payload(self._names.records, {"past": True}, before)
        if record.gone:
            # The number stays, for the count of changes; what the document said does not.
            await self._client.delete_payload(self._names.records, [*CONTENT, "edition"], before)
        await self._client.set_payload(self._names.records, {"tidy": True}, [record.id])

    def _scroll(self, wanted: models.Filter) -> AsyncIterator[models.Record]:
        return scroll(self._client, self._names.records, wanted, _WITHOUT_TEXT)


def _up_to(number: int) -> models.FieldCondition:
    return models.FieldCondition(key="number", range=models.Range(lte=number))
