"""One call: who makes it, under which ids, how long it may last, and how it ends when it fails."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import unquote

import anyio
from grpc import StatusCode
from grpc.aio import AbortError, ServicerContext

from quarterdeck.core.context import Principal
from quarterdeck.core.errors import InvalidInput, QuarterdeckError
from quarterdeck.service.access import Access, Caller
from quarterdeck.service.limits import RateLimits
from quarterdeck.service.stays import Stay, Stays
from quarterdeck.telemetry import bound
from quarterdeck.telemetry.tags import TagRules
from quarterdeck.transports.errors import INSIDE, sent_away, words
from quarterdeck.transports.grpc.errors import STATUS
from quarterdeck.transports.http.callers import check_scope
from quarterdeck.transports.http.errors import retry_after
from quarterdeck.transports.http.guards import is_loopback
from quarterdeck.transports.ids import RequestIds, request_ids
from quarterdeck.transports.proxies import Proxies, brings_others
from quarterdeck.transports.single import contradicted, repeated

if TYPE_CHECKING:  # its package is one of the server's
    from quarterdeck.telemetry.metrics import Metrics

__all__ = ["Call", "Context", "Entrance"]

# By method, scopes of which one is needed. What is not listed is let in for nobody.
SCOPES: Mapping[str, Collection[str]] = {
    "agent.AgentService/Query": ("chat",),
    "agent.AgentService/StreamQuery": ("chat",),
    "agent.AgentService/BatchQuery": ("chat",),
}
Context = ServicerContext[Any, Any]
_PEER = re.compile(r"ipv[46]:(.+):\d+\Z")

log = logging.getLogger(__name__)


class Call:
    """What a handler knows of a call.

    Attributes:
        remaining_s: Seconds until its deadline, None without one.
        look_at: When to look again whether its caller still may, by the clock of the event loop.
    """

    def __init__(self, context: Context, stay: Stay, stays: Stays, ids: RequestIds) -> None:
        self.principal: Principal = stay.principal
        self.look_at = anyio.current_time() + stays.pause_s(stay)
        self._stay = stay
        self._stays = stays
        self.ids = ids
        self.remaining_s = context.time_remaining()
        self._context = context
        self.run_id: str | None = None

    async def look(self) -> None:
        """See whether its caller still may listen. Raises Unauthenticated."""
        await self._stays.confirm(self._stay)
        self.look_at = anyio.current_time() + self._stays.pause_s(self._stay)

    def about(self, run_id: str) -> None:
        """Tell the caller which run it is, however the call ends."""
        self.run_id = run_id
        self._context.set_trailing_metadata((("x-request-id", self.ids.request_id), ("run-id", run_id)))


class Entrance:
    """Lets calls in."""

    def __init__(
        self,
        access: Access,
        tags: TagRules | None = None,
        rates: RateLimits | None = None,
        stays: Stays | None = None,
        proxies: Proxies | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        """
        Args:
            tags: Traffic tags that calls may bring along; None for none.
            rates: How often callers may ask; None for as often as they like.
            stays: Ends calls of who may listen no longer; None for looks as often as usual.
            proxies: In front of this server; they say who is calling.
            metrics: Are told of every call; None for a server that measures nothing.
        """
        self._stays = stays or Stays(access)
        self._proxies = proxies or Proxies()
        self._rates = rates
        self._access = access
        self._tags = tags or TagRules()
        self._metrics = metrics
        self._under_way = 0
        self._over = anyio.Event()  # of any call

    async def quiet(self) -> None:
        """Wait until no call is handled."""
        while self._under_way:
            await self._over.wait()

    @asynccontextmanager
    async def admitted(self, context: Context, method: str) -> AsyncIterator[Call]:
        """The call while it is handled. Every error leaves it as a status, with its code in the trailing metadata."""
        sent = tuple(context.invocation_metadata() or ())
        given = {key: value if isinstance(value, str) else "" for key, value in sent}
        ids = request_ids(given, self._tags)
        context.set_trailing_metadata((("x-request-id", ids.request_id),))
        call: Call | None = None
        status, began = StatusCode.OK, time.perf_counter()
        self._under_way += 1
        with bound(**ids.logged):
            try:
                if (twice := repeated(key for key, _ in sent)) is not None:
                    raise InvalidInput(f"the metadata {twice} stand there twice; send them once")
                if contradicted(given):
                    raise InvalidInput("authorization and x-api-key name two credentials; send one of them")
                caller = _caller(context, given, self._proxies)
                principal = await self._access.admit(caller)
                needs = frozenset(SCOPES.get(method, ()))
                check_scope(principal, needs)
                if self._rates is not None:
                    await self._rates.check(principal, method)
                stay = Stay(principal=principal, until=await self._access.until(caller), needs=needs)
                call = Call(context, stay, self._stays, ids)
                with bound(tenant=principal.tenant):
                    yield call
            except AbortError:
                raise
            except QuarterdeckError as error:
                status = STATUS.get(error.code, StatusCode.INTERNAL)
                if self._metrics is not None and (reason := sent_away(error)) is not None:
                    self._metrics.sent_away("grpc", reason)
                again = (("retry-after", retry_after(error)),) if error.retryable else ()
                await _abort(context, status, error.code, words(error), call, ids, again)
            except anyio.get_cancelled_exc_class():
                status = StatusCode.CANCELLED
                raise
            except Exception:
                log.exception("call crashed")
                status = StatusCode.INTERNAL
                await _abort(context, status, "internal", INSIDE, call, ids)
            finally:
                self._under_way -= 1
                self._over.set()
                self._over = anyio.Event()
                if self._metrics is not None:
                    self._metrics.call(method, status.name, time.perf_counter() - began)
                run_id = {"run_id": call.run_id} if call and call.run_id else {}
                log.info("request", extra={"method": "GRPC", "route": method, "status": status.name, **run_id})


async def _abort(
    context: Context,
    status: StatusCode,
    code: str,
    message: str,
    call: Call | None,
    ids: RequestIds,
    also: tuple[tuple[str, str], ...] = (),
) -> NoReturn:
    run = (("run-id", call.run_id),) if call is not None and call.run_id else ()
    await context.abort(status, message, (("x-request-id", ids.request_id), ("error-code", code), *run, *also))


def _caller(context: Context, given: Mapping[str, str], proxies: Proxies) -> Caller:
    found = _PEER.match(unquote(context.peer()))
    peer = found[1].strip("[]") if found is not None else ""
    return Caller(
        key=_key(given),
        forwarded=proxies.known(peer) or brings_others(given),
        known_origin=True,  # no page in a browser can make such a call
        loopback=is_loopback(peer),
        address=proxies.client(peer, [given.get("x-forwarded-for", "")]),
    )


def _key(given: Mapping[str, str]) -> str | None:
    """The key as sent; empty, and so known to nobody, where metadata that should hold one does not."""
    sent = given.get("authorization")
    if sent is None:
        return given.get("x-api-key")
    scheme, _, value = sent.partition(" ")
    return value.strip() if scheme.lower() == "bearer" else ""
