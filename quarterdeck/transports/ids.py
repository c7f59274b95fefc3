"""The ids a request travels under, whatever wire it came by."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from quarterdeck.core.ids import new_id

__all__ = ["RequestIds", "request_ids"]

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestIds:
    """Attributes: span_id: Of the server's part in the trace, 16 hexadecimal digits."""

    request_id: str
    trace_id: str
    span_id: str


def request_ids(request_id: str, traceparent: str) -> RequestIds:
    """The ids as a client gave them, and new ones in place of those that are missing or malformed."""
    trace = _TRACEPARENT.match(traceparent)
    return RequestIds(
        request_id=request_id if _REQUEST_ID.match(request_id) else new_id(),
        trace_id=trace[1] if trace and set(trace[1]) != {"0"} else new_id(),
        span_id=os.urandom(8).hex(),
    )
