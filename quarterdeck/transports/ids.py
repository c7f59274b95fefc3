"""The ids a request travels under, whatever wire it came by."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from quarterdeck.core.ids import new_id
from quarterdeck.telemetry.tags import TagRules, logged

__all__ = ["RequestIds", "request_ids"]

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
# Of a version to come the fields of this one are read, whatever stands behind them: W3C Trace Context, "Versioning of
# traceparent". Ids of zeros and the version ff are none.
_TRACEPARENT = re.compile(
    r"(?:00(?=.{53}\Z)|(?!00|ff)[0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-|\Z)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestIds:
    """
    Attributes:
        span_id: Of the server's part in the trace, 16 hexadecimal digits.
        tags: Traffic tags that came along and are on the allow-list.
    """

    request_id: str
    trace_id: str
    span_id: str
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def logged(self) -> Mapping[str, str | None]:
        """What every line of the request's log carries."""
        own = {"request_id": self.request_id, "trace_id": self.trace_id, "span_id": self.span_id}
        return own | logged(self.tags, self.trace_id)


def request_ids(headers: Mapping[str, str], rules: TagRules) -> RequestIds:
    """The ids as a client gave them, and new ones in place of those that are missing or malformed.

    Args:
        headers: By name in small letters.
    """
    request_id = headers.get("x-request-id", "")
    trace = _TRACEPARENT.match(headers.get("traceparent", ""))
    return RequestIds(
        request_id=request_id if _REQUEST_ID.match(request_id) else new_id(),
        trace_id=trace[1] if trace else new_id(),
        span_id=os.urandom(8).hex(),
        tags=rules.read(headers, traced=trace is not None),
    )
