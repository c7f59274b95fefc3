"""What a request's descendants carry to others: W3C trace context, the request's id, and its traffic tags as baggage.

Tags are a mapping of names from an allow-list to short values. Two names are not on any list and stand for headers that
travel as they came: ``tracestate``, and ``trace_id_ext``, under which a client follows a whole session of its own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping

__all__ = ["RESERVED", "carried", "named", "traceparent"]

RESERVED: Mapping[str, str] = {"tracestate": "tracestate", "trace_id_ext": "x-trace-id-ext"}
"""Names in the mapping of tags that are headers of their own."""

_TRACE_ID = re.compile(r"(?!0{32})[0-9a-f]{32}\Z")


def named(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that an allow-list named: those that routes, metrics and people tell apart."""
    return {name: value for name, value in tags.items() if name not in RESERVED}


def traceparent(trace_id: str | None) -> str | None:
    """The W3C header that makes a call part of the trace, under a span id of its own; None for no usable trace id."""
    if trace_id is None or _TRACE_ID.match(trace_id) is None:
        return None
    return f"00-{trace_id}-{os.urandom(8).hex()}-01"


def carried(
    trace_id: str | None,
    tags: Mapping[str, str],
    *,
    request_id: str | None = None,
    only: Collection[str] | None = None,
) -> dict[str, str]:
    """The headers of a call to somebody else.

    Args:
        only: Named tags that go along; None for all of them.
    """
    headers: dict[str, str] = {}
    if (parent := traceparent(trace_id)) is not None:
        headers["traceparent"] = parent
    for name, header in RESERVED.items():
        # Without the id that came beside it a state means nothing.
        if name in tags and (name != "tracestate" or parent is not None):
            headers[header] = tags[name]
    if request_id:
        headers["x-request-id"] = request_id
    if going := [f"{name}={value}" for name, value in named(tags).items() if only is None or name in only]:
        headers["baggage"] = ",".join(going)
    return headers
