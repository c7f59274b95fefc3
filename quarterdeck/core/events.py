"""Everything that can happen in a run.

A run is an append-only list of these; its state is their fold, and history, streams, approvals, traces and cost are views of
the same list. Fields may be added, never changed in meaning; kinds unknown to this version are kept and ignored by the fold.
``key`` makes an event unique within its run, so that a repeat is refused by the store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Literal, get_args

from quarterdeck.core.answers import Answer, Passage
from quarterdeck.core.context import Principal
from quarterdeck.core.decisions import Consent, Decision, Endorsement, OnExpiry
from quarterdeck.core.ids import content_hash
from quarterdeck.core.labels import Label
from quarterdeck.core.messages import Message, ToolResult
from quarterdeck.core.runs import StopReason
from quarterdeck.core.usage import Usage

__all__ = [
    "KINDS",
    "AnswerRejected",
    "ApprovalDecided",
    "ApprovalEscalated",
    "ApprovalGiven",
    "ApprovalRequested",
    "CancelRequested",
    "ChildFinished",
    "ChildStarted",
    "CitationsChecked",
    "ContextCompacted",
    "Decided",
    "Delta",
    "DocumentIngested",
    "DoubtResolved",
    "Endorsed",
    "Event",
    "Extracted",
    "FinalAnswer",
    "GuardrailFired",
    "InDoubt",
    "ModelReply",
    "NodeSkipped",
    "NodeStarted",
    "PauseRequested",
    "ResumeRequested",
    "Retrieved",
    "RetryRequested",
    "RunCancelled",
    "RunFailed",
    "RunStarted",
    "StateFolded",
    "Steer",
    "ToolReturned",
    "ToolStarted",
    "Unknown",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """The first event of every run. What it works by is a blob under `config_hash`: an agent's declaration, or an order.

    Attributes:
        agent: Name of the agent; of other work the work's.
        history: Earlier exchanges of the session, bounded: questions and settled answers, no tool traffic.
        deadline: When the caller stops waiting for the run to end, None for never.
        span_id: Of the request that began it, 16 hexadecimal digits: the parent of the spans of its workers.
        forked_from, forked_at: The run whose events up to that seq are the beginning of this one.
        work: What is done in it: an agent answers, or documents are brought into the index. It says who can advance it.
    """

    kind: ClassVar[str] = "run_started"
    key: ClassVar[None] = None
    input: Message
    agent: str
    config_hash: str
    tenant: str
    principal: Principal
    session_id: str | None = None
    history: tuple[Message, ...] = ()
    deadline: datetime | None = None
    trace_id: str | None = None
    request_id: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    parent: str | None = None
    node: str | None = None
    span_id: str | None = None
    forked_from: str | None = None
    forked_at: int = 0
    work: Literal["agent", "ingest"] = "agent"
    v: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieved:
    """Passages fetched before the model was asked.

    Attributes:
        mode: ``keyword``, ``vector`` or ``hybrid``: what the index could really do; ``none`` without one; ``late`` or
            ``failed`` where the run went on without; ``cache`` where an earlier answer to the same question is given again.
        query: What was searched for: the question, or what it was completed to from the conversation.
        notes: What went wrong on the way, such as vectors that came too late.
        usage: Of completing the question, of its vector and of a reranker.
    """

    kind: ClassVar[str] = "retrieved"
    turn: int
    query: str
    passages: tuple[Passage, ...]
    mode: str
    label: Label
    notes: tuple[str, ...] = ()
    usage: Usage = field(default_factory=Usage)
    v: int = 1

    @property
    def key(self) -> str:
        return f"q:{self.turn}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReply:
    """What one model call gave, after retries, fallback and routing.

    Attributes:
        message: With its tool calls, already numbered ``t{turn}c{i}``.
        route: How the model was chosen, empty when there was no choice.
        attempts: HTTP attempts it took.
        seen: Seq of the last stored event it was made with; messages that people stored after that one follow it. None: all.
    """

    kind: ClassVar[str] = "model_reply"
    turn: int
    message: Message
    model: str
    usage: Usage
    finish_reason: str = "stop"
    route: str = ""
    attempts: int = 1
    seen: int | None = None
    v: int = 1

    @property
    def key(self) -> str:
        return f"m:{self.turn}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """Policy's answers for the calls of one turn.

    Attributes:
        revision: 0 for the calls as the model made them; one more each time some of them are decided again, because a person
            approved them, or because another worker took the run and rights may have changed.
    """

    kind: ClassVar[str] = "decided"
    turn: int
    decisions: tuple[Decision, ...]
    revision: int = 0
    v: int = 1

    @property
    def key(self) -> str:
        return f"p:{self.turn}" if not self.revision else f"p:{self.turn}:{self.revision}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolStarted:
    """A call that may change the world is about to be executed. Durable before the effect.

    Attributes:
        idempotent: Its target deduplicates by `idem_key`, so that after a crash it is called again.
        operation: Id of the business operation, for a tool that has a key for those; it is the `idem_key` then.
        behind: Set where nothing was executed, because another call had begun the operation and nobody knows its end:
            version of the operation's row, so that what a person says of it counts for that attempt only.
    """

    kind: ClassVar[str] = "tool_started"
    id: str
    name: str
    args_hash: str
    idem_key: str
    attempt: int
    timeout_s: float
    idempotent: bool = False
    operation: str | None = None
    behind: int | None = None
    v: int = 1

    @property
    def key(self) -> str:
        return f"s:{self.id}:{self.attempt}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracted:
    """A model that can do nothing read what a call returned; the values it took out of it are the call's result.

    Attributes:
        model: That read it, empty if none could.
        bits: How much an outsider could say by what was endorsed; 0 where nothing was.
        dropped: Values that were none of the declared kind, and so count as not said.
        problem: Code of the error why there are no values, empty where there are.
    """

    kind: ClassVar[str] = "extracted"
    id: str
    model: str = ""
    usage: Usage = field(default_factory=Usage)
    bits: float = 0.0
    dropped: tuple[str, ...] = ()
    problem: str = ""
    v: int = 1

    @property
    def key(self) -> str:
        return f"y:{self.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolReturned:
    """What came of a call."""

    kind: ClassVar[str] = "tool_result"
    result: ToolResult
    v: int = 1

    @property
    def key(self) -> str:
        return f"r:{self.result.call_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRequested:
    """A draft waits for a person. The draft itself is a record written in the same transaction.

    Attributes:
        draft: Id of the draft.
        args_hash: Of the arguments the approval is bound to.
        level: How often people were asked about this call, from 1.
        step, steps: Which of the levels policy asks for this is.
        escalates_at, escalate_to: When others are asked too, and who; None for never.
        on_expiry: What happens when nobody decides in time.
    """

    kind: ClassVar[str] = "approval_requested"
    id: str
    draft: str
    args_hash: str
    expires_at: datetime
    level: int = 1
    approvers: tuple[str, ...] = ()
    step: int = 1
    steps: int = 1
    quorum: int = 1
    escalates_at: datetime | None = None
    escalate_to: tuple[str, ...] = ()
    on_expiry: OnExpiry = "reject"
    v: int = 1

    @property
    def key(self) -> str:
        return f"a:{self.id}:{self.level}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalGiven:
    """One of several people who must agree did so."""

    kind: ClassVar[str] = "approval_given"
    id: str
    draft: str
    level: int
    consent: Consent
    reason: str | None = None
    v: int = 1

    @property
    def key(self) -> str:
        return f"v:{self.id}:{self.level}:{self.consent.by}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endorsed:
    """A person, or a list of the policy file, says of one value in a call's arguments that it is right.

    Attributes:
        draft: That showed it to the person, empty where nobody was asked.
    """

    kind: ClassVar[str] = "endorsed"
    id: str
    endorsement: Endorsement
    draft: str = ""
    v: int = 1

    @property
    def key(self) -> str:
        value = self.endorsement.value
        return f"w:{self.id}:{content_hash([value.argument, value.value])[:16]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalEscalated:
    """Nobody decided a draft for a while, so others may decide it too."""

    kind: ClassVar[str] = "approval_escalated"
    id: str
    draft: str
    level: int
    to: tuple[str, ...]
    expires_at: datetime
    v: int = 1

    @property
    def key(self) -> str:
        return f"e:{self.id}:{self.level}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalDecided:
    """A person, or the clock, decided a draft.

    Attributes:
        by: User id, or ``timeout``.
        roles: Those the person had: what a later, stricter policy asks for may not be covered by them.
        args_hash: Of the arguments that were decided on, before any edit.
        edited_args: Arguments the person put in place of the proposed ones, validated.
        on_behalf_of: Who had delegated the right to decide it, None where it was the person's own.
        consents: All it rests on, when approved; after an edit, only that of the person who edited.
    """

    kind: ClassVar[str] = "approval_decided"
    id: str
    approved: bool
    by: str
    args_hash: str
    level: int = 1
    roles: tuple[str, ...] = ()
    reason: str | None = None
    edited_args: dict[str, Any] | None = None
    on_behalf_of: str | None = None
    consents: tuple[Consent, ...] = ()
    v: int = 1

    @property
    def key(self) -> str:
        return f"d:{self.id}:{self.level}"


@dataclass(frozen=True, slots=True, kw_only=True)
class InDoubt:
    """A write was started, its worker died, and its target cannot deduplicate: a person must say what happened.

    Attributes:
        started_seq: Seq of the `ToolStarted` this is about; an answer belongs to that one attempt.
        not_before: Until then a zombie may still be executing it, and no answer is taken.
    """

    kind: ClassVar[str] = "in_doubt"
    id: str
    started_seq: int
    not_before: datetime
    v: int = 1

    @property
    def key(self) -> str:
        return f"i:{self.id}:{self.started_seq}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DoubtResolved:
    """A person said what became of a started write.

    Attributes:
        outcome: `done` it happened, `repeat` do it again, `failed` it did not happen and shall not.
        output: What it gave, as far as the person knows, when done.
    """

    kind: ClassVar[str] = "doubt_resolved"
    id: str
    started_seq: int
    outcome: Literal["done", "repeat", "failed"]
    by: str
    output: str = ""
    v: int = 1

    @property
    def key(self) -> str:
        return f"u:{self.id}:{self.started_seq}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CitationsChecked:
    """What a model says of the cited sentences of an answer.

    Attributes:
        verdicts: By sentence, whether what it cites bears it out. Of sentences that are missing, words decide.
        model: That decided, empty if none was asked.
        problem: Code of the error why there are no verdicts, ``late``, or ``simulated``; empty where there is none.
    """

    kind: ClassVar[str] = "citations_checked"
    turn: int
    verdicts: Mapping[str, bool] = field(default_factory=dict)
    model: str = ""
    usage: Usage = field(default_factory=Usage)
    problem: str = ""
    v: int = 1

    @property
    def key(self) -> str:
        return f"k:{self.turn}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRejected:
    """An answer broke a rule and goes back to the model with the reasons."""

    kind: ClassVar[str] = "answer_rejected"
    turn: int
    reasons: tuple[str, ...]
    v: int = 1

    @property
    def key(self) -> str:
        return f"x:{self.turn}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardrailFired:
    """A guard had something to say."""

    kind: ClassVar[str] = "guardrail"
    key: ClassVar[None] = None
    layer: str
    verdict: str
    rule: str
    action: str
    v: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Steer:
    """A message into a running run."""

    kind: ClassVar[str] = "steer"
    key: ClassVar[None] = None
    by: str
    message: Message
    v: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequested:
    """Somebody wants the run to end."""

    kind: ClassVar[str] = "cancel_requested"
    by: str
    reason: str = ""
    v: int = 1

    @property
    def key(self) -> str:
        return "cancel"


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseRequested:
    """Somebody wants the run to rest after the present turn."""

    kind: ClassVar[str] = "pause_requested"
    key: ClassVar[None] = None
    by: str
    reason: str = ""
    v: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeRequested:
    """Somebody wants a paused run to go on."""

    kind: ClassVar[str] = "resume_requested"
    key: ClassVar[None] = None
    by: str
    reason: str = ""
    v: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextCompacted:
    """Older messages were replaced by less, so that the conversation fits the window.

    Attributes:
        dropped: How many of the oldest messages are replaced. Counted from the front: others may add to the end meanwhile.
        replaced: What stands in their place; carries the join of the labels it came from.
        strategy: ``trim`` shortened tool results, ``window`` dropped old turns, ``summary`` had a model summarise them.
    """

    kind: ClassVar[str] = "context_compacted"
    key: ClassVar[None] = None  # a turn may need it twice
    turn: int
    dropped: int
    replaced: tuple[Message, ...]
    strategy: str
    v: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class StateFolded:
    """What all events up to `upto` fold to, so that a long run need not be folded from its beginning each time.

    A claim begins with the newest of these and goes on with the events after `upto`; the older ones stay for whoever reads
    the history.

    Attributes:
        state: The state as JSON values.
    """

    kind: ClassVar[str] = "state_folded"
    upto: int
    state: Mapping[str, Any]
    v: int = 1

    @property
    def key(self) -> str:
        return f"f:{self.upto}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStarted:
    """A node of a topology began."""

    kind: ClassVar[str] = "node_started"
    node: str
    v: int = 1

    @property
    def key(self) -> str:
        return f"n:{self.node}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSkipped:
    """A node's condition did not hold."""

    kind: ClassVar[str] = "node_skipped"
    node: str
    reason: str = ""
    v: int = 1

    @property
    def key(self) -> str:
        return f"n:{self.node}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildStarted:
    """A child run was made for a node."""

    kind: ClassVar[str] = "child_started"
    node: str
    child: str
    v: int = 1

    @property
    def key(self) -> str:
        return f"h:{self.node}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildFinished:
    """A child run ended."""

    kind: ClassVar[str] = "child_finished"
    node: str
    child: str
    output: str
    label: Label
    v: int = 1

    @property
    def key(self) -> str:
        return f"c:{self.node}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentIngested:
    """What became of one document that was to be brought into the index. It stands there already, whole, or not at all.

    Attributes:
        item: What it is called where it comes from, such as a path or an address.
        doc_id: Its id in the index, empty for one that was refused before it had one.
        reason: Why it was refused.
        chunks: How many pieces it was cut into.
        warnings: What a person should know of it.
        total: How many items the run has, as far as was known then.
    """

    kind: ClassVar[str] = "document_ingested"
    item: str
    outcome: Literal["added", "updated", "unchanged", "refused", "removed"]
    doc_id: str = ""
    reason: str = ""
    chunks: int = 0
    warnings: tuple[str, ...] = ()
    total: int = 0
    v: int = 1

    @property
    def key(self) -> str:
        return f"g:{self.outcome == 'removed':d}:{self.item}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalAnswer:
    """The run is done.

    Attributes:
        output: The value of the declared output type as JSON, None for plain text.
        label: Join of everything the answer was made from.
    """

    kind: ClassVar[str] = "final_answer"
    answer: Answer
    stop_reason: StopReason
    label: Label
    output: Any = None
    v: int = 1

    @property
    def key(self) -> str:
        return "end"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFailed:
    """The run ended without an answer, unless somebody has it tried again.

    Attributes:
        poison: It crashed its worker again and again; it is listed as a dead letter.
    """

    kind: ClassVar[str] = "run_failed"
    key: ClassVar[None] = None  # it may fail again after a retry
    code: str
    error: str
    stop_reason: StopReason = StopReason.FAILED
    poison: bool = False
    v: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRequested:
    """Somebody wants a failed run to go on from where it failed. Calls keep their idempotency keys."""

    kind: ClassVar[str] = "retry_requested"
    key: ClassVar[None] = None
    by: str
    reason: str = ""
    v: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCancelled:
    """The run ended because somebody wanted it to."""

    kind: ClassVar[str] = "run_cancelled"
    by: str
    reason: str = ""
    v: int = 1

    @property
    def key(self) -> str:
        return "end"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """An event of a kind this version does not know. Kept as it is, ignored by the fold."""

    key: ClassVar[None] = None
    kind: str
    data: Any


Event = (
    RunStarted
    | Retrieved
    | ModelReply
    | Decided
    | ToolStarted
    | Extracted
    | ToolReturned
    | ApprovalRequested
    | ApprovalGiven
    | Endorsed
    | ApprovalEscalated
    | ApprovalDecided
    | InDoubt
    | DoubtResolved
    | CitationsChecked
    | AnswerRejected
    | GuardrailFired
    | Steer
    | CancelRequested
    | PauseRequested
    | ResumeRequested
    | RetryRequested
    | ContextCompacted
    | StateFolded
    | NodeStarted
    | NodeSkipped
    | ChildStarted
    | ChildFinished
    | DocumentIngested
    | FinalAnswer
    | RunFailed
    | RunCancelled
    | Unknown
)

KINDS: Mapping[str, type] = {cls.kind: cls for cls in get_args(Event) if cls is not Unknown}


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """A piece of a reply while it is being made. Broadcast, never journalled: the `ModelReply` supersedes it.

    Attributes:
        kind: ``text``, ``reasoning``, ``tool_start``, ``progress``.
        n: Position within the reply, from 0.
    """

    kind: Literal["text", "reasoning", "tool_start", "progress"]
    text: str
    turn: int = 0
    n: int = 0
    call_id: str | None = None
