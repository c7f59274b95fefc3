"""The stores every contract is run against, and what their tests say to them. A new engine is one line of `STORES`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from quarterdeck.core.context import Principal
from quarterdeck.core.events import ModelReply, RunStarted
from quarterdeck.core.labels import Label, Readers
from quarterdeck.core.messages import Message, Role, Text
from quarterdeck.core.usage import Usage
from quarterdeck.store.base import Audit, Claim, Entry, Journal, Record
from quarterdeck.store.memory import MemoryStore
from quarterdeck.store.postgres_store import PostgresStore, open_postgres
from quarterdeck.store.sqlite_store import SqliteStore, open_sqlite

Store = MemoryStore | SqliteStore | PostgresStore

LABEL = Label(readers=Readers.of("user:anna"))


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, **amount: float) -> None:
        self.now += timedelta(**amount)


@asynccontextmanager
async def _memory(request: pytest.FixtureRequest, clock: Clock) -> AsyncIterator[Store]:
    yield MemoryStore(clock=clock)


@asynccontextmanager
async def _sqlite(request: pytest.FixtureRequest, clock: Clock) -> AsyncIterator[Store]:
    store = open_sqlite(request.getfixturevalue("tmp_path"), clock=clock)
    yield store
    await store.close()


@asynccontextmanager
async def _postgres(request: pytest.FixtureRequest, clock: Clock) -> AsyncIterator[Store]:
    # A machine shared by several test processes may take its time.
    store = await open_postgres(request.getfixturevalue("migrated_postgres_url"), wait_s=20, answer_s=20, clock=clock)
    yield store
    await store.close()


Opener = Callable[[pytest.FixtureRequest, Clock], AbstractAsyncContextManager[Store]]
STORES: dict[str, Opener] = {"memory": _memory, "sqlite": _sqlite, "postgres": _postgres}


def message(text: str, role: Role = Role.USER) -> Message:
    return Message(role=role, parts=(Text(text=text, label=LABEL),))


def started(
    text: str = "hello",
    *,
    user: str = "anna",
    session: str | None = None,
    tenant: str = "acme",
    config: str = "none",
    request: str | None = None,
) -> Entry:
    return Entry(
        event=RunStarted(
            input=message(text),
            agent="helper",
            config_hash=config,
            tenant=tenant,
            principal=Principal(user=user, tenant=tenant),
            session_id=session,
            request_id=request,
        )
    )


def reply(turn: int, text: str = "hm") -> Entry:
    return Entry(event=ModelReply(turn=turn, message=message(text, Role.ASSISTANT), model="m", usage=Usage()))


def audit(object: str = "t0c0") -> Audit:
    return Audit(actor="agent:helper", subject="user:anna", action="decision", object=object, decision="allow")


def record(id: str, **columns: str) -> Record:
    return Record(kind="approval", id=id, data={"n": 1}, **columns)


async def begin(journal: Journal, run_id: str = "r1", tenant: str = "acme") -> Claim:
    """A run that was created and claimed."""
    assert await journal.create(tenant, run_id, started(tenant=tenant))
    claim = await journal.claim(tenant, run_id)
    assert claim is not None
    return claim


async def history(journal: Journal, run_id: str = "r1", tenant: str = "acme", after: int = 0) -> list[Entry]:
    return [entry async for entry in journal.read(tenant, run_id, after)]
