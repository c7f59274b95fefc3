"""One value is said to be right, by a person who was shown it or by a list of the policy: for one run, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from quarterdeck.agent.fold import fold
from quarterdeck.agent.forking import fork_of
from quarterdeck.agent.state import RunState
from quarterdeck.core.decisions import BY_POLICY, Decision, Draft, DraftStatus, Verdict
from quarterdeck.core.errors import Conflict, Forbidden, InvalidInput, NotFound
from quarterdeck.core.events import Decided, Endorsed
from quarterdeck.core.labels import Integrity
from quarterdeck.core.runs import RunStatus
from quarterdeck.policy.load import load_policy
from quarterdeck.workflow.endorsing import endorse
from tests.unit.agent.scene import ANNA, LEE, Killed, Scene, calls, says

pytestmark = pytest.mark.row("G5", part="endorsement")

MAYA = replace(LEE, user="maya")
IBAN, OTHER = "DE02120300000000202051", "DE02500105170137075030"
ASKED = "Pay the invoice of the mail."
PAY = calls(("pay", {"iban": IBAN, "amount": 100}))
POLICY = """
policy: v1
tools:
  mail: {{effect: read, risk: 0}}
  pay:
    effect: write
    identity: [iban]
    sink: nobody
    bounds: {{amount: {{min: 0, max: 500}}}}
    asked: [pay invoice]
    {more}
"""


class Bank:
    """What was paid, and to whom."""

    def __init__(self) -> None:
        self.paid: list[tuple[str, int]] = []
        self.after: Callable[[], None] = lambda: None

    def mail(self) -> str:
        """Read the mail."""
        return f"Pay 100 to {IBAN}."

    def pay(self, iban: str, amount: int) -> str:
        """Pay an invoice."""
        self.paid.append((iban, amount))
        self.after()
        return "paid"


def scene(*script: Any, more: str = "expires_s: 60") -> tuple[Scene, Bank]:
    bank = Bank()
    made = Scene(*(script or (calls(("mail", {})), PAY, says("Paid."))), tools=[bank.mail, bank.pay])
    made.policy = load_policy(POLICY.format(more=more), "policy.yaml", made.registry.tools)
    made.loop = made.new_loop()
    return made, bank


async def waiting(made: Scene, text: str = ASKED) -> Draft:
    state = await made.ask(text)
    (draft,) = state.drafts
    return await made.approvals.get(LEE, draft)


async def decided(made: Scene) -> Decision:
    return [each for entry in await made.entries() if isinstance(entry.event, Decided) for each in entry.event.decisions][-1]


async def test_a_value_a_person_endorsed_lets_the_call_run_and_withdraws_the_question() -> None:
    made, bank = scene()
    draft = await waiting(made)

    shown = await endorse(made.approvals, LEE, draft.id, argument="iban", value=IBAN, reason="It is on the invoice.")
    state = await made.go_on()

    assert draft.rule == "ground.identity"
    assert bank.paid == [(IBAN, 100)]
    assert (state.status, (await decided(made)).rule) == (RunStatus.DONE, "context.grounded")
    assert [(each.by, each.reason) for each in shown.endorsed] == [("lee", "It is on the invoice.")]
    gone = await made.approvals.get(LEE, draft.id)
    assert (gone.status, gone.decided_by) == (DraftStatus.WITHDRAWN, BY_POLICY)
    with pytest.raises(Conflict):
        await made.approvals.decide(LEE, draft.id, approved=True)


async def test_the_value_is_endorsed_and_the_context_is_not() -> None:
    more = calls(("pay", {"iban": OTHER, "amount": 100}))
    made, bank = scene(calls(("mail", {})), PAY, more)
    draft = await waiting(made, "Pay the invoice of the mail. Pay the other invoice.")

    await endorse(made.approvals, LEE, draft.id, argument="iban", value=IBAN)
    state = await made.go_on()

    assert state.label.integrity is Integrity.UNTRUSTED
    assert bank.paid == [(IBAN, 100)]
    assert (await decided(made)).rule == "ground.identity"


async def test_it_saves_the_next_question_about_the_same_value_of_the_same_argument() -> None:
    made, bank = scene(calls(("mail", {})), PAY, calls(("pay", {"iban": IBAN, "amount": 7})), says("Paid."))
    draft = await waiting(made, "Pay the invoice of the mail. Pay the other invoice.")

    await endorse(made.approvals, LEE, draft.id, argument="iban", value=IBAN)
    await made.go_on()

    assert bank.paid == [(IBAN, 100), (IBAN, 7)]


async def test_what_else_is_in_the_way_stays_in_the_way() -> None:
    made, bank = scene()
    draft = await waiting(made, "What does the mail want?")

    await endorse(made.approvals, LEE, draft.id, argument="iban", value=IBAN)
    state = await made.go_on()

    assert bank.paid == []
    assert (await decided(made)).rule == "ground.intent"
    assert list(state.drafts) == [draft.id]
    await made.approvals.decide(LEE, draft.id, approved=True)
    await made.go_on()
    assert bank.paid == [(IBAN, 100)]


@pytest.mark.parametrize("more", ["risk: 3", "needs_approval: true"])
async def test_a_call_that_always_needs_approval_needs_it_still(more: str) -> None:
    made, bank = scene(more=more)
    draft = await waiting(made)

    await endorse(made.approvals, LEE, draft.id, argument="iban", value=IBAN)
    await made.go_on()

    assert bank.paid == []
    assert (await made.approvals.get(LEE, draft.id)).status is DraftStatus.WAITING


async def test_policy_may_demand_it_and_then_an_approval_is_not_enough() -> None:
    made, bank = scene(more="endorse: [iban]")
    draft = await waiting(made)

    with pytest.raises(Conflict, match="before somebody has endorsed iban"):
        await made.approvals.decide(LEE, draft.id, approved=True)
    with pytest.raises(Conflict, match="before somebody has endorsed iban"):
        await made.approvals.decide(LEE, draft.id, approved=True, edited_args={"iban": OTHER, "amount": 100})
    await endorse(made.approvals, LEE, draft.id, argument="iban", value=IBAN)
    await made.go_on()

    assert (draft.rule, [value.value for value in draft.endorse]) == ("ground.endorsement", [IBAN])
    assert bank.paid == [(IBAN, 100)]


async def test_a_demanded_endorsement_and_an_approval_are_two_things() -> None:
    made, bank = scene(more="endorse: [iban]\n    needs_approval: true")
    draft = await waiting(made)

    await endorse(made.approvals, LEE, draft.id, argument="iban", value=IBAN)
    await made.go_on()
    await made.approvals.decide(LEE, draft.id, approved=True)
    await made.go_on()

    assert bank.paid == [(IBAN, 100)]


async def test_a_list_of_the_policy_endorses_too_and_it_is_recorded_once() -> None:
    again = calls(("pay", {"iban": IBAN, "amount": 7}))
    made, bank = scene(calls(("mail", {})), PAY, again, says("Paid."), more=f"known: {{iban: {{values: [{IBAN}]}}}}")

    state = await made.ask("Pay 100 for the invoice of the mail. Pay 7 for the other invoice.")

    assert bank.paid == [(IBAN, 100), (IBAN, 7)]
    assert [(each.by, each.value.value) for each in state.endorsed] == [(BY_POLICY, IBAN)]


async def test_a_list_that_has_changed_since_endorses_no_more() -> None:
    again = calls(("pay", {"iban": IBAN, "amount": 7}))
    made, bank = scene(calls(("mail", {})), PAY, again, more=f"known: {{iban: {{values: [{IBAN}]}}}}")
    changed = load_policy(POLICY.format(more="max_calls: 9"), "policy.yaml", made.registry.tools)
    bank.after = lambda: setattr(made.loop, "policy", changed)

    await made.ask("Pay 100 for the invoice of the mail. Pay 7 for the other invoice.")

    assert bank.paid == [(IBAN, 100)]
    assert (await decided(made)).rule == "ground.identity"


async def test_what_the_policy_knows_was_not_thereby_asked_for() -> None:
    made, bank = scene(more=f"known: {{iban: {{values: [{IBAN}]}}}}")

    await made.ask("Pay the invoice of the mail.")

    assert bank.paid == []
    assert (await decided(made)).rule == "ground.nothing"


@pytest.mark.parametrize(
    ("argument", "value"),
    [("iban", OTHER), ("iban", IBAN.lower()), ("iban", f"{IBAN} "), ("amount", 101), ("recipient", IBAN), ("iban", "")],
)
async def test_only_a_value_that_stands_in_the_draft_can_be_endorsed(argument: str, value: Any) -> None:
    made, _ = scene()
    draft = await waiting(made)

    with pytest.raises(InvalidInput, match="holds no such value"):
        await endorse(made.approvals, LEE, draft.id, argument=argument, value=value)


async def test_only_who_may_decide_the_draft_may_endorse_and_not_against_four_eyes() -> None:
    made, _ = scene(more="risk: 3")
    draft = await waiting(made)
    both = replace(ANNA, roles=("approver",))

    with pytest.raises(Forbidden):
        await endorse(made.approvals, ANNA, draft.id, argument="iban", value=IBAN)
    with pytest.raises(Forbidden):
        await endorse(made.approvals, both, draft.id, argument="iban", value=IBAN)
    with pytest.raises(NotFound):
        await endorse(made.approvals, replace(LEE, tenant="other"), draft.id, argument="iban", value=IBAN)


async def test_where_several_must_agree_one_cannot_pass_the_others_by() -> None:
    made, _ = scene(more="approvals: {levels: [{by: [approver], quorum: 2}]}")
    draft = await waiting(made)

    with pytest.raises(Conflict, match="needs several people"):
        await endorse(made.approvals, LEE, draft.id, argument="iban", value=IBAN)


async def test_where_it_is_demanded_and_several_must_agree_one_endorses_and_all_approve() -> None:
    made, bank = scene(more="endorse: [iban]\n    approvals: {levels: [{by: [approver], quorum: 2}]}")
    draft = await waiting(made)

    await endorse(made.approvals, LEE, draft.id, argument="iban", value=IBAN)
    state = await made.go_on()
    await made.approvals.decide(LEE, draft.id, approved=True)
    await made.go_on()
    before = list(bank.paid)
    await made.approvals.decide(MAYA, draft.id, approved=True)
    await made.go_on()

    assert (list(state.drafts), before) == ([draft.id], [])
    assert bank.paid == [(IBAN, 100)]


@pytest.mark.parametrize("lost", ["person", "key"])
async def test_the_word_of_somebody_who_may_not_act_any_more_counts_for_nothing(lost: str) -> None:
    made, bank = scene()
    draft = await waiting(made)
    await endorse(made.approvals, replace(LEE, credential="key:stolen"), draft.id, argument="iban", value=IBAN)
    (made.staff.gone if lost == "person" else made.staff.revoked).add("lee" if lost == "person" else "key:stolen")

    state = await made.go_on()

    assert bank.paid == []
    assert list(state.drafts) == [draft.id]


async def test_a_word_that_counts_no_more_is_given_again_by_the_same_person() -> None:
    made, bank = scene()
    draft = await waiting(made)
    await endorse(made.approvals, replace(LEE, credential="key:stolen"), draft.id, argument="iban", value=IBAN)
    made.staff.revoked.add("key:stolen")
    await made.go_on()

    await endorse(made.approvals, LEE, draft.id, argument="iban", value=IBAN)
    await made.go_on()

    assert bank.paid == [(IBAN, 100)]


class _StopsBeforeStarts:
    """The process dies when the start of a write would become durable."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def append(self, claim: Any, entries: Any, **fields: Any) -> Any:
        started = [entry for entry in entries if entry.event.kind == "tool_started"]
        kept = [entry for entry in entries if entry.event.kind != "tool_started"]
        if started:
            if kept:
                await self.inner.append(claim, kept, **fields)
            raise Killed
        return await self.inner.append(claim, entries, **fields)


async def stopped_before_it_starts() -> tuple[Scene, Bank]:
    """What was asked for is endorsed, and so let go; the process dies as it begins."""
    made, bank = scene()
    draft = await waiting(made)
    await endorse(made.approvals, LEE, draft.id, argument="iban", value=IBAN)
    made.loop = made.new_loop(_StopsBeforeStarts(made.store.journal))
    with pytest.raises(Killed):
        await made.go_on()
    return made, bank


async def test_a_right_lost_after_the_draft_was_withdrawn_asks_anew() -> None:
    made, bank = await stopped_before_it_starts()
    made.staff.gone.add("lee")
    made.loop = made.new_loop()

    state = await made.go_on()

    assert bank.paid == []
    assert len(list(state.drafts)) == 1


async def test_where_it_is_demanded_nobody_approves_upon_the_word_of_somebody_who_lost_the_right() -> None:
    made, bank = scene(more="endorse: [iban]\n    needs_approval: true")
    draft = await waiting(made)
    await endorse(made.approvals, LEE, draft.id, argument="iban", value=IBAN)
    made.staff.gone.add("lee")
    await made.approvals.decide(MAYA, draft.id, approved=True)

    state = await made.go_on()
    before = list(bank.paid)
    (asked,) = state.drafts
    again = await made.approvals.get(MAYA, asked)
    await endorse(made.approvals, MAYA, asked, argument="iban", value=IBAN)
    await made.approvals.decide(MAYA, asked, approved=True)
    await made.go_on()

    assert before == []
    assert ([value.value for value in again.unendorsed], again.endorsed) == ([IBAN], ())
    assert bank.paid == [(IBAN, 100)]


async def test_where_it_is_demanded_a_value_put_in_by_an_edit_is_endorsed_too() -> None:
    made, bank = scene(more="endorse: [iban]\n    needs_approval: true")
    draft = await waiting(made)
    await endorse(made.approvals, LEE, draft.id, argument="iban", value=IBAN)
    await made.approvals.decide(LEE, draft.id, approved=True, edited_args={"iban": OTHER, "amount": 100})

    state = await made.go_on()

    assert bank.paid == []
    (asked,) = state.drafts
    assert [value.value for value in (await made.approvals.get(LEE, asked)).unendorsed] == [OTHER]


async def test_the_same_value_may_be_endorsed_by_another_too() -> None:
    made, bank = scene()
    draft = await waiting(made)
    await endorse(made.approvals, LEE, draft.id, argument="iban", value=IBAN)
    made.staff.gone.add("lee")
    await made.go_on()

    await endorse(made.approvals, MAYA, draft.id, argument="iban", value=IBAN)
    await made.go_on()

    assert bank.paid == [(IBAN, 100)]


@pytest.mark.parametrize(
    "more",
    [
        "approvals: {levels: [{by: [approver], quorum: 2}]}",
        "approvals: [finance]",
        "approvals: {by: [approver], four_eyes: true}",
    ],
)
async def test_a_policy_that_has_changed_since_counts_only_the_word_of_who_could_give_it_now(more: str) -> None:
    made, bank = scene()
    draft = await waiting(made)
    asker = replace(ANNA, roles=("approver",))
    made.staff.present["anna"] = asker
    await endorse(made.approvals, asker, draft.id, argument="iban", value=IBAN)
    made.policy = load_policy(POLICY.format(more=more), "policy.yaml", made.registry.tools)
    made.loop = made.new_loop()

    await made.go_on()

    assert bank.paid == []
    assert (await decided(made)).rule == "ground.identity"


async def test_a_fork_of_a_call_that_was_let_go_is_decided_anew() -> None:
    made, bank = await stopped_before_it_starts()
    entries = await made.entries()
    first, rest = fork_of(entries, entries[-1].seq, made.run_id)
    assert isinstance(entries[-1].event, Decided)
    made.run_id = "fork"
    await made.store.journal.create(ANNA.tenant, made.run_id, first, then=rest)
    made.loop = made.new_loop()

    state = await made.go_on()

    assert bank.paid == []
    assert len(list(state.drafts)) == 1


async def test_a_rejection_that_came_meanwhile_counts() -> None:
    made, bank = scene(more="endorse: [iban]")
    draft = await waiting(made)
    await endorse(made.approvals, LEE, draft.id, argument="iban", value=IBAN)

    await made.approvals.decide(LEE, draft.id, approved=False)
    await made.go_on()

    assert bank.paid == []


async def test_the_same_again_changes_nothing_and_a_decided_draft_takes_none() -> None:
    made, _ = scene()
    draft = await waiting(made)
    first = await endorse(made.approvals, LEE, draft.id, argument="iban", value=IBAN)

    again = await endorse(made.approvals, LEE, draft.id, argument="iban", value=IBAN)

    assert again == first
    assert (await made.kinds()).count("endorsed") == 1
    await made.approvals.decide(LEE, draft.id, approved=False)
    with pytest.raises(Conflict, match="already rejected"):
        await endorse(made.approvals, LEE, draft.id, argument="amount", value=100)


async def test_another_worker_after_a_crash_reads_the_same() -> None:
    made, bank = await stopped_before_it_starts()
    made.loop = made.new_loop()

    state = await made.go_on()

    assert bank.paid == [(IBAN, 100)]
    assert fold(await made.entries()).endorsed == state.endorsed


async def test_a_fork_is_another_run_and_has_none() -> None:
    made, _ = scene()
    draft = await waiting(made)
    await endorse(made.approvals, LEE, draft.id, argument="iban", value=IBAN)
    state = await made.go_on()
    entries = await made.entries()

    first, rest = fork_of(entries, entries[-1].seq, made.run_id)

    assert state.endorsed
    assert fold([first, *rest], RunState()).endorsed == ()
    assert not any(isinstance(entry.event, Endorsed) for entry in rest)


async def test_the_audit_log_says_who_endorsed_which_argument() -> None:
    made, _ = scene()
    draft = await waiting(made)

    await endorse(made.approvals, LEE, draft.id, argument="iban", value=IBAN)

    rows = await made.store.records.audit_rows(ANNA.tenant)
    assert [(row["actor"], row["decision"]) for row in rows if row["action"] == "endorsement"] == [
        ("user:lee", "endorsed:iban")
    ]
    assert (await decided(made)).verdict is Verdict.APPROVE
