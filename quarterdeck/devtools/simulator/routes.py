"""From the path of a request to what is meant: trace, endpoint, Azure's deployment."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["TRACE_HEADER", "TRACE_PREFIX", "route"]

TRACE_HEADER = b"x-sim-trace"
TRACE_PREFIX = "/__trace/"
_AZURE = "/openai/deployments/"


def route(path: str, headers: Mapping[bytes, bytes]) -> tuple[str, str, str]:
    """The trace, the path without prefixes and version, and the deployment.

    A trace is named by a header, or by a prefix for clients of which only the base URL can be set.
    """
    trace = headers.get(TRACE_HEADER, b"").decode("latin-1")
    if path.startswith(TRACE_PREFIX):
        trace, _, rest = path.removeprefix(TRACE_PREFIX).partition("/")
        path = f"/{rest}"
    deployment = ""
    if path.startswith(_AZURE):
        deployment, _, rest = path.removeprefix(_AZURE).partition("/")
        path = f"/{rest}"
    elif path.startswith("/openai/v1/"):
        path = path.removeprefix("/openai/v1")
    elif path.startswith("/v1/"):
        path = path[3:]
    return trace, path.rstrip("/") or "/", deployment
