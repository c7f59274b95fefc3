"""Who may call a route: declared by the route itself, through a dependency (security rules 12-14)."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import replace
from functools import partial
from typing import Annotated

from fastapi import Depends, Query, Request, Security
from fastapi.security import HTTPBearer
from starlette.requests import HTTPConnection

from quarterdeck.core.context import Principal
from quarterdeck.core.errors import Forbidden
from quarterdeck.service.access import Access, Caller
from quarterdeck.service.stays import Stay, Stays
from quarterdeck.service.stream_tokens import StreamTokens
from quarterdeck.telemetry import bound
from quarterdeck.transports.http.errors import Refused
from quarterdeck.transports.http.rates import counted
from quarterdeck.transports.http.wire import StrictRoute

__all__ = [
    "Approver",
    "Asker",
    "AuditReader",
    "Commander",
    "CostReader",
    "DocumentOpener",
    "DocumentReader",
    "DocumentWriter",
    "MetricsReader",
    "Needs",
    "NeedsOrToken",
    "NotByHead",
    "Operator",
    "PrivacyOfficer",
    "Public",
    "Reader",
    "StreamAsker",
    "StreamReader",
    "caller_of",
    "check_scope",
    "open_to_all",
    "until_over",
]


# Only for the description of the interface: which key counts is decided by `_key` and `Access`.
_DESCRIBED = Security(HTTPBearer(auto_error=False, scheme_name="key", description="An API key: `qd_...`"))


class Needs:
    """A dependency that gives the principal, who holds one of `scopes`."""

    def __init__(self, *scopes: str) -> None:
        self.scopes = frozenset(scopes)

    async def __call__(self, request: Request, _: Annotated[object, _DESCRIBED] = None) -> AsyncIterator[Principal]:
        access: Access = request.app.state.access
        principal = await access.admit(caller_of(request))
        async with admitted(request, principal, self.scopes):
            yield principal


class NeedsOrToken(Needs):
    """The same for streams that browsers open, which send no header of their own: a stream token in the address will do."""

    async def __call__(
        self,
        request: Request,
        _: Annotated[object, _DESCRIBED] = None,
        token: Annotated[str | None, Query(max_length=256, description="A stream token in place of a key.")] = None,
    ) -> AsyncIterator[Principal]:
        if token is None:
            access: Access = request.app.state.access
            principal = await access.admit(caller_of(request))
        else:
            # Nothing else counts then: a used token must not let its holder in as somebody else.
            tokens: StreamTokens = request.app.state.stream_tokens
            request.state.stay = await tokens.redeem(token)
            principal = request.state.stay.principal
        async with admitted(request, principal, self.scopes):
            yield principal


@contextlib.asynccontextmanager
async def admitted(request: Request, principal: Principal, scopes: Collection[str]) -> AsyncIterator[None]:
    """The principal's request, as far as he holds one of `scopes`, counted, with his tenant in every line of the log."""
    check_scope(principal, scopes)
    request.state.needs = frozenset(scopes)
    if isinstance(route := request.scope.get("route"), StrictRoute):
        route.check_address(request)
    request.state.tenant = principal.tenant
    with bound(tenant=principal.tenant):
        await counted(request, principal)
        yield


async def not_by_head(request: Request) -> None:
    """The declaration of a GET that begins something: HEAD, which must not, is refused."""
    if getattr(request.state, "head", False):
        raise Refused("method_not_allowed", "HEAD begins nothing; send GET")


def caller_of(connection: HTTPConnection) -> Caller:
    """What is known of whoever opened a connection, once the guards let it pass."""
    state = connection.state
    return Caller(
        key=_key(connection),
        forwarded=state.forwarded,
        known_origin=state.known_host,
        loopback=state.loopback,
        address=state.address,
    )


async def until_over(request: Request, principal: Principal) -> Callable[[], Awaitable[str]]:
    """What waits until the opener of a stream may read it no longer."""
    stays: Stays = request.app.state.stays
    stay = getattr(request.state, "stay", None)
    if stay is None:
        access: Access = request.app.state.access
        stay = Stay(principal=principal, until=await access.until(caller_of(request)))
    return partial(stays.over, replace(stay, needs=request.state.needs))


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
AuditReader = Annotated[Principal, Depends(Needs("audit.read"))]
CostReader = Annotated[Principal, Depends(Needs("chat", "costs.read"))]
Commander = Annotated[Principal, Depends(Needs("chat", "operate", "documents.write"))]
DocumentReader = Annotated[Principal, Depends(Needs("documents.read"))]
DocumentOpener = Annotated[Principal, Depends(Needs("documents.read", "chat"))]
DocumentWriter = Annotated[Principal, Depends(Needs("documents.write"))]
MetricsReader = Annotated[Principal, Depends(Needs("metrics.read"))]
Operator = Annotated[Principal, Depends(Needs("operate"))]
PrivacyOfficer = Annotated[Principal, Depends(Needs("privacy"))]
StreamAsker = Annotated[Principal, Depends(NeedsOrToken("chat"))]
StreamReader = Annotated[Principal, Depends(NeedsOrToken("chat", "approvals", "operate", "documents.write"))]
NotByHead = Depends(not_by_head)
Public = Depends(open_to_all)
