"""Drafts that wait for people, and who decides in whose place."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from quarterdeck.core.decisions import Draft, DraftStatus
from quarterdeck.core.errors import NotFound
from quarterdeck.service.intake import cleaned
from quarterdeck.transports.http.approval_bodies import (
    DecisionOutcomes,
    Decisions,
    DelegationBody,
    DelegationList,
    DelegationRequest,
    DraftBody,
    DraftList,
    EndorsementRequest,
)
from quarterdeck.transports.http.callers import Approver, Reader
from quarterdeck.transports.http.keys import IdempotencyKey
from quarterdeck.transports.http.once import once
from quarterdeck.transports.http.shapes import PROBLEMS, ApprovalDecision, Id, IdPath
from quarterdeck.transports.http.wire import ControlRoute, Json
from quarterdeck.workflow.approvals import Approvals, Outcome
from quarterdeck.workflow.delegations import Delegation, Delegations
from quarterdeck.workflow.endorsing import endorse as endorse_value

__all__ = ["router"]

router = APIRouter(route_class=ControlRoute, tags=["approvals"], responses=PROBLEMS)


@router.get("/api/v1/approvals", responses={200: {"model": DraftList}})
async def approvals(
    request: Request,
    caller: Reader,
    status: DraftStatus | None = None,
    run_id: Annotated[Id | None, Query()] = None,
    before: Annotated[Id | None, Query(description="A draft id to go on from.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 100,
) -> Response:
    """Drafts the caller asked for or may decide, newest first."""
    desk: Approvals = request.app.state.approvals
    drafts = await desk.list(caller, status=status, run_id=run_id, before=before, limit=limit)
    return Json({"approvals": [draft_body(draft) for draft in drafts]})


@router.post("/api/v1/approvals/decisions", responses={200: {"model": DecisionOutcomes}})
async def decide_all(
    request: Request, caller: Approver, body: Decisions, idempotency_key: IdempotencyKey = None
) -> Response:
    """Approve or reject many drafts of one tool alike; of each it is said what became of it."""
    desk: Approvals = request.app.state.approvals
    reason = cleaned(body.reason, "reason") if body.reason else None

    async def decided(_: str) -> Response:
        outcomes = await desk.decide_all(caller, body.ids, approved=body.approved, reason=reason)
        return Json({"outcomes": [_outcome(each) for each in outcomes]})

    return await once(request, caller, idempotency_key, decided)


@router.get("/api/v1/approvals/delegations", responses={200: {"model": DelegationList}})
async def delegations(request: Request, caller: Approver) -> Response:
    """Who decides in the caller's place, and in whose place the caller does: delegations that are not over."""
    desk = _delegations(request)
    return Json({"delegations": [_delegation(each) for each in await desk.list(caller)]})


@router.post("/api/v1/approvals/delegations", responses={200: {"model": DelegationBody}})
async def delegate(
    request: Request, caller: Approver, body: DelegationRequest, idempotency_key: IdempotencyKey = None
) -> Response:
    """Let somebody else decide in the caller's place for a time. He cannot pass it on."""
    desk = _delegations(request)
    reason = cleaned(body.reason, "reason") if body.reason else ""

    async def given(_: str) -> Response:
        made = await desk.give(caller, body.to, begins_at=body.begins_at, ends_at=body.ends_at, reason=reason)
        return Json(_delegation(made))

    return await once(request, caller, idempotency_key, given)


@router.delete("/api/v1/approvals/delegations/{delegation_id}", responses={200: {"model": DelegationBody}})
async def revoke(request: Request, caller: Approver, delegation_id: IdPath) -> Response:
    """End a delegation before its time: by who gave it, or who got it."""
    desk = _delegations(request)
    return Json(_delegation(await desk.revoke(caller, delegation_id)))


@router.get("/api/v1/approvals/{draft_id}", responses={200: {"model": DraftBody}})
async def approval(request: Request, caller: Reader, draft_id: IdPath) -> Response:
    """One draft: what would be done, for whom, and why a person is asked."""
    desk: Approvals = request.app.state.approvals
    return Json(draft_body(await desk.get(caller, draft_id)))


@router.post("/api/v1/approvals/{draft_id}/decisions", responses={200: {"model": DraftBody}})
async def decide(
    request: Request, caller: Approver, draft_id: IdPath, body: ApprovalDecision, idempotency_key: IdempotencyKey = None
) -> Response:
    """Approve, with other arguments if need be, or reject. Once; the same again is answered the same."""
    desk: Approvals = request.app.state.approvals
    reason = cleaned(body.reason, "reason") if body.reason else None

    async def decided(_: str) -> Response:
        draft = await desk.decide(caller, draft_id, approved=body.approved, reason=reason, edited_args=body.edited_args)
        request.state.run_id = draft.run_id
        return Json(draft_body(draft))

    return await once(request, caller, idempotency_key, decided)


@router.post("/api/v1/approvals/{draft_id}/endorsements", responses={200: {"model": DraftBody}})
async def endorse(
    request: Request, caller: Approver, draft_id: IdPath, body: EndorsementRequest, idempotency_key: IdempotencyKey = None
) -> Response:
    """Say of one value in a waiting draft that it is right, for its run. If nothing else is in the way, the call runs."""
    desk: Approvals = request.app.state.approvals
    reason = cleaned(body.reason, "reason") if body.reason else ""

    async def endorsed(_: str) -> Response:
        draft = await endorse_value(desk, caller, draft_id, argument=body.argument, value=body.value, reason=reason)
        request.state.run_id = draft.run_id
        return Json(draft_body(draft))

    return await once(request, caller, idempotency_key, endorsed)


def draft_body(draft: Draft) -> dict[str, Any]:
    """A draft as people see it, facts first."""
    return {
        "id": draft.id,
        "status": draft.status,
        "run_id": draft.run_id,
        "call_id": draft.call_id,
        "agent": draft.agent,
        "tool": draft.tool,
        "args": draft.args,
        "args_hash": draft.args_hash,
        "summary": draft.summary,
        "risk": draft.risk,
        "rule": draft.rule,
        "reasons": draft.reasons,
        "integrity": draft.label.integrity.name.lower(),
        "sources": draft.label.sources,
        "requested_by": draft.requested_by,
        "approvers": draft.approvers,
        "level": draft.level,
        "step": draft.step,
        "steps": draft.steps,
        "quorum": draft.quorum,
        "consents": [
            {"by": each.by, "on_behalf_of": each.on_behalf_of, "roles": each.roles, "at": each.at} for each in draft.consents
        ],
        "four_eyes": draft.four_eyes or draft.risk >= 3,
        "reason_required": draft.reason_required,
        "on_expiry": draft.on_expiry,
        "escalate_to": draft.escalate_to,
        "escalates_at": draft.escalates_at,
        "escalated": draft.escalated,
        "sink": draft.sink,
        "evidence": [
            {
                "argument": each.argument,
                "value": each.value,
                "origin": each.origin,
                "source": each.source,
                "snippet": each.snippet,
            }
            for each in draft.evidence
        ],
        "endorse": [{"argument": each.argument, "value": each.value} for each in draft.unendorsed],
        "endorsed": [
            {
                "argument": each.value.argument,
                "value": each.value.value,
                "by": each.by,
                "on_behalf_of": each.on_behalf_of,
                "reason": each.reason,
            }
            for each in draft.endorsed
        ],
        "policy_version": draft.policy_version,
        "created_at": draft.created_at,
        "expires_at": draft.expires_at,
        "decided_by": draft.decided_by,
        "decided_at": draft.decided_at,
        "reason": draft.reason,
        "edited_args": draft.edited_args,
        "undo": draft.undo,
    }


def _delegations(request: Request) -> Delegations:
    approvals: Approvals = request.app.state.approvals
    if approvals.delegations is None:
        raise NotFound("this server knows no delegations")
    return approvals.delegations


def _outcome(outcome: Outcome) -> dict[str, Any]:
    draft, error = outcome.draft, outcome.error
    return {
        "id": outcome.draft_id,
        "status": draft.status if draft is not None else None,
        "error": None if error is None else {"code": error.code, "message": str(error)},
    }


def _delegation(delegation: Delegation) -> dict[str, Any]:
    return {
        "id": delegation.id,
        "giver": delegation.giver,
        "to": delegation.to,
        "roles": delegation.roles,
        "begins_at": delegation.begins_at,
        "ends_at": delegation.ends_at,
        "reason": delegation.reason,
        "revoked": delegation.revoked,
    }
