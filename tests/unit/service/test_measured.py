from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from quarterdeck.agent.drafts import KIND, to_record
from quarterdeck.core.answers import Answer, Citation, Confidence, Passage
from quarterdeck.core.context import Principal
from quarterdeck.core.decisions import Draft, DraftStatus
from quarterdeck.core.errors import StoreUnavailable
from quarterdeck.core.events import (
    ApprovalDecided,
    ApprovalRequested,
    DocumentIngested,
    FinalAnswer,
    ModelReply,
    RunStarted,
    ToolReturned,
)
from quarterdeck.core.labels import PUBLIC, Label
from quarterdeck.core.messages import Message, ResultStatus, Role, Text, ToolResult
from quarterdeck.core.runs import RunStatus, StopReason
from quarterdeck.core.usage import Usage
from quarterdeck.service.measured import MeasuredJournal
from quarterdeck.service.standing import Standing
from quarterdeck.store.base import Entry, Put
from quarterdeck.store.memory import MemoryStore
from quarterdeck.telemetry.metrics import Metrics

LABEL = Label(readers=PUBLIC)
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
QUESTION = Message(role=Role.USER, parts=(Text(text="How long is a session?", label=LABEL),))
STARTED = Entry(
    event=RunStarted(
        input=QUESTION, agent="support", config_hash="c", tenant="acme", principal=Principal(user="emma", tenant="acme")
    )
)
PASSAGE = Passage(id="vpn-1", doc_id="vpn", title="VPN", text="Twelve hours.", label=LABEL)


def draft(status: DraftStatus = DraftStatus.WAITING, *, created: datetime = NOW) -> Draft:
    return Draft(
        id="d",
        run_id="run",
        call_id="t1c1",
        tool="mail",
        args={},
        args_hash="h",
        label=LABEL,
        policy_version="p",
        rule="r",
        requested_by="emma",
        created_at=created,
        expires_at=created + timedelta(hours=1),
        status=status,
        decided_by=None if status is DraftStatus.WAITING else "omar",
        decided_at=None if status is DraftStatus.WAITING else created + timedelta(seconds=90),
    )


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def shown(metrics: Metrics) -> list[str]:
    return metrics.rendered()[0].decode().splitlines()


@pytest.mark.row("O2", part="citations")
@pytest.mark.row("O2", part="tools")
async def test_what_a_run_stores_is_counted(metrics: Metrics) -> None:
    journal = MeasuredJournal(MemoryStore().journal, metrics)
    await journal.create("acme", "run", STARTED)
    claim = await journal.claim("acme", "run")
    assert claim is not None
    usage = Usage(prompt_tokens=7, completion_tokens=3, cost_usd=0.25)
    result = ToolResult(
        call_id="t1c1", name="search", status=ResultStatus.ERROR, error="timeout", label=LABEL, duration_ms=200
    )
    supports = (Citation(passage=PASSAGE, sentence="a", support=1.0), Citation(passage=PASSAGE, sentence="b", support=0.55))
    answer = Answer(text="Twelve hours.", confidence=Confidence.HIGH, citations=supports, needs_human_review=True)
    events = (
        ModelReply(turn=1, message=QUESTION, model="openai:one", usage=usage),
        ToolReturned(result=result),
        DocumentIngested(item="a.md", outcome="added"),
        FinalAnswer(answer=answer, stop_reason=StopReason.COMPLETED, label=LABEL),
    )

    await journal.append(claim, [Entry(event=event) for event in events], folded=claim.head, status=RunStatus.DONE)

    lines = shown(metrics)
    for line in (
        'quarterdeck_runs_started_total{agent="support"} 1.0',
        'quarterdeck_runs_ended_total{outcome="done",reason="completed"} 1.0',
        'quarterdeck_model_replies_total{finish="stop",model="openai:one"} 1.0',
        'quarterdeck_tool_calls_total{error="timeout",status="error",tool="search"} 1.0',
        'quarterdeck_tool_seconds_sum{tool="search"} 0.2',
        'quarterdeck_answers_total{agent="support",cited="yes",confidence="high"} 1.0',
        'quarterdeck_answers_to_review_total{agent="support"} 1.0',
        "quarterdeck_citations_total 2.0",
        'quarterdeck_citation_support_bucket{le="0.6"} 1.0',
        'quarterdeck_documents_ingested_total{outcome="added"} 1.0',
    ):
        assert line in lines


async def test_an_event_that_was_not_stored_is_not_counted(metrics: Metrics) -> None:
    journal = MeasuredJournal(MemoryStore().journal, metrics)
    for _ in range(2):
        await journal.create("acme", "run", STARTED)
    decided = Entry(event=ApprovalDecided(id="t1c1", approved=True, by="omar", args_hash="h"))

    posted = [await journal.post("acme", "run", decided) for _ in range(2)]

    assert posted == [True, False]
    assert 'quarterdeck_runs_started_total{agent="support"} 1.0' in shown(metrics)


@pytest.mark.row("O2", part="approvals")
async def test_drafts_are_counted_when_they_are_proposed_and_decided(metrics: Metrics) -> None:
    journal = MeasuredJournal(MemoryStore().journal, metrics)
    await journal.create("acme", "run", STARTED)
    claim = await journal.claim("acme", "run")
    assert claim is not None
    requested = ApprovalRequested(id="t1c1", draft="d", args_hash="h", expires_at=NOW)
    await journal.append(
        claim, [Entry(event=requested)], folded=claim.head, status=RunStatus.WAITING, beside=[Put(record=to_record(draft()))]
    )

    await journal.post(
        "acme",
        "run",
        Entry(event=ApprovalDecided(id="t1c1", approved=False, by="omar", args_hash="h")),
        beside=[Put(record=to_record(draft(DraftStatus.REJECTED)))],
    )

    lines = shown(metrics)
    assert "quarterdeck_approvals_requested_total 1.0" in lines
    assert 'quarterdeck_approvals_decided_total{outcome="rejected"} 1.0' in lines
    assert "quarterdeck_approval_wait_seconds_sum 90.0" in lines


@pytest.mark.row("O2", part="approvals")
@pytest.mark.row("O2", part="queue")
async def test_what_waits_is_looked_up_when_it_is_asked_for_and_not_too_often(metrics: Metrics) -> None:
    store = MemoryStore()
    seconds = [0.0]
    await store.records.write("acme", [Put(record=to_record(draft()))])
    await store.journal.create("acme", "run", STARTED)
    row = await store.records.get("acme", KIND, "d")
    assert row is not None
    assert row.created_at is not None
    later = row.created_at + timedelta(seconds=30)
    standing = Standing(
        metrics, store.journal, store.records, ("acme", "globex"), clock=lambda: seconds[0], now=lambda: later
    )

    first = (await standing.rendered())[0].decode()
    await store.records.write("acme", [Put(record=to_record(draft(DraftStatus.APPROVED)))])
    soon = (await standing.rendered())[0].decode()
    seconds[0] = 10.0
    then = (await standing.rendered())[0].decode()

    for text in (first, soon):
        assert "quarterdeck_approvals_pending 1.0" in text
        assert "quarterdeck_approvals_oldest_seconds 30.0" in text
        assert "quarterdeck_runs_queued 1.0" in text
    assert "quarterdeck_approvals_pending 0.0" in then
    assert "quarterdeck_approvals_oldest_seconds 0.0" in then


async def test_metrics_are_given_although_the_store_is_away(metrics: Metrics) -> None:
    store = MemoryStore()

    class Away:
        async def find(self, *args: object, **kwargs: object) -> None:
            raise StoreUnavailable("away")

    standing = Standing(metrics, store.journal, Away(), ("acme",))  # type: ignore[arg-type]

    text = (await standing.rendered())[0].decode()

    assert "quarterdeck_approvals_pending NaN" in text
    assert "quarterdeck_citations_total 0.0" in text
