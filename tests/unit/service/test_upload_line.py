from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from quarterdeck.core.events import CancelRequested, PauseRequested, ResumeRequested
from quarterdeck.core.runs import RunStatus
from quarterdeck.service.orders import Upload
from quarterdeck.store.base import Entry

from .intake import ANN, ASKED, Intake, intake_at

pytestmark = pytest.mark.row("K8", part="by arrival")


@pytest.fixture
async def intake(tmp_path: Path) -> AsyncIterator[Intake]:
    async with intake_at(tmp_path) as opened:
        yield opened


async def sent(intake: Intake, *texts: str) -> list[str]:
    """Runs that bring in one text after the other under one name."""
    notes = [Upload(name="note.md", data=text.encode()) for text in texts]
    return [(await intake.documents.upload(ANN, note, None, ASKED)).run_id for note in notes]


async def editions(intake: Intake) -> list[str]:
    """The texts of the document, oldest first."""
    (document,) = await intake.documents.readable(ANN)
    found = await intake.documents.editions(ANN, document.id)
    opened = [await intake.documents.open(ANN, document.id, edition=one.number) for one in reversed(found)]
    assert [one.edition for one in opened] == list(range(1, len(opened) + 1))
    return [one.text.strip() for one in opened]


async def advance(intake: Intake, *runs: str) -> None:
    for run in runs:
        await intake.ingestion.advance("acme", run)


async def post(intake: Intake, run: str, event: CancelRequested | PauseRequested | ResumeRequested) -> None:
    assert await intake.store.journal.post("acme", run, Entry(event=event))


async def test_what_was_sent_last_is_read_whichever_run_is_taken_up_first(intake: Intake) -> None:
    first, second, third = await sent(intake, "alpha", "beta", "gamma")

    await advance(intake, third, second)
    row = await intake.store.journal.find("acme", second)
    waiting = [await intake.status(run) for run in (second, third)]
    await advance(intake, first, third, second, third)

    assert waiting == [RunStatus.WAITING, RunStatus.WAITING]
    assert row is not None
    assert row.wake_at is not None
    assert row.wake_at - datetime.now(UTC) < timedelta(seconds=5)
    assert [await intake.status(run) for run in (first, second, third)] == [RunStatus.DONE] * 3
    assert await editions(intake) == ["alpha", "beta", "gamma"]
    assert await intake.found("alpha", "user:ann") == []
    assert len(await intake.found("gamma", "user:ann")) == 1


async def test_many_that_are_sent_at_once_all_become_editions(intake: Intake) -> None:
    runs: list[str] = []

    async def send(text: str) -> None:
        runs.extend(await sent(intake, text))

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(send, f"text {number}")
    for _ in runs:
        await advance(intake, *runs)

    assert {await intake.status(run) for run in runs} == {RunStatus.DONE}
    assert sorted(await editions(intake)) == [f"text {number}" for number in range(8)]


async def test_one_that_is_paused_lets_the_others_pass_and_comes_when_it_goes_on(intake: Intake) -> None:
    first, second = await sent(intake, "alpha", "beta")
    await post(intake, first, PauseRequested(by="user:ann"))
    await advance(intake, first)

    await advance(intake, second)
    passed = await editions(intake)
    await post(intake, first, ResumeRequested(by="user:ann"))
    await advance(intake, first)

    assert passed == ["beta"]
    assert await editions(intake) == ["beta", "alpha"]


async def test_one_that_waits_for_its_turn_is_cancelled_at_once(intake: Intake) -> None:
    first, second, third = await sent(intake, "alpha", "beta", "gamma")
    await advance(intake, second)

    await post(intake, second, CancelRequested(by="user:ann"))
    await advance(intake, second)
    cancelled = await intake.status(second)
    await advance(intake, first, third)

    assert cancelled is RunStatus.CANCELLED
    assert await editions(intake) == ["alpha", "gamma"]


async def test_the_line_remembers_only_runs_that_have_not_ended(intake: Intake) -> None:
    for number in range(5):
        await advance(intake, *await sent(intake, f"text {number}"))

    last = await sent(intake, "the end")

    lines = await intake.store.records.find("acme", "upload_line")
    assert [line.data for line in lines] == [{"runs": last}]
    assert [line.ref for line in lines] == last
