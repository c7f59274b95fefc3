"""What policy answers, and the drafts that wait for people."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from quarterdeck.core.labels import Label

__all__ = ["Decision", "Draft", "DraftStatus", "Verdict"]


class Verdict(StrEnum):
    """The three answers of policy, from mild to strict."""

    ALLOW = "allow"
    APPROVE = "approve"
    DENY = "deny"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Policy's answer for one call.

    Attributes:
        rule: Id of the rule that made it.
        reasons: In words for a person.
        label: Of the context the call was decided in.
        approvers: Roles of which one must agree, when the verdict is approve.
        expires_s: Seconds a draft may wait, when the verdict is approve.
    """

    call_id: str
    verdict: Verdict
    rule: str
    policy_version: str
    label: Label
    reasons: tuple[str, ...] = ()
    approvers: tuple[str, ...] = ()
    expires_s: float = 3600.0


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
        args: Resolved arguments, as they would be executed.
        args_hash: SHA-256 of their canonical JSON.
        requested_by: The user on whose behalf it was proposed.
        approvers: Roles of which one must agree.
        risk: 0 to 3; a draft of risk 3 is never decided by its requester.
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
    status: DraftStatus = DraftStatus.WAITING
    decided_by: str | None = None
    decided_at: datetime | None = None
    reason: str | None = None
    edited_args: dict[str, Any] | None = field(default=None)
