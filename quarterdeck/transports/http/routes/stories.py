"""Stories: all that happened in a run, or in the runs of a request, for who wants to know why."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from quarterdeck.service.desk import Desk
from quarterdeck.transports.http.callers import Reader
from quarterdeck.transports.http.shapes import PROBLEMS, Id, IdPath
from quarterdeck.transports.http.story_bodies import RequestStory, StoryBody, story_body
from quarterdeck.transports.http.wire import ControlRoute, Json

__all__ = ["router"]

router = APIRouter(route_class=ControlRoute, tags=["runs"], responses=PROBLEMS)

RequestIdPath = Annotated[str, Path(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="As `X-Request-Id` told it.")]


@router.get("/api/v1/requests/{request_id}", responses={200: {"model": RequestStory}})
async def request_story(
    request: Request,
    caller: Reader,
    request_id: RequestIdPath,
    before: Annotated[Id | None, Query(description="A run id to go on from.")] = None,
) -> Response:
    """The runs a request began, step by step: input, retrieval, prompts, decisions, calls, answer, cost."""
    desk: Desk = request.app.state.desk
    told = await desk.stories.of_request(caller, request_id, before)
    return Json({"request_id": request_id, "runs": [story_body(story) for story in told.stories], "before": told.before})


@router.get("/api/v1/runs/{run_id}/story", responses={200: {"model": StoryBody}})
async def run_story(request: Request, caller: Reader, run_id: IdPath) -> Response:
    """A run, step by step."""
    desk: Desk = request.app.state.desk
    return Json(story_body(await desk.stories.of_run(caller, run_id)))
