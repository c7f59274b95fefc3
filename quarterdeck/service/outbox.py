"""Delivers what was written down to be told: by one process at a time, again until it arrived or its time is over."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from weakref import WeakValueDictionary

import anyio
from anyio.abc import TaskGroup

from quarterdeck.core.errors import Conflict, NotFound, SchemaMismatch, StoreUnavailable
from quarterdeck.service.deliveries import (
    KIND,
    Delivery,
    DeliveryStatus,
    Sent,
    Sink,
    Verdict,
    from_record,
    to_record,
)
from quarterdeck.store.base import Put, Record, Records

__all__ = ["Outbox", "Patience"]

log = logging.getLogger(__name__)

_PAUSE_S = 1.0
_LIMIT = 100  # deliveries of one look
_TARGETS = 4  # how many must be slow before others wait for one of them
_CLEAR_EVERY = timedelta(hours=1)
_LONGEST_REST = timedelta(minutes=1)  # of a target: new deliveries find out soon that it is back


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long and how often is tried.

    Attributes:
        first_s: Before the first repeat; it doubles from there.
        longest_s: Between two attempts.
        give_up_s: After the first attempt; then the delivery is dead until somebody sends it again.
        lease_s: How long a process has a delivery for itself; longer than any sink takes.
        keep: How long deliveries are known that arrived or are dead.
    """

    first_s: float = 5.0
    longest_s: float = 3600.0
    give_up_s: float = 259_200.0
    lease_s: float = 30.0
    keep: timedelta = timedelta(days=7)

    def before_next(self, attempts: int, share: float) -> float:
        """Seconds after attempt `attempts`, from 1: half of it fixed, half by `share`, 0 to 1."""
        longest = min(self.longest_s, self.first_s * 2.0 ** min(attempts - 1, 32))
        return longest * (0.5 + 0.5 * share)


class Outbox:
    """Hands deliveries to their sinks. Any number of processes may serve one store.

    A process that wants a delivery first puts off when it is due, at the version it read; of two only one succeeds, and a
    process that dies leaves it due again after its lease. A target that takes long to fail keeps no others waiting: it has
    but a part of what may be under way at once, others are looked for meanwhile, and once it failed it rests for all its
    deliveries.

    Args:
        sinks: By the name their targets give.
        concurrency: Deliveries under way at once.
        now: Gives aware UTC.
        share: Gives numbers from 0 to 1, for the jitter.
        counted: Told of every attempt the name of its sink and how it ended: `delivered`, `failed` or `dead`.
    """

    def __init__(
        self,
        records: Records,
        sinks: Mapping[str, Sink],
        *,
        patience: Patience | None = None,
        concurrency: int = 16,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        share: Callable[[], float] = random.random,
        counted: Callable[[str, str], None] = lambda sink, outcome: None,
    ) -> None:
        self._records = records
        self._sinks = sinks
        self._patience = patience or Patience()
        self._slots = anyio.CapacityLimiter(concurrency)
        self._per_target = max(1, concurrency // _TARGETS)
        self._turns: WeakValueDictionary[tuple[str, str, str], anyio.CapacityLimiter] = WeakValueDictionary()
        self._attended: set[tuple[str, str]] = set()  # tenant and id of what is under way, or waits here for its turn
        self._more = False  # the last look did not see all that is due
        self._now = now
        self._share = share
        self._counted = counted
        self._resting: dict[tuple[str, str, str], datetime] = {}
        self._hurry = anyio.Event()

    def hurry(self) -> None:
        """Look for deliveries now: something was written."""
        self._hurry.set()

    async def serve(self) -> None:
        """Deliver until cancelled. A store that does not answer is asked again."""
        cleared = self._now() - _CLEAR_EVERY
        async with anyio.create_task_group() as tasks:
            while True:
                self._hurry = anyio.Event()
                try:
                    if self._now() - cleared >= _CLEAR_EVERY:
                        cleared = self._now()
                        settled = (DeliveryStatus.DELIVERED, DeliveryStatus.DEAD)
                        await self._records.forget(KIND, settled, cleared - self._patience.keep)
                    await self._begin(tasks)
                except StoreUnavailable as error:
                    log.warning("deliveries wait for the store", exc_info=error)
                with anyio.move_on_after(_PAUSE_S):
                    await self._hurry.wait()

    async def once(self) -> None:
        """Try what is due now, a bounded number of deliveries. Raises StoreUnavailable."""
        async with anyio.create_task_group() as tasks:
            await self._begin(tasks)

    async def _begin(self, tasks: TaskGroup) -> None:
        """Attend in `tasks` to what is due and not attended to yet. Raises StoreUnavailable."""
        due = await self._records.due(KIND, _LIMIT)
        now = self._now()
        self._resting = {target: until for target, until in self._resting.items() if until > now}
        self._more = len(due) == _LIMIT
        for tenant, delivery_id in due:
            if (tenant, delivery_id) not in self._attended:
                self._attended.add((tenant, delivery_id))
                tasks.start_soon(self._attend, tenant, delivery_id)

    async def _attend(self, tenant: str, delivery_id: str) -> None:
        try:
            await self._deliver(tenant, delivery_id)
        except Conflict:
            pass  # another process has it
        except StoreUnavailable as error:
            log.warning("a delivery waits for the store", exc_info=error)
        except Exception:
            # It is due again after its lease: what is wrong with one must not keep the others.
            log.exception("a delivery could not be attended to", extra={"tenant": tenant, "delivery": delivery_id})
        finally:
            self._attended.discard((tenant, delivery_id))
            if self._more:
                self.hurry()

    async def _deliver(self, tenant: str, delivery_id: str) -> None:
        record = await self._records.get(tenant, KIND, delivery_id)
        now = self._now()
        if record is None or record.wake_at is None or record.wake_at > now:
            return
        delivery = _readable(record)
        if delivery is None:
            later = replace(record, wake_at=now + timedelta(seconds=self._patience.longest_s))
            await self._records.write(tenant, [Put(record=later, expect=record.version)])
            return
        turn = self._turns.setdefault(_whither(delivery), anyio.CapacityLimiter(self._per_target))
        async with turn, self._slots:
            await self._send(delivery, record.version)

    async def _send(self, delivery: Delivery, version: int) -> None:
        """Send what was read at this version, unless its target rests. Raises Conflict if another process has it."""
        now = self._now()
        resting = self._resting.get(_whither(delivery))
        if resting is not None:
            spread = timedelta(seconds=self._patience.first_s * self._share())
            await self._put(replace(delivery, due_at=resting + spread), version)
            return
        # Counted before it is tried: a delivery that ends its process has had its attempt.
        taken = replace(delivery, attempts=delivery.attempts + 1, due_at=now + timedelta(seconds=self._patience.lease_s))
        await self._put(taken, version)
        sink = self._sinks.get(taken.target.sink)
        if sink is None:
            sent = Sent(verdict=Verdict.FAILED, detail=f"this deployment has no way out called {taken.target.sink!r}")
        else:
            sent = await sink.send(taken)
        settled = self._settled(taken, sent)
        outcome = Verdict.FAILED if settled.status is DeliveryStatus.WAITING else settled.status
        self._counted(taken.target.sink, outcome)
        await self._put(settled, version + 1)

    def _settled(self, delivery: Delivery, sent: Sent) -> Delivery:
        """The delivery after an attempt."""
        now = self._now()
        if sent.verdict is Verdict.DELIVERED:
            return replace(delivery, status=DeliveryStatus.DELIVERED, due_at=None, error="")
        wait_s = self._patience.before_next(delivery.attempts, self._share())
        if sent.retry_after_s is not None:
            wait_s = min(max(wait_s, sent.retry_after_s), self._patience.longest_s)
        next_at = now + timedelta(seconds=wait_s)
        over = next_at > delivery.first_at + timedelta(seconds=self._patience.give_up_s)
        if over or sent.verdict is Verdict.REFUSED:
            log.warning(
                "a delivery is dead: %s",
                sent.detail,
                extra={"tenant": delivery.notice.tenant, "delivery": delivery.id, "attempts": delivery.attempts},
            )
            return replace(delivery, status=DeliveryStatus.DEAD, due_at=None, error=sent.detail)
        self._resting[_whither(delivery)] = min(next_at, now + _LONGEST_REST)
        return replace(delivery, due_at=next_at, error=sent.detail)

    async def _put(self, delivery: Delivery, expect: int) -> None:
        await self._records.write(delivery.notice.tenant, [Put(record=to_record(delivery), expect=expect)])

    async def list(
        self,
        tenant: str,
        *,
        status: DeliveryStatus | None = None,
        sink: str | None = None,
        address: str | None = None,
        before: str | None = None,
        limit: int = 100,
    ) -> list[Delivery]:
        """Deliveries of a tenant, newest first; with `sink` and `address` those to one target."""
        owner = f"{sink}:{address}" if sink and address else None
        rows = await self._records.find(tenant, KIND, status=status, owner=owner, before=before, limit=limit)
        return [delivery for row in rows if (delivery := _readable(row)) is not None]

    async def retry(self, tenant: str, delivery_id: str) -> Delivery:
        """Have a delivery sent again, with the same notice id, as long as a new one would be.

        Raises:
            NotFound: There is no such delivery.
            Conflict: It is on its way already.
        """
        record = await self._records.get(tenant, KIND, delivery_id)
        delivery = _readable(record) if record is not None else None
        if record is None or delivery is None:
            raise NotFound(f"there is no delivery {delivery_id}")
        if delivery.status is DeliveryStatus.WAITING:
            raise Conflict(f"delivery {delivery_id} is still on its way; it is tried again by itself")
        now = self._now()
        again = replace(delivery, status=DeliveryStatus.WAITING, attempts=0, first_at=now, due_at=now, error="")
        self._resting.pop(_whither(delivery), None)
        await self._put(again, record.version)
        self.hurry()
        return again


def _whither(delivery: Delivery) -> tuple[str, str, str]:
    return delivery.notice.tenant, delivery.target.sink, delivery.target.address


def _readable(record: Record) -> Delivery | None:
    try:
        return from_record(record)
    except SchemaMismatch as error:
        log.warning("a delivery is left to a newer version: %s", error)
        return None
