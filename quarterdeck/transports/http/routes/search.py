"""The search without a model: what there is to read about a question, and why."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from quarterdeck.service.search import Search
from quarterdeck.transports.http.callers import DocumentReader
from quarterdeck.transports.http.search_bodies import SearchAnswer, SearchRequest, explanation_body, passage_rows
from quarterdeck.transports.http.shapes import PROBLEMS
from quarterdeck.transports.http.wire import ControlRoute, Json

__all__ = ["router"]

router = APIRouter(route_class=ControlRoute, tags=["documents"], responses=PROBLEMS)


@router.post("/api/v1/search", responses={200: {"model": SearchAnswer}})
async def search(request: Request, caller: DocumentReader, body: SearchRequest) -> Response:
    """The passages one may read that speak of a question, best first, perhaps none."""
    desk: Search = request.app.state.search
    where = {key: value if isinstance(value, str) else frozenset(value) for key, value in body.where.items()}
    answer: dict[str, Any] = {"query": body.query}
    if body.explain:
        told = await desk.explain(caller, body.query, k=body.k, where=where)
        answer |= {"mode": told.mode, "notes": list(told.notes), "passages": passage_rows(told.passages)}
        return Json(answer | {"explanation": explanation_body(told)})
    found = await desk.find(caller, body.query, k=body.k, where=where)
    return Json(answer | {"mode": found.mode, "notes": list(found.notes), "passages": passage_rows(found.passages)})
