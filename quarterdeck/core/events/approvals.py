"""What people are asked of a call, and what they say."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from quarterdeck.core.decisions import Consent, Endorsement, OnExpiry
from quarterdeck.core.ids import content_hash

__all__ = ["ApprovalDecided", "ApprovalEscalated", "ApprovalGiven", "ApprovalRequested", "Endorsed"]


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
        said = self.endorsement
        came_with = [] if said.credential is None else [said.credential]
        return f"w:{self.id}:{content_hash([said.value.argument, said.value.value, said.by, self.draft, *came_with])[:16]}"


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
