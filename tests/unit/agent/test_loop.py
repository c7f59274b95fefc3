"""What a run does, seen from its journal: every stop reason, drafts, doubts, repairs, people who interfere."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import pytest

from quarterdeck.core.answers import Confidence, Passage
from quarterdeck.core.decisions import DraftStatus
from quarterdeck.core.errors import Conflict, Filtered, Forbidden, InvalidArguments, ModelUnavailable, NotFound, Truncated
from quarterdeck.core.events import CancelRequested, FinalAnswer, PauseRequested, ResumeRequested, RunFailed, Steer
from quarterdeck.core.labels import PUBLIC, Integrity, Label
from quarterdeck.core.messages import Message, ResultStatus, Role, Text, ToolCall
from quarterdeck.core.runs import AgentSpec, Limits, RunStatus, StopReason
from quarterdeck.core.tools import ToolContext
from quarterdeck.core.usage import Usage
from quarterdeck.models.base import Completion
from quarterdeck.tools.decorator import tool
from tests.unit.agent.scene import (
    ANNA,
    LEE,
    DiesBeforeResults,
    Killed,
    OvertakenBeforeAppending,
    Scene,
    Scripted,
    calls,
    passage,
    says,
)

VACATION = passage("leave-1", "Every employee has 30 days of annual leave per year.", title="Annual leave")


@tool(effect="read")
async def look(what: str) -> str:
    """Look something up."""
    return f"{what}: 42"


@tool(effect="read")
async def search(query: str) -> tuple[Passage, ...]:
    """Search the handbook."""
    return (VACATION,)


class Ledger:
    """An outside world that counts what was done to it."""

    def __init__(self) -> None:
        self.done: list[tuple[str, dict[str, Any]]] = []

    def booking(self, **declared: Any) -> Any:
        @tool(effect="write", **declared)
        async def book(room: str, ctx: ToolContext) -> dict[str, str]:
            """Book a room."""
            self.done.append((ctx.idempotency_key, {"room": room}))
            return {"room": room, "state": "booked"}

        return book


def ended(state: Any) -> FinalAnswer:
    assert isinstance(state.ended, FinalAnswer), state.ended
    return state.ended


@pytest.mark.row("R9", part="loop")
async def test_model_tools_model_until_a_final_answer() -> None:
    scene = Scene(calls(("look", {"what": "lamp"})), says("The lamp says 42."), tools=[look])

    state = await scene.ask()

    assert ended(state).stop_reason is StopReason.COMPLETED
    assert ended(state).answer.text == "The lamp says 42."
    assert [(c.turn, c.name, c.arguments, c.success) for c in state.made] == [(1, "look", {"what": "lamp"}, True)]
    assert await scene.kinds() == ["run_started", "model_reply", "decided", "tool_result", "model_reply", "final_answer"]
    assert state.usage.total_tokens == 30


async def test_calls_get_ids_of_ours_whatever_the_provider_sent() -> None:
    twice = calls(ToolCall(id="x", name="look", args={"what": "a"}), ToolCall(id="x", name="look", args={"what": "b"}))
    scene = Scene(twice, says("done"), tools=[look])

    state = await scene.ask()

    answers = [(m.call_id, m.text) for m in state.messages if m.role is Role.TOOL]
    assert answers == [("t1c0", "a: 42"), ("t1c1", "b: 42")]


@pytest.mark.row("R9", part="limits")
async def test_the_turn_limit_leaves_one_last_answer_without_tools() -> None:
    limits = Limits(max_turns=2, loop_detection_threshold=9)
    scene = Scene(
        calls(("look", {"what": "a"})), calls(("look", {"what": "b"})), says("So far: 42."), tools=[look], limits=limits
    )

    state = await scene.ask()

    assert ended(state).stop_reason is StopReason.TURN_LIMIT
    assert ended(state).answer.text == "So far: 42."
    assert ended(state).answer.needs_human_review
    assert scene.model.requests[-1].tool_choice == "none"


async def test_a_closing_model_that_still_asks_for_tools_gets_none_and_the_best_partial_answer_is_given() -> None:
    limits = Limits(max_turns=1)
    asks = calls(("look", {"what": "a"}))
    scene = Scene(asks, asks, tools=[look], limits=limits)

    state = await scene.ask()

    assert ended(state).stop_reason is StopReason.TURN_LIMIT
    assert "a: 42" in ended(state).answer.text
    assert len(state.made) == 1


@pytest.mark.row("R9", part="loops")
async def test_three_equal_calls_with_equal_results_stop_the_run() -> None:
    same = calls(("look", {"what": "a"}))
    scene = Scene(same, same, same, says("It stays 42."), tools=[look])

    state = await scene.ask()

    assert ended(state).stop_reason is StopReason.LOOP_DETECTED
    assert len(state.made) == 3


async def test_polling_something_that_changes_is_no_loop() -> None:
    answers = iter(range(10))

    @tool(effect="read")
    async def poll() -> int:
        """Ask for the state."""
        return next(answers)

    scene = Scene(*[calls(("poll", {}))] * 4, says("It is 3."), tools=[poll])

    state = await scene.ask()

    assert ended(state).stop_reason is StopReason.COMPLETED


@pytest.mark.row("R9", part="limits")
@pytest.mark.parametrize(
    ("limits", "usage", "reason"),
    [
        (Limits(max_tokens=100), Usage(prompt_tokens=90, completion_tokens=20), StopReason.TOKEN_LIMIT),
        (Limits(max_cost_usd=0.01), Usage(cost_usd=0.02), StopReason.COST_LIMIT),
        (Limits(max_total_time=5.0), Usage(seconds=6.0), StopReason.TIME_LIMIT),
    ],
)
async def test_spent_tokens_money_and_time_stop_the_run_at_once(limits: Limits, usage: Usage, reason: StopReason) -> None:
    reply = Completion(text="", tool_calls=(ToolCall(id="", name="look", args={"what": "a"}),), usage=usage)
    scene = Scene(reply, tools=[look], limits=limits)

    state = await scene.ask()

    assert ended(state).stop_reason is reason
    assert ended(state).answer.needs_human_review
    assert "a: 42" in ended(state).answer.text


async def test_three_turns_of_unknown_tools_stop_the_run() -> None:
    scene = Scene(*[calls((f"nothing_{n}", {})) for n in range(3)], says("I cannot do that."), tools=[look])

    state = await scene.ask()

    assert ended(state).stop_reason is StopReason.UNKNOWN_TOOLS
    assert all(call.error == "unknown_tool" for call in state.made)


@pytest.mark.parametrize(
    ("error", "reason"), [(Truncated("cut"), StopReason.TRUNCATED), (Filtered("no"), StopReason.FILTERED)]
)
async def test_a_truncated_or_filtered_reply_ends_with_a_partial_answer(error: Exception, reason: StopReason) -> None:
    scene = Scene(error, tools=[look])

    state = await scene.ask()

    assert ended(state).stop_reason is reason
    assert ended(state).answer.needs_human_review


async def test_a_model_that_does_not_answer_fails_the_run_with_its_code() -> None:
    scene = Scene(ModelUnavailable("503 from upstream", status=503))

    state = await scene.ask()

    assert isinstance(state.ended, RunFailed)
    assert state.ended.code == "model_unavailable"
    assert state.stop_reason is StopReason.MODEL_FAILED


async def test_a_conversation_that_cannot_be_made_to_fit_stops_the_run() -> None:
    scene = Scene(tools=[look], limits=Limits(context_window=100))

    state = await scene.ask("word " * 500)

    assert ended(state).stop_reason is StopReason.CONTEXT_TOO_LARGE


@pytest.mark.row("R8", part="loop")
async def test_a_long_run_is_compacted_and_goes_on() -> None:
    @tool(effect="read")
    async def read(page: int) -> str:
        """Read a page."""
        return f"page {page} " * 400

    scene = Scene(
        *[calls(("read", {"page": n})) for n in range(6)],
        says("Read."),
        tools=[read],
        limits=Limits(context_window=4000),
    )

    state = await scene.ask()

    assert ended(state).stop_reason is StopReason.COMPLETED
    assert "context_compacted" in await scene.kinds()
    assert max(len(str(request.messages)) for request in scene.model.requests) < 40_000


@pytest.mark.row("G1", part="loop")
async def test_a_write_that_needs_approval_stays_a_draft_until_a_person_agrees() -> None:
    world = Ledger()
    scene = Scene(calls(("book", {"room": "R1"})), says("Booked."), tools=[world.booking(needs_approval=True)])

    state = await scene.ask("Please book room R1.")

    assert state.stop_reason is StopReason.AWAITING_APPROVAL
    assert world.done == []
    row = await scene.store.journal.find(ANNA.tenant, scene.run_id)
    assert row is not None
    assert row.status is RunStatus.WAITING

    draft = (await scene.approvals.list(LEE))[0]
    await scene.approvals.decide(LEE, draft.id, approved=True)
    state = await scene.go_on()

    assert ended(state).answer.text == "Booked."
    assert world.done == [(f"{scene.run_id}:t1c0", {"room": "R1"})]
    assert state.made[0].approved_by == "lee"


@pytest.mark.row("G1", part="edit")
async def test_an_edited_draft_is_executed_as_edited() -> None:
    world = Ledger()
    scene = Scene(calls(("book", {"room": "R1"})), says("Booked R2."), tools=[world.booking(needs_approval=True)])
    await scene.ask()
    draft = (await scene.approvals.list(LEE))[0]

    with pytest.raises(InvalidArguments):
        await scene.approvals.decide(LEE, draft.id, approved=True, edited_args={"room": 7})
    decided = await scene.approvals.decide(LEE, draft.id, approved=True, edited_args={"room": "R2"})
    await scene.go_on()

    assert decided.edited_args == {"room": "R2"}
    assert [args for _, args in world.done] == [{"room": "R2"}]


async def test_a_rejected_draft_is_never_executed_and_the_model_hears_why() -> None:
    world = Ledger()
    scene = Scene(calls(("book", {"room": "R1"})), says("It was not booked."), tools=[world.booking(needs_approval=True)])
    await scene.ask()
    draft = (await scene.approvals.list(LEE))[0]

    await scene.approvals.decide(LEE, draft.id, approved=False, reason="too expensive")
    state = await scene.go_on()

    assert world.done == []
    assert "too expensive" in state.messages[-2].text
    assert ended(state).answer.needs_human_review


async def test_a_draft_is_decided_once_by_somebody_with_the_role() -> None:
    world = Ledger()
    scene = Scene(calls(("book", {"room": "R1"})), says("Booked."), tools=[world.booking(needs_approval=True)])
    await scene.ask()
    draft = (await scene.approvals.list(ANNA))[0]

    with pytest.raises(Forbidden):
        await scene.approvals.decide(ANNA, draft.id, approved=True)
    with pytest.raises(NotFound):
        await scene.approvals.get(type(LEE)(user="eve", tenant="globex", roles=("approver",)), draft.id)
    await scene.approvals.decide(LEE, draft.id, approved=True)
    again = await scene.approvals.decide(LEE, draft.id, approved=True)
    with pytest.raises(Conflict):
        await scene.approvals.decide(LEE, draft.id, approved=False)
    await scene.go_on()

    assert again.status is DraftStatus.APPROVED
    assert len(world.done) == 1


async def test_a_draft_nobody_decides_expires_with_a_defined_outcome() -> None:
    world = Ledger()
    scene = Scene(calls(("book", {"room": "R1"})), says("Nobody agreed."), tools=[world.booking(needs_approval=True)])
    await scene.ask()
    scene.clock.pass_by(3601)

    assert (ANNA.tenant, scene.run_id) in await scene.store.journal.due()
    state = await scene.go_on()

    assert world.done == []
    assert ended(state).answer.text == "Nobody agreed."
    assert [draft.status for draft in await scene.approvals.list(LEE)] == [DraftStatus.EXPIRED]


@pytest.mark.row("G1", part="many drafts")
async def test_several_drafts_of_one_turn_are_decided_in_any_order_over_restarts() -> None:
    world = Ledger()
    wanted = calls(("book", {"room": "R1"}), ("look", {"what": "a"}), ("book", {"room": "R2"}))
    scene = Scene(wanted, says("Both."), tools=[world.booking(needs_approval=True), look])
    await scene.ask()
    first, second = sorted(await scene.approvals.list(LEE), key=lambda draft: draft.call_id)

    await scene.approvals.decide(LEE, second.id, approved=True)
    scene.loop = scene.new_loop()
    halfway = await scene.go_on()
    await scene.approvals.decide(LEE, first.id, approved=True)
    scene.loop = scene.new_loop()
    state = await scene.go_on()

    assert halfway.stop_reason is StopReason.AWAITING_APPROVAL
    assert [args["room"] for _, args in world.done] == ["R2", "R1"]
    assert [m.call_id for m in state.messages if m.role is Role.TOOL] == ["t1c0", "t1c1", "t1c2"]


@pytest.mark.row("G4", part="resume")
async def test_rights_are_checked_again_when_an_approved_run_goes_on() -> None:
    world = Ledger()
    scene = Scene(calls(("book", {"room": "R1"})), tools=[world.booking(needs_approval=True)])
    await scene.ask()
    draft = (await scene.approvals.list(LEE))[0]
    await scene.approvals.decide(LEE, draft.id, approved=True)
    scene.staff.gone.add("anna")

    state = await scene.go_on()

    assert isinstance(state.ended, RunFailed)
    assert state.ended.code == "forbidden"
    assert world.done == []


def paying(world: Ledger, **declared: Any) -> Any:
    @tool(effect="write", **declared)
    async def pay(amount: int, ctx: ToolContext) -> str:
        """Pay somebody."""
        world.done.append((ctx.idempotency_key, {"amount": amount}))
        return "paid"

    return pay


async def die_after_the_effect(scene: Scene) -> None:
    """Advance with a worker that dies when the effect has happened and its result is not yet in the journal."""
    scene.loop = scene.new_loop(journal=DiesBeforeResults(scene.store.journal))
    with pytest.raises(Killed):
        await scene.go_on()
    scene.loop = scene.new_loop()


@pytest.mark.row("R7", part="memory")
async def test_a_started_write_that_deduplicates_is_repeated_with_the_same_key() -> None:
    world = Ledger()
    scene = Scene(calls(("pay", {"amount": 5})), says("Paid."), tools=[paying(world, idempotent=True)])
    await scene.begin()
    await die_after_the_effect(scene)

    state = await scene.go_on()

    assert ended(state).stop_reason is StopReason.COMPLETED
    assert {key for key, _ in world.done} == {f"{scene.run_id}:t1c0"}
    assert len(world.done) == 2


@pytest.mark.row("R7", part="in doubt")
async def test_a_started_write_that_cannot_deduplicate_is_never_silently_repeated() -> None:
    world = Ledger()
    scene = Scene(calls(("pay", {"amount": 5})), says("Paid."), tools=[paying(world)])
    await scene.begin()
    await die_after_the_effect(scene)

    state = await scene.go_on()

    assert state.stop_reason is StopReason.IN_DOUBT
    assert len(world.done) == 1
    assert await scene.effects.doubts(LEE) == []
    with pytest.raises(Conflict, match="may still be executed"):
        await scene.effects.resolve(LEE, scene.run_id, "t1c0", "done")
    with pytest.raises(Forbidden):
        await scene.effects.doubts(ANNA)

    scene.clock.pass_by(60)
    (doubt,) = await scene.effects.doubts(LEE)
    await scene.effects.resolve(LEE, scene.run_id, doubt.call_id, "done", output="paid by hand")
    state = await scene.go_on()

    assert ended(state).stop_reason is StopReason.COMPLETED
    assert len(world.done) == 1
    assert "paid by hand" in state.messages[-2].text


@pytest.mark.row("R7", part="in doubt")
async def test_an_answer_to_a_doubt_belongs_to_one_attempt() -> None:
    world = Ledger()
    scene = Scene(calls(("pay", {"amount": 5})), says("Paid."), tools=[paying(world)])
    await scene.begin()
    await die_after_the_effect(scene)
    await scene.go_on()
    scene.clock.pass_by(60)
    await scene.effects.resolve(LEE, scene.run_id, "t1c0", "repeat")
    await die_after_the_effect(scene)

    state = await scene.go_on()

    assert state.stop_reason is StopReason.IN_DOUBT
    assert len(world.done) == 2
    assert len({entry.event.started_seq for entry in await scene.entries() if entry.event.kind == "in_doubt"}) == 2


@pytest.mark.row("R7", part="timeout")
@pytest.mark.parametrize(("idempotent", "starts"), [(False, 1), (True, 3)])
async def test_a_write_that_timed_out_is_in_doubt_once_it_cannot_be_repeated_by_its_key(
    idempotent: bool, starts: int
) -> None:
    keys: list[str] = []

    @tool(effect="write", idempotent=idempotent, timeout_s=0.01)
    async def pay(amount: int, ctx: ToolContext) -> str:
        """Pay somebody."""
        keys.append(ctx.idempotency_key)
        await anyio.sleep_forever()
        return "never"

    scene = Scene(calls(("pay", {"amount": 5})), tools=[pay])

    state = await scene.ask()

    assert state.stop_reason is StopReason.IN_DOUBT
    assert keys == [f"{scene.run_id}:t1c0"] * starts


async def test_cancelling_cuts_a_model_call_in_flight() -> None:
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
            await scene.post(CancelRequested(by="anna"))
            scene.loop.interrupt(scene.run_id)

    assert (await scene.state()).stop_reason is StopReason.CANCELLED


async def test_a_slow_read_does_not_keep_its_reply_from_being_durable() -> None:
    asked, go_on = anyio.Event(), anyio.Event()

    @tool(effect="read")
    async def slow() -> str:
        """Take your time."""
        asked.set()
        await go_on.wait()
        return "done"

    scene = Scene(calls(("slow", {})), says("Done."), tools=[slow])
    await scene.begin()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(scene.go_on)
            await asked.wait()
            while "model_reply" not in await scene.kinds():
                await anyio.lowlevel.checkpoint()
            go_on.set()

    assert await scene.kinds() == ["run_started", "model_reply", "decided", "tool_result", "model_reply", "final_answer"]


async def test_a_run_that_kills_its_worker_again_and_again_ends_as_poison() -> None:
    scene = Scene(says("never asked"))
    await scene.begin()
    for _ in range(3):
        await scene.store.journal.claim(ANNA.tenant, scene.run_id)

    state = await scene.go_on()

    assert isinstance(state.ended, RunFailed)
    assert state.ended.poison


async def test_a_worker_that_was_overtaken_writes_nothing_more() -> None:
    world = Ledger()
    scene = Scene(calls(("book", {"room": "R1"})), tools=[world.booking()])
    await scene.begin()
    scene.loop = scene.new_loop(journal=OvertakenBeforeAppending(scene.store.journal))

    state = await scene.go_on()

    assert await scene.kinds() == ["run_started"]
    assert state.ended is None
    assert world.done == []


async def test_cancel_ends_the_run_and_withdraws_its_drafts() -> None:
    world = Ledger()
    scene = Scene(calls(("book", {"room": "R1"})), tools=[world.booking(needs_approval=True)])
    await scene.ask()

    await scene.post(CancelRequested(by="anna", reason="changed my mind"))
    state = await scene.go_on()

    assert state.stop_reason is StopReason.CANCELLED
    assert [draft.status for draft in await scene.approvals.list(LEE)] == [DraftStatus.WITHDRAWN]
    assert world.done == []


async def test_a_paused_run_rests_until_it_is_resumed() -> None:
    scene = Scene(says("Here."))
    await scene.begin()
    await scene.post(PauseRequested(by="anna"))

    paused = await scene.go_on()
    still = await scene.go_on()
    await scene.post(ResumeRequested(by="anna"))
    state = await scene.go_on()

    assert paused.stop_reason is StopReason.PAUSED
    assert still.seq == paused.seq
    assert ended(state).answer.text == "Here."


async def test_a_steering_message_reaches_the_model_after_the_present_turn() -> None:
    world = Ledger()
    scene = Scene(calls(("book", {"room": "R1"})), says("Ok."), tools=[world.booking(needs_approval=True)])
    await scene.ask("Book R1.")
    label = Label(integrity=Integrity.TRUSTED, readers=PUBLIC)
    steer = Message(role=Role.USER, parts=(Text(text="Only until noon.", label=label),))

    await scene.post(Steer(by="anna", message=steer))
    draft = (await scene.approvals.list(LEE))[0]
    await scene.approvals.decide(LEE, draft.id, approved=True)
    state = await scene.go_on()

    assert [m.role for m in state.messages[-3:]] == [Role.TOOL, Role.USER, Role.ASSISTANT]
    assert state.words == ("Book R1.", "Only until noon.")


async def test_more_calls_than_a_turn_may_have_are_answered_not_executed() -> None:
    wanted = calls(*[("look", {"what": str(n)}) for n in range(5)])
    scene = Scene(wanted, says("done"), tools=[look], limits=Limits(max_calls_per_turn=3))

    state = await scene.ask()

    assert [call.success for call in state.made] == [True, True, True, False, False]
    assert state.made[-1].error == "too_many_calls"


async def test_the_same_write_twice_in_a_turn_happens_once() -> None:
    world = Ledger()
    wanted = calls(("book", {"room": "R1"}), ("book", {"room": "R1"}))
    scene = Scene(wanted, says("done"), tools=[world.booking()])

    state = await scene.ask("Book R1.")

    assert len(world.done) == 1
    assert [call.error for call in state.made] == [None, "duplicate"]


@pytest.mark.row("R11", part="citations")
async def test_an_answer_that_cites_what_was_retrieved_is_confident() -> None:
    scene = Scene(
        calls(("search", {"query": "leave"})),
        says("Every employee has 30 days of annual leave per year. [leave-1]"),
        tools=[search],
    )

    state = await scene.ask()

    answer = ended(state).answer
    assert answer.sources == ("leave-1",)
    assert answer.text == "Every employee has 30 days of annual leave per year. [1]"
    assert answer.confidence is Confidence.HIGH
    assert not answer.needs_human_review


@pytest.mark.row("R11", part="forged source")
async def test_a_source_that_was_never_retrieved_goes_back_and_is_removed_in_the_end() -> None:
    lie = says("Every employee has 90 days of leave. [leave-9]")
    scene = Scene(calls(("search", {"query": "leave"})), lie, lie, lie, tools=[search])

    state = await scene.ask()

    answer = ended(state).answer
    assert state.rejections == 2
    assert "leave-9" in state.messages[-2].text
    assert answer.sources == ()
    assert "leave-9" not in answer.text
    assert answer.needs_human_review
    assert answer.confidence is Confidence.LOW


@pytest.mark.row("R11", part="support")
async def test_a_sentence_its_passage_does_not_support_goes_back_to_the_model_and_may_be_mended() -> None:
    scene = Scene(
        calls(("search", {"query": "leave"})),
        says("Every employee has 45 days of annual leave per year. [leave-1]"),
        says("Every employee has 30 days of annual leave per year. [leave-1]"),
        tools=[search],
    )

    state = await scene.ask()

    assert state.rejections == 1
    assert ended(state).answer.sources == ("leave-1",)
    assert "30 days" in ended(state).answer.text


@pytest.mark.row("R11", part="typed")
async def test_a_typed_answer_that_stays_invalid_ends_as_invalid_answer() -> None:
    def read_number(text: str) -> Any:
        return int(text)

    spec = AgentSpec(name="typed", model="test:scripted", output_schema={"type": "integer"})
    scene = Scene(says("many"), says("lots"), says("some"), spec=spec, read_output=read_number)

    state = await scene.ask()

    assert ended(state).stop_reason is StopReason.INVALID_ANSWER
    assert ended(state).answer.needs_human_review


@pytest.mark.row("R11", part="typed")
async def test_a_typed_answer_is_read_into_its_type() -> None:
    spec = AgentSpec(name="typed", model="test:scripted", output_schema={"type": "integer"})
    scene = Scene(says("many"), says("7"), spec=spec, read_output=int)

    state = await scene.ask()

    assert ended(state).output == 7


@pytest.mark.row("R11", part="review")
async def test_without_sources_confidence_is_never_high() -> None:
    scene = Scene(says("Surely, it is so."))

    state = await scene.ask()

    assert ended(state).answer.confidence is not Confidence.HIGH


async def test_an_empty_answer_goes_back_to_the_model() -> None:
    scene = Scene(says(""), says("Here it is."))

    state = await scene.ask()

    assert ended(state).answer.text == "Here it is."


async def test_retrieve_always_searches_before_the_model_is_asked() -> None:
    class Shelf:
        async def search(self, query: str, ctx: Any, k: int = 6) -> tuple[list[Passage], str]:
            return [VACATION], "keyword"

    spec = AgentSpec(name="reader", model="test:scripted", retrieve="always")
    scene = Scene(says("Every employee has 30 days of annual leave per year. [leave-1]"), spec=spec, retriever=Shelf())

    state = await scene.ask("How much leave?")

    assert await scene.kinds() == ["run_started", "retrieved", "model_reply", "final_answer"]
    assert ended(state).answer.sources == ("leave-1",)


async def test_what_a_model_saw_labels_what_it_writes() -> None:
    scene = Scene(calls(("look", {"what": "a"})), says("42"), tools=[look])

    state = await scene.ask()

    assert state.messages[1].label.integrity is Integrity.TRUSTED
    assert state.messages[-1].label.integrity is Integrity.UNTRUSTED
    assert ended(state).label.readers.admits({"user:anna"})
    assert not ended(state).label.readers.admits({"user:lee"})


async def test_a_refused_call_is_a_result_the_model_sees() -> None:
    @tool(effect="read", scope="payroll.read")
    async def salary(name: str) -> int:
        """Read a salary."""
        return 1

    scene = Scene(calls(("salary", {"name": "lee"})), says("You may not see that."), tools=[salary])

    state = await scene.ask()

    assert state.made[0].error == "denied"
    result = next(e.event.result for e in await scene.entries() if e.event.kind == "tool_result")
    assert result.status is ResultStatus.REFUSED
