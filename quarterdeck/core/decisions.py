"""What policy answers, and the drafts that wait for people."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from quarterdeck.core.labels import Label, Readers

__all__ = [
    "BY_POLICY",
    "Consent",
    "Decision",
    "Draft",
    "DraftStatus",
    "Endorsement",
    "Evidence",
    "Level",
    "OnExpiry",
    "Origin",
    "Terms",
    "Value",
    "Verdict",
]

OnExpiry = Literal["reject", "cancel_run"]
BY_POLICY = "policy"  # in place of a user id: nobody was asked
Origin = Literal["words", "record", "untrusted", "default", "model"]


class Verdict(StrEnum):
    """The three answers of policy, from mild to strict."""

    ALLOW = "allow"
    APPROVE = "approve"
    DENY = "deny"


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One of the agreements a call needs; several are asked for in order, and nobody counts for two of them.

    Attributes:
        by: Roles, and people as ``user:<id>``.
        quorum: How many different people must agree.
        expires_s: Seconds it may wait.
        escalate_to: Who may decide it besides, once it has waited `escalate_s` seconds. None: never.
    """

    by: tuple[str, ...] = ("approver",)
    quorum: int = 1
    expires_s: float = 3600.0
    escalate_to: tuple[str, ...] = ()
    escalate_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """On what terms a call may happen that needs people.

    Attributes:
        four_eyes: Whoever asked for the call counts for no level.
        reason_required: Nobody decides without saying why.
        on_expiry: What happens when nobody decides in time: the agent is told no, or its run ends.
    """

    levels: tuple[Level, ...]
    four_eyes: bool = False
    reason_required: bool = False
    on_expiry: OnExpiry = "reject"


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """A person's yes, bound to what he saw. It counts for exactly these arguments in exactly this context.

    Attributes:
        by: Who said it.
        on_behalf_of: Whose right it rests on, if somebody had delegated it to him.
        roles: Those of the person whose right it is, at that time.
        args_hash: Of the arguments agreed to: after an edit, the edited ones.
        context: Hash of run, call, tool, label and policy version.
        escalated: Those a level escalates to were among those asked.
        good_until: An approval that was not used by then counts no more.
        credential: What let him in, where it can be taken back: then his yes counts no more.
    """

    by: str
    at: datetime
    good_until: datetime
    args_hash: str
    context: str
    roles: tuple[str, ...] = ()
    on_behalf_of: str | None = None
    escalated: bool = False
    credential: str | None = None

    @property
    def right_of(self) -> str:
        """Whose right it rests on."""
        return self.on_behalf_of or self.by

    @property
    def people(self) -> frozenset[str]:
        """Everybody who has had his say by it."""
        return frozenset({self.by, self.right_of})


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One text, number or truth value in an argument of a tool."""

    tool: str
    argument: str
    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Endorsement:
    """Somebody's word that one value is right, in one run. It says nothing of anything else.

    Attributes:
        by: A user id, or `BY_POLICY` where a list of the policy file holds it.
        roles: Those of the person whose right it is, at that time.
        on_behalf_of: Whose right it rests on, if somebody had delegated it to him.
        credential: What let him in, where it can be taken back: then his word counts no more.
    """

    value: Value
    by: str
    reason: str = ""
    roles: tuple[str, ...] = ()
    on_behalf_of: str | None = None
    credential: str | None = None

    @property
    def right_of(self) -> str:
        """Whose right it rests on."""
        return self.on_behalf_of or self.by


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Where a value of a draft's arguments comes from.

    Attributes:
        argument: Its place, such as ``to[0]``.
        value: The value, cut.
        origin: ``words`` the requester typed it; ``record`` a trusted source says it; ``untrusted`` somebody outside does;
            ``default`` the tool's author chose it; ``model`` it stands nowhere: the model made it up or put it together.
        source: Call or passage it stands in.
        snippet: The text around it there, cut.
        readers: Who may read the snippet.
    """

    argument: str
    value: str
    origin: Origin
    source: str = ""
    snippet: str = ""
    readers: Readers = field(default_factory=Readers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Policy's answer for one call.

    Attributes:
        rule: Id of the rule that made it.
        reasons: In words for a person.
        label: Of the context the call was decided in.
        approvers: Everybody `terms` names, when the verdict is approve.
        expires_s: Seconds a draft may wait, when the verdict is approve.
        terms: Who must agree and how, when the verdict is approve.
        risk: What policy holds the call for, 0 to 3; None in decisions of older versions.
        sink: Who would read what it sends, as in ``Readers``, or ``everybody``.
        endorse: Values that somebody must endorse before anybody may approve it.
    """

    call_id: str
    verdict: Verdict
    rule: str
    policy_version: str
    label: Label
    reasons: tuple[str, ...] = ()
    approvers: tuple[str, ...] = ()
    expires_s: float = 3600.0
    terms: Terms | None = None
    risk: int | None = None
    sink: tuple[str, ...] = ()
    endorse: tuple[Value, ...] = ()


class DraftStatus(StrEnum):
    """Where a draft stands. Every draft leaves `WAITING` at most once."""

    WAITING = "waiting"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A proposed write, bound to exactly what will be done if a person agrees.

    Attributes:
        id: Hash of run, call and level.
        level: How often people were asked about this call, from 1.
        step, steps: Which of the levels policy asks for this one is.
        context: Hash of run, call, tool, label and policy version, to which a consent is bound beside the arguments.
        args: Resolved arguments, as they would be executed.
        args_hash: SHA-256 of their canonical JSON.
        requested_by: The user on whose behalf it was proposed.
        approvers: Roles and people that may decide it now.
        quorum: How many of them must agree.
        risk: 0 to 3; a draft of risk 3 is never decided by its requester.
        four_eyes: Its requester may not decide it, whatever its risk.
        escalate_to, escalates_at: Who may decide it too from when on; `escalates_at` is None once they may.
        escalated: They may.
        agreed: People who counted for an earlier level; they count for no other.
        consents: Those given so far.
        sink: Who would read what it sends, as in ``Readers``, or ``everybody``.
        evidence: Where the values of its arguments come from.
        endorse: Values that somebody must endorse before anybody may approve it.
        endorsed: Those of its values that somebody has endorsed.
        undo: Tool that takes it back once it is done; empty where nothing does.
        decided_by, reason, edited_args: How it was decided, once it was.
    """

    id: str
    run_id: str
    call_id: str
    tool: str
    args: dict[str, Any]
    args_hash: str
    label: Label
    policy_version: str
    rule: str
    requested_by: str
    created_at: datetime
    expires_at: datetime
    risk: int = 2
    level: int = 1
    agent: str = ""
    summary: str = ""
    reasons: tuple[str, ...] = ()
    approvers: tuple[str, ...] = ()
    context: str = ""
    step: int = 1
    steps: int = 1
    quorum: int = 1
    four_eyes: bool = False
    reason_required: bool = False
    on_expiry: OnExpiry = "reject"
    escalate_to: tuple[str, ...] = ()
    escalates_at: datetime | None = None
    escalated: bool = False
    agreed: tuple[str, ...] = ()
    consents: tuple[Consent, ...] = ()
    sink: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    endorse: tuple[Value, ...] = ()
    endorsed: tuple[Endorsement, ...] = ()
    undo: str = ""
    status: DraftStatus = DraftStatus.WAITING
    decided_by: str | None = None
    decided_at: datetime | None = None
    reason: str | None = None
    edited_args: dict[str, Any] | None = field(default=None)

    @property
    def unendorsed(self) -> tuple[Value, ...]:
        """What must still be endorsed."""
        done = [each.value for each in self.endorsed]
        return tuple(value for value in self.endorse if value not in done)
