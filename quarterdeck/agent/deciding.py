"""From the calls of a turn to what becomes of each: an error for the model, a refusal, a draft, or leave to run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from quarterdeck.agent.drafts import draft_of, to_record
from quarterdeck.agent.state import CallState, RunState
from quarterdeck.core.context import Principal
from quarterdeck.core.decisions import Decision, Verdict
from quarterdeck.core.events import ApprovalRequested, Decided, Event, ToolReturned
from quarterdeck.core.ids import content_hash
from quarterdeck.core.labels import Integrity, Label, Readers
from quarterdeck.core.messages import ResultStatus, ToolCall, ToolResult
from quarterdeck.policy.base import Decider, Grounds
from quarterdeck.store.base import Audit, Beside, Put
from quarterdeck.tools.base import Toolbox
from quarterdeck.tools.executor import Executor

__all__ = ["Deciding", "refusal", "typed_by"]


@dataclass(slots=True)
class Deciding:
    """Decides the calls of one turn and collects what has to be written.

    Attributes:
        label: Of what the model writes: the join of everything it was shown.
        resolvers: Tools whose results may ground arguments.
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
    now: datetime
    max_calls: int
    resolvers: frozenset[str] = frozenset()
    events: list[Event] = field(default_factory=list)
    beside: list[Beside] = field(default_factory=list)

    def decide(self, calls: Sequence[CallState]) -> None:
        """Decide new calls, and again those a person has approved: rights may have changed since."""
        decisions: list[Decision] = []
        after: list[Event] = []
        grounds = self._grounds()
        writes: set[str] = set()
        for call in calls:
            refused = self._unfit(call, writes)
            prepared = refused or self.executor.prepare(call.call, self.label)
            if isinstance(prepared, ToolResult):
                after.append(ToolReturned(result=prepared))
                continue
            tool = self.toolbox.get(prepared.name)
            decision = self.policy.decide(prepared, tool, self.state.label, self.principal, grounds)
            decisions.append(decision)
            args_hash = content_hash(prepared.args)
            self._audit(prepared, decision, args_hash)
            if decision.verdict is Verdict.DENY:
                after.append(ToolReturned(result=refusal(prepared, "denied", "; ".join(decision.reasons), self.label)))
            elif call.approved is not None:
                if call.approved.edited_args is None and call.approved.args_hash != args_hash:
                    why = "the arguments are no longer those that were approved"
                    after.append(ToolReturned(result=refusal(prepared, "changed", why, self.label)))
            elif decision.verdict is Verdict.APPROVE and tool is not None:
                draft = draft_of(self.run_id, self.state, prepared, tool, decision, self.now)
                after.append(
                    ApprovalRequested(
                        id=prepared.id,
                        draft=draft.id,
                        args_hash=draft.args_hash,
                        expires_at=draft.expires_at,
                        approvers=draft.approvers,
                    )
                )
                self.beside.append(Put(record=to_record(draft), expect=0))
        if decisions:
            revision = 1 + sum(call.redecided for call in self.state.calls) if calls[0].approved is not None else 0
            self.events.append(Decided(turn=self.state.turn, decisions=tuple(decisions), revision=revision))
        self.events.extend(after)

    def _unfit(self, call: CallState, writes: set[str]) -> ToolResult | None:
        """An error for a call that is one too many, or a write that stands in the same turn already."""
        position = next(i for i, other in enumerate(self.state.calls) if other.call.id == call.call.id)
        if position >= self.max_calls:
            why = f"only the first {self.max_calls} calls of a turn are executed; ask for this one again in the next turn"
            return _error(call.call, "too_many_calls", why, self.label)
        tool = self.toolbox.get(call.call.name)
        if tool is None or tool.is_read or call.approved is not None:
            return None
        identity = f"{call.call.name}:{content_hash(call.call.args)}"
        if identity in writes:
            return _error(
                call.call, "duplicate", "the same call stands in this turn already and is executed once", self.label
            )
        writes.add(identity)
        return None

    def _grounds(self) -> Grounds:
        return Grounds(
            words=self.state.words,
            resolved=tuple(result.text for result in self.state.results if result.name in self.resolvers),
            calls_made=Counter(call.name for call in self.state.made),
        )

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
