"""Taking back what a draft did: governed like any call, once, whoever asks at the same time and whatever crashed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
import pytest

from quarterdeck.agent.fold import fold
from quarterdeck.agent.state import RunState
from quarterdeck.core.context import Principal
from quarterdeck.core.decisions import DraftStatus
from quarterdeck.core.errors import Conflict, InvalidInput, NotFound
from quarterdeck.core.labels import Integrity
from quarterdeck.core.runs import AgentSpec, RunStatus, StopReason
from quarterdeck.core.tools import Tool, ToolContext
from quarterdeck.policy.load import load_policy
from quarterdeck.service.auditing import checked
from quarterdeck.service.controls import Controls, Fork
from quarterdeck.service.privacy import Privacy
from quarterdeck.tools.decorator import tool
from quarterdeck.workflow.approvals import Approvals
from quarterdeck.workflow.undoing import Undoing
from tests.contracts.stores import STORES
from tests.unit.agent.scene import ANNA, Clock, DiesBeforeResults, Killed, Scene, calls, says

FINN = Principal(user="finn", tenant="acme", roles=("finance",), scopes=("approvals", "orders"))
FAYE = Principal(user="faye", tenant="acme", roles=("finance",), scopes=("approvals", "orders"))
POLICY = "policy: v1\ntools:\n  order: {needs_approval: true, approvals: [finance], result: trusted}\n"
GOVERNED = "  cancel_order: {needs_approval: true, approvals: {by: [finance], four_eyes: true}}\n"


@dataclass
class Shop:
    """What was ordered and cancelled there."""

    orders: dict[int, str] = field(default_factory=dict)
    cancelled: list[int] = field(default_factory=list)
    fails: bool = False

    def tools(self) -> list[Tool]:
        @tool(effect="write", undo="cancel_order", trusted=True)
        async def order(what: str, ctx: ToolContext) -> dict[str, Any]:
            """Order something."""
            number = len(self.orders) + 1
            self.orders[number] = what
            return {"number": number, "state": "open"}

        @tool(effect="write", scope="orders")
        async def cancel_order(number: int, what: str = "") -> str:
            """Cancel an order."""
            if self.fails:
                raise RuntimeError("the shop is closed")
            self.cancelled.append(number)
            return f"order {number} for {what} is cancelled"

        @tool(effect="write")
        async def shred(paper: str) -> str:
            """Shred a paper. Nobody undoes that."""
            return "shredded"

        return [order, cancel_order, shred]


@pytest.fixture(params=STORES)
async def stored(request: pytest.FixtureRequest) -> AsyncIterator[dict[str, Any]]:
    clock = Clock()
    async with STORES[request.param](request, clock) as store:  # type: ignore[arg-type]  # it moves by seconds only
        yield {"store": store, "clock": clock}


class Counter(Scene):
    """A desk that orders, and takes orders back."""

    def __init__(self, *replies: Any, more: str = "", **parts: Any) -> None:
        self.shop = Shop()
        replies = replies or (calls(("order", {"what": "paper"})), says("Ordered."))
        super().__init__(*replies, tools=self.shop.tools(), **parts)
        self.staff.present |= {person.user: person for person in (ANNA, FINN, FAYE)}
        self.specs: dict[str, AgentSpec] = {}
        self.tell_policy(more)
        self.approvals = Approvals(
            journal=self.store.journal,
            records=self.store.records,
            dispatcher=self.dispatcher,
            toolbox=self.registry,
            now=self.clock,
        )
        self.undoing = Undoing(
            journal=self.store.journal,
            records=self.store.records,
            dispatcher=self.dispatcher,
            toolbox=self.registry,
            approvals=self.approvals,
            keep=self.keep,
        )
        self.controls = Controls(
            journal=self.store.journal,
            records=self.store.records,
            specs=self,  # type: ignore[arg-type]  # reading one is all that is needed of them
            dispatcher=self.dispatcher,
            directory=self.staff,
            interrupt=lambda tenant, run_id: None,
        )

    def tell_policy(self, more: str) -> None:
        self.policy = load_policy(POLICY + more, "policy.yaml", self.registry.tools)
        self.loop = self.new_loop()

    async def keep(self, tenant: str, spec: AgentSpec) -> str:
        self.specs[spec.tools[0]] = spec
        return spec.tools[0]

    async def get(self, tenant: str, config_hash: str) -> AgentSpec:
        return self.specs.get(config_hash, self.spec)

    async def ordered(self) -> str:
        """The draft of an order that was approved and done."""
        await self.ask("Order paper.")
        (draft,) = await self.approvals.list(FINN, status=DraftStatus.WAITING)
        await self.approvals.decide(FINN, draft.id, approved=True)
        await self.go_on()
        return draft.id

    async def advance(self, run_id: str) -> RunState:
        await self.loop.advance("acme", run_id)
        return fold([entry async for entry in self.store.journal.read("acme", run_id)])


@pytest.mark.row("G3", part="undo")
async def test_what_a_draft_did_is_taken_back_by_the_tool_named_for_it_once(stored: dict[str, Any]) -> None:
    counter = Counter(**stored)
    draft_id = await counter.ordered()

    run_id = await counter.undoing.undo(FINN, draft_id, reason="ordered twice")
    state = await counter.advance(run_id)
    again = await counter.undoing.undo(FINN, draft_id)
    await counter.advance(again)
    with pytest.raises(Conflict, match="finn has undone this"):
        await counter.undoing.undo(FAYE, draft_id)

    assert again == run_id
    assert counter.shop.cancelled == [1]
    assert state.stop_reason is StopReason.COMPLETED
    assert [call.name for call in state.made] == ["order", "cancel_order"]
    assert state.made[1].arguments == {"number": 1, "what": "paper"}
    audited = await counter.store.records.audit_rows("acme")
    assert [(row["actor"], row["decision"]) for row in audited if row["action"] == "run"] == [("user:finn", "undo")]
    assert [row["subject"] for row in audited if row["action"] == "effect"] == ["user:anna", "user:finn"]


@pytest.mark.row("G3", part="undo")
async def test_an_undo_is_put_to_people_where_policy_says_so_with_where_its_arguments_come_from(
    stored: dict[str, Any],
) -> None:
    counter = Counter(more=GOVERNED, **stored)
    draft_id = await counter.ordered()

    run_id = await counter.undoing.undo(FINN, draft_id)
    waiting = await counter.advance(run_id)
    (draft,) = await counter.approvals.list(FAYE, status=DraftStatus.WAITING)
    before = list(counter.shop.cancelled)
    await counter.approvals.decide(FAYE, draft.id, approved=True)
    state = await counter.advance(run_id)

    assert waiting.stop_reason is StopReason.AWAITING_APPROVAL
    assert (draft.tool, draft.requested_by, before) == ("cancel_order", "finn", [])
    assert {each.argument: each.origin for each in draft.evidence}["number"] == "record"
    assert counter.shop.cancelled == [1]
    assert state.stop_reason is StopReason.COMPLETED


@pytest.mark.row("G3", part="undo")
async def test_of_two_people_who_undo_at_once_one_does(stored: dict[str, Any]) -> None:
    counter = Counter(**stored)
    draft_id = await counter.ordered()
    begun: list[str] = []
    late: list[str] = []

    async def click(person: Principal) -> None:
        try:
            begun.append(await counter.undoing.undo(person, draft_id))
        except Conflict as error:
            late.append(str(error))

    async with anyio.create_task_group() as tasks:
        for person in (FINN, FAYE):
            tasks.start_soon(click, person)
    for run_id in begun:
        await counter.advance(run_id)

    assert (len(begun), len(late)) == (1, 1)
    assert counter.shop.cancelled == [1]


class _Nothing:
    """Nobody has documents or caches here."""

    async def told(self, tenant: str, user: str | None) -> list[dict[str, Any]]:
        return []

    async def erase(self, tenant: str, user: str | None, run_ids: Sequence[str]) -> int:
        return 0

    async def scrub(self) -> None: ...


@pytest.mark.row("G11", part="undone for him")
@pytest.mark.parametrize("stored", ["sqlite", "postgres"], indirect=True)
async def test_runs_of_another_that_undid_a_persons_call_or_tried_to_are_handed_out_and_erased_with_his_data(
    stored: dict[str, Any],
) -> None:
    store = stored["store"]
    counter = Counter(**stored)
    draft_id = await counter.ordered()
    counter.shop.fails = True
    failed = await counter.undoing.undo(FINN, draft_id)
    await counter.advance(failed)
    counter.shop.fails = False
    run_id = await counter.undoing.undo(FINN, draft_id)
    await counter.advance(run_id)
    privacy = Privacy(store.journal, store.records, store.erasing, _Nothing(), counter.dispatcher.wake, now=counter.clock)

    told = [thing async for thing in privacy.export(FAYE, "anna")]
    await privacy.erase(FAYE, "anna")
    await privacy.once()

    assert {thing["run_id"] for thing in told if thing["kind"] == "run"} == {counter.run_id, failed, run_id}
    assert await store.journal.runs("acme") == []
    assert (await checked(store.records, "acme")).bad is None


async def test_the_rights_that_count_are_those_of_whoever_undoes_and_a_refusal_leaves_another_try() -> None:
    counter = Counter()
    draft_id = await counter.ordered()
    clerk = replace(FAYE, scopes=("approvals",))
    counter.staff.present["faye"] = clerk

    refused = await counter.advance(await counter.undoing.undo(clerk, draft_id))
    before = list(counter.shop.cancelled)
    state = await counter.advance(await counter.undoing.undo(FINN, draft_id))

    assert refused.made[-1].error == "denied"
    assert refused.ended is not None
    assert before == []
    assert counter.shop.cancelled == [1]
    assert state.made[-1].success


async def test_an_undo_that_failed_is_told_as_such_and_may_be_tried_again() -> None:
    counter = Counter()
    draft_id = await counter.ordered()
    counter.shop.fails = True
    failed = await counter.advance(await counter.undoing.undo(FINN, draft_id))
    counter.shop.fails = False

    state = await counter.advance(await counter.undoing.undo(FINN, draft_id))

    assert "the shop is closed" in failed.ended.answer.text  # type: ignore[union-attr]  # it ended with an answer
    assert failed.ended.answer.needs_human_review  # type: ignore[union-attr]  # as above
    assert counter.shop.cancelled == [1]
    assert state.made[-1].success


async def test_an_undo_whose_end_nobody_saw_is_in_doubt_and_not_begun_again() -> None:
    counter = Counter()
    draft_id = await counter.ordered()
    run_id = await counter.undoing.undo(FINN, draft_id)
    counter.loop = counter.new_loop(DiesBeforeResults(counter.store.journal))
    with pytest.raises(Killed):
        await counter.advance(run_id)
    counter.loop = counter.new_loop()

    state = await counter.advance(run_id)
    again = await counter.undoing.undo(FINN, draft_id)

    assert state.stop_reason is StopReason.IN_DOUBT
    assert again == run_id
    assert counter.shop.cancelled == [1]


class _Dies:
    """The process dies just before, or just after, its nth append becomes durable."""

    def __init__(self, inner: Any, nth: int, when: str) -> None:
        self.inner, self.left, self.when = inner, nth, when

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def append(self, claim: Any, entries: Any, **fields: Any) -> Any:
        self.left -= 1
        if self.left == 0 and self.when == "before":
            raise Killed
        appended = await self.inner.append(claim, entries, **fields)
        if self.left == 0:
            raise Killed
        return appended


@pytest.mark.row("G3", part="undo")
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("nth", range(1, 6))
async def test_wherever_an_undo_is_killed_it_is_done_once_or_somebody_is_asked(nth: int, when: str) -> None:
    counter = Counter(more=GOVERNED)
    run_id = await counter.undoing.undo(FINN, draft_id := await counter.ordered())

    async def advance() -> RunState:
        try:
            return await counter.advance(run_id)
        except Killed:
            counter.loop = counter.new_loop()
            return await counter.advance(run_id)

    counter.loop = counter.new_loop(_Dies(counter.store.journal, nth, when))  # type: ignore[arg-type]  # it passes on the rest
    (asked,) = (await advance()).drafts
    await counter.approvals.decide(FAYE, asked, approved=True)
    state = await advance()

    in_doubt = state.stop_reason is StopReason.IN_DOUBT
    assert in_doubt or state.status is RunStatus.DONE
    assert counter.shop.cancelled in ([1], []) if in_doubt else counter.shop.cancelled == [1]
    assert await counter.undoing.undo(FINN, draft_id) == run_id


@pytest.mark.row("G3", part="undo")
async def test_a_failed_undo_in_whose_place_another_came_is_not_tried_again(stored: dict[str, Any]) -> None:
    counter = Counter(**stored)
    draft_id = await counter.ordered()
    run_id = await counter.undoing.undo(FINN, draft_id)
    counter.staff.gone.add("finn")
    failed = await counter.advance(run_id)
    counter.staff.gone.clear()
    other = await counter.undoing.undo(FAYE, draft_id)

    with pytest.raises(Conflict, match="another one has been begun"):
        await counter.controls.retry(FINN, run_id)
    for each in (other, run_id):
        await counter.advance(each)

    assert failed.status is RunStatus.FAILED
    assert counter.shop.cancelled == [1]


async def test_nobody_begins_another_undo_beside_one_that_is_tried_again() -> None:
    counter = Counter()
    draft_id = await counter.ordered()
    run_id = await counter.undoing.undo(FINN, draft_id)
    counter.staff.gone.add("finn")
    await counter.advance(run_id)
    counter.staff.gone.clear()

    await counter.controls.retry(FINN, run_id)
    with pytest.raises(Conflict, match="finn has undone this, or is at it"):
        await counter.undoing.undo(FAYE, draft_id)
    state = await counter.advance(run_id)

    assert state.status is RunStatus.DONE
    assert counter.shop.cancelled == [1]


async def test_a_run_that_takes_something_back_is_not_forked() -> None:
    counter = Counter()
    run_id = await counter.undoing.undo(FINN, await counter.ordered())
    await counter.advance(run_id)

    for at in range(1, 9):
        with pytest.raises(InvalidInput, match="done once"):
            await counter.controls.fork(FINN, run_id, Fork(at=at))


async def test_what_came_from_outside_makes_an_undo_no_more_trusted_than_what_it_undoes() -> None:
    counter = Counter()
    text = POLICY.replace(", result: trusted", ", result: untrusted")
    counter.policy = load_policy(text, "policy.yaml", counter.registry.tools)
    counter.loop = counter.new_loop()
    draft_id = await counter.ordered()

    state = await counter.advance(await counter.undoing.undo(FINN, draft_id))

    assert state.label.integrity is Integrity.UNTRUSTED
    assert state.stop_reason is StopReason.AWAITING_APPROVAL
    assert counter.shop.cancelled == []


async def test_what_was_not_done_or_has_no_undo_is_not_undone() -> None:
    counter = Counter()
    await counter.ask("Order paper.")
    (waiting,) = await counter.approvals.list(FINN)
    with pytest.raises(Conflict, match="is waiting"):
        await counter.undoing.undo(FINN, waiting.id)
    await counter.approvals.decide(FINN, waiting.id, approved=False)
    await counter.go_on()
    with pytest.raises(Conflict, match="is rejected"):
        await counter.undoing.undo(FINN, waiting.id)
    with pytest.raises(NotFound):
        await counter.undoing.undo(replace(FINN, user="eve", roles=()), waiting.id)

    other = Counter(
        calls(("shred", {"paper": "old"})), says("Gone."), more="  shred: {needs_approval: true, approvals: [finance]}\n"
    )
    await other.ask("Shred it.")
    (draft,) = await other.approvals.list(FINN)
    await other.approvals.decide(FINN, draft.id, approved=True)
    await other.go_on()
    with pytest.raises(Conflict, match="declares no undo"):
        await other.undoing.undo(FINN, draft.id)
