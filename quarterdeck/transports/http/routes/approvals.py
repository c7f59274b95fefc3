"""Drafts that wait for people."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from quarterdeck.core.decisions import Draft, DraftStatus
from quarterdeck.service.intake import cleaned
from quarterdeck.transports.http.approval_bodies import DraftBody, DraftList
from quarterdeck.transports.http.callers import Approver, Reader
from quarterdeck.transports.http.keys import IdempotencyKey
from quarterdeck.transports.http.once import once
from quarterdeck.transports.http.shapes import PROBLEMS, ApprovalDecision, Id, IdPath
from quarterdeck.transports.http.wire import ControlRoute, Json
from quarterdeck.workflow.approvals import Approvals

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
        return Json(draft_body(draft))

    return await once(request, caller, idempotency_key, decided)


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
        "policy_version": draft.policy_version,
        "created_at": draft.created_at,
        "expires_at": draft.expires_at,
        "decided_by": draft.decided_by,
        "decided_at": draft.decided_at,
        "reason": draft.reason,
        "edited_args": draft.edited_args,
    }
