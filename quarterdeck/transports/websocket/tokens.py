"""Tokens for what cannot send a key: a browser opens a WebSocket with an address alone."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from quarterdeck.service.access import Access
from quarterdeck.service.stream_tokens import StreamTokens
from quarterdeck.transports.http.callers import Reader, caller_of
from quarterdeck.transports.http.shapes import PROBLEMS
from quarterdeck.transports.http.wire import ControlRoute, Json

__all__ = ["router"]

router = APIRouter(route_class=ControlRoute, tags=["streams"], responses=PROBLEMS)


class StreamTokenBody(BaseModel):
    token: str = Field(description="For the address of one WebSocket or event stream, as `token`; told once, good once.")
    expires_at: datetime


@router.post("/api/v1/stream-tokens", status_code=201, responses={201: {"model": StreamTokenBody}})
async def make(request: Request, caller: Reader) -> Response:
    """A token that opens one WebSocket, or one event stream, as its caller, within a minute."""
    tokens: StreamTokens = request.app.state.stream_tokens
    access: Access = request.app.state.access
    return Json(await tokens.make(caller, await access.until(caller_of(request))), status_code=201)
