"""The bodies of what is said about drafts."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from quarterdeck.core.decisions import DraftStatus

__all__ = ["DraftBody", "DraftList"]


class DraftBody(BaseModel):
    id: str
    status: DraftStatus
    run_id: str
    call_id: str
    agent: str
    tool: str
    args: dict[str, Any] = Field(description="As they would be executed.")
    args_hash: str = Field(description="What an approval is bound to.")
    summary: str
    risk: int = Field(description="0 none, 1 low, 2 medium, 3 high.")
    rule: str = Field(description="Id of the rule of the policy that asks for a person.")
    reasons: list[str]
    integrity: str = Field(description="How far what it was made from can be trusted.")
    sources: list[str]
    requested_by: str
    approvers: list[str] = Field(description="Roles that may decide it.")
    policy_version: str
    created_at: datetime
    expires_at: datetime
    decided_by: str | None
    decided_at: datetime | None
    reason: str | None
    edited_args: dict[str, Any] | None


class DraftList(BaseModel):
    approvals: list[DraftBody]
