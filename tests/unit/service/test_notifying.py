from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from quarterdeck.core.answers import Answer, Confidence
from quarterdeck.core.context import Principal
from quarterdeck.core.errors import Conflict
from quarterdeck.core.events import (
    ApprovalDecided,
    ApprovalRequested,
    CancelRequested,
    Event,
    FinalAnswer,
    InDoubt,
    RetryRequested,
    RunCancelled,
    RunFailed,
    RunStarted,
    Steer,
)
from quarterdeck.core.labels import PUBLIC, Label
from quarterdeck.core.messages import Message, Role, Text
from quarterdeck.core.runs import RunStatus, StopReason
from quarterdeck.service.deliveries import KIND, NOTICES, Happened, Target, from_record
from quarterdeck.service.notifying import NotifyingJournal
from quarterdeck.store.base import Entry, Put, Record
from quarterdeck.store.memory import MemoryStore

LABEL = Label(readers=PUBLIC)
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SAID = Message(role=Role.USER, parts=(Text(text="secret question", label=LABEL),))
STARTED = Entry(
    event=RunStarted(
        input=SAID,
        agent="support",
        config_hash="c",
        tenant="acme",
        principal=Principal(user="emma", tenant="acme"),
        session_id="s1",
    )
)
FINAL = FinalAnswer(
    answer=Answer(text="secret answer", confidence=Confidence.HIGH, sources=(), citations=()),
    stop_reason=StopReason.COMPLETED,
    label=LABEL,
)
EVENTS: dict[str, Event] = {
    "run_finished": FINAL,
    "run_failed": RunFailed(code="model_unavailable", error="secret reason"),
    "run_cancelled": RunCancelled(by="emma", reason="secret reason"),
    "approval_needed": ApprovalRequested(id="t1c1", draft="d1", args_hash="h", expires_at=NOW, approvers=("approver",)),
    "approval_decided": ApprovalDecided(id="t1c1", approved=True, by="omar", args_hash="h", reason="secret reason"),
    "write_in_doubt": InDoubt(id="t1c1", started_seq=3, not_before=NOW),
}


class Everybody:
    """Somebody who wants to hear of everything."""

    def __init__(self) -> None:
        self.heard: list[Happened] = []

    async def targets(self, happened: Happened) -> Sequence[Target]:
        self.heard.append(happened)
        return [Target(sink="webhook", address="crm")]


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


async def told(store: MemoryStore) -> list[Any]:
    return [from_record(row) for row in reversed(await store.records.find("acme", KIND))]


async def begun(store: MemoryStore, *subscribers: Everybody) -> NotifyingJournal:
    journal = NotifyingJournal(store.journal, subscribers)
    assert await journal.create("acme", "r1", STARTED)
    return journal


def test_every_notice_there_is_has_an_event() -> None:
    assert EVENTS.keys() == NOTICES.keys()


@pytest.mark.parametrize("kind", EVENTS)
async def test_event_is_told_with_ids_and_states_and_nothing_anybody_said(store: MemoryStore, kind: str) -> None:
    somebody = Everybody()
    journal = await begun(store, somebody)
    claim = await journal.claim("acme", "r1")
    assert claim is not None

    await journal.append(claim, [Entry(event=EVENTS[kind])], folded=1)

    (delivery,) = await told(store)
    assert (delivery.notice.type, delivery.notice.run_id, delivery.target.address) == (kind, "r1", "crm")
    assert delivery.notice.data.items() >= {"run_id": "r1", "agent": "support", "session_id": "s1"}.items()
    assert "secret" not in str(delivery)
    assert [(happened.agent, happened.user) for happened in somebody.heard] == [("support", "emma")]


@pytest.mark.row("S15", part="same transaction")
async def test_event_that_is_not_stored_is_told_to_nobody(store: MemoryStore) -> None:
    journal = await begun(store, Everybody())
    claim = await journal.claim("acme", "r1")
    assert claim is not None
    gone = Put(record=Record(kind="draft", id="x", data={}), expect=7)

    with pytest.raises(Conflict):
        await journal.append(claim, [Entry(event=FINAL)], folded=1, status=RunStatus.DONE, beside=[gone])

    assert await told(store) == []


async def test_event_posted_from_outside_is_told(store: MemoryStore) -> None:
    somebody, hints = Everybody(), []
    journal = NotifyingJournal(store.journal, [somebody], lambda: hints.append(1))
    await journal.create("acme", "r1", STARTED)

    await journal.post("acme", "r1", Entry(event=EVENTS["approval_decided"]))
    await journal.post("acme", "r1", Entry(event=EVENTS["approval_decided"]))
    await journal.post("acme", "r1", Entry(event=Steer(by="emma", message=SAID)))

    (delivery,) = await told(store)
    assert delivery.notice.data["approved"] is True
    assert [happened.user for happened in somebody.heard] == ["emma", "emma"]
    assert hints == [1]


async def test_run_that_fails_again_after_a_retry_is_told_twice(store: MemoryStore) -> None:
    journal = await begun(store, Everybody())
    for seq in (2, 4):
        claim = await journal.claim("acme", "r1")
        assert claim is not None
        failed = Entry(event=EVENTS["run_failed"], seq=seq)
        await journal.append(claim, [failed], folded=claim.head, status=RunStatus.FAILED)
        await journal.post("acme", "r1", Entry(event=RetryRequested(by="emma")))

    assert len({delivery.notice.id for delivery in await told(store)}) == 2


async def test_fork_tells_nobody_of_what_happened_before_it(store: MemoryStore) -> None:
    journal = NotifyingJournal(store.journal, [Everybody()])

    await journal.create("acme", "r2", STARTED, then=[Entry(event=EVENTS["approval_needed"])])

    assert await told(store) == []


async def test_journal_around_another_passes_everything_on(store: MemoryStore) -> None:
    journal = await begun(store)
    await journal.post("acme", "r1", Entry(event=CancelRequested(by="emma")))

    found = await journal.find("acme", "r1")
    sha = await journal.put_blob("acme", b"bytes")
    await journal.probe()

    assert found is not None
    assert [row.run_id for row in await journal.runs("acme", user="emma")] == ["r1"]
    assert [entry.event.kind async for entry in journal.read("acme", "r1")] == ["run_started", "cancel_requested"]
    assert await journal.due() == [("acme", "r1")]
    assert (await journal.heads([("acme", "r1")]))["acme", "r1"][0] == 2
    assert await journal.get_blob("acme", sha) == b"bytes"
    assert await journal.purge(NOW) == 0
    await journal.close()
