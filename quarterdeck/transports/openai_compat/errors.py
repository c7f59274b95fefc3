"""Errors as OpenAI's clients know them: one table from our codes, one shape of body, and a route that speaks it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, NamedTuple

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from quarterdeck.core.errors import QuarterdeckError
from quarterdeck.transports.http.errors import Refused
from quarterdeck.transports.http.wire import Json, StrictRoute

__all__ = ["KINDS", "CompatRoute", "Kind", "Unserved", "error_body"]

log = logging.getLogger(__name__)


class Kind(NamedTuple):
    """How an error is told: the status picks the client's exception, its code is what OpenAI calls it."""

    status: int
    type: str
    code: str


_REQUEST, _SERVER = "invalid_request_error", "server_error"

# Every code of transports/http/errors.py, and what only this interface refuses. A test compares them.
KINDS: Mapping[str, Kind] = {
    "bad_request": Kind(400, _REQUEST, "bad_request"),
    "malformed_json": Kind(400, _REQUEST, "malformed_json"),
    "duplicate_key": Kind(400, _REQUEST, "duplicate_key"),
    "unknown_host": Kind(400, _REQUEST, "unknown_host"),
    "unauthenticated": Kind(401, _REQUEST, "invalid_api_key"),
    "budget_exceeded": Kind(429, "insufficient_quota", "insufficient_quota"),
    "forbidden": Kind(403, _REQUEST, "forbidden"),
    "foreign_origin": Kind(403, _REQUEST, "foreign_origin"),
    "not_found": Kind(404, _REQUEST, "not_found"),
    "model_not_found": Kind(404, _REQUEST, "model_not_found"),
    "method_not_allowed": Kind(405, _REQUEST, "method_not_allowed"),
    "request_timeout": Kind(408, _REQUEST, "request_timeout"),
    "conflict": Kind(409, _REQUEST, "conflict"),
    "too_large": Kind(413, _REQUEST, "too_large"),
    "context_too_large": Kind(400, _REQUEST, "context_length_exceeded"),
    "unsupported_media_type": Kind(415, _REQUEST, "unsupported_media_type"),
    "unsupported_parameter": Kind(400, _REQUEST, "unsupported_parameter"),
    "invalid_input": Kind(400, _REQUEST, "invalid_value"),
    "invalid_arguments": Kind(400, _REQUEST, "invalid_value"),
    "headers_too_large": Kind(431, _REQUEST, "headers_too_large"),
    "internal": Kind(500, _SERVER, "internal"),
    "misconfigured": Kind(500, _SERVER, "misconfigured"),
    "schema_mismatch": Kind(500, _SERVER, "schema_mismatch"),
    "model_refused": Kind(502, _SERVER, "model_refused"),
    "filtered": Kind(400, _REQUEST, "content_filter"),
    "upstream_invalid": Kind(502, _SERVER, "upstream_invalid"),
    "truncated": Kind(502, _SERVER, "truncated"),
    "unavailable": Kind(503, _SERVER, "unavailable"),
    "model_unavailable": Kind(503, _SERVER, "model_unavailable"),
    "store_unavailable": Kind(503, _SERVER, "store_unavailable"),
    "fenced": Kind(503, _SERVER, "fenced"),
    "deadline_exceeded": Kind(504, _SERVER, "deadline_exceeded"),
}


class Unserved(HTTPException):
    """A request of OpenAI's interface that is not served here.

    Attributes:
        code: Of the table.
        param: The field it is about, if it is about one.
    """

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(KINDS[code].status, message)
        self.code = code
        self.param = param


def error_body(code: str, message: str, param: str | None = None) -> dict[str, Any]:
    """What stands under ``error``."""
    kind = KINDS.get(code, KINDS["internal"])
    if kind.status == 500:
        # What is wrong inside is for the log; the client gets the id to ask about.
        message = "something is wrong on the server; its log has the details under this request id"
    return {"message": message, "type": kind.type, "param": param, "code": kind.code}


class CompatRoute(StrictRoute):
    """A route whose body is strict JSON and whose errors have OpenAI's shape."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def translated(request: Request) -> Response:
            try:
                return await handle(request)
            except QuarterdeckError as error:
                return _of_ours(error)
            except RequestValidationError as error:
                return _of_fields(error)
            except (Unserved, Refused) as error:
                return _problem(error.code, str(error.detail), getattr(error, "param", None))

        return translated


def _problem(code: str, message: str, param: str | None = None, headers: Mapping[str, str] | None = None) -> Response:
    body = {"error": error_body(code, message, param)}
    # Otherwise clients repeat every 409 and 5xx of themselves, and each repeat would be a run of its own.
    told = {"X-Should-Retry": "false", **(headers or {})}
    return Json(body, status_code=KINDS.get(code, KINDS["internal"]).status, headers=told)


def _of_ours(error: QuarterdeckError) -> Response:
    headers: dict[str, str] = {}
    if KINDS.get(error.code, KINDS["internal"]).status == 500:
        log.error("request failed: %s", error.code, exc_info=error)
    if error.code == "unauthenticated":
        headers["WWW-Authenticate"] = 'Bearer realm="quarterdeck"'
    if error.retryable:
        headers["Retry-After"] = str(round(getattr(error, "retry_after_s", None) or 1))
        headers["X-Should-Retry"] = "true"
    return _problem(error.code, str(error), None, headers)


def _of_fields(error: RequestValidationError) -> Response:
    first = error.errors()[0]
    param = ".".join(str(part) for part in first["loc"] if part != "body")[:200]
    return _problem("invalid_input", f"{param or 'body'}: {first['msg']}"[:1000], param or None)
