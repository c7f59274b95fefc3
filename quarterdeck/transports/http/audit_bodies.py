"""What the routes of the audit log answer, as the description of the interface shows it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

__all__ = ["AuditList", "AuditRow", "AuditVerdict"]


class AuditRow(BaseModel):
    """A row of the audit log."""

    tenant: str
    seq: int = Field(description="From 1, without a gap.")
    at: str = Field(description="When it was written, UTC.")
    actor: str = Field(description="Who acted: user:.. or agent:..")
    subject: str = Field(description="On whose behalf.")
    action: str = Field(description="decision, approval, effect, run, login, config, export, documents, erasure.")
    object: str = Field(description="What it was about.")
    decision: str
    args_hash: str = Field(description="SHA-256 of the arguments, which stay out.")
    prev: str = Field(description="Hash of the row before.")
    hash: str = Field(description="SHA-256 of `prev` and the canonical JSON of the fields above it.")


class AuditList(BaseModel):
    """Rows in order."""

    rows: list[AuditRow]
    after: int | None = Field(description="What to ask for the next rows with; null when there are no more.")


class AuditVerdict(BaseModel):
    """What a check of the chain found."""

    tenant: str
    rows: int = Field(description="That hold, from the first.")
    head: str = Field(description="Hash of the last of them.")
    bad: int | None = Field(description="The first row that is changed, missing or out of order.")
    checkpoints: Literal[0] = Field(0, description="A server checks the chain alone; checkpoints belong elsewhere.")
