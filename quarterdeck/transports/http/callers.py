"""Who may call a route: declared by the route itself, through a dependency (security rules 12-14)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer
from starlette.requests import HTTPConnection

from quarterdeck.core.context import Principal
from quarterdeck.core.errors import Forbidden
from quarterdeck.service.access import Access, Caller
from quarterdeck.telemetry import bound

__all__ = [
    "Approver",
    "Asker",
    "Commander",
    "DocumentOpener",
    "DocumentReader",
    "DocumentWriter",
    "MetricsReader",
    "Needs",
    "Operator",
    "Public",
    "Reader",
    "caller_of",
    "check_scope",
    "open_to_all",
]


# Only for the description of the interface: which key counts is decided by `_key` and `Access`.
_DESCRIBED = Security(HTTPBearer(auto_error=False, scheme_name="key", description="An API key: `qd_...`"))


class Needs:
    """A dependency that gives the principal, who holds one of `scopes`."""

    def __init__(self, *scopes: str) -> None:
        self.scopes = frozenset(scopes)

    async def __call__(self, request: Request, _: Annotated[object, _DESCRIBED] = None) -> AsyncIterator[Principal]:
        access: Access = request.app.state.access
        state = request.state
        principal = access.admit(caller_of(request))
        check_scope(principal, self.scopes)
        state.tenant = principal.tenant
        with bound(tenant=principal.tenant):
            yield principal


def caller_of(connection: HTTPConnection) -> Caller:
    """What is known of whoever opened a connection, once the guards let it pass."""
    state = connection.state
    return Caller(key=_key(connection), forwarded=state.forwarded, known_origin=state.known_host, loopback=state.loopback)


def check_scope(principal: Principal, scopes: Collection[str]) -> None:
    """Raises Forbidden for a principal who holds none of `scopes`."""
    if frozenset(scopes).isdisjoint(principal.scopes):
        needed = " or ".join(sorted(scopes))
        raise Forbidden(f"this needs the scope {needed}, which {principal.user} does not have")


def _key(connection: HTTPConnection) -> str | None:
    """The key as sent; empty, and so known to nobody, where a header that should hold one does not."""
    sent = connection.headers.getlist("authorization")
    if not sent:
        return connection.headers.get("x-api-key")
    scheme, _, value = sent[0].partition(" ")
    return value.strip() if len(sent) == 1 and scheme.lower() == "bearer" else ""


async def open_to_all() -> None:
    """The declaration of a route that needs no principal."""


Asker = Annotated[Principal, Depends(Needs("chat"))]
Reader = Annotated[Principal, Depends(Needs("chat", "approvals", "operate", "documents.write"))]
Approver = Annotated[Principal, Depends(Needs("approvals"))]
Commander = Annotated[Principal, Depends(Needs("chat", "operate", "documents.write"))]
DocumentReader = Annotated[Principal, Depends(Needs("documents.read"))]
DocumentOpener = Annotated[Principal, Depends(Needs("documents.read", "chat"))]
DocumentWriter = Annotated[Principal, Depends(Needs("documents.write"))]
MetricsReader = Annotated[Principal, Depends(Needs("metrics.read"))]
Operator = Annotated[Principal, Depends(Needs("operate"))]
Public = Depends(open_to_all)
