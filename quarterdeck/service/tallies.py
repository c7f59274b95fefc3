"""What was consumed and saved, counted by whom and what for, by day and model, kept as records beside the journal.

What is booked counts at once in this process and is written a moment later, many bookings in one transaction. Rows are
versioned, so that several processes may count on the same ones: whoever finds a newer row adds to that. A row says which
batch of each process it has in it, so that one whose writing came to an uncertain end is not added again.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import inf
from typing import Literal
from uuid import uuid4

import anyio

from quarterdeck.core.errors import Conflict, StoreUnavailable
from quarterdeck.core.ids import hashed_id
from quarterdeck.core.usage import Usage
from quarterdeck.store.base import Put, Record, Records
from quarterdeck.store.codec import from_json, to_json

__all__ = ["KIND", "Account", "Scope", "Tallies", "Tally", "read_tallies"]

KIND = "budget"
Scope = Literal["run", "user", "group", "agent", "tool", "tenant", "saving"]

_KEPT = 2_000  # accounts in memory; those with nothing left to write are read again when needed
_PROCESSES = 64  # that a row remembers the last batch of
_TOKENS = ("prompt_tokens", "completion_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What one or more model calls consumed.

    Attributes:
        calls: To a provider; a call that was tried twice counts twice.
        cost_usd: Of the calls whose price is known.
        unpriced: Calls whose price is not known.
        estimated: Calls whose tokens are our estimate.
    """

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: float = 0.0
    unpriced: int = 0
    estimated: int = 0

    @classmethod
    def of(cls, usage: Usage) -> Tally:
        """One call. It consumed nothing where it claims to have given something back."""
        return cls(
            calls=1,
            prompt_tokens=max(0, usage.prompt_tokens),
            completion_tokens=max(0, usage.completion_tokens),
            cached_tokens=max(0, usage.cached_tokens),
            cache_write_tokens=max(0, usage.cache_write_tokens),
            reasoning_tokens=max(0, usage.reasoning_tokens),
            cost_usd=max(0.0, usage.cost_usd or 0.0),
            unpriced=int(usage.cost_usd is None),
            estimated=int(usage.estimated),
        )

    def shares(self, n: int) -> list[Tally]:
        """This in `n` parts as equal as whole tokens can be, which add up to it; each counts the calls."""
        parts = []
        for place in range(n):
            counts = {name: (value + place) // n for name in _TOKENS if (value := getattr(self, name))}
            parts.append(replace(self, **counts, cost_usd=self.cost_usd / n))
        return parts

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            calls=self.calls + other.calls,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            cost_usd=self.cost_usd + other.cost_usd,
            unpriced=self.unpriced + other.unpriced,
            estimated=self.estimated + other.estimated,
        )


@dataclass(frozen=True, slots=True)
class Account:
    """What is counted together.

    Attributes:
        scope: ``tool`` counts the replies that call it, ``saving`` what was not consumed.
        day: ISO date in UTC; empty for a run, which is one account however long it takes.
    """

    scope: Scope
    name: str
    day: str

    @property
    def id(self) -> str:
        return hashed_id(self.scope, self.name, self.day)


@dataclass(slots=True)
class _Cell:
    known_at: float = -inf  # when `standing` was read or written; until then it is taken for empty
    standing: dict[str, Tally] = field(default_factory=dict)  # by model, as it is stored
    batches: dict[str, int] = field(default_factory=dict)  # the last of each process that is in `standing`
    version: int = 0
    batch: int = 0
    writing: dict[str, Tally] = field(default_factory=dict)  # handed to the store as `batch`, not yet confirmed
    pending: dict[str, Tally] = field(default_factory=dict)

    @property
    def dirty(self) -> bool:
        return bool(self.pending or self.writing)

    def sums(self) -> dict[str, Tally]:
        sums = dict(self.standing)
        for part in (self.writing, self.pending):
            _add(sums, part)
        return sums


class Tallies:
    """Counters by tenant and account."""

    def __init__(self, records: Records, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._records = records
        self._clock = clock
        self._process = uuid4().hex
        self._cells: OrderedDict[tuple[str, Account], _Cell] = OrderedDict()
        self._dirty: dict[str, set[Account]] = {}
        self._batches = 0
        self._unsettled: dict[str, dict[Account, _Cell]] = {}  # a tenant's batch that was begun
        self._lock = anyio.Lock()

    async def load(self, tenant: str, accounts: Iterable[Account], *, within_s: float = inf) -> None:
        """Have `accounts` in memory, so that `by_model` knows of them what other days and processes booked.

        Args:
            within_s: How old what is known may be. If the store does not answer, it may be older.

        Raises:
            StoreUnavailable: Nothing is known of an account.
        """
        for account in accounts:
            cell = self._cell(tenant, account)
            if self._is_older(cell, within_s):
                async with self._lock:  # a flush between reading and taking over would be counted twice
                    if self._is_older(cell, within_s):
                        await self._refresh(tenant, account, cell)
        self._forget()

    def by_model(self, tenant: str, account: Account) -> Mapping[str, Tally]:
        """What a loaded account consumed, by model."""
        cell = self._cells.get((tenant, account))
        return {} if cell is None else cell.sums()

    def book(self, tenant: str, accounts: Iterable[Account], model: str, tally: Tally) -> None:
        """Count at once; `flush` makes it durable."""
        dirty = self._dirty.setdefault(tenant, set())
        for account in accounts:
            _add(self._cell(tenant, account).pending, {model: tally})
            dirty.add(account)
        self._forget()

    async def flush(self) -> None:
        """Write what is booked. If the store does not answer it stays booked, and the next flush writes it."""
        async with self._lock:
            for tenant in {**self._unsettled, **self._dirty}:
                try:
                    await self._flush(tenant)
                except StoreUnavailable as error:
                    _log.warning("what was spent could not be written and is kept for later: %s", error)

    async def _flush(self, tenant: str) -> None:
        if tenant in self._unsettled:
            await self._settle(tenant)
        accounts = self._dirty.pop(tenant, set())
        cells = {account: self._cells[tenant, account] for account in accounts}
        self._batches += 1
        for cell in cells.values():
            cell.batch = self._batches
            cell.writing, cell.pending = cell.pending, {}
        self._unsettled[tenant] = cells
        await self._settle(tenant)

    async def _settle(self, tenant: str) -> None:
        """Write the batch that was begun. One that is given up half-way, or is not answered, is begun again as it was."""
        batch = self._unsettled[tenant]
        while cells := {account: cell for account, cell in batch.items() if cell.writing}:
            await self._write(tenant, cells)
        del self._unsettled[tenant]

    async def _write(self, tenant: str, cells: Mapping[Account, _Cell]) -> None:
        """Write all at once. If another process was faster with one, or this is written already, they are read again."""
        puts = []
        for account, cell in cells.items():
            sums = dict(cell.standing)
            _add(sums, cell.writing)
            data = {
                "models": {model: to_json(tally) for model, tally in sums.items()},
                "batches": self._batches_with(cell),
            }
            record = Record(kind=KIND, id=account.id, data=data, status=account.scope, owner=account.name, ref=account.day)
            puts.append(Put(record=record, expect=cell.version))
        try:
            await self._records.write(tenant, puts)
        except Conflict:
            for account, cell in cells.items():
                await self._read(tenant, account, cell)
            return
        for cell in cells.values():
            _add(cell.standing, cell.writing)
            cell.batches = self._batches_with(cell)
            cell.writing = {}
            cell.version += 1
            cell.known_at = self._clock()

    def _batches_with(self, cell: _Cell) -> dict[str, int]:
        """The batches in `cell` once its own is, those of the processes that wrote last."""
        others = [(process, batch) for process, batch in cell.batches.items() if process != self._process]
        return dict([*others[1 - _PROCESSES :], (self._process, cell.batch)])

    def _cell(self, tenant: str, account: Account) -> _Cell:
        key = (tenant, account)
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cells[key] = _Cell()
        else:
            self._cells.move_to_end(key)
        return cell

    def _is_older(self, cell: _Cell, within_s: float) -> bool:
        return cell.known_at == -inf or self._clock() - cell.known_at > within_s

    async def _refresh(self, tenant: str, account: Account, cell: _Cell) -> None:
        try:
            await self._read(tenant, account, cell)
        except StoreUnavailable:
            if cell.known_at == -inf:
                raise
            cell.known_at = self._clock()  # not everybody should wait for a store that is away

    async def _read(self, tenant: str, account: Account, cell: _Cell) -> None:
        record = await self._records.get(tenant, KIND, account.id)
        cell.known_at = self._clock()
        if record is None:
            cell.standing, cell.batches, cell.version = {}, {}, 0
            return
        cell.standing, cell.version = read_tallies(record), record.version
        cell.batches = record.data.get("batches", {})
        if cell.batches.get(self._process) == cell.batch:
            cell.writing = {}

    def _forget(self) -> None:
        """Drop the accounts used longest ago. Those with something to write stay, or it would be lost."""
        if len(self._cells) <= _KEPT + _KEPT // 10:  # a tenth at once: to look through them all takes its time
            return
        for key in [*self._cells][: len(self._cells) - _KEPT]:
            if not self._cells[key].dirty:
                del self._cells[key]


def read_tallies(record: Record) -> dict[str, Tally]:
    """What a stored account consumed, by model."""
    return {model: from_json(Tally, data) for model, data in record.data["models"].items()}


def _add(sums: dict[str, Tally], more: Mapping[str, Tally]) -> None:
    for model, tally in more.items():
        sums[model] = sums[model] + tally if model in sums else tally
