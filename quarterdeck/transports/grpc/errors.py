"""The one table from error codes to gRPC statuses."""

from __future__ import annotations

from collections.abc import Mapping

from grpc import StatusCode

__all__ = ["STATUS"]

# Every code of core/errors.py. A test compares it with the tree.
STATUS: Mapping[str, StatusCode] = {
    "unauthenticated": StatusCode.UNAUTHENTICATED,
    "forbidden": StatusCode.PERMISSION_DENIED,
    "not_found": StatusCode.NOT_FOUND,
    "conflict": StatusCode.FAILED_PRECONDITION,
    "invalid_input": StatusCode.INVALID_ARGUMENT,
    "invalid_arguments": StatusCode.INVALID_ARGUMENT,
    "too_large": StatusCode.INVALID_ARGUMENT,
    "context_too_large": StatusCode.INVALID_ARGUMENT,
    "budget_exceeded": StatusCode.RESOURCE_EXHAUSTED,
    "deadline_exceeded": StatusCode.DEADLINE_EXCEEDED,
    "unavailable": StatusCode.UNAVAILABLE,
    "model_unavailable": StatusCode.UNAVAILABLE,
    "store_unavailable": StatusCode.UNAVAILABLE,
    "fenced": StatusCode.UNAVAILABLE,
    "model_refused": StatusCode.INTERNAL,
    "filtered": StatusCode.FAILED_PRECONDITION,
    "upstream_invalid": StatusCode.INTERNAL,
    "truncated": StatusCode.INTERNAL,
    "internal": StatusCode.INTERNAL,
    "misconfigured": StatusCode.INTERNAL,
    "schema_mismatch": StatusCode.INTERNAL,
}
