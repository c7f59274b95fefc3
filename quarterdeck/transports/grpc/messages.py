"""The messages of `agent.proto` from and to what the desk knows."""

from __future__ import annotations

import json
import math
import re
from typing import NamedTuple, TypeVar

from google.protobuf.message import DecodeError, Message

from quarterdeck.core.errors import InvalidInput
from quarterdeck.core.messages import ToolCall, ToolResult
from quarterdeck.service.desk import Question
from quarterdeck.service.views import RunView
from quarterdeck.transports.grpc import agent_pb2 as pb
from quarterdeck.transports.http.keys import checked
from quarterdeck.transports.http.shapes import agent_answer
from quarterdeck.transports.ids import RequestIds
from quarterdeck.transports.telling import Done, Piece, ToldOf

__all__ = ["Asked", "asked", "chunk", "read", "response"]

MAX_WAIT_S = 600.0
_ID = re.compile(r"[a-z0-9_-]{1,64}\Z")
_OPTIONS = ("timeout_s", "on_cancel")
_Request = TypeVar("_Request", bound=Message)


class Asked(NamedTuple):
    """A question and how its caller wants to wait.

    Attributes:
        wait_s: Seconds, None for as long as the call may last.
        cancels: True if the run shall end when its caller goes away.
    """

    question: Question
    wait_s: float | None
    cancels: bool


def read(kind: type[_Request], sent: bytes) -> _Request:
    """The message that was sent. Raises InvalidInput for bytes that are none of its kind."""
    try:
        return kind.FromString(sent)
    except DecodeError as error:
        raise InvalidInput(f"the message is no {kind.DESCRIPTOR.name}") from error


def asked(request: pb.QueryRequest, ids: RequestIds) -> Asked:
    """Raises InvalidInput for an id that is none, an unknown option, or a value that is none of its option."""
    for name in ("session_id", "agent_id"):
        value = getattr(request, name)
        if value and _ID.match(value) is None:
            raise InvalidInput(f"{name}: {value[:80]!r} is no id: a-z, 0-9, _ and -, at most 64 of them")
    if unknown := sorted(request.options.keys() - set(_OPTIONS)):
        raise InvalidInput(f"options: unknown: {', '.join(unknown)[:200]}; there are: {', '.join(_OPTIONS)}")
    on_cancel = request.options.get("on_cancel", "detach")
    if on_cancel not in ("detach", "cancel"):
        raise InvalidInput(f"options.on_cancel: {on_cancel[:80]!r} is neither detach nor cancel")
    question = Question(
        text=request.query,
        agent=request.agent_id or None,
        session_id=request.session_id or None,
        idempotency_key=checked(request.idempotency_key or None),
        request_id=ids.request_id,
        trace_id=ids.trace_id,
        span_id=ids.span_id,
        tags=ids.tags,
    )
    return Asked(question, _seconds(request.options.get("timeout_s")), on_cancel == "cancel")


def _seconds(given: str | None) -> float | None:
    if given is None:
        return None
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= MAX_WAIT_S:
        raise InvalidInput(f"options.timeout_s: {given[:80]!r} is not between 0 and {MAX_WAIT_S:g} seconds")
    return seconds


def response(run: RunView) -> pb.QueryResponse:
    """A run that ended or waits, as its caller sees it."""
    said = agent_answer(run)
    usage = said["usage"]
    return pb.QueryResponse(
        id=said["id"],
        answer=said["answer"],
        confidence=said["confidence"],
        sources=[_source(source) for source in said["sources"]],
        tool_calls=said["tool_calls"],
        needs_human_review=said["needs_human_review"],
        session_id=said["session_id"] or "",
        model=said["model"],
        usage=pb.Usage(**usage),
        latency_ms=said["latency_ms"],
        stop_reason=said["stop_reason"],
        drafts=said["drafts"],
        output_json="" if run.output is None else json.dumps(run.output, ensure_ascii=False),
    )


def _source(source: dict[str, object]) -> pb.Source:
    told = {name: value for name, value in source.items() if name != "metadata"}
    about = source["metadata"]
    assert isinstance(about, dict)
    names = {field.name for field in pb.Source.DESCRIPTOR.fields}
    return pb.Source(**{name: value for name, value in {**about, **told}.items() if name in names})


def chunk(run_id: str, told: ToldOf) -> pb.QueryChunk:
    """One message of a stream."""
    match told:
        case Piece(text):
            return pb.QueryChunk(id=run_id, chunk=text)
        case ToolCall(id=id, name=name):
            return pb.QueryChunk(id=run_id, tool=pb.ToolEvent(id=id, name=name, status="started"))
        case ToolResult():
            ended = pb.ToolEvent(id=told.call_id, name=told.name, status=told.status, duration_ms=told.duration_ms)
            return pb.QueryChunk(id=run_id, tool=ended)
        case Done(run):
            return pb.QueryChunk(id=run_id, is_final=True, response=response(run))
