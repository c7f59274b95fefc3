"""From the calls of a turn to what becomes of each: an error for the model, a refusal, a draft, or leave to run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from quarterdeck.agent.consents import Asked, Standing, context_of, outstanding, terms_of
from quarterdeck.agent.drafts import draft_of, to_record
from quarterdeck.agent.guarding import Screened
from quarterdeck.agent.state import CallState, RunState
from quarterdeck.core.context import Principal
from quarterdeck.core.decisions import BY_POLICY, Decision, Endorsement, Terms, Value, Verdict
from quarterdeck.core.events import ApprovalRequested, Decided, Endorsed, Event, ToolReturned
from quarterdeck.core.ids import content_hash
from quarterdeck.core.labels import Integrity, Label, Readers
from quarterdeck.core.messages import ResultStatus, ToolCall, ToolResult
from quarterdeck.core.tools import Tool
from quarterdeck.policy.base import Decider, Grounds
from quarterdeck.policy.grounding import leaves
from quarterdeck.policy.guards.base import Ruling
from quarterdeck.policy.intent import Words
from quarterdeck.store.base import Audit, Beside, Put
from quarterdeck.tools.base import Toolbox
from quarterdeck.tools.executor import Executor

__all__ = ["Deciding", "refusal", "typed_by"]


@dataclass(slots=True)
class Deciding:
    """Decides the calls of one turn and collects what has to be written.

    Attributes:
        label: Of what the model writes: the join of everything it was shown.
        words: The user's, which are those of the state.
        resolvers: Tools whose results may ground arguments.
        present: By user, those who approved calls, as they are now; None for somebody who may not act any more.
        withdrawn: Credentials they did so with that were taken back since.
        screened: By id, what guards found in the arguments of calls.
        events: In the order in which they are appended.
        beside: Draft records and audit rows of the same transaction.
    """

    run_id: str
    state: RunState
    toolbox: Toolbox
    executor: Executor
    policy: Decider
    principal: Principal
    label: Label
    words: Words
    now: datetime
    max_calls: int
    resolvers: frozenset[str] = frozenset()
    present: Mapping[str, Principal | None] = field(default_factory=dict)
    withdrawn: frozenset[str] = frozenset()
    screened: Mapping[str, Screened] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    beside: list[Beside] = field(default_factory=list)
    _made: Counter[str] = field(default_factory=Counter)

    def decide(self, calls: Sequence[CallState]) -> None:
        """Decide new calls, and again those of which rights or policy may have changed since they were decided."""
        decisions: list[Decision] = []
        after: list[Event] = []
        self._made = Counter(call.name for call in self.state.made)
        grounds = self._grounds()
        writes: set[str] = set()
        for call in calls:
            prepared, args_hash = self._prepared(call, writes)
            if isinstance(prepared, ToolResult):
                if call.started is None:  # else it may have happened, whatever became of its tool since
                    after.append(ToolReturned(result=prepared))
                continue
            tool = self.toolbox.get(prepared.name)
            # What came after a call was made had no say in it: what it is bound to must not change meanwhile.
            label = self.state.label if call.decision is None else call.decision.label
            known = self._known(prepared, tool, label)
            resting = replace(grounds, known=tuple(known)) if known else grounds
            screened = self.screened.get(prepared.id)
            if screened is not None and screened.ruling is Ruling.ASK:
                resting = replace(resting, asking=screened.rules)
            decision, endorsed = self._decided(prepared, tool, label, resting)
            if screened is not None:
                decision = screened.tightened(decision)
            decisions.append(decision)
            if decision.verdict is not Verdict.DENY:
                self._made[prepared.name] += 1  # the next call of this turn is one more
            self._audit(prepared, decision, args_hash)
            after += self._consequence(call, prepared, args_hash, tool, decision, endorsed)
        if decisions:
            self.events.append(Decided(turn=self.state.turn, decisions=tuple(decisions), revision=self.state.revisions))
        self.events.extend(after)

    def _decided(
        self, call: ToolCall, tool: Tool | None, label: Label, grounds: Grounds
    ) -> tuple[Decision, tuple[Endorsement, ...]]:
        """Policy's answer, and whose endorsements it rests on: of people who might decide the call as it is without them.

        Where several people must agree, one's word of a value is heard where it is demanded, and lets nothing go by itself.
        """
        decision = self.policy.decide(call, tool, label, self.principal, grounds)
        said = [each for each in self.state.endorsed if each.value.tool == call.name and each.by != BY_POLICY]
        if not said or decision.verdict is not Verdict.APPROVE:
            return decision, ()
        terms = terms_of(decision)
        counting = tuple(each for each in said if self._counts(each, terms))
        values = tuple(each.value for each in counting)
        if values and len(terms.levels) == 1 and terms.levels[0].quorum == 1:
            decision = self.policy.decide(call, tool, label, self.principal, replace(grounds, endorsed=values))
        return replace(decision, endorse=tuple(each for each in decision.endorse if each not in values)), counting

    def _prepared(self, call: CallState, writes: set[str]) -> tuple[ToolCall | ToolResult, str]:
        """The call with validated arguments, and their hash; or an error: unknown, malformed, one too many, doubled."""
        position = next(i for i, other in enumerate(self.state.calls) if other.call.id == call.call.id)
        if position >= self.max_calls:
            why = f"only the first {self.max_calls} calls of a turn are executed; ask for this one again in the next turn"
            return _error(call.call, "too_many_calls", why, self.label), ""
        prepared = self.executor.prepare(call.call, self.label)
        if isinstance(prepared, ToolResult):
            return prepared, ""
        try:
            args_hash = content_hash(prepared.args)
        except ValueError:
            why = "the arguments hold a number that JSON does not know"
            return _error(call.call, "invalid_arguments", why, self.label), ""
        tool = self.toolbox.get(prepared.name)
        if tool is None or tool.is_read or call.approved is not None:
            return prepared, args_hash
        identity = f"{prepared.name}:{args_hash}"
        if identity in writes:
            why = "the same call stands in this turn already and is executed once"
            return _error(call.call, "duplicate", why, self.label), ""
        writes.add(identity)
        return prepared, args_hash

    def _consequence(
        self,
        call: CallState,
        prepared: ToolCall,
        args_hash: str,
        tool: Tool | None,
        decision: Decision,
        endorsed: tuple[Endorsement, ...],
    ) -> list[Event]:
        """What follows at once: a refusal, or a draft. Nothing for a call that may run, or that has been started."""
        if call.started is not None:
            return []
        if decision.verdict is Verdict.DENY:
            return [ToolReturned(result=refusal(prepared, "denied", "; ".join(decision.reasons), self.label))]
        approved = call.approved
        if approved is not None and approved.edited_args is None and approved.args_hash != args_hash:
            why = "the arguments are no longer those that were approved"
            return [ToolReturned(result=refusal(prepared, "changed", why, self.label))]
        asked = self._asked(call, prepared, args_hash, decision)
        if asked is None or tool is None or call.waits_for_decision:
            return []
        level = 1 + max(call.asked, 0 if call.approval is None else call.approval.level)
        draft = draft_of(self.run_id, self.state, prepared, tool, decision, asked, self.now, level, endorsed)
        self.beside.append(Put(record=to_record(draft), expect=0))
        return [
            ApprovalRequested(
                id=prepared.id,
                level=level,
                draft=draft.id,
                args_hash=draft.args_hash,
                expires_at=draft.expires_at,
                approvers=draft.approvers,
                step=draft.step,
                steps=draft.steps,
                quorum=draft.quorum,
                escalates_at=draft.escalates_at,
                escalate_to=draft.escalate_to,
                on_expiry=draft.on_expiry,
            )
        ]

    def _asked(self, call: CallState, prepared: ToolCall, args_hash: str, decision: Decision) -> Asked | None:
        """What people must still agree to before the call may run; None if nothing."""
        if decision.verdict is not Verdict.APPROVE:
            return None
        standing = Standing(
            requested_by=self.principal.user,
            args_hash=args_hash,
            context=context_of(self.run_id, prepared, decision),
            now=self.now,
            present=self.present,
            withdrawn=self.withdrawn,
        )
        # Whoever agreed before a value was endorsed that must be, or upon a word that counts no more, is asked again.
        return outstanding(terms_of(decision), () if decision.endorse else call.consents, standing)

    def _grounds(self) -> Grounds:
        resolved: list[str] = []
        ids: dict[str, tuple[str, ...]] = {}
        for tool, text in self._looked_up():
            found = self.policy.resolved(tool, text)
            resolved += found.texts
            ids |= {argument: (*ids.get(argument, ()), each) for argument, each in found.ids.items()}
        return Grounds(
            words=self.state.words,
            read=self.words,
            resolved=tuple(resolved),
            ids=ids,
            calls_made=self._made,
        )

    def _counts(self, endorsement: Endorsement, terms: Terms) -> bool:
        """True while both people may act, and what is left of the right it rests on is one to decide on these terms."""
        right, by = self.present.get(endorsement.right_of), self.present.get(endorsement.by)
        if right is None or by is None or endorsement.credential in self.withdrawn:
            return False
        if terms.four_eyes and self.principal.user in (right.user, by.user):
            return False
        kept = set(endorsement.roles).intersection((*right.roles, f"user:{right.user}"))
        return not kept.isdisjoint(name for level in terms.levels for name in (*level.by, *level.escalate_to))

    def _known(self, call: ToolCall, tool: Tool | None, label: Label) -> Sequence[Value]:
        """What the policy endorses of a call's values; it is recorded where an outsider had a say, once in a run."""
        found = () if tool is None else self.policy.known(call, tool)
        said = [each.value for each in self.state.endorsed]
        for value in found if label.integrity is Integrity.UNTRUSTED else ():
            if value not in said:
                said.append(value)
                endorsement = Endorsement(value=value, by=BY_POLICY, reason="it stands in a list of the policy")
                self.events.append(Endorsed(id=call.id, endorsement=endorsement))
        return found

    def _looked_up(self) -> Iterator[tuple[Tool, str]]:
        """What resolvers found that were asked in the user's words only: one that echoes its question would launder it."""
        if not self.resolvers:
            return
        done = zip((call for call in self.state.made if call.success), self.state.results, strict=True)
        for call, result in done:
            tool = self.toolbox.get(result.name) if result.name in self.resolvers else None
            asked = (leaf for value in call.arguments.values() for leaf in leaves(value) if isinstance(leaf, str))
            if tool is not None and all(map(self.words.holds, asked)):
                yield tool, result.text

    def _audit(self, call: ToolCall, decision: Decision, args_hash: str) -> None:
        agent = self.state.started.agent if self.state.started else ""
        self.beside.append(
            Audit(
                actor=f"agent:{agent}",
                subject=f"user:{self.principal.user}",
                action="decision",
                object=f"{self.run_id}:{call.id}:{call.name}",
                decision=f"{decision.verdict}:{decision.rule}",
                args_hash=args_hash,
            )
        )


def typed_by(principal: Principal) -> Label:
    """The label of a user's own words."""
    return Label(integrity=Integrity.TRUSTED, readers=Readers.of(f"user:{principal.user}"))


def refusal(call: ToolCall, error: str, why: str, label: Label) -> ToolResult:
    """The result of a call that may not happen."""
    return ToolResult(
        call_id=call.id, name=call.name, status=ResultStatus.REFUSED, label=label, output=f"Not done: {why}.", error=error
    )


def _error(call: ToolCall, error: str, why: str, label: Label) -> ToolResult:
    return ToolResult(
        call_id=call.id, name=call.name, status=ResultStatus.ERROR, label=label, output=f"Not executed: {why}.", error=error
    )
