"""Workers that stop, runs that are tried again, and long runs that change hands."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from quarterdeck.agent.fold import fold
from quarterdeck.core.errors import Conflict, ModelUnavailable, NotFound
from quarterdeck.core.events import (
    ApprovalRequested,
    FinalAnswer,
    RetryRequested,
    RunFailed,
    StateFolded,
    Steer,
)
from quarterdeck.core.labels import PUBLIC, Integrity, Label
from quarterdeck.core.messages import Message, Role, Text
from quarterdeck.core.runs import AgentSpec, RunStatus, StopReason
from quarterdeck.core.tools import ToolContext
from quarterdeck.models.base import Completion, ModelRequest
from quarterdeck.store.base import Appended, Claim, Entry, RunRow
from quarterdeck.store.codec import decode, encode
from quarterdeck.tools.decorator import tool
from tests.unit.agent.scene import ANNA, LEE, START, DiesBeforeResults, Killed, Scene, Scripted, calls, says

RETRY = RetryRequested(by="olga")


@tool(effect="read")
async def look(what: str) -> str:
    """Look something up."""
    return f"{what}: 42"


@tool(effect="write", needs_approval=True)
async def book(room: str) -> str:
    """Book a room."""
    return room


class Bank:
    """An outside world that counts what was paid, and may hold a payment up."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.reached = anyio.Event()
        self.go_on = anyio.Event()

    def pay(self, **declared: Any) -> Any:
        @tool(effect="write", **declared)
        async def pay(amount: int, ctx: ToolContext) -> str:
            """Pay somebody."""
            self.keys.append(ctx.idempotency_key)
            self.reached.set()
            await self.go_on.wait()
            return "paid"

        return pay


class Around:
    """A journal around another, through which every event passes as JSON, as it would through a database."""

    def __init__(self, scene: Scene) -> None:
        self.inner = scene.store.journal
        self.claimed: list[int] = []
        self.before: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def claim(self, tenant: str, run_id: str) -> Claim | None:
        claim: Claim | None = await self.inner.claim(tenant, run_id)
        if claim is not None:
            self.claimed.append(len(claim.entries))
        return claim

    async def append(self, claim: Claim, entries: Sequence[Entry], **fields: Any) -> Appended:
        if self.before is not None:
            await self.before(entries)
        stored = [Entry(event=decode(*encode(entry.event)), key=entry.key) for entry in entries]
        appended: Appended = await self.inner.append(claim, stored, **fields)
        return appended


async def row_of(scene: Scene) -> RunRow:
    row: RunRow | None = await scene.store.journal.find(ANNA.tenant, scene.run_id)
    assert row is not None
    return row


def steer(text: str) -> Steer:
    label = Label(integrity=Integrity.TRUSTED, readers=PUBLIC)
    return Steer(by="anna", message=Message(role=Role.USER, parts=(Text(text=text, label=label),)))


@pytest.mark.row("L2", part="draining")
async def test_a_worker_that_drains_hands_its_run_over_between_two_steps() -> None:
    scene = Scene(tools=[look])

    def drained(request: ModelRequest) -> Completion:
        scene.loop.drain()
        return calls(("look", {"what": "lamp"}))

    scene.model.replies += [drained, says("The lamp says 42.")]
    await scene.begin()

    left = await scene.go_on()
    row = await row_of(scene)
    due = await scene.store.journal.due()
    scene.loop = scene.new_loop()
    state = await scene.go_on()

    assert [call.call.name for call in left.calls] == ["look"]  # the reply is durable: the model is not asked again
    assert (row.status, row.attempts) == (RunStatus.READY, 0)
    assert due == [(ANNA.tenant, scene.run_id)]
    assert isinstance(state.ended, FinalAnswer)
    assert len(scene.model.requests) == 2


async def test_a_worker_that_drains_takes_no_run() -> None:
    scene = Scene(says("never asked"))
    around = Around(scene)
    scene.loop = scene.new_loop(journal=around)  # type: ignore[arg-type]  # what it lacks is the inner journal's
    await scene.begin()
    scene.loop.drain()

    await scene.go_on()

    assert (await row_of(scene)).status is RunStatus.READY
    assert around.claimed == []
    assert scene.model.requests == []


@pytest.mark.row("L2", part="draining")
async def test_a_worker_that_drains_ends_the_write_it_has_begun() -> None:
    bank = Bank()
    scene = Scene(calls(("pay", {"amount": 5})), says("Paid."), tools=[bank.pay()])
    await scene.begin()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(scene.go_on)
            await bank.reached.wait()
            scene.loop.drain()
            bank.go_on.set()
    row = await row_of(scene)
    scene.loop = scene.new_loop()

    state = await scene.go_on()

    assert row.status is RunStatus.READY
    assert isinstance(state.ended, FinalAnswer)
    assert len(bank.keys) == 1


@pytest.mark.row("L2", part="draining")
@pytest.mark.parametrize("how", ["cancelled", "interrupted"])
async def test_a_model_call_that_outlasts_the_grace_is_cut_and_its_run_handed_over(how: str) -> None:
    reached = anyio.Event()

    class Slow(Scripted):
        async def complete(self, request: Any, ctx: Any, emit: Any = None) -> Completion:
            reached.set()
            await anyio.sleep_forever()
            raise AssertionError

    scene = Scene()
    scene.model = Slow()
    scene.loop = scene.new_loop()
    await scene.begin()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(scene.go_on)
            await reached.wait()
            scene.loop.drain()
            if how == "cancelled":
                tasks.cancel_scope.cancel()
            else:
                scene.loop.interrupt(scene.run_id)

    row = await row_of(scene)
    assert (row.status, row.attempts) == (RunStatus.READY, 0)


async def test_a_row_that_has_moved_on_does_not_keep_a_run_with_a_worker_that_drains() -> None:
    scene = Scene(calls(("book", {"room": "R1"}), ("look", {"what": "lamp"})), tools=[book, look])
    around = Around(scene)
    conflicts = 0

    async def conflict(entries: Sequence[Entry]) -> None:
        nonlocal conflicts
        if any(isinstance(entry.event, ApprovalRequested) for entry in entries):
            conflicts += 1
            raise Conflict("the draft has moved on")

    class DrainingPolicy:
        """Decides as ever; the stop comes while it does, with the draft staged and a read still to be made."""

        def __getattr__(self, name: str) -> Any:
            if name == "decide":
                scene.loop.drain()
            return getattr(scene.policy, name)

    around.before = conflict
    scene.loop = scene.new_loop(journal=around)  # type: ignore[arg-type]  # what it lacks is the inner journal's
    scene.loop.policy = DrainingPolicy()  # type: ignore[assignment]  # what it lacks is the inner policy's
    await scene.begin()
    with anyio.fail_after(5):
        await scene.go_on()

    assert (await row_of(scene)).status is RunStatus.READY
    assert conflicts == 1


@pytest.mark.row("L2", part="retry")
async def test_a_run_whose_model_failed_asks_again_when_it_is_retried() -> None:
    scene = Scene(calls(("look", {"what": "lamp"})), ModelUnavailable("503"), says("The lamp says 42."), tools=[look])
    failed = await scene.ask()
    await scene.post(RETRY)

    state = await scene.go_on()

    assert isinstance(failed.ended, RunFailed)
    assert isinstance(state.ended, FinalAnswer)
    assert [call.name for call in state.made] == ["look"]  # what was done before stands
    assert scene.model.requests[1].messages == scene.model.requests[2].messages


async def test_a_retried_run_that_fails_again_may_be_retried_again() -> None:
    scene = Scene(ModelUnavailable("503"), ModelUnavailable("503"), says("At last."))
    await scene.ask()
    await scene.post(RETRY)
    again = await scene.go_on()
    await scene.post(RETRY)

    state = await scene.go_on()

    assert isinstance(again.ended, RunFailed)
    assert isinstance(state.ended, FinalAnswer)
    assert (await scene.kinds()).count("run_failed") == 2


async def test_a_retried_run_is_not_held_to_a_deadline_that_passed_while_it_lay() -> None:
    scene = Scene(ModelUnavailable("503"), says("Late, but here."))
    await scene.ask(deadline=START + timedelta(seconds=30))
    scene.clock.pass_by(3600)
    await scene.post(RETRY)

    state = await scene.go_on()

    assert state.stop_reason is StopReason.COMPLETED


@pytest.mark.row("L2", part="retry")
async def test_a_poison_run_goes_on_when_it_is_retried() -> None:
    scene = Scene(says("It works again."))
    await scene.begin()
    for _ in range(3):
        await scene.store.journal.claim(ANNA.tenant, scene.run_id)
    dead = await scene.go_on()
    listed = await scene.store.journal.runs(ANNA.tenant, code="poison")
    await scene.post(RETRY)

    state = await scene.go_on()

    assert isinstance(dead.ended, RunFailed)
    assert [row.run_id for row in listed] == [scene.run_id]
    assert isinstance(state.ended, FinalAnswer)
    assert await scene.store.journal.runs(ANNA.tenant, code="poison") == []


@pytest.mark.row("L2", part="retry")
@pytest.mark.parametrize(("idempotent", "payments"), [(True, 2), (False, 1)])
async def test_a_retry_after_a_started_write_repeats_it_by_its_key_or_asks_a_person(idempotent: bool, payments: int) -> None:
    bank = Bank()
    bank.go_on.set()
    scene = Scene(calls(("pay", {"amount": 5})), says("Paid."), tools=[bank.pay(idempotent=idempotent)])
    await scene.begin()
    scene.loop = scene.new_loop(journal=DiesBeforeResults(scene.store.journal))
    with pytest.raises(Killed):
        await scene.go_on()
    scene.loop = scene.new_loop()
    scene.loop.specs = Lost()
    failed = await scene.go_on()
    scene.loop = scene.new_loop()
    await scene.post(RETRY)

    state = await scene.go_on()

    assert isinstance(failed.ended, RunFailed)
    assert state.stop_reason is (StopReason.COMPLETED if idempotent else StopReason.IN_DOUBT)
    assert len(bank.keys) == payments
    assert len(set(bank.keys)) == 1


class Lost:
    """A place where no declaration is found: it fails a run before its next step."""

    async def get(self, tenant: str, config_hash: str) -> AgentSpec:
        raise NotFound("the declaration is gone")


async def waiting_again(scene: Scene) -> None:
    """A person refuses what waits; the model proposes the same once more, and the run waits again."""
    (draft,) = [draft for draft in await scene.approvals.list(LEE) if draft.status == "waiting"]
    scene.model.replies.append(calls(("book", {"room": "R1"})))
    await scene.approvals.decide(LEE, draft.id, approved=False)


@pytest.mark.row("L2", part="long runs")
async def test_a_claim_of_a_long_run_reads_no_more_the_longer_the_run_becomes() -> None:
    scene = Scene(calls(("book", {"room": "R1"})), tools=[book])
    around = Around(scene)
    scene.loop = scene.new_loop(journal=around)  # type: ignore[arg-type]  # what it lacks is the inner journal's
    await scene.ask()
    for n in range(4):
        for i in range(410):
            await scene.post(steer(f"{n}-{i}"))
        await scene.go_on()

    lengths = around.claimed[1:]
    folded = [entry for entry in await scene.entries() if isinstance(entry.event, StateFolded)]
    assert (await row_of(scene)).head > 1600
    assert len(folded) == 4
    assert max(lengths) - min(lengths) <= 5
    assert max(lengths) < 420


@pytest.mark.row("L2", part="long runs")
async def test_a_run_goes_on_from_a_folded_state_as_if_all_had_been_folded() -> None:
    scene = Scene(calls(("book", {"room": "R1"})), tools=[book])
    around = Around(scene)
    scene.loop = scene.new_loop(journal=around)  # type: ignore[arg-type]  # what it lacks is the inner journal's
    await scene.ask()
    for i in range(420):
        await scene.post(steer(str(i)))
    between = True

    async def meanwhile(entries: Sequence[Entry]) -> None:
        nonlocal between
        if between:  # a message behind what the state covers and before the place it is stored at
            between = False
            await scene.post(steer("between"))

    around.before = meanwhile
    await scene.go_on()
    await waiting_again(scene)
    await scene.go_on()

    claim = await scene.store.journal.claim(ANNA.tenant, scene.run_id)
    assert isinstance(claim.entries[0].event, StateFolded)
    assert "between" in [entry.event.message.text for entry in claim.entries if isinstance(entry.event, Steer)]
    assert fold(claim.entries) == await scene.state()


async def test_a_short_run_leaves_no_folded_state() -> None:
    scene = Scene(says("Done."))
    await scene.begin()
    for i in range(100):
        await scene.post(steer(str(i)))

    await scene.go_on()

    assert "state_folded" not in await scene.kinds()
