"""One open connection: obeys messages in their order, and passes on what happens in the runs its client follows."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import anyio
from pydantic import ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketDisconnected

from quarterdeck.agent.base import Directory
from quarterdeck.core.context import Principal
from quarterdeck.core.errors import Conflict, QuarterdeckError, Unauthenticated
from quarterdeck.core.ids import new_id
from quarterdeck.service.desk import Desk, Followed, Question
from quarterdeck.service.intake import cleaned
from quarterdeck.service.limits import RateLimits
from quarterdeck.service.stays import Stay, Stays
from quarterdeck.service.streams import Signal
from quarterdeck.telemetry import bound
from quarterdeck.transports.errors import sent_away, words
from quarterdeck.transports.http.callers import check_scope
from quarterdeck.transports.http.errors import Refused
from quarterdeck.transports.http.keys import checked
from quarterdeck.transports.http.routes.approvals import draft_body
from quarterdeck.transports.http.shapes import run_body
from quarterdeck.transports.http.simple import SimpleFrames
from quarterdeck.transports.http.sse import full_frames
from quarterdeck.transports.http.wire import parsed_once
from quarterdeck.transports.websocket import messages as said
from quarterdeck.transports.websocket.errors import CLOSE
from quarterdeck.workflow.approvals import Approvals

__all__ = ["MAX_FOLLOWED", "Parts", "Session"]

log = logging.getLogger(__name__)

MAX_FOLLOWED = 16  # runs that one connection follows at once, those it asked included
_GOODBYE_S = 5.0  # for the close to get past what was sent before


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What every session of a server works on.

    Attributes:
        directory: Asked at each message what its sender may do now.
        rates: What is asked and commanded is counted as requests to `route`.
        stays: Says when a client may stay no longer.
        sent_away: Told why a message was refused that might be served another time.
        stopping: Set when the server begins to stop.
    """

    desk: Desk
    approvals: Approvals
    directory: Directory
    rates: RateLimits
    stays: Stays
    sent_away: Callable[[str], None]
    stopping: anyio.Event
    route: str


class Session:
    """What one client says and is told, until one of both ends it."""

    def __init__(self, socket: WebSocket, stay: Stay, parts: Parts) -> None:
        self._socket = socket
        self._stay = stay
        self._parts = parts
        self._sending = anyio.Lock()
        self._streams: dict[str, anyio.CancelScope] = {}
        self._close: tuple[str, str] | None = None  # why this side closes
        self._tasks = anyio.create_task_group()

    async def run(self) -> None:
        try:
            async with self._tasks:
                self._tasks.start_soon(self._stop_with_the_server)
                self._tasks.start_soon(self._stop_with_the_stay)
                await self._obey()
                self._tasks.cancel_scope.cancel()
        except Exception:
            log.exception("connection crashed")
            self._close = "internal", "something broke"
        if self._close is not None:
            code, reason = self._close
            # A client that takes nothing is cut by the connection.
            with anyio.move_on_after(_GOODBYE_S), contextlib.suppress(WebSocketDisconnect, RuntimeError):
                await self._socket.close(CLOSE[code], reason)

    async def _obey(self) -> None:
        # What had arrived behind the message that ends the connection is not obeyed: its sender is told that nothing is.
        while self._close is None and (message := await self._socket.receive())["type"] == "websocket.receive":
            text = message.get("text")
            if text is None:
                self._end("unsupported_media_type", "messages are JSON in text frames")
            else:
                await self._take(text)

    async def _take(self, text: str) -> None:
        """Read one message and do what it says."""
        try:
            value = parsed_once(text.encode())
        except Refused as refusal:
            if refusal.code in CLOSE:
                self._end(refusal.code, str(refusal.detail)[:100])
            else:
                await self._misheard(None, refusal.code, str(refusal.detail))
            return
        try:
            wanted = said.MESSAGE.validate_python(value)
        except ValidationError as error:
            named = value.get("id") if isinstance(value, dict) else None
            await self._misheard(named if _is_name(named) else None, "invalid_input", _problems(error))
            return
        if isinstance(wanted, said.Ask | said.Follow):
            # Beside what else is said here, from when the run is open: a later message finds it begun.
            opened = anyio.Event()
            self._tasks.start_soon(self._stream, wanted, opened)
            await opened.wait()
        else:
            async with self._answering(wanted):
                await self._do(wanted, await self._present(wanted))

    async def _present(self, wanted: said.Message) -> Principal:
        """The principal with the rights of this moment. Raises Unauthenticated, Forbidden for what needs others,
        and RateLimited."""
        principal = await self._parts.directory.current(self._stay.principal)
        if principal is None:
            raise Unauthenticated("whoever opened this may not act any more")
        check_scope(principal, wanted.scopes)
        if not isinstance(wanted, said.Leave | said.Ping):
            await self._parts.rates.check(principal, self._parts.route)
        return principal

    async def _do(self, wanted: said.Command, principal: Principal) -> None:
        match wanted:
            case said.Leave(id=id):
                if id not in self._streams:
                    raise Conflict(f"nothing is followed under the id {id}")
                self._streams.pop(id).cancel()
                await self._tell(said.reply("ok", id))
            case said.Ping(id=id):
                await self._tell(said.reply("pong", id))
            case _:
                with anyio.CancelScope(shield=True):  # what is begun is done whole, and its run woken
                    data = await self._done(wanted, principal)
                await self._tell(said.reply("ok", wanted.id, data=data))

    async def _done(self, wanted: said.Act, principal: Principal) -> dict[str, Any]:
        if isinstance(wanted, said.Approve | said.Reject):
            return await self._decided(wanted, principal)
        return await self._commanded(wanted, principal)

    async def _decided(self, wanted: said.Approve | said.Reject, principal: Principal) -> dict[str, Any]:
        draft = await self._parts.approvals.decide(
            principal,
            wanted.draft_id,
            approved=isinstance(wanted, said.Approve),
            reason=cleaned(wanted.reason, "reason") if wanted.reason else None,
            edited_args=wanted.edited_args if isinstance(wanted, said.Approve) else None,
        )
        return draft_body(draft)

    async def _commanded(
        self, wanted: said.Cancel | said.Pause | said.Resume | said.Steer, principal: Principal
    ) -> dict[str, Any]:
        controls = self._parts.desk.controls
        match wanted:
            case said.Cancel(run_id=run_id, reason=reason):
                run = await controls.cancel(principal, run_id, reason)
            case said.Pause(run_id=run_id, reason=reason):
                run = await controls.pause(principal, run_id, reason)
            case said.Resume(run_id=run_id, reason=reason):
                run = await controls.resume(principal, run_id, reason)
            case said.Steer(run_id=run_id, message=message, idempotency_key=key):
                run = await controls.steer(principal, run_id, message, checked(key))
        return run_body(run)

    def _opening(
        self, wanted: said.Ask | said.Follow, principal: Principal, request_id: str
    ) -> AbstractAsyncContextManager[Followed]:
        if isinstance(wanted, said.Follow):
            return self._parts.desk.following(principal, wanted.run_id, wanted.after)
        state = self._socket.state
        question = Question(
            text=wanted.message,
            agent=wanted.agent,
            session_id=wanted.session_id,
            idempotency_key=checked(wanted.idempotency_key),
            request_id=request_id,
            trace_id=state.trace_id,
            span_id=state.span_id,
            tags=state.tags,
        )
        return self._parts.desk.asking(principal, question, deltas=True)

    async def _stream(self, wanted: said.Ask | said.Follow, opened: anyio.Event) -> None:
        """Follow a run under the id of the message, until it ends or is left."""
        with anyio.CancelScope() as scope:
            try:
                async with self._answering(wanted) as request_id, contextlib.AsyncExitStack() as stack:
                    principal = await self._present(wanted)
                    stack.enter_context(self._named(wanted.id, scope))
                    with anyio.CancelScope(shield=True):  # a run that is begun is also woken, whoever goes away
                        followed = await stack.enter_async_context(self._opening(wanted, principal, request_id))
                    told = said.reply("started", wanted.id, run_id=followed.run_id, session_id=followed.session_id)
                    await self._tell(told)
                    opened.set()
                    frames = SimpleFrames(followed.run_id) if isinstance(wanted, said.Ask) else full_frames
                    await self._pass_on(wanted.id, followed, frames)
            finally:
                opened.set()

    @contextlib.contextmanager
    def _named(self, id: str, scope: anyio.CancelScope) -> Iterator[None]:
        """While the block lasts the id stands for what is cancelled by this scope. Raises Conflict."""
        if id in self._streams:
            raise Conflict(f"something is followed under the id {id} already")
        if len(self._streams) >= MAX_FOLLOWED:
            raise Conflict(f"a connection follows at most {MAX_FOLLOWED} runs at once; leave one, or open another")
        self._streams[id] = scope
        try:
            yield
        finally:
            if self._streams.get(id) is scope:  # once it is left another may have taken the id
                del self._streams[id]

    async def _pass_on(self, id: str, followed: Followed, frames: Callable[[Signal], Iterable[bytes]]) -> None:
        while (signal := await followed.signals.receive()) is not None:
            for piece in frames(signal):
                await self._tell(said.event_of(id, followed.run_id, piece))
        if followed.signals.complete:
            await self._tell(said.reply("end", id, run_id=followed.run_id))
        elif not self._parts.stopping.is_set():
            self._end("too_slow", "events were not read in time; follow the run from the last seq")

    @contextlib.asynccontextmanager
    async def _answering(self, wanted: said.Message) -> AsyncIterator[str]:
        """What goes wrong inside is the answer to its message; gives the id under which it is logged."""
        request_id, began, code = new_id(), time.perf_counter(), "ok"
        with bound(request_id=request_id):
            try:
                yield request_id
            except Unauthenticated as error:
                code = error.code
                self._end(code, str(error))
            except QuarterdeckError as error:
                code = error.code
                if (reason := sent_away(error)) is not None:
                    self._parts.sent_away(reason)
                await self._tell(self._refusal(wanted.id, error, request_id))
            except Exception:
                code = "internal"
                log.exception("message crashed")
                await self._tell(_error(wanted.id, code, f"something broke; its id is {request_id}", request_id))
            finally:
                duration_ms = round((time.perf_counter() - began) * 1000, 1)
                log.info("message", extra={"message_type": wanted.type, "code": code, "duration_ms": duration_ms})

    def _refusal(self, id: str, error: QuarterdeckError, request_id: str) -> str:
        return _error(id, error.code, words(error), request_id, retryable=error.retryable)

    async def _misheard(self, id: str | None, code: str, message: str) -> None:
        """Answer what is no message of those there are."""
        request_id = new_id()
        with bound(request_id=request_id):
            await self._tell(_error(id, code, message, request_id))
            log.info("message", extra={"message_type": "unknown", "code": code})

    async def _tell(self, message: str) -> None:
        # Waits while the client does not read: so nothing piles up here, and a run's reader falls behind and is cut.
        async with self._sending:
            try:
                await self._socket.send_text(message)
            except (WebSocketDisconnect, WebSocketDisconnected):
                self._tasks.cancel_scope.cancel()

    async def _stop_with_the_server(self) -> None:
        await self._parts.stopping.wait()
        self._end("stopping", "the server is stopping; come back and follow from the last seq")

    async def _stop_with_the_stay(self) -> None:
        self._end("unauthenticated", await self._parts.stays.over(self._stay))

    def _end(self, code: str, reason: str) -> None:
        if self._close is None:
            self._close = code, reason
        self._tasks.cancel_scope.cancel()


def _error(id: str | None, code: str, message: str, request_id: str, *, retryable: bool = False) -> str:
    error = {"code": code, "message": message, "retryable": retryable, "request_id": request_id}
    return said.reply("error", id, error=error)


def _is_name(id: object) -> bool:
    return isinstance(id, str) and len(id) <= 64


def _problems(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_input=False, include_context=False)
    said_of = (": ".join(filter(None, (".".join(map(str, item["loc"])), item["msg"]))) for item in found[:5])
    return "; ".join(said_of)[:1000]
