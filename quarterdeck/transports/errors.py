"""The one table of errors: what each code is as an HTTP status, in gRPC, to clients of OpenAI, on a WebSocket."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import NamedTuple

from quarterdeck.core.errors import QuarterdeckError

__all__ = ["ERRORS", "INSIDE", "Kind", "Told", "sent_away", "words"]

log = logging.getLogger(__name__)

INSIDE = "something is wrong on the server; its log has the details under this request id"

_REQUEST, _SERVER = "invalid_request_error", "server_error"


class Kind(NamedTuple):
    """How an error is told to clients of OpenAI: the status picks their exception, its code is what OpenAI calls it."""

    status: int
    type: str
    code: str


class Told(NamedTuple):
    """How one code is told.

    Attributes:
        http: Status of the answer.
        grpc: Name of the status; None of what a call over gRPC cannot do wrong.
        openai: None where status and code are ours.
        close: The close code of a WebSocket; None where the error is an answer and the connection goes on.
    """

    http: int
    grpc: str | None = None
    openai: Kind | None = None
    close: int | None = None

    def kind(self, code: str) -> Kind:
        """How OpenAI's clients are told."""
        return self.openai or Kind(self.http, _SERVER if self.http >= 500 else _REQUEST, code)


# Every `code` of core/errors.py, and what only a transport can refuse. A test compares it with the tree.
ERRORS: Mapping[str, Told] = {
    "bad_request": Told(400),
    "malformed_json": Told(400, close=1007),
    "duplicate_key": Told(400, close=1007),
    "unknown_host": Told(400),
    "unauthenticated": Told(401, "UNAUTHENTICATED", Kind(401, _REQUEST, "invalid_api_key"), close=4401),
    "budget_exceeded": Told(402, "RESOURCE_EXHAUSTED", Kind(429, "insufficient_quota", "insufficient_quota")),
    "forbidden": Told(403, "PERMISSION_DENIED"),
    "foreign_origin": Told(403),
    "not_found": Told(404, "NOT_FOUND"),
    "method_not_allowed": Told(405),
    "request_timeout": Told(408),
    "conflict": Told(409, "FAILED_PRECONDITION"),
    "too_large": Told(413, "INVALID_ARGUMENT", close=1009),
    "context_too_large": Told(413, "INVALID_ARGUMENT", Kind(400, _REQUEST, "context_length_exceeded")),
    "unsupported_media_type": Told(415, close=1003),
    "invalid_input": Told(422, "INVALID_ARGUMENT", Kind(400, _REQUEST, "invalid_value")),
    "invalid_arguments": Told(422, "INVALID_ARGUMENT", Kind(400, _REQUEST, "invalid_value")),
    "key_reused": Told(422, "FAILED_PRECONDITION"),
    "rate_limited": Told(429, "RESOURCE_EXHAUSTED", Kind(429, "requests", "rate_limit_exceeded")),
    "headers_too_large": Told(431),
    "internal": Told(500, "INTERNAL", close=1011),
    "misconfigured": Told(500, "INTERNAL"),
    "schema_mismatch": Told(500, "INTERNAL"),
    "model_refused": Told(502, "INTERNAL"),
    "filtered": Told(502, "FAILED_PRECONDITION", Kind(400, _REQUEST, "content_filter")),
    "upstream_invalid": Told(502, "INTERNAL"),
    "truncated": Told(502, "INTERNAL"),
    "unavailable": Told(503, "UNAVAILABLE"),
    "model_unavailable": Told(503, "UNAVAILABLE"),
    "store_unavailable": Told(503, "UNAVAILABLE"),
    "fenced": Told(503, "UNAVAILABLE"),
    "deadline_exceeded": Told(504, "DEADLINE_EXCEEDED"),
}


def words(error: QuarterdeckError) -> str:
    """What a client reads of it. What is wrong inside is for the log; the client gets the id to ask about."""
    told = ERRORS.get(error.code)
    if told is not None and told.http != 500:
        return str(error)
    log.error("request failed: %s", error.code, exc_info=error)
    return INSIDE


def sent_away(error: QuarterdeckError) -> str | None:
    """Why a server sent somebody away that it might serve another time, for its metrics; None for every other error."""
    told = ERRORS.get(error.code)
    if told is None or told.http not in (429, 503):
        return None
    return str(getattr(error, "reason", error.code))
