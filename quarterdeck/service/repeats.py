"""What was answered under an Idempotency-Key: given again to who repeats a request, for a day, at any server."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import anyio

from quarterdeck.core.context import Principal
from quarterdeck.core.errors import Conflict, KeyReused, StoreUnavailable
from quarterdeck.core.ids import hashed_id
from quarterdeck.store.base import Put, Record, Records

__all__ = ["Kept", "Repeats"]

_KIND = "repeat"
_BEGUN, _DONE, _FREE = "begun", "done", "free"
_KEEP = timedelta(hours=24)
_CLEAR_EVERY_S = 3600.0
_FIRST_LOOK_S, _LONGEST_LOOK_S = 0.01, 0.25

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An answer as it is given again: text, and what it says of itself in headers.

    Attributes:
        run_id: The run whose words may stand in it, perhaps somebody else's: it is kept no longer than that. Empty for none.
    """

    status: int
    body: str
    headers: Mapping[str, str] = field(default_factory=dict)
    run_id: str = ""


class Repeats:
    """Does under one key at most one thing, and answers it alike however often it is asked.

    A key belongs to a tenant, a person and a route. Its record is written before anything is done, so that of many who ask
    at once one does it and the others wait. Whoever dies over it is followed by another after a lease, with the same id for
    what is made, so that it is made once. Only successes are kept: what failed is done anew when it is asked for again.

    Args:
        lease_s: How long one may take; longer than any request does.
        wait_s: How long others wait for the answer.
        now: Gives aware UTC.
    """

    def __init__(
        self,
        records: Records,
        *,
        lease_s: float = 60.0,
        wait_s: float = 10.0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._records = records
        self._lease = timedelta(seconds=lease_s)
        self._wait_s = wait_s
        self._now = now

    async def once(
        self, principal: Principal, route: str, key: str, said: str, do: Callable[[str], Awaitable[Kept]]
    ) -> Kept | None:
        """The answer of `do`, or the one it gave when it was done under this key; None while another is still at it.

        Args:
            route: What is asked for, with the things it is about.
            said: Hash of the request's body.
            do: Given an id for what it makes: the same however often it is called for this key.

        Raises:
            KeyReused: The key was used for another request. And all that `do` raises.
        """
        tenant = principal.tenant
        made = hashed_id(_KIND, tenant, principal.user, route, key)
        until, pause_s = time.monotonic() + self._wait_s, _FIRST_LOOK_S
        while True:
            record = await self._records.get(tenant, _KIND, made)
            fresh = record is not None and self._is_fresh(record)
            if record is not None and fresh:
                _check_same(record, said)
                if record.status == _DONE:
                    return Kept(**record.data["kept"])
            if record is None or not fresh or self._is_free(record):
                began = self._now()
                if await self._took(principal, made, said, began, record):
                    return await self._done(principal, made, said, began, (record.version if record else 0) + 1, do)
                continue
            if time.monotonic() + pause_s > until:
                return None
            await anyio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, _LONGEST_LOOK_S)

    async def same(self, principal: Principal, route: str, key: str, said: str) -> None:
        """Remember what a key is used for, where each part of a request knows by itself whether it was done.

        Args:
            said: Hash of what is asked.

        Raises:
            KeyReused: The key was used for another request.
        """
        made = hashed_id(_KIND, principal.tenant, principal.user, route, key)
        while True:
            record = await self._records.get(principal.tenant, _KIND, made)
            if record is not None and self._is_fresh(record):
                _check_same(record, said)
                return
            if await self._took(principal, made, said, self._now(), record):
                return

    async def serve(self) -> None:
        """Forget what is older than a day, once an hour, until cancelled."""
        while True:
            try:
                await self._records.forget(_KIND, (_BEGUN, _DONE, _FREE), self._now() - _KEEP)
            except StoreUnavailable as error:
                log.warning("old answers could not be forgotten now", exc_info=error)
            await anyio.sleep(_CLEAR_EVERY_S)

    async def _took(self, principal: Principal, made: str, said: str, began: datetime, old: Record | None) -> bool:
        row = _row(principal, made, _BEGUN, said, began)
        try:
            await self._records.write(principal.tenant, [Put(record=row, expect=old.version if old else 0)])
        except Conflict:
            return False
        return True

    async def _done(
        self,
        principal: Principal,
        made: str,
        said: str,
        began: datetime,
        version: int,
        do: Callable[[str], Awaitable[Kept]],
    ) -> Kept:
        kept: Kept | None = None
        try:
            kept = await do(made)
        finally:
            status = _DONE if kept is not None else _FREE
            row = _row(principal, made, status, said, began, kept)
            with anyio.CancelScope(shield=True):
                try:
                    await self._records.write(principal.tenant, [Put(record=row, expect=version)])
                except (Conflict, StoreUnavailable) as error:
                    # Whoever repeats it does it again after the lease, with the same id.
                    log.warning("an answer under a key could not be kept: %s", error)
        return kept

    def _is_fresh(self, record: Record) -> bool:
        return self._now() - _begun(record) < _KEEP

    def _is_free(self, record: Record) -> bool:
        return record.status == _FREE or self._now() - _begun(record) >= self._lease


def _check_same(record: Record, said: str) -> None:
    if record.data["said"] != said:
        raise KeyReused("this Idempotency-Key was used for another request; take a new one")


def _begun(record: Record) -> datetime:
    return datetime.fromisoformat(record.data["began"])


def _row(principal: Principal, made: str, status: str, said: str, began: datetime, kept: Kept | None = None) -> Record:
    answer = None if kept is None else {"status": kept.status, "body": kept.body, "headers": dict(kept.headers)}
    data = {"said": said, "began": began.isoformat(), "kept": answer}
    run_id = "" if kept is None else kept.run_id
    return Record(kind=_KIND, id=made, data=data, status=status, owner=principal.user, ref=run_id)
