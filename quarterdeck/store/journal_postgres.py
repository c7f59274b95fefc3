"""The journal in Postgres: runs, their events, and blobs."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from anyio import to_thread
from psycopg import Rollback

from quarterdeck.core.errors import Fenced, InvalidInput, NotFound
from quarterdeck.core.events import CancelRequested, ResumeRequested, RetryRequested, RunFailed, RunStarted, StateFolded
from quarterdeck.core.runs import RunStatus
from quarterdeck.store import statements_postgres as sql
from quarterdeck.store.base import Appended, Beside, Claim, Entry, RunRow
from quarterdeck.store.blobs import BLOB_GRACE, Packed, hash_bytes, pack
from quarterdeck.store.codec import decode
from quarterdeck.store.instants import Clock
from quarterdeck.store.postgres import PATIENCE, PostgresConnection, PostgresDatabase, together
from quarterdeck.store.records_postgres import Prepared, prepare, send_rows
from quarterdeck.store.standing import check_end

__all__ = ["PostgresJournal"]

PAGE = 500  # events read at once
SLICE = 100  # runs deleted per transaction
DECODE_HERE = 200  # events decoded in the loop's thread; more would hold it up for milliseconds


class PostgresJournal:
    """`Journal` in a Postgres database.

    What a method writes is one statement, unless rows are to be written beside it; the locks it takes last as long. The
    rules of `standing` are in the statements once more, because the row they are about is known only under its lock.
    """

    def __init__(self, database: PostgresDatabase, *, clock: Clock | None = None) -> None:
        self._database = database
        self._clock = clock

    def _now(self) -> datetime | None:
        return self._clock() if self._clock else None

    async def create(
        self,
        tenant: str,
        run_id: str,
        started: Entry,
        *,
        then: Sequence[Entry] = (),
        beside: Sequence[Beside] = (),
        order: bytes | None = None,
    ) -> bool:
        """Begin a run, status ready, with the events of the run it is a fork of. See `Journal.create`."""
        event = started.event
        if not isinstance(event, RunStarted):
            raise InvalidInput(f"run {run_id} cannot begin with an event of kind {event.kind!r}")
        batch, rows = _Batch([started, *then]), prepare(tenant, beside)
        values = {
            "tenant": tenant,
            "run": run_id,
            "agent": event.agent,
            "user": event.principal.user,
            "session": event.session_id,
            "request": event.request_id,
            "config": hash_bytes(event.config_hash),
            "now": self._now(),
            **batch.values,
        }
        statement = sql.CREATE_LARGE if batch.large else sql.CREATE
        return await self._written(tenant, statement, values, rows, order) is not None

    async def claim(self, tenant: str, run_id: str, *, below: int | None = None) -> Claim | None:
        """Take the run: epoch + 1, attempts + 1, status running. See `Journal.claim`."""
        values = {"tenant": tenant, "run": run_id, "below": below, "now": self._now()}

        async def unit(connection: PostgresConnection) -> tuple[Any, list[Any]] | None:
            rows = await (await connection.execute(sql.CLAIM, values, binary=True)).fetchall()
            if not rows:
                return None
            standing, events = rows[0][:5], [row[5:] for row in rows]
            head, _, _, upto, seq = standing
            if len(events) != head - upto:
                # The claim waited for somebody's append, which a statement that began before does not see.
                again = {**values, "upto": upto, "seq": seq, "head": head}
                events = await (await connection.execute(sql.CLAIMED, again, binary=True)).fetchall()
            return standing, events

        taken = await self._database.run(tenant, unit)
        if taken is None:
            return None
        (head, epoch, attempts, _, _), events = taken
        entries = _entries(events) if len(events) <= DECODE_HERE else await to_thread.run_sync(_entries, events)
        return Claim(run_id=run_id, tenant=tenant, epoch=epoch, head=head, attempts=attempts, entries=entries)

    async def append(
        self,
        claim: Claim,
        entries: Sequence[Entry],
        *,
        folded: int,
        status: RunStatus | None = None,
        wake_at: datetime | None = None,
        beside: Sequence[Beside] = (),
    ) -> Appended:
        """Append a worker's events in one transaction, with the rows beside them. See `Journal.append`."""
        batch, rows = _Batch(entries), prepare(claim.tenant, beside)
        values = {
            "tenant": claim.tenant,
            "run": claim.run_id,
            "epoch": claim.epoch,
            "folded": folded,
            "status": status,
            "wake_at": wake_at,
            "code": batch.code,
            "now": self._now(),
            **batch.values,
        }
        statement = sql.APPEND_LARGE if batch.large else sql.APPEND
        written = await self._written(claim.tenant, statement, values, rows)
        if written is None:
            raise await self._refusal(claim, folded, status)
        head, at, places = written
        first = head - len(places) + 1
        stored = [
            Entry(event=batch.entries[place].event, key=batch.packed[place].key, seq=seq, at=at)
            for seq, place in enumerate(places, first)
        ]
        return Appended(head=head, foreign=first - 1 != folded, entries=stored)

    async def post(self, tenant: str, run_id: str, entry: Entry, *, beside: Sequence[Beside] = ()) -> bool:
        """Append from outside (approval, steer, cancel), without an epoch. See `Journal.post`."""
        batch, rows = _Batch([entry]), prepare(tenant, beside)
        values = {
            "tenant": tenant,
            "run": run_id,
            "key": batch.packed[0].key,
            "resumes": isinstance(entry.event, ResumeRequested | CancelRequested),
            "retries": isinstance(entry.event, RetryRequested),
            "now": self._now(),
            **batch.values,
        }
        statement = sql.POST_LARGE if batch.large else sql.POST
        return await self._written(tenant, statement, values, rows) is not None

    async def read(self, tenant: str, run_id: str, after: int = 0) -> AsyncIterator[Entry]:
        """The events with a larger seq, in order. Of an unknown run there are none."""
        while True:
            values = {"tenant": tenant, "run": run_id, "after": after, "limit": PAGE}
            page = _entries(await self._rows(tenant, sql.READ, values))
            for entry in page:
                yield entry
            if len(page) < PAGE:
                return
            after = page[-1].seq

    async def find(self, tenant: str, run_id: str) -> RunRow | None:
        """The run, None if this tenant has no such run."""
        rows = await self._rows(tenant, sql.FIND, {"tenant": tenant, "run": run_id})
        return _run(rows[0]) if rows else None

    async def runs(
        self,
        tenant: str,
        *,
        status: RunStatus | None = None,
        user: str | None = None,
        session_id: str | None = None,
        request_id: str | None = None,
        code: str | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> list[RunRow]:
        """Runs of a tenant, newest first; `before` is a run id to go on from."""
        filters = {
            "status": status,
            "user": user,
            "session_id": session_id,
            "request_id": request_id,
            "code": code,
            "before": before,
        }
        given = {name: value for name, value in filters.items() if value is not None}
        rows = await self._rows(tenant, sql.runs(given), {"tenant": tenant, "limit": limit, **given})
        return [_run(row) for row in rows]

    async def due(self, limit: int = 100, *, stalled_s: float = 0.0) -> list[tuple[str, str]]:
        """(tenant, run id) of runs that want a worker, see `Journal.due`: ready ones first, oldest first."""
        values = {"now": self._now(), "stalled": stalled_s, "limit": limit}
        return [(tenant, run_id) for tenant, run_id in await self._rows(None, sql.DUE, values)]

    async def heads(self, runs: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], tuple[int, RunStatus]]:
        """Seq of the last event and status of each of these runs that exists."""
        values = {"tenants": [tenant for tenant, _ in runs], "runs": [run_id for _, run_id in runs]}
        rows = await self._rows(None, sql.HEADS, values) if runs else []
        return {(tenant, run_id): (head, RunStatus(status)) for tenant, run_id, head, status in rows}

    async def put_blob(self, tenant: str, data: bytes) -> str:
        """Keep bytes under their SHA-256 (hexadecimal), once per tenant."""
        digest = hashlib.sha256(data)
        values = {"tenant": tenant, "sha256": digest.digest(), "bytes": data, "now": self._now()}
        await self._rows(tenant, sql.PUT_BLOB, values)
        return digest.hexdigest()

    async def get_blob(self, tenant: str, sha256: str) -> bytes:
        """The bytes kept under a hash. Raises NotFound."""
        rows = await self._rows(tenant, sql.GET_BLOB, {"tenant": tenant, "sha256": hash_bytes(sha256)})
        if not rows:
            raise NotFound(f"there is no blob {sha256[:64]}")
        data: bytes = rows[0][0]
        return data

    async def purge(self, before: datetime) -> int:
        """Delete ended runs last touched before an instant, the records whose `ref` they are, and blobs nothing refers to.

        What there is to delete is looked for across tenants; it is deleted tenant by tenant.
        """
        last, count = {"tenant": "", "no": 0}, 0
        while rows := await self._rows(None, sql.OLD, {**last, "before": before, "limit": SLICE}):
            last = {"tenant": rows[-1][0], "no": rows[-1][1]}
            for tenant in dict.fromkeys(row[0] for row in rows):
                numbers = [no for owner, no in rows if owner == tenant]
                values = {"tenant": tenant, "numbers": numbers, "before": before}
                count += (await self._rows(tenant, sql.DELETE, values))[0][0]
        values = {"before": before, "grace": BLOB_GRACE, "now": self._now()}
        for (tenant,) in await self._rows(None, sql.BLOB_TENANTS, values):
            await self._rows(tenant, sql.SWEEP_BLOBS, {"tenant": tenant, **values}, patience=PATIENCE)
        return count

    async def probe(self) -> None:
        """See `Journal.probe`. Costs one round trip: without traffic nothing else would tell that the server is gone."""
        await self._database.probe()

    async def close(self) -> None:
        """Let go of the connections."""
        await self._database.close()

    async def _rows(
        self, tenant: str | None, statement: str, values: Mapping[str, Any], *, patience: float = 1.0
    ) -> list[Any]:
        """What one statement returns: as a tenant, or None to look across all of them."""

        async def unit(connection: PostgresConnection) -> list[Any]:
            cursor = await connection.execute(statement, values, binary=True)
            return await cursor.fetchall() if cursor.description else []

        if tenant is None:
            return await self._database.run_across(unit)
        return await self._database.run(tenant, unit, patience=patience)

    async def _written(
        self, tenant: str, statement: str, values: Mapping[str, Any], beside: Sequence[Prepared], order: bytes | None = None
    ) -> tuple[int, datetime, list[int]] | None:
        """Write events with rows beside: head, instant and which entries were stored; None if the run is not as wanted."""

        async def unit(connection: PostgresConnection) -> Any:
            if not beside and order is None:
                return await (await connection.execute(statement, values, binary=True)).fetchone()
            async with together(connection):
                events = await connection.execute(statement, values, binary=True)
                if order is not None:
                    blob = {"tenant": tenant, "sha256": values["config"], "bytes": order, "now": values["now"]}
                    await connection.execute(sql.PUT_BLOB, blob)
                settle = await send_rows(connection, tenant, beside, values["now"])
                written = await events.fetchone()
                if written is None:
                    raise Rollback
                await settle()
                return written
            return None

        written: tuple[int, datetime, list[int]] | None = await self._database.run(tenant, unit)
        return written

    async def _refusal(self, claim: Claim, folded: int, status: RunStatus | None) -> Exception:
        """Why an append found nothing to add to. What hindered it still stands: epoch and head only grow."""
        rows = await self._rows(claim.tenant, sql.STANDING, {"tenant": claim.tenant, "run": claim.run_id})
        if rows and rows[0][0] == claim.epoch:
            check_end(claim.run_id, status, foreign=rows[0][1] != folded)
        return Fenced(f"run {claim.run_id} was claimed by another worker after epoch {claim.epoch}, or deleted")


class _Batch:
    """Entries as the columns of a statement; of those with one key, the first.

    Attributes:
        large: There are blobs, or a folded state: rare, so the statement for the rest knows nothing of them.
        code: Of the last RunFailed.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries: list[Entry] = []
        self.packed: list[Packed] = []
        self.code: str | None = None
        keys: set[str] = set()
        folds: tuple[int, int] | None = None
        for entry in entries:
            event = pack(entry)
            if event.key is not None:
                if event.key in keys:
                    continue
                keys.add(event.key)
            self.entries.append(entry)
            self.packed.append(event)
            if isinstance(entry.event, StateFolded):
                folds = (len(self.packed), entry.event.upto)
            elif isinstance(entry.event, RunFailed):
                self.code = entry.event.code
        payloads = {event.sha256: event.payload for event in self.packed if event.sha256 is not None}
        self.large = bool(payloads) or folds is not None
        self.values: dict[str, Any] = {
            "kinds": [event.kind for event in self.packed],
            "keys": [event.key for event in self.packed],
            "data": [event.data for event in self.packed],
        }
        if self.large:
            place, upto = folds or (None, None)
            digests = sorted(payloads)  # the one order in which all writers lock them
            self.values |= {
                "blobs": [event.sha256 for event in self.packed],
                "shas": digests,
                "payloads": [payloads[digest] for digest in digests],
                "fold_place": place,
                "fold_upto": upto,
            }


def _entries(rows: Iterable[Any]) -> list[Entry]:
    return [
        Entry(event=decode(kind, data if payload is None else payload), key=key, seq=seq, at=at)
        for seq, kind, key, at, data, payload in rows
    ]


def _run(row: tuple[Any, ...]) -> RunRow:
    return RunRow(
        run_id=row[0],
        tenant=row[1],
        agent=row[2],
        user=row[3],
        session_id=row[4],
        status=RunStatus(row[5]),
        head=row[6],
        attempts=row[7],
        wake_at=row[8],
        created_at=row[9],
        updated_at=row[10],
        code=row[11],
    )
