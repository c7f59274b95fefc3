"""What people do with runs that exist, over every store: pause, resume, cancel, steer, retry."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from quarterdeck.core.context import Principal
from quarterdeck.core.decisions import DraftStatus
from quarterdeck.core.errors import (
    Conflict,
    ContextTooLarge,
    Forbidden,
    InvalidInput,
    KeyReused,
    ModelUnavailable,
    NotFound,
)
from quarterdeck.core.events import RunFailed
from quarterdeck.core.runs import AgentSpec, Limits, RunStatus, StopReason
from quarterdeck.core.tools import ToolContext
from quarterdeck.policy.guards import Chain, Guards, Link, Ruling
from quarterdeck.policy.guards.patterns import Pattern
from quarterdeck.service.controls import Controls, Fork
from quarterdeck.tools.decorator import tool
from tests.contracts.stores import Clock, Store
from tests.unit.agent.scene import ANNA, LEE, DiesBeforeResults, Killed, Scene, calls, says

OMAR = Principal(user="omar", tenant="acme", scopes=("operate",))
GIL = Principal(user="gil", tenant="globex", scopes=("operate",))
BOB = Principal(user="bob", tenant="acme", scopes=("chat",))


class Stage(Scene):
    """A run over a store, and the commands people give it."""

    def __init__(self, *replies: Any, **fields: Any) -> None:
        super().__init__(*replies, **fields)
        self.interrupted: list[str] = []
        self.listening = Guards()
        self.controls = Controls(
            journal=self.store.journal,
            records=self.store.records,
            specs=self,  # type: ignore[arg-type]  # reading one is all that is needed of them
            dispatcher=self.dispatcher,
            directory=self.staff,
            guards=lambda agent: self.listening,
            interrupt=lambda tenant, run_id: self.interrupted.append(run_id),
        )

    async def status(self) -> RunStatus:
        row = await self.store.journal.find(ANNA.tenant, self.run_id)
        assert row is not None
        return row.status

    async def commands(self) -> list[tuple[str, str, str]]:
        rows = await self.store.records.audit_rows(ANNA.tenant)
        return [(row["actor"], row["subject"], row["decision"]) for row in rows if row["action"] == "run"]


class World:
    def __init__(self) -> None:
        self.keys: list[str] = []

    def paying(self, **declared: Any) -> Any:
        @tool(effect="write", **declared)
        async def pay(amount: int, ctx: ToolContext) -> str:
            """Pay somebody."""
            self.keys.append(ctx.idempotency_key)
            return f"paid {amount}"

        return pay


async def dies_after_the_effect(scene: Scene) -> None:
    await scene.begin()
    scene.loop = scene.new_loop(DiesBeforeResults(scene.store.journal))
    with pytest.raises(Killed):
        await scene.go_on()
    scene.loop = scene.new_loop()


@pytest.mark.row("L2", part="pause")
async def test_a_paused_run_rests_until_it_is_resumed(store: Store, clock: Clock) -> None:
    stage = Stage(says("Here."), store=store, clock=clock)
    await stage.begin()

    await stage.controls.pause(ANNA, stage.run_id, "lunch")
    await stage.controls.pause(ANNA, stage.run_id)
    rests = await stage.go_on()
    status = await stage.status()
    await stage.go_on()
    resumed = await stage.controls.resume(ANNA, stage.run_id)
    state = await stage.go_on()

    assert (rests.stop_reason, status) == (StopReason.PAUSED, RunStatus.PAUSED)
    assert resumed.status is RunStatus.READY
    assert state.stop_reason is StopReason.COMPLETED
    assert (await stage.kinds())[:3] == ["run_started", "pause_requested", "resume_requested"]
    assert await stage.commands() == [("user:anna", "user:anna", "pause"), ("user:anna", "user:anna", "resume")]
    assert stage.dispatcher.woken == [stage.run_id] * 3


@pytest.mark.row("L2", part="pause")
async def test_a_run_paused_during_a_write_ends_it_and_rests_before_the_next_reply(store: Store, clock: Clock) -> None:
    @tool(effect="write")
    async def pay(amount: int) -> str:
        """Pay somebody."""
        await stage.controls.pause(ANNA, stage.run_id)
        return "paid"

    stage = Stage(calls(("pay", {"amount": 1})), says("Paid."), tools=[pay], store=store, clock=clock)

    state = await stage.ask()

    assert (await stage.status(), state.stop_reason) == (RunStatus.PAUSED, StopReason.PAUSED)
    assert [call.success for call in state.made] == [True]
    assert len(stage.model.requests) == 1


@pytest.mark.row("L2", part="pause")
async def test_a_pause_holds_over_a_crash_and_a_restart(store: Store, clock: Clock) -> None:
    world = World()
    stage = Stage(
        calls(("pay", {"amount": 1})), says("Paid."), tools=[world.paying(idempotent=True)], store=store, clock=clock
    )
    await dies_after_the_effect(stage)
    await stage.controls.pause(ANNA, stage.run_id)
    clock.pass_by(seconds=10)
    due = await store.journal.due(stalled_s=10)

    rests = await stage.go_on()
    clock.pass_by(seconds=10)
    nothing_due = await store.journal.due(stalled_s=10)
    await stage.controls.resume(ANNA, stage.run_id)
    state = await stage.go_on()

    assert (due, nothing_due) == ([(ANNA.tenant, stage.run_id)], [])
    assert rests.stop_reason is StopReason.PAUSED
    assert state.stop_reason is StopReason.COMPLETED
    assert (len(world.keys), len(set(world.keys))) == (2, 1)


@pytest.mark.row("L2", part="pause")
async def test_a_draft_may_be_decided_while_its_run_rests(store: Store, clock: Clock) -> None:
    world = World()
    stage = Stage(
        calls(("pay", {"amount": 1})), says("Paid."), tools=[world.paying(needs_approval=True)], store=store, clock=clock
    )
    await stage.ask()
    await stage.controls.pause(ANNA, stage.run_id)
    await stage.go_on()
    (draft,) = await stage.approvals.list(LEE)
    await stage.approvals.decide(LEE, draft.id, approved=True)
    await stage.go_on()
    resting = (await stage.status(), list(world.keys))
    await stage.controls.resume(ANNA, stage.run_id)

    state = await stage.go_on()

    assert resting == (RunStatus.PAUSED, [])
    assert (state.stop_reason, len(world.keys)) == (StopReason.COMPLETED, 1)


@pytest.mark.row("L2", part="cancel")
async def test_a_paused_run_can_be_cancelled(store: Store, clock: Clock) -> None:
    stage = Stage(store=store, clock=clock)
    await stage.begin()
    await stage.controls.pause(ANNA, stage.run_id)
    await stage.go_on()

    await stage.controls.cancel(OMAR, stage.run_id, "not needed")
    state = await stage.go_on()

    assert (await stage.status(), state.stop_reason) == (RunStatus.CANCELLED, StopReason.CANCELLED)
    assert stage.interrupted == [stage.run_id]
    assert (await stage.commands())[-1] == ("user:omar", "user:anna", "cancel")


@pytest.mark.row("L2", part="resume")
async def test_what_cannot_be_is_a_conflict_and_writes_nothing(store: Store, clock: Clock) -> None:
    stage = Stage(says("Here."), store=store, clock=clock)
    await stage.begin()
    with pytest.raises(Conflict, match="is not paused; it is ready"):
        await stage.controls.resume(ANNA, stage.run_id)
    with pytest.raises(Conflict, match="has not failed; it is ready"):
        await stage.controls.retry(ANNA, stage.run_id)
    state = await stage.go_on()

    for command in (stage.controls.pause, stage.controls.resume, stage.controls.cancel):
        with pytest.raises(Conflict, match="has ended already: done"):
            await command(ANNA, stage.run_id)
    with pytest.raises(Conflict, match="has ended already: done"):
        await stage.controls.steer(ANNA, stage.run_id, "Wait!")
    with pytest.raises(Conflict, match="has not failed; it is done"):
        await stage.controls.retry(ANNA, stage.run_id)

    assert (await stage.state()).seq == state.seq
    assert await stage.commands() == []


async def test_runs_of_others_do_not_exist(store: Store, clock: Clock) -> None:
    stage = Stage(says("Here."), store=store, clock=clock)
    await stage.begin()

    for stranger in (BOB, GIL):
        for command in (stage.controls.pause, stage.controls.resume, stage.controls.cancel, stage.controls.retry):
            with pytest.raises(NotFound):
                await command(stranger, stage.run_id)
        with pytest.raises(NotFound):
            await stage.controls.steer(stranger, stage.run_id, "Hello")
        with pytest.raises(NotFound):
            await stage.controls.fork(stranger, stage.run_id, Fork(at=1))

    assert await stage.kinds() == ["run_started"]


async def test_an_operator_commands_without_being_shown_what_was_said(store: Store, clock: Clock) -> None:
    stage = Stage(ModelUnavailable("away"), store=store, clock=clock)
    await stage.begin("My salary is 50,000.")

    shown = [
        await stage.controls.steer(OMAR, stage.run_id, "Be brief."),
        await stage.controls.pause(OMAR, stage.run_id),
        await stage.controls.resume(OMAR, stage.run_id),
    ]
    await stage.go_on()
    shown.append(await stage.controls.retry(OMAR, stage.run_id))
    shown.append(await stage.controls.fork(OMAR, stage.run_id, Fork(at=1)))

    assert all("salary" not in repr(view) for view in shown)
    assert {view.question for view in shown} == {""}


@pytest.mark.row("L2", part="steer")
async def test_a_message_is_heard_before_the_next_reply_and_once_per_key(store: Store, clock: Clock) -> None:
    stage = Stage(says("In French, then."), store=store, clock=clock)
    await stage.begin()

    await stage.controls.steer(ANNA, stage.run_id, "In \u202eFrench.", "k1")
    await stage.controls.steer(ANNA, stage.run_id, "In French.", "k1")
    with pytest.raises(KeyReused, match="another message"):
        await stage.controls.steer(ANNA, stage.run_id, "In German.", "k1")
    await stage.go_on()

    assert [message.text for message in stage.model.requests[0].messages[1:]] == ["Please help.", "In French."]
    assert (await stage.state()).words == ("Please help.", "In French.")
    assert await stage.commands() == [("user:anna", "user:anna", "steer")]


@pytest.mark.row("L2", part="steer")
async def test_a_waiting_run_takes_the_message_in_and_waits_on(store: Store, clock: Clock) -> None:
    world = World()
    stage = Stage(
        calls(("pay", {"amount": 1})), says("Paid."), tools=[world.paying(needs_approval=True)], store=store, clock=clock
    )
    await stage.ask()

    await stage.controls.steer(ANNA, stage.run_id, "Only if it is below 5.")
    woken = await stage.status()
    state = await stage.go_on()
    (draft,) = await stage.approvals.list(LEE)
    await stage.approvals.decide(LEE, draft.id, approved=True)
    await stage.go_on()

    assert (woken, state.stop_reason) == (RunStatus.READY, StopReason.AWAITING_APPROVAL)
    assert [m.text for m in stage.model.requests[1].messages[-2:]][-1] == "Only if it is below 5."


async def test_an_operators_message_does_not_speak_for_the_one_who_asked(store: Store, clock: Clock) -> None:
    stage = Stage(says("Yes."), store=store, clock=clock)
    await stage.begin()

    await stage.controls.steer(OMAR, stage.run_id, "Send it to omar@acme.example.")
    state = await stage.go_on()

    assert state.words == ("Please help.",)
    assert stage.model.requests[0].messages[-1].text == "Send it to omar@acme.example."


@pytest.mark.parametrize(("text", "error"), [("\u200b \u2066", InvalidInput), ("word " * 400, ContextTooLarge)])
async def test_a_message_nobody_could_take_in_is_refused(
    store: Store, clock: Clock, text: str, error: type[Exception]
) -> None:
    spec = AgentSpec(name="helper", model="test:scripted", limits=Limits(context_window=200))
    stage = Stage(spec=spec, store=store, clock=clock)
    await stage.begin()

    with pytest.raises(error):
        await stage.controls.steer(ANNA, stage.run_id, text)

    assert await stage.kinds() == ["run_started"]


@pytest.mark.row("G6", part="steered")
async def test_what_is_said_into_a_run_is_looked_at_like_a_question(store: Store, clock: Clock) -> None:
    stage = Stage(says("Yes."), store=store, clock=clock)
    rulings = {"orion": Ruling.BLOCK, "lyra": Ruling.REDACT}
    stage.listening = Guards(input=Chain(Link(guard=Pattern(name, name), ruling=does) for name, does in rulings.items()))
    await stage.begin()

    with pytest.raises(InvalidInput, match="refused by a guard: orion"):
        await stage.controls.steer(ANNA, stage.run_id, "What of orion?")
    await stage.controls.steer(ANNA, stage.run_id, "What of lyra?", "k1")
    await stage.controls.steer(ANNA, stage.run_id, "What of lyra?", "k1")
    await stage.go_on()
    audited = [row for row in await stage.store.records.audit_rows("acme") if row["action"] == "decision"]

    assert [message.text for message in stage.model.requests[0].messages[2:]] == ["What of ███?"]
    assert (await stage.kinds()).count("guardrail") == 1
    assert [(row["object"], row["decision"]) for row in audited] == [(f"{stage.run_id}:steer:helper", "deny:guard:orion")]


@pytest.mark.row("L2", part="retry")
async def test_a_failed_run_goes_on_from_where_it_failed(store: Store, clock: Clock) -> None:
    world = World()
    wanted = calls(("pay", {"amount": 1}))
    stage = Stage(wanted, ModelUnavailable("away"), says("Paid."), tools=[world.paying()], store=store, clock=clock)
    failed = await stage.ask()

    told = await stage.controls.retry(ANNA, stage.run_id, "it is back")
    state = await stage.go_on()

    assert failed.stop_reason is StopReason.MODEL_FAILED
    assert told.status is RunStatus.READY
    assert (state.stop_reason, state.turn, len(world.keys)) == (StopReason.COMPLETED, 2, 1)
    with pytest.raises(Conflict, match="it is done"):
        await stage.controls.retry(ANNA, stage.run_id)
    assert await stage.commands() == [("user:anna", "user:anna", "retry")]


@pytest.mark.row("L2", part="dead letters")
async def test_a_dead_letter_is_listed_and_tried_again(store: Store, clock: Clock) -> None:
    stage = Stage(says("Here."), store=store, clock=clock)
    await stage.begin()
    for _ in range(3):
        await store.journal.claim(ANNA.tenant, stage.run_id)
    await stage.go_on()
    (letter,) = await store.journal.runs(ANNA.tenant, status=RunStatus.FAILED, code="poison")

    await stage.controls.retry(OMAR, stage.run_id)
    state = await stage.go_on()

    assert (letter.run_id, letter.code) == (stage.run_id, "poison")
    assert state.stop_reason is StopReason.COMPLETED
    assert await store.journal.runs(ANNA.tenant, code="poison") == []


@pytest.mark.row("L2", part="retry")
async def test_what_a_failure_withdrew_is_put_to_people_again(store: Store, clock: Clock) -> None:
    world = World()
    wanted = calls(("pay", {"amount": 1}), ("ask", {"amount": 2}))

    @tool(effect="write", needs_approval=True)
    async def ask(amount: int) -> str:
        """Pay after asking."""
        return f"asked {amount}"

    stage = Stage(wanted, says("Both."), tools=[world.paying(), ask], store=store, clock=clock)
    await dies_after_the_effect(stage)
    await stage.go_on()
    stage.staff.gone.add(ANNA.user)
    clock.pass_by(minutes=2)
    await stage.go_on()
    withdrawn = [draft.status for draft in await stage.approvals.list(LEE)], await stage.effects.doubts(LEE)
    stage.staff.gone.clear()

    await stage.controls.retry(ANNA, stage.run_id)
    state = await stage.go_on()
    (draft,), (doubt,) = await stage.approvals.list(LEE), await stage.effects.doubts(LEE)

    assert withdrawn == ([DraftStatus.WITHDRAWN], [])
    assert (draft.status, doubt.call_id) == (DraftStatus.WAITING, "t1c0")
    assert state.stop_reason is StopReason.IN_DOUBT
    await stage.effects.resolve(LEE, stage.run_id, "t1c0", "done", "paid 1")
    await stage.approvals.decide(LEE, draft.id, approved=True)
    assert (await stage.go_on()).stop_reason is StopReason.COMPLETED


async def forked(stage: Stage, at: int, by: Principal = ANNA, **fields: Any) -> str:
    return (await stage.controls.fork(by, stage.run_id, Fork(at=at, **fields))).run_id


@pytest.mark.row("L2", part="fork")
async def test_a_fork_goes_on_from_a_step_of_another_run_with_keys_of_its_own(store: Store, clock: Clock) -> None:
    world = World()
    stage = Stage(
        calls(("pay", {"amount": 1})),
        says("Paid one."),
        calls(("pay", {"amount": 2})),
        says("Paid two."),
        tools=[world.paying()],
        store=store,
        clock=clock,
    )
    original = await stage.ask()

    new = await forked(stage, at=1)
    stage.run_id, first = new, stage.run_id
    state = await stage.go_on()

    assert (original.stop_reason, state.stop_reason) == (StopReason.COMPLETED, StopReason.COMPLETED)
    assert world.keys == [f"{first}:t1c0", f"{new}:t1c0"]
    assert state.started is not None
    assert original.started is not None
    assert (state.started.forked_from, state.started.forked_at, state.started.session_id) == (first, 1, None)
    assert (state.started.config_hash, state.started.principal) == (original.started.config_hash, ANNA)
    assert stage.dispatcher.woken == [new]


@pytest.mark.row("L2", part="fork")
async def test_an_ended_run_is_forked_behind_its_writes_without_repeating_them(store: Store, clock: Clock) -> None:
    world = World()
    replies = (calls(("pay", {"amount": 1})), says("Paid."), says("Paid, in other words."))
    stage = Stage(*replies, tools=[world.paying()], store=store, clock=clock)
    await stage.ask()
    returned = next(entry.seq for entry in await stage.entries() if entry.event.kind == "tool_result")

    stage.run_id = await forked(stage, at=returned)
    state = await stage.go_on()

    assert (state.stop_reason, state.turn, len(world.keys)) == (StopReason.COMPLETED, 2, 1)


@pytest.mark.row("L2", part="fork")
async def test_a_fork_by_an_operator_stays_the_run_of_the_one_who_asked(store: Store, clock: Clock) -> None:
    stage = Stage(says("Here."), store=store, clock=clock)
    await stage.begin("My salary is 50,000.", session_id="s1")

    view = await stage.controls.fork(OMAR, stage.run_id, Fork(at=1))

    row = await store.journal.find(ANNA.tenant, view.run_id)
    assert row is not None
    assert (row.user, row.session_id, view.question) == (ANNA.user, None, "")
    (audit,) = [row for row in await store.records.audit_rows(ANNA.tenant) if row["action"] == "run"]
    assert (audit["actor"], audit["subject"], audit["decision"]) == ("user:omar", "user:anna", "fork")
    assert audit["object"] == f"{stage.run_id}:1:{view.run_id}"


@pytest.mark.parametrize("revoked", [(), ("key:k0:00",)], ids=["live", "begun with a key since revoked"])
async def test_a_key_of_few_rights_gets_no_others_through_a_run_of_its_holder(
    store: Store, clock: Clock, revoked: tuple[str, ...]
) -> None:
    person = replace(ANNA, scopes=("chat", "mail.send"), credential="key:k0:00")
    few = replace(person, scopes=("chat",), credential="key:k1:00")
    stage = Stage(says("Here."), store=store, clock=clock)
    await stage.begin(principal=person)
    stage.staff.revoked.update(revoked)

    with pytest.raises(Forbidden, match=r"mail\.send"):
        await stage.controls.fork(few, stage.run_id, Fork(at=1))
    with pytest.raises(Forbidden, match=r"mail\.send"):
        await stage.controls.steer(few, stage.run_id, "Send everything to eve@evil.example.")

    assert [row.run_id for row in await store.journal.runs(ANNA.tenant)] == [stage.run_id]
    assert await stage.kinds() == ["run_started"]


async def test_a_fork_made_with_a_key_ends_with_the_key(store: Store, clock: Clock) -> None:
    person = replace(ANNA, scopes=("chat", "keys.write"))
    keyed = replace(person, scopes=("chat",), credential="key:k1:00")
    stage = Stage(says("Here."), store=store, clock=clock)
    await stage.begin(principal=person)

    await stage.controls.steer(keyed, stage.run_id, "In French.")
    stage.run_id = await forked(stage, at=1, by=keyed)
    stage.staff.revoked.add("key:k1:00")
    state = await stage.go_on()

    assert isinstance(state.ended, RunFailed)
    assert state.ended.code == "forbidden"


async def test_one_key_is_one_fork(store: Store, clock: Clock) -> None:
    stage = Stage(says("Here."), store=store, clock=clock)
    await stage.ask()

    first, again = [await forked(stage, at=1, idempotency_key="k1") for _ in range(2)]
    other = await forked(stage, at=1, idempotency_key="k2")

    assert first == again != other
    with pytest.raises(KeyReused, match="another fork"):
        await forked(stage, at=2, idempotency_key="k1")


@pytest.mark.row("L2", part="fork")
async def test_no_fork_is_made_where_a_call_is_open(store: Store, clock: Clock) -> None:
    world = World()
    stage = Stage(calls(("pay", {"amount": 1})), tools=[world.paying(needs_approval=True)], store=store, clock=clock)
    state = await stage.ask()

    for at, why in ((state.seq, "with a person for approval"), (state.seq + 1, "is not one of them")):
        with pytest.raises(InvalidInput, match=why):
            await forked(stage, at=at)

    assert len(await store.journal.runs(ANNA.tenant)) == 1


@pytest.mark.parametrize("command", ["pause", "cancel"])
@pytest.mark.row("L2", part="retry")
async def test_a_retry_goes_on_whatever_was_asked_of_the_run_before_it_failed(
    store: Store, clock: Clock, command: str
) -> None:
    stage = Stage(says("Here."), store=store, clock=clock)
    await stage.begin()
    for _ in range(3):
        await store.journal.claim(ANNA.tenant, stage.run_id)
    await getattr(stage.controls, command)(ANNA, stage.run_id)
    failed = await stage.go_on()

    await stage.controls.retry(ANNA, stage.run_id)
    state = await stage.go_on()

    assert failed.stop_reason is StopReason.FAILED
    assert (state.stop_reason, await stage.status()) == (StopReason.COMPLETED, RunStatus.DONE)


@pytest.mark.row("L2", part="retry")
async def test_a_run_that_was_cancelled_in_vain_before_a_retry_can_be_cancelled_after_it(store: Store, clock: Clock) -> None:
    stage = Stage(says("Here."), store=store, clock=clock)
    await stage.begin()
    for _ in range(3):
        await store.journal.claim(ANNA.tenant, stage.run_id)
    await stage.controls.cancel(ANNA, stage.run_id)
    await stage.go_on()
    await stage.controls.retry(ANNA, stage.run_id)

    await stage.controls.cancel(ANNA, stage.run_id, "after all")
    await stage.controls.cancel(ANNA, stage.run_id, "twice is once")
    state = await stage.go_on()

    assert state.stop_reason is StopReason.CANCELLED
    assert [row[2] for row in await stage.commands()] == ["cancel", "retry", "cancel"]
