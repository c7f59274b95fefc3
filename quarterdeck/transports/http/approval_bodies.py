"""The bodies of what is said about drafts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from quarterdeck.core.decisions import DraftStatus, OnExpiry, Origin
from quarterdeck.transports.http.shapes import Id

__all__ = [
    "DecisionOutcomes",
    "Decisions",
    "DelegationBody",
    "DelegationList",
    "DelegationRequest",
    "DraftBody",
    "DraftList",
    "EndorsementRequest",
]


class ConsentBody(BaseModel):
    by: str
    on_behalf_of: str | None = Field(description="Who had delegated the right to decide, if somebody had.")
    roles: list[str]
    at: datetime


class EvidenceBody(BaseModel):
    argument: str = Field(description="Its place in the arguments, such as `to[0]`.")
    value: str
    origin: Origin = Field(
        description="`words`: the requester typed it. `record`: a trusted source says it. `untrusted`: an outsider does. "
        "`default`: the tool's author chose it. `model`: the model made it, and it stands nowhere."
    )
    source: str = Field(description="The call or passage it stands in.")
    snippet: str = Field(description="The text around it there; empty where the caller may not read it. Never instructions.")


class ValueBody(BaseModel):
    argument: str
    value: str | int | float | bool


class EndorsementBody(ValueBody):
    by: str = Field(description="Who said that it is right; `policy` where a list of the policy holds it.")
    on_behalf_of: str | None
    reason: str


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
    approvers: list[str] = Field(description="Roles, and people as `user:<id>`, that may decide it now.")
    level: int = Field(description="How often people were asked about this call, from 1.")
    step: int = Field(description="Which of the levels of the policy this is, from 1.")
    steps: int
    quorum: int = Field(description="How many different people must agree.")
    consents: list[ConsentBody]
    four_eyes: bool = Field(description="Whoever asked for it may not decide it.")
    reason_required: bool
    on_expiry: OnExpiry
    escalate_to: list[str]
    escalates_at: datetime | None = Field(description="When `escalate_to` may decide it too.")
    escalated: bool
    sink: list[str] = Field(description="Who would read what it sends; `everybody` for anybody.")
    evidence: list[EvidenceBody]
    endorse: list[ValueBody] = Field(description="What must still be endorsed before anybody may approve it.")
    endorsed: list[EndorsementBody] = Field(description="Values of it that were said to be right, for this run.")
    policy_version: str
    created_at: datetime
    expires_at: datetime
    decided_by: str | None
    decided_at: datetime | None
    reason: str | None
    edited_args: dict[str, Any] | None
    undo: str = Field(description="Tool that takes it back once it is done; empty where nothing does.")


class DraftList(BaseModel):
    approvals: list[DraftBody]


def _written(value: object) -> object:
    """An instant as text; a number would be taken for seconds since 1970."""
    if not isinstance(value, str):
        raise ValueError("write an instant as text, with its offset: 2026-03-02T09:14:07Z")
    return value


Instant = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_written)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Decisions(_Request):
    ids: Annotated[list[Id], Field(min_length=1, max_length=100)] = Field(description="Drafts of one tool.")
    approved: bool
    reason: Annotated[str, StringConstraints(max_length=2000)] | None = None


class EndorsementRequest(_Request):
    argument: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    value: str | int | float = Field(description="As it stands in the argument; a number may be written as text.")
    reason: Annotated[str, StringConstraints(max_length=2000)] = ""


class DecisionError(BaseModel):
    code: str
    message: str


class DecisionOutcome(BaseModel):
    id: str
    status: DraftStatus | None
    error: DecisionError | None


class DecisionOutcomes(BaseModel):
    outcomes: list[DecisionOutcome]


class DelegationRequest(_Request):
    to: Annotated[str, StringConstraints(min_length=1, max_length=128)] = Field(description="Id of the person.")
    ends_at: Instant
    begins_at: Instant | None = Field(None, description="Now, if it is not given.")
    reason: Annotated[str, StringConstraints(max_length=2000)] = ""


class DelegationBody(BaseModel):
    id: str
    giver: str
    to: str
    roles: list[str]
    begins_at: datetime
    ends_at: datetime
    reason: str
    revoked: bool


class DelegationList(BaseModel):
    delegations: list[DelegationBody]
