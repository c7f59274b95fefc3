from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from quarterdeck.core.context import Context
from quarterdeck.core.errors import Conflict, Fenced, InvalidInput, StoreUnavailable
from quarterdeck.core.events import CancelRequested, FinalAnswer, PauseRequested, ResumeRequested, RunFailed
from quarterdeck.core.runs import RunStatus
from quarterdeck.models.embeddings import Embedded
from quarterdeck.service.controls import Controls
from quarterdeck.service.orders import Upload
from quarterdeck.service.specs import BlobSpecs
from quarterdeck.service.views import view_of
from quarterdeck.store.base import Entry

from .intake import ANN, ASKED, OLGA, Broken, Intake, Letters, folder_sources, intake_at


@pytest.fixture
async def intake(tmp_path: Path) -> AsyncIterator[Intake]:
    async with intake_at(tmp_path, sources=folder_sources(tmp_path, 40)) as opened:
        yield opened


def note(text: str = "# Note\n\nomega\n", name: str = "note.md") -> Upload:
    return Upload(name=name, data=text.encode())


@pytest.mark.row("K8", part="runs")
async def test_a_folder_is_brought_in_by_a_run_that_tells_each_document_and_ends_with_counts(intake: Intake) -> None:
    begun = await intake.documents.synchronise(OLGA, "kb", ASKED)

    await intake.ingestion.advance("acme", begun.run_id)

    assert intake.woken == [("acme", begun.run_id)]
    assert await intake.outcomes(begun.run_id) == [(f"{number:03}.md", "added") for number in range(40)]
    final = (await intake.events(begun.run_id))[-1]
    assert isinstance(final, FinalAnswer)
    assert final.answer.text == "Documents: 40 added, 0 updated, 0 unchanged, 0 removed, 0 refused."
    assert final.output == {"added": 40, "updated": 0, "unchanged": 0, "removed": 0, "refused": 0, "refusals": []}
    assert await intake.status(begun.run_id) is RunStatus.DONE
    assert len(await intake.found("alpha", "everyone")) == 20


async def test_a_run_shows_itself_like_every_other(intake: Intake) -> None:
    begun = await intake.documents.upload(ANN, note(), ["it"], ASKED)
    await intake.ingestion.advance("acme", begun.run_id)

    entries = [entry async for entry in intake.store.journal.read("acme", begun.run_id)]
    view = view_of(begun.run_id, entries)

    assert (view.question, view.agent, view.status) == ("Bring in note.md", "ingest", RunStatus.DONE)
    assert view.output["added"] == 1
    assert view.label.readers.admits(ANN.names)


@pytest.mark.row("K8", part="runs")
async def test_after_a_crash_a_run_goes_on_behind_its_last_event(intake: Intake) -> None:
    begun = await intake.documents.synchronise(OLGA, "kb", ASKED)

    async def dies(number: int) -> None:
        if number == 20:
            raise KeyboardInterrupt(signal.SIGKILL)

    broken = Broken(intake.index, dies)
    with suppress(KeyboardInterrupt, BaseExceptionGroup):
        await intake.worker(index=broken).advance("acme", begun.run_id)
    first = await intake.outcomes(begun.run_id)
    whole = Broken(intake.index, lambda number: anyio.lowlevel.checkpoint())

    await intake.worker(index=whole).advance("acme", begun.run_id)

    assert first == [(f"{number:03}.md", "added") for number in range(16)]
    outcomes = await intake.outcomes(begun.run_id)
    assert [item for item, _ in outcomes] == [f"{number:03}.md" for number in range(40)]
    assert whole.upserts == 40 - 19  # the three that stood in the index, and in no event, were found unchanged
    assert [outcome for _, outcome in outcomes[16:19]] == ["unchanged"] * 3
    assert await intake.status(begun.run_id) is RunStatus.DONE


@pytest.mark.row("K8", part="runs")
async def test_a_worker_that_lost_its_run_changes_nothing_any_more(intake: Intake) -> None:
    begun = await intake.documents.synchronise(OLGA, "kb", ASKED)
    frozen, thawed = anyio.Event(), anyio.Event()

    async def sleeps(number: int) -> None:
        if number == 5:
            frozen.set()
            await thawed.wait()

    zombie = Broken(intake.index, sleeps)  # it sleeps between its last look at its claim and the change itself

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(intake.worker(index=zombie).advance, "acme", begun.run_id)
        with anyio.fail_after(10):
            await frozen.wait()
        await intake.ingestion.advance("acme", begun.run_id)
        events = await intake.events(begun.run_id)
        await intake.index.set_groups("acme", "004", frozenset({"hr"}))
        await intake.index.delete("acme", ["003"])
        thawed.set()

    assert zombie.upserts == 5
    assert await intake.index.document("acme", "004", frozenset({"everyone"})) is None
    assert await intake.index.document("acme", "003", frozenset({"everyone"})) is None
    assert await intake.events(begun.run_id) == events
    assert isinstance(events[-1], FinalAnswer)


async def test_a_run_can_be_cancelled_between_documents(intake: Intake) -> None:
    begun = await intake.documents.synchronise(OLGA, "kb", ASKED)

    async def cancels(number: int) -> None:
        if number == 3:
            await intake.store.journal.post("acme", begun.run_id, Entry(event=CancelRequested(by="olga", reason="enough")))

    await intake.worker(index=Broken(intake.index, cancels)).advance("acme", begun.run_id)

    assert await intake.status(begun.run_id) is RunStatus.CANCELLED
    assert len(await intake.outcomes(begun.run_id)) == 16


async def test_a_run_rests_when_it_is_paused_and_goes_on_when_it_may(intake: Intake) -> None:
    begun = await intake.documents.synchronise(OLGA, "kb", ASKED)

    async def pauses(number: int) -> None:
        if number == 3:
            await intake.store.journal.post("acme", begun.run_id, Entry(event=PauseRequested(by="olga")))

    await intake.worker(index=Broken(intake.index, pauses)).advance("acme", begun.run_id)
    rested = await intake.status(begun.run_id)
    await intake.store.journal.post("acme", begun.run_id, Entry(event=ResumeRequested(by="olga")))
    await intake.ingestion.advance("acme", begun.run_id)

    assert rested is RunStatus.PAUSED
    assert await intake.status(begun.run_id) is RunStatus.DONE
    assert len(await intake.outcomes(begun.run_id)) == 40


async def test_what_is_away_is_waited_for(intake: Intake) -> None:
    begun = await intake.documents.upload(ANN, note(), None, ASKED)

    async def away(number: int) -> None:
        raise StoreUnavailable("the index is away")

    await intake.worker(index=Broken(intake.index, away)).advance("acme", begun.run_id)
    row = await intake.store.journal.find("acme", begun.run_id)
    await intake.ingestion.advance("acme", begun.run_id)

    assert row is not None
    assert (row.status, row.attempts) == (RunStatus.WAITING, 0)
    assert row.wake_at is not None
    assert row.wake_at - datetime.now(UTC) < timedelta(seconds=10)
    assert await intake.status(begun.run_id) is RunStatus.DONE


async def test_what_an_index_cannot_keep_is_refused_and_the_rest_is_brought_in(intake: Intake) -> None:
    begun = await intake.documents.synchronise(OLGA, "kb", ASKED)

    async def refuses(number: int) -> None:
        if number == 3:
            raise InvalidInput("there is something in it that cannot be kept")

    await intake.worker(index=Broken(intake.index, refuses)).advance("acme", begun.run_id)

    outcomes = await intake.outcomes(begun.run_id)
    assert [item for item, outcome in outcomes if outcome == "refused"] == ["002.md"]
    assert len(outcomes) == 40
    assert await intake.status(begun.run_id) is RunStatus.DONE


async def test_a_worker_that_is_to_stop_leaves_the_run_to_others(intake: Intake) -> None:
    begun = await intake.documents.synchronise(OLGA, "kb", ASKED)
    worker: Any = None

    async def drains(number: int) -> None:
        worker.drain()

    worker = intake.worker(index=Broken(intake.index, drains))
    await worker.advance("acme", begun.run_id)
    left = await intake.status(begun.run_id), len(await intake.outcomes(begun.run_id))
    await worker.advance("acme", begun.run_id)

    assert left == (RunStatus.READY, 16)
    assert len(await intake.outcomes(begun.run_id)) == 16


async def test_a_run_that_stops_its_workers_again_and_again_is_a_dead_letter(intake: Intake) -> None:
    begun = await intake.documents.upload(ANN, note(), None, ASKED)
    for _ in range(3):
        assert await intake.store.journal.claim("acme", begun.run_id) is not None

    await intake.ingestion.advance("acme", begun.run_id)

    failed = (await intake.events(begun.run_id))[-1]
    assert isinstance(failed, RunFailed)
    assert (failed.code, failed.poison) == ("poison", True)


async def test_rights_are_looked_at_again_when_a_run_is_taken_up(intake: Intake) -> None:
    gone = await intake.documents.upload(ANN, note(), None, ASKED)
    left_the_group = await intake.documents.upload(ANN, note(name="other.md"), ["it"], ASKED)

    intake.people.known["ann"] = type(ANN)(user="ann", tenant="acme", scopes=ANN.scopes)
    await intake.ingestion.advance("acme", left_the_group.run_id)
    del intake.people.known["ann"]
    await intake.ingestion.advance("acme", gone.run_id)

    for begun in (gone, left_the_group):
        failed = (await intake.events(begun.run_id))[-1]
        assert isinstance(failed, RunFailed)
        assert failed.code == "forbidden"
    assert await intake.found("omega", "it", "user:ann") == []


@pytest.mark.row("K3", part="ingest")
async def test_a_run_makes_vectors_for_many_documents_at_once_and_for_unchanged_ones_none(tmp_path: Path) -> None:
    embedder = Letters()
    async with intake_at(tmp_path, embedder=embedder, sources=folder_sources(tmp_path, 20)) as intake:
        first = await intake.documents.synchronise(OLGA, "kb", ASKED)
        await intake.ingestion.advance("acme", first.run_id)
        asked = [len(texts) for texts in embedder.asked]

        again = await intake.documents.synchronise(OLGA, "kb", ASKED)
        await intake.ingestion.advance("acme", again.run_id)

        assert asked == [16, 4]
        assert len(embedder.asked) == 2
        assert {outcome for _, outcome in await intake.outcomes(again.run_id)} == {"unchanged"}


class Slow(Letters):
    """An embedder during whose work something else happens, once it is told what."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Callable[[], Awaitable[object]] | None = None

    async def embed(self, texts: Sequence[str], ctx: Context) -> Embedded:
        if self.meanwhile is not None:
            await self.meanwhile()
        return await super().embed(texts, ctx)


@pytest.fixture
async def slow(tmp_path: Path) -> AsyncIterator[tuple[Intake, Slow, str]]:
    """A document of hr and it that ann brought in, and an embedder that takes its time with the next one."""
    embedder = Slow()
    async with intake_at(tmp_path, embedder=embedder) as intake:
        intake.people.known["ann"] = ann = replace(ANN, groups=("hr", "it"))
        begun = await intake.documents.upload(ann, note(), ["hr", "it"], ASKED)
        await intake.ingestion.advance("acme", begun.run_id)
        yield intake, embedder, begun.documents[0][1]


@pytest.mark.row("K7", part="meanwhile")
async def test_a_group_taken_away_while_a_new_edition_is_read_does_not_come_back_with_it(
    slow: tuple[Intake, Slow, str],
) -> None:
    intake, embedder, doc_id = slow
    embedder.meanwhile = partial(intake.documents.set_groups, intake.people.known["ann"], doc_id, ["it"])

    begun = await intake.documents.upload(intake.people.known["ann"], note("# Note\n\nsigma\n"), None, ASKED)
    await intake.ingestion.advance("acme", begun.run_id)

    assert await intake.outcomes(begun.run_id) == [("note.md", "updated")]
    assert await intake.found("sigma", "it") == [doc_id]
    assert await intake.found("sigma", "hr") == []


@pytest.mark.row("K7", part="meanwhile")
async def test_a_document_deleted_while_a_new_edition_is_read_does_not_come_back_with_it(
    slow: tuple[Intake, Slow, str],
) -> None:
    intake, embedder, doc_id = slow
    embedder.meanwhile = partial(intake.documents.delete, intake.people.known["ann"], doc_id)

    begun = await intake.documents.upload(intake.people.known["ann"], note("# Note\n\nsigma\n"), None, ASKED)
    await intake.ingestion.advance("acme", begun.run_id)

    assert await intake.outcomes(begun.run_id) == [("note.md", "refused")]
    assert await intake.found("sigma omega", "it", "hr", "user:ann") == []


async def test_nobody_speaks_into_a_run_without_a_model(intake: Intake) -> None:
    begun = await intake.documents.upload(ANN, note(), None, ASKED)
    journal, records = intake.store.journal, intake.store.records
    controls = Controls(
        journal=journal,
        records=records,
        specs=BlobSpecs(journal),
        dispatcher=intake,  # type: ignore[arg-type]
        directory=intake.people,
        interrupt=lambda tenant, run_id: None,
    )

    with pytest.raises(Conflict, match="no model"):
        await controls.steer(ANN, begun.run_id, "faster")


async def test_a_check_of_the_claim_is_refused_once_it_is_anothers(intake: Intake) -> None:
    begun = await intake.documents.upload(ANN, note(), None, ASKED)
    claim = await intake.store.journal.claim("acme", begun.run_id)
    assert claim is not None
    await intake.store.journal.append(claim, (), folded=claim.head)

    await intake.store.journal.claim("acme", begun.run_id)

    with pytest.raises(Fenced):
        await intake.store.journal.append(claim, (), folded=claim.head)
