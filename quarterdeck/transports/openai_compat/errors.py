"""Errors as OpenAI's clients know them: one shape of body, and a route that speaks it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from quarterdeck.core.errors import QuarterdeckError
from quarterdeck.transports.errors import ERRORS, Kind, sent_away
from quarterdeck.transports.http.errors import Refused, retry_after
from quarterdeck.transports.http.wire import Json, StrictRoute
from quarterdeck.transports.openai_compat.bodies import CompatProblem
from quarterdeck.transports.openai_compat.ignoring import marked

__all__ = ["COMPAT_PROBLEMS", "KINDS", "CompatRoute", "Unserved", "error_body"]

log = logging.getLogger(__name__)


# After the errors all transports have comes what only this interface refuses.
KINDS: Mapping[str, Kind] = {code: told.kind(code) for code, told in ERRORS.items()} | {
    code: Kind(status, "invalid_request_error", code)
    for code, status in (("model_not_found", 404), ("unsupported_parameter", 400))
}


COMPAT_PROBLEMS: dict[int | str, dict[str, Any]] = {"4XX": {"model": CompatProblem}, "5XX": {"model": CompatProblem}}
"""How every route of this interface says what went wrong."""


class Unserved(HTTPException):
    """A request of OpenAI's interface that is not served here.

    Attributes:
        code: Of the table.
        param: The field it is about, if it is about one.
    """

    def __init__(self, code: str, message: str, param: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(KINDS[code].status, message, headers)
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
    """A route whose body is strict JSON and whose errors have OpenAI's shape; what it does not know it names and ignores."""

    def check_address(self, request: Request) -> None:
        """Nothing: clients of OpenAI's put parameters of other servers into the address."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def translated(request: Request) -> Response:
            try:
                return marked(await handle(request), self.unknown(request))
            except QuarterdeckError as error:
                request.state.sent_away = sent_away(error)
                return _of_ours(error)
            except RequestValidationError as error:
                return _of_fields(error)
            except (Unserved, Refused) as error:
                return _problem(error.code, str(error.detail), getattr(error, "param", None), error.headers)

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
        headers["Retry-After"] = retry_after(error)
        headers["X-Should-Retry"] = "true"
    return _problem(error.code, str(error), None, headers)


def _of_fields(error: RequestValidationError) -> Response:
    first = error.errors()[0]
    param = ".".join(str(part) for part in first["loc"] if part != "body")[:200]
    return _problem("invalid_input", f"{param or 'body'}: {first['msg']}"[:1000], param or None)
