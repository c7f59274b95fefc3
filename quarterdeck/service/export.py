"""A run's journal as a snapshot: JSON lines that can be kept elsewhere, longer than the run, and read again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from anyio import to_thread

from quarterdeck.core.errors import InvalidInput, Misconfigured, NotFound, SchemaMismatch
from quarterdeck.store.base import Audit, Entry, Journal, Records, RunRow
from quarterdeck.store.codec import decode, encode, json_text
from quarterdeck.store.snapshots import Snapshots

__all__ = ["FORMAT", "VERSION", "Exports"]

FORMAT = "quarterdeck.run"
VERSION = 1  # of the lines; events have versions of their own


@dataclass(frozen=True, slots=True, kw_only=True)
class Exports:
    """Writes journals of runs as snapshots and reads them. Who may do so is decided by the caller.

    The first line tells what follows: format, version, run, number of entries, and the SHA-256 of all lines after it. Each
    other line is an entry: seq, at, kind, key and data, the last as the journal has it.
    """

    journal: Journal
    records: Records
    snapshots: Snapshots

    async def export_run(self, tenant: str, run_id: str, *, by: str) -> str:
        """Keep all that happened in a run so far; returns the URI. An earlier export of the run is replaced.

        Args:
            by: Who exports, for the audit log: ``user:..``.

        Raises:
            NotFound: There is no such run. StoreUnavailable: try again.
        """
        row = await self.journal.find(tenant, run_id)
        body = "".join([_line(entry) + "\n" async for entry in self.journal.read(tenant, run_id)]).encode()
        if row is None or not body:
            raise NotFound(f"there is no run {run_id[:64]}")
        digest = hashlib.sha256(body).hexdigest()
        # Before the bytes leave: an export that failed and is told of does less harm than one that nobody knows of.
        audit = Audit(actor=by, subject=by, action="export", object=f"run:{run_id}", decision="allow", args_hash=digest)
        await self.records.write(tenant, [audit])
        return await self.snapshots.persist_state(tenant, f"runs/{run_id}", _header(row, body, digest) + body)

    async def read_run(self, tenant: str, uri: str) -> list[Entry]:
        """The entries of an exported run.

        Raises:
            InvalidInput: The snapshot is no export of a run.
            SchemaMismatch: A newer version wrote it.
            Misconfigured: It was changed since, or damaged. Others as `Snapshots.restore_state` does.
        """
        payload = await self.snapshots.restore_state(tenant, uri)
        return await to_thread.run_sync(_entries, payload)  # thousands of entries take a while


def _header(row: RunRow, body: bytes, digest: str) -> bytes:
    told = {
        "format": FORMAT,
        "version": VERSION,
        "tenant": row.tenant,
        "run_id": row.run_id,
        "agent": row.agent,
        "entries": body.count(b"\n"),
        "sha256": digest,
    }
    return json_text(told).encode() + b"\n"


def _line(entry: Entry) -> str:
    kind, data = encode(entry.event)
    at = None if entry.at is None else entry.at.isoformat()
    told = json_text({"seq": entry.seq, "at": at, "kind": kind, "key": entry.key})
    # Between its values, where alone it can have any, line ends of JSON are only space.
    flat = data.replace("\r", " ").replace("\n", " ")
    return f'{told[:-1]},"data":{flat}}}'


def _entries(payload: bytes) -> list[Entry]:
    first, _, body = payload.partition(b"\n")
    header = _checked_header(first)
    lines = body.split(b"\n")[:-1]
    if header.get("entries") != len(lines) or header.get("sha256") != hashlib.sha256(body).hexdigest():
        raise Misconfigured("the export of this run was changed, or is damaged")
    return _parsed(lines)


def _checked_header(line: bytes) -> dict[str, Any]:
    try:
        header: Any = json.loads(line)
    except ValueError as error:
        raise InvalidInput("this snapshot is no export of a run") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise InvalidInput("this snapshot is no export of a run")
    if header.get("version") != VERSION:
        raise SchemaMismatch(f"this export is of version {header.get('version')}; this program reads version {VERSION}")
    return header


def _parsed(lines: Sequence[bytes]) -> list[Entry]:
    try:
        return [_entry(json.loads(line)) for line in lines]
    except (ValueError, TypeError, KeyError) as error:
        raise Misconfigured("the export of this run is damaged") from error


def _entry(told: dict[str, Any]) -> Entry:
    at = None if told["at"] is None else datetime.fromisoformat(told["at"])
    return Entry(event=decode(told["kind"], json_text(told["data"])), key=told["key"], seq=told["seq"], at=at)
