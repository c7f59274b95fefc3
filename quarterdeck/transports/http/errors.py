"""The one table from error codes to HTTP statuses, and what only HTTP can refuse."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.exceptions import HTTPException

__all__ = ["STATUS", "Refused"]

# Every `code` of core/errors.py, and what only HTTP can refuse. A test compares it with the tree.
STATUS: Mapping[str, int] = {
    "bad_request": 400,
    "malformed_json": 400,
    "duplicate_key": 400,
    "unknown_host": 400,
    "unauthenticated": 401,
    "budget_exceeded": 402,
    "forbidden": 403,
    "foreign_origin": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "conflict": 409,
    "too_large": 413,
    "context_too_large": 413,
    "unsupported_media_type": 415,
    "invalid_input": 422,
    "invalid_arguments": 422,
    "headers_too_large": 431,
    "internal": 500,
    "misconfigured": 500,
    "schema_mismatch": 500,
    "model_refused": 502,
    "filtered": 502,
    "upstream_invalid": 502,
    "truncated": 502,
    "unavailable": 503,
    "model_unavailable": 503,
    "store_unavailable": 503,
    "fenced": 503,
    "deadline_exceeded": 504,
}


class Refused(HTTPException):
    """A request that HTTP itself refuses, with a code of the table."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(STATUS[code], message)
        self.code = code
