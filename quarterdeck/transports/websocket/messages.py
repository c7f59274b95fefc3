"""What a client may say, and how it is told. Field names and types here are what clients rely on."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, ClassVar, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter

from quarterdeck.transports.http.shapes import Id
from quarterdeck.transports.http.wire import dump

__all__ = [
    "ANY",
    "MESSAGE",
    "Act",
    "Approve",
    "Ask",
    "Cancel",
    "Command",
    "Follow",
    "Leave",
    "Message",
    "Pause",
    "Ping",
    "Reject",
    "Resume",
    "Steer",
    "event_of",
    "reply",
]

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,64}$")]
Reason = Annotated[str, StringConstraints(max_length=2000)]
Key = Annotated[str, StringConstraints(max_length=255)]

ANY = frozenset({"chat", "approvals", "operate"})


class _Said(BaseModel):
    """A message from outside: nothing is coerced, nothing unknown is let through.

    Attributes:
        scopes: One of them is needed. Every kind says them itself, so that none needs nothing because nobody thought of it.
        id: The client's name for it; what answers it carries the same.
    """

    model_config = ConfigDict(extra="forbid", strict=True)
    scopes: ClassVar[Collection[str]]

    id: Name


class Ask(_Said):
    """Ask; events come under its id until the run ends."""

    scopes = frozenset({"chat"})
    type: Literal["ask"]
    message: str
    agent: Id | None = None
    session_id: Id | None = None
    idempotency_key: Key | None = None


class Follow(_Said):
    """Have the events of a run after the one with seq `after`, until it ends."""

    scopes = ANY
    type: Literal["follow"]
    run_id: Id
    after: int = Field(0, ge=0, le=10**12)


class Leave(_Said):
    """Have no more events under this id; the run goes on."""

    scopes = ANY
    type: Literal["leave"]


class Ping(_Said):
    """Ask for a sign of life, where frames cannot be sent."""

    scopes = ANY
    type: Literal["ping"]


class Approve(_Said):
    """Approve a draft, with other arguments if need be."""

    scopes = frozenset({"approvals"})
    type: Literal["approve"]
    draft_id: Id
    reason: Reason = ""
    edited_args: dict[str, Any] | None = None


class Reject(_Said):
    """Reject a draft."""

    scopes = frozenset({"approvals"})
    type: Literal["reject"]
    draft_id: Id
    reason: Reason = ""


class _OfRun(_Said):
    scopes = frozenset({"chat", "operate"})
    run_id: Id


class Cancel(_OfRun):
    """Ask a run to end."""

    type: Literal["cancel"]
    reason: Reason = ""


class Pause(_OfRun):
    """Ask a run to rest before its next step."""

    type: Literal["pause"]
    reason: Reason = ""


class Resume(_OfRun):
    """Let a paused run go on."""

    type: Literal["resume"]
    reason: Reason = ""


class Steer(_OfRun):
    """Say something into a run."""

    type: Literal["steer"]
    message: str
    idempotency_key: Key | None = None


Act = Approve | Reject | Cancel | Pause | Resume | Steer
Command = Leave | Ping | Act
Message = Ask | Follow | Command
MESSAGE: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="type")])


def reply(kind: str, id: str | None, **fields: Any) -> str:
    """A message to the client; `id` is that of the message it answers, None where none could be read."""
    return dump({"type": kind, "id": id, **fields}).decode()


def event_of(id: str, run_id: str, piece: bytes) -> str:
    """A frame of an event stream as a message: the same event, the same data."""
    head, _, data = piece.removesuffix(b"\n\n").partition(b"data: ")
    lines = dict(line.split(": ", 1) for line in head.decode().splitlines())
    told: dict[str, Any] = {"type": "event", "id": id, "run_id": run_id, "event": lines["event"]}
    if "id" in lines:
        told["seq"] = int(lines["id"])
    return orjson.dumps(told | {"data": orjson.Fragment(data)}).decode()
