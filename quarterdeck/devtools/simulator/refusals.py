"""How providers say no: status, and an error body in each provider's own shape."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

import orjson

__all__ = ["Dialect", "Refusal", "error_body", "error_event", "unmatched"]

Dialect = Literal["openai", "anthropic"]

_OPENAI_TYPES = MappingProxyType({429: "requests", 500: "server_error", 502: "server_error", 503: "server_error"})
_ANTHROPIC_TYPES = MappingProxyType(
    {
        400: "invalid_request_error",
        401: "authentication_error",
        402: "billing_error",
        403: "permission_error",
        404: "not_found_error",
        405: "invalid_request_error",
        413: "request_too_large",
        429: "rate_limit_error",
        500: "api_error",
        504: "timeout_error",
        529: "overloaded_error",
    }
)
_MESSAGES = MappingProxyType(
    {
        400: "The request is invalid.",
        401: "Incorrect API key provided.",
        403: "You are not allowed to do this.",
        404: "The resource does not exist.",
        408: "The request timed out.",
        409: "The request conflicts with another one.",
        413: "The request is too large.",
        429: "Rate limit reached.",
        500: "The server had an error while processing your request. Sorry about that!",
        502: "Bad gateway.",
        503: "The engine is currently overloaded, please try again later.",
        504: "The gateway timed out.",
        529: "Overloaded",
    }
)


class Refusal(Exception):
    """A request is answered with an error.

    Attributes:
        kind: The provider's type of error; empty for the usual one of the status.
        headers: Beside those every reply has.
    """

    def __init__(
        self,
        status: int,
        message: str = "",
        *,
        kind: str = "",
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message or _MESSAGES.get(status, f"The request failed with status {status}."))
        self.status = status
        self.kind = kind
        self.param = param
        self.code = code
        self.headers = headers or {}


def unmatched(message: str) -> Refusal:
    """A request nothing in a script or cassette answers: an error no client takes for a passing one."""
    return Refusal(400, message, kind="simulator_error", code="unmatched", headers={"x-should-retry": "false"})


def error_body(refusal: Refusal, dialect: Dialect, request_id: str) -> bytes:
    """The body of an error reply."""
    return orjson.dumps(_error(refusal, dialect, request_id))


def error_event(refusal: Refusal, dialect: Dialect, request_id: str) -> bytes:
    """An error in the middle of a stream, as the provider sends it."""
    data = orjson.dumps(_error(refusal, dialect, request_id))
    return (b"event: error\ndata: " if dialect == "anthropic" else b"data: ") + data + b"\n\n"


def _error(refusal: Refusal, dialect: Dialect, request_id: str) -> dict[str, Any]:
    if dialect == "anthropic":
        kind = refusal.kind or _ANTHROPIC_TYPES.get(refusal.status, "api_error")
        error: dict[str, Any] = {"type": kind, "message": str(refusal)}
        return {"type": "error", "error": error, "request_id": request_id}
    kind = refusal.kind or _OPENAI_TYPES.get(refusal.status, "invalid_request_error")
    if kind == "invalid_request_error" and refusal.status >= 500:
        kind = "server_error"
    return {"error": {"message": str(refusal), "type": kind, "param": refusal.param, "code": refusal.code}}
