"""Runs that bring documents into the index: advanced by any worker, without a model, behind the last event each time.

The journal says which documents a run is done with. A document is stored whole before its event is, so what a crash cuts off
is looked at once more and found unchanged. What is away (the index, an embedder) is waited for; the run fails only for
what trying again cannot mend.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

import anyio

from quarterdeck.agent.base import Audience, Directory
from quarterdeck.agent.ledger import Commit, Ledger
from quarterdeck.core.answers import Answer, Confidence
from quarterdeck.core.context import Context, Principal
from quarterdeck.core.errors import Fenced, Forbidden, QuarterdeckError, StoreUnavailable
from quarterdeck.core.events import DocumentIngested, FinalAnswer, RunCancelled, RunFailed, RunStarted
from quarterdeck.core.runs import RunStatus, StopReason
from quarterdeck.knowledge.ingest import Ingester, Outcome
from quarterdeck.knowledge.ingest_source import Source
from quarterdeck.service.ingestion_sources import uploaded_id
from quarterdeck.service.orders import Order, Upload, decode
from quarterdeck.service.upload_line import UploadLine
from quarterdeck.store.base import Claim, Journal
from quarterdeck.store.suspects import POISON_AFTER

__all__ = ["Ingestion", "Sources"]

_AGAIN_AFTER_S = 5.0  # when something it needs was away
_ANOTHERS_TURN_S = 0.5  # until it is looked again whether an earlier upload of the document has ended
_LETTING_GO_S = 1.0
_NAMED = 100  # refused documents that the summary names; the events name them all


class Sources(Protocol):
    """Makes sources of orders, within the rights of a person."""

    def source(self, principal: Principal, order: Order) -> Source:
        """Raises Forbidden for what the person may not bring in (any more), NotFound for a collection there is not."""
        ...


class Ingestion:
    """Advances runs whose work is to bring documents in. Made once; all that differs is in their journals.

    Args:
        line: Says whose turn it is to bring in a document that was sent several times.
        ingester: Of a tenant.
        directory: Says what people may do now; asked again whenever a run is taken up.
        audience: Whoever watches runs.
        now: Gives aware UTC.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        sources: Sources,
        line: UploadLine,
        ingester: Callable[[str], Ingester],
        directory: Directory,
        audience: Audience,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._journal = journal
        self._sources = sources
        self._line = line
        self._ingester = ingester
        self._directory = directory
        self._audience = audience
        self._now = now
        self._draining = False

    async def advance(self, tenant: str, run_id: str) -> None:
        """Take the run as far as it goes: until it ends, rests, or another worker takes it.

        Raises:
            StoreUnavailable: The journal does not answer; the run stays as it is and is due again later.
        """
        claim = None if self._draining else await self._journal.claim(tenant, run_id)
        if claim is None:
            return
        ledger = Ledger(self._journal, self._audience, claim, self._now)
        try:
            await self._advance(claim, ledger)
        except Fenced:
            return  # another worker has the run, and whatever we hold is stale
        except anyio.get_cancelled_exc_class():
            await self._let_go(claim, ledger)
            raise
        except StoreUnavailable:
            await self._wait(ledger)  # raises the same if it is the journal that is away
        except QuarterdeckError as error:
            await (self._wait(ledger) if error.retryable else self._fail(ledger, error.code, str(error)))
        except Exception as error:  # noqa: BLE001 - the worker's edge: what is wrong with this run is no other's affair
            await self._fail(ledger, "internal", f"{type(error).__name__}: {error}")

    def drain(self) -> None:
        """Take no run any more, and let go of each between two batches: another worker goes on with it at once."""
        self._draining = True

    async def _advance(self, claim: Claim, ledger: Ledger) -> None:
        started = ledger.state.started
        if started is None:
            await self._fail(ledger, "internal", "the run has no first event")
            return
        if claim.attempts > POISON_AFTER:
            times = claim.attempts - 1
            said = f"the run stopped its worker {times} times without a step forward"
            await self._fail(ledger, "poison", said, poison=True)
            return
        principal = await self._directory.current(started.principal)
        if principal is None:
            raise Forbidden(f"user {started.principal.user} may not act any more")
        order = decode(await self._journal.get_blob(claim.tenant, started.config_hash))
        source = self._sources.source(principal, order)
        book = _Book(self._journal, claim, ledger, lambda: self._draining)
        context = Context(principal=principal, run_id=claim.run_id, deadline=time.monotonic(), trace_id=started.trace_id)
        upload = uploaded_id(principal, order.what) if isinstance(order.what, Upload) else None
        await self._drive(ledger, started, book, source, context, upload)

    async def _drive(
        self, ledger: Ledger, started: RunStarted, book: _Book, source: Source, context: Context, upload: str | None
    ) -> None:
        """Args: upload: The one document that is brought in behind those that arrived for it before."""
        ingester = self._ingester(ledger.tenant)
        while ledger.state.ended is None:
            if (asked := ledger.state.cancel) is not None:
                ledger.stage(RunCancelled(by=asked.by, reason=asked.reason))
                await ledger.commit(status=RunStatus.CANCELLED)
            elif ledger.state.paused:
                if await ledger.commit(status=RunStatus.PAUSED) is Commit.ALONE:
                    return
            elif self._draining:
                if await ledger.commit(status=RunStatus.READY) is not Commit.DROPPED:
                    return
            elif upload is not None and not await self._line.is_first(ledger.tenant, upload, context.run_id):
                if await self._rest(ledger, _ANOTHERS_TURN_S) is Commit.ALONE:
                    return
            elif await ingester.bring(source, book, done=book.done, context=context):
                ledger.stage(_summary(started, book.seen))
                await ledger.commit(status=RunStatus.DONE)

    async def _wait(self, ledger: Ledger) -> None:
        """Rest a little: what the run needs is away."""
        try:
            await self._rest(ledger, _AGAIN_AFTER_S)
        except Fenced:
            return

    async def _rest(self, ledger: Ledger, seconds: float) -> Commit:
        return await ledger.commit(status=RunStatus.WAITING, wake_at=self._now() + timedelta(seconds=seconds))

    async def _fail(self, ledger: Ledger, code: str, error: str, *, poison: bool = False) -> None:
        try:
            while ledger.state.ended is None:
                ledger.stage(RunFailed(code=code, error=error, poison=poison))
                await ledger.commit(status=RunStatus.FAILED)
        except Fenced:
            return

    async def _let_go(self, claim: Claim, ledger: Ledger) -> None:
        """Say that the run was left in good order: that its worker was told to stop is no sign of poison."""
        status = RunStatus.READY if self._draining else None
        with anyio.move_on_after(_LETTING_GO_S, shield=True):
            try:
                await self._journal.append(claim, (), folded=ledger.durable, status=status)
            except (Fenced, StoreUnavailable):
                return


class _Book:
    """The run's `Register`: what was done stands in its journal.

    Attributes:
        done: Id, by item, of what the run is done with; empty for what was refused.
        seen: What became of each document.
    """

    shared = True

    def __init__(self, journal: Journal, claim: Claim, ledger: Ledger, stopping: Callable[[], bool]) -> None:
        self.done: dict[str, str] = {}
        self.seen: list[DocumentIngested] = []
        self._journal = journal
        self._claim = claim
        self._ledger = ledger
        self._stopping = stopping
        for entry in claim.entries:
            if isinstance(entry.event, DocumentIngested):
                self._take(entry.event)

    def begins(self, done: int, total: int, path: str) -> None:
        """Those who watch are told when it is over."""

    async def check(self) -> None:
        # An append of nothing: refused if the run is another's, whatever this worker slept through since it claimed it.
        await self._journal.append(self._claim, (), folded=self._ledger.durable)

    async def record(self, outcomes: Sequence[Outcome], total: int) -> bool:
        events = [_event(outcome, total) for outcome in outcomes]
        for event in events:
            self._take(event)
        self._ledger.stage(*events)
        await self._ledger.commit()
        state = self._ledger.state
        return not (self._stopping() or state.paused or state.cancel is not None)

    def _take(self, event: DocumentIngested) -> None:
        self.seen.append(event)
        if event.outcome != "removed":
            self.done[event.item] = event.doc_id


def _event(outcome: Outcome, total: int) -> DocumentIngested:
    return DocumentIngested(
        item=outcome.item,
        outcome=outcome.outcome,
        doc_id=outcome.doc_id,
        reason=outcome.reason,
        chunks=outcome.chunks,
        warnings=outcome.warnings,
        total=total,
    )


def _summary(started: RunStarted, seen: Sequence[DocumentIngested]) -> FinalAnswer:
    """What the run ends with: in words, and as counts."""
    counts = Counter[str](event.outcome for event in seen)
    refused = [{"item": event.item, "reason": event.reason} for event in seen if event.outcome == "refused"]
    kinds = ("added", "updated", "unchanged", "removed", "refused")
    text = f"Documents: {', '.join(f'{counts[kind]} {kind}' for kind in kinds)}."
    output: Mapping[str, object] = {**{kind: counts[kind] for kind in kinds}, "refusals": refused[:_NAMED]}
    return FinalAnswer(
        answer=Answer(text=text, confidence=Confidence.HIGH),
        stop_reason=StopReason.COMPLETED,
        label=started.input.label,
        output=dict(output),
    )
