"""Errors on the wire: one shape of body, whatever went wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response

from quarterdeck.core.errors import QuarterdeckError
from quarterdeck.transports.errors import sent_away, words
from quarterdeck.transports.http.description import allowed
from quarterdeck.transports.http.errors import STATUS, Refused, retry_after
from quarterdeck.transports.http.wire import Json

__all__ = ["on_http_exception", "on_invalid", "on_quarterdeck_error", "problem"]

_BY_STATUS = {400: "bad_request", 401: "unauthenticated", 403: "forbidden", 404: "not_found", 405: "method_not_allowed"}
_MAX_SHOWN = 5


def problem(code: str, message: str, request_id: str, headers: Mapping[str, str] | None = None) -> Response:
    """The answer to a request that failed."""
    body = {"error": {"code": code, "message": message, "request_id": request_id}}
    return Json(body, status_code=STATUS.get(code, 500), headers=dict(headers or {}))


async def on_quarterdeck_error(request: HTTPConnection, error: Exception) -> Response:
    assert isinstance(error, QuarterdeckError)
    status = STATUS.get(error.code, 500)
    request.state.sent_away = sent_away(error)
    headers = {}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="quarterdeck"'
    if error.retryable:
        headers["Retry-After"] = retry_after(error)
    return problem(error.code, words(error), request.state.request_id, headers)


async def on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = error.code if isinstance(error, Refused) else _BY_STATUS.get(error.status_code, "bad_request")
    message = str(error.detail)
    if code == "not_found":
        message = f"there is nothing at {request.scope['path'][:200]}; /openapi.json says what there is"
    headers = dict(error.headers or {})
    if code == "method_not_allowed":
        # The router names those of one route; an address may have several.
        headers["Allow"] = allowed(request.app, request.scope["path"]) or headers.get("Allow", "")
    return problem(code, message, request.state.request_id, headers)


async def on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    details: Sequence[Any] = error.errors()
    shown = [f"{'.'.join(str(part) for part in item['loc'])}: {_said(item)}" for item in details[:_MAX_SHOWN]]
    more = f"; and {len(details) - _MAX_SHOWN} more" if len(details) > _MAX_SHOWN else ""
    return problem("invalid_input", "; ".join(shown)[:1000] + more, request.state.request_id)


def _said(item: Mapping[str, Any]) -> str:
    return "unknown field" if item["type"] == "extra_forbidden" else str(item["msg"])
