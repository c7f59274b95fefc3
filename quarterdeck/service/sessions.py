"""Sessions: what belongs together in the eyes of the person who asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from quarterdeck.core.answers import Passage
from quarterdeck.core.context import Principal
from quarterdeck.core.errors import Conflict, NotFound
from quarterdeck.core.events import FinalAnswer, Retrieved, RunStarted, ToolReturned
from quarterdeck.core.ids import new_id
from quarterdeck.core.labels import MANY
from quarterdeck.core.messages import Message, Role, Text
from quarterdeck.service.withdrawn import Withdrawals, one_of_each, sources_of
from quarterdeck.store.base import Entry, Journal, Put, Record, Records, RunRow

__all__ = ["Earlier", "Session", "SessionMessage", "Sessions"]

KIND = "session"
ACTIVE, CLOSED = "active", "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A conversation of one person with one agent.

    Attributes:
        state: ``active`` or ``closed``; a closed one takes no more questions.
        context: What the client wants to keep with it; the model does not see it.
    """

    id: str
    user: str
    agent: str
    state: str
    created_at: datetime
    updated_at: datetime
    context: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionMessage:
    """A question or an answer of a session."""

    id: str
    session_id: str
    role: str
    content: str
    created_at: datetime
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """Earlier exchanges of a session, for its next question.

    Attributes:
        messages: Questions and settled answers, oldest first.
        rests_on: A passage of each document they rest on, where a label among them holds only that it is much; else empty.
    """

    messages: tuple[Message, ...]
    rests_on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Exchange:
    """A question and its answer.

    Attributes:
        sources: Ids of all that the answer rests on.
        readable: The answer is for whoever reads.
    """

    run: RunRow
    started: RunStarted
    final: FinalAnswer | None
    sources: frozenset[str] = frozenset()
    readable: bool = False

    @property
    def told(self) -> tuple[Message, ...]:
        """What the client said had been said before, without what tools of its own gave.

        The rest of its history are exchanges of the session.
        """
        own = (f"run:{self.run.run_id}",)
        said = (turn for turn in self.started.history if turn.role is not Role.TOOL and not turn.tool_calls)
        return tuple(turn for turn in said if turn.label.sources == own)


class Sessions:
    """Sessions as records; their messages are the questions and answers of their runs, kept nowhere twice.

    Args:
        exchanges: How many earlier exchanges a question is given.
        max_chars: Characters of them together.
        withdrawals: Says which passages somebody may not read any more; None where there are none.
    """

    def __init__(
        self,
        journal: Journal,
        records: Records,
        *,
        exchanges: int = 6,
        max_chars: int = 12_000,
        withdrawals: Withdrawals | None = None,
    ) -> None:
        self._journal = journal
        self._withdrawals = withdrawals or Withdrawals()
        self._records = records
        self._exchanges = exchanges
        self._max_chars = max_chars

    def record(
        self, principal: Principal, agent: str, context: Mapping[str, Any] | None = None, id: str | None = None
    ) -> Record:
        """The row of a new session, not yet written; with a new id if none is given."""
        data = {"agent": agent, "context": dict(context or {})}
        return Record(kind=KIND, id=id or new_id(), data=data, status=ACTIVE, owner=principal.user)

    async def open(self, principal: Principal, agent: str, context: Mapping[str, Any], id: str | None = None) -> Session:
        """Open a session. With the same id again it is the same one."""
        record = self.record(principal, agent, context, id)
        with suppress(Conflict):
            await self._records.write(principal.tenant, [Put(record=record, expect=0)])
        return await self.get(principal, record.id)

    async def get(self, principal: Principal, session_id: str) -> Session:
        """Raises NotFound, also for a session of somebody else."""
        return _session(await self._record(principal, session_id))

    async def active(self, principal: Principal, session_id: str) -> Session:
        """Raises NotFound, Conflict if it is closed."""
        session = await self.get(principal, session_id)
        if session.state != ACTIVE:
            raise Conflict(f"session {session_id} is closed; open another one")
        return session

    async def mine(self, principal: Principal, *, before: str | None = None, limit: int = 50) -> list[Session]:
        """The principal's own, newest first."""
        rows = await self._records.find(principal.tenant, KIND, owner=principal.user, before=before, limit=limit)
        return [_session(row) for row in rows]

    async def close(self, principal: Principal, session_id: str) -> Session:
        """Close it; closing twice changes nothing. What was said stays readable."""
        record = await self._record(principal, session_id)
        if record.status != CLOSED:
            closed = Record(kind=KIND, id=record.id, data=record.data, status=CLOSED, owner=record.owner, ref=record.ref)
            await self._records.write(principal.tenant, [Put(record=closed, expect=record.version)])
        return await self.get(principal, session_id)

    async def messages(self, principal: Principal, session_id: str, limit: int = 50) -> list[SessionMessage]:
        """The questions of its newest `limit` runs, oldest first, and those answers that the principal may still read."""
        found: list[SessionMessage] = []
        for exchange in await self._read(principal, session_id, limit):
            run, final = exchange.run, exchange.final
            meta: dict[str, Any] = {"run_id": run.run_id}
            found.append(_said(run, session_id, Role.USER, exchange.started.input.text, run.created_at, meta))
            if final is not None and exchange.readable:
                meta = {**meta, "confidence": final.answer.confidence.value, "sources": list(final.answer.sources)}
                found.append(_said(run, session_id, Role.ASSISTANT, final.answer.text, run.updated_at, meta))
        return found

    async def earlier(self, principal: Principal, session_id: str) -> Earlier:
        """Earlier exchanges for the next question: settled ones that the principal may still read.

        What the client of the first one told of a time before it comes in front, as trusted as it was there.
        """
        kept: list[Message] = []
        sources: set[str] = set()
        room = self._max_chars
        for exchange in reversed(await self._read(principal, session_id, self._exchanges)):
            if exchange.final is None or not exchange.readable:
                continue
            answer = Text(text=exchange.final.answer.text, label=exchange.final.label)
            room -= len(exchange.started.input.text) + len(answer.text)
            if room < 0:
                break
            kept[:0] = (exchange.started.input, Message(role=Role.ASSISTANT, parts=(answer,)))
            sources |= exchange.sources
            for turn in reversed(exchange.told):
                room -= len(turn.text)
                if room < 0:
                    break
                kept.insert(0, turn)
        full = any(message.label.sources == MANY for message in kept)
        return Earlier(messages=tuple(kept), rests_on=one_of_each(sources) if full else ())

    async def _read(self, principal: Principal, session_id: str, limit: int) -> list[_Exchange]:
        rows = await self._journal.runs(principal.tenant, user=principal.user, session_id=session_id, limit=limit)
        read = [exchange for row in reversed(rows) if (exchange := await self._exchange(row)) is not None]
        rested_on = {source for exchange in read for source in exchange.sources}
        withdrawn = await self._withdrawals.of(principal, rested_on)
        return [
            replace(exchange, readable=_admits(exchange, principal) and withdrawn.isdisjoint(exchange.sources))
            for exchange in read
        ]

    async def _exchange(self, row: RunRow) -> _Exchange | None:
        entries: list[Entry] = [entry async for entry in self._journal.read(row.tenant, row.run_id)]
        if not entries or not isinstance(entries[0].event, RunStarted):
            return None
        started, last = entries[0].event, entries[-1].event
        if not isinstance(last, FinalAnswer):
            return _Exchange(run=row, started=started, final=None)
        labels = (last.label, *(message.label for message in started.history))
        return _Exchange(
            run=row, started=started, final=last, sources=sources_of(labels, _retrieved(entries), started.rests_on)
        )

    async def _record(self, principal: Principal, session_id: str) -> Record:
        record = await self._records.get(principal.tenant, KIND, session_id)
        if record is None or record.owner != principal.user:
            raise NotFound(f"there is no session {session_id}")
        return record


def _admits(exchange: _Exchange, principal: Principal) -> bool:
    return exchange.final is not None and exchange.final.label.readers.admits(principal.names)


def _retrieved(entries: Iterable[Entry]) -> Iterator[Passage]:
    for entry in entries:
        match entry.event:
            case Retrieved(passages=passages):
                yield from passages
            case ToolReturned(result=result):
                yield from result.passages


def _session(record: Record) -> Session:
    now = datetime.now(UTC)
    return Session(
        id=record.id,
        user=record.owner,
        agent=str(record.data.get("agent", "")),
        state=record.status,
        context=record.data.get("context", {}),
        created_at=record.created_at or now,
        updated_at=record.updated_at or now,
    )


def _said(
    run: RunRow, session_id: str, role: Role, content: str, at: datetime, metadata: Mapping[str, Any]
) -> SessionMessage:
    return SessionMessage(
        id=f"{run.run_id}-{role.value}",
        session_id=session_id,
        role=role.value,
        content=content,
        created_at=at,
        metadata=metadata,
    )
