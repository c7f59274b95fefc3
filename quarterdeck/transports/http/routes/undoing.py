"""Taking back what a draft did."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from quarterdeck.service.desk import Desk
from quarterdeck.service.intake import cleaned
from quarterdeck.transports.http.callers import Approver
from quarterdeck.transports.http.shapes import PROBLEMS, IdPath, ReasonRequest, RunBody, run_body
from quarterdeck.transports.http.wire import ControlRoute, Json
from quarterdeck.workflow.undoing import Undoing

__all__ = ["router"]

router = APIRouter(route_class=ControlRoute, tags=["approvals"], responses=PROBLEMS)


@router.post("/api/v1/approvals/{draft_id}/undo", status_code=202, responses={202: {"model": RunBody}})
async def undo(request: Request, caller: Approver, draft_id: IdPath, body: ReasonRequest | None = None) -> Response:
    """Take back what a draft did, by the tool its author named for that, in a run of the caller's.

    It is a call like any: policy decides it, perhaps asks people, and it is audited. The same again is answered with the
    same run; another person's is a conflict.
    """
    undoing: Undoing = request.app.state.undoing
    desk: Desk = request.app.state.desk
    reason = cleaned(body.reason, "reason") if body and body.reason else ""
    run_id = await undoing.undo(caller, draft_id, reason=reason)
    return Json(run_body(await desk.view(caller, run_id)), status_code=202)
