"""One exchange over HTTP: what came in, and the answer as a list of things to send or do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

import orjson

from quarterdeck.devtools.simulator.refusals import Dialect, Refusal
from quarterdeck.devtools.simulator.seeds import Dice

if TYPE_CHECKING:
    from collections.abc import Mapping

    from quarterdeck.devtools.simulator.world import World

__all__ = ["JSON", "STREAM", "Act", "Answer", "Break", "Incoming", "Pause", "whole"]

JSON = (b"content-type", b"application/json")
STREAM = (b"content-type", b"text/event-stream; charset=utf-8")


@dataclass(frozen=True, slots=True)
class Pause:
    """So many seconds of the clock pass."""

    seconds: float


class Break(Enum):
    """Where an answer stops being one.

    STALL: nothing more comes, the connection stays open until the client leaves. CUT: the connection is closed without an
    end. END: the body ends in order, though more should come. FLUSH: what was sent so far leaves in a write of its own.
    """

    STALL = "stall"
    CUT = "cut"
    END = "end"
    FLUSH = "flush"


Act = bytes | Pause | Break


# Not frozen: one is made for every request, and freezing it costs 4 microseconds of about 40.
@dataclass(slots=True, kw_only=True)
class Incoming:
    """A request.

    Attributes:
        path: As routed: without the version, the trace prefix or Azure's deployment.
        number: Position in its trace, from 1.
        pure: The seed came with the request, so the answer depends on nothing that was before.
    """

    method: str
    path: str
    query: str
    headers: Mapping[bytes, bytes]
    body: bytes
    dice: Dice
    world: World
    number: int
    pure: bool
    deployment: str = ""

    def object(self, dialect: Dialect) -> dict[str, Any]:
        """The body, which must be a JSON object."""
        try:
            value = orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            message = (
                "The request body is not valid JSON: {}"
                if dialect == "anthropic"
                else "We could not parse the JSON body of your request. ({})"
            )
            raise Refusal(400, message.replace("{}", str(error))) from error
        if not isinstance(value, dict):
            raise Refusal(400, "The JSON body of your request must be an object.")
        return value


# Not frozen: one is made for every request, and freezing it costs 4 microseconds of about 40.
@dataclass(slots=True, kw_only=True)
class Answer:
    """What goes back.

    Attributes:
        acts: Pieces of the body and what happens between them. A stream has one piece per event, anything else has one.
        tokens: Of the reply, for how long it takes to say.
    """

    status: int = 200
    headers: Sequence[tuple[bytes, bytes]] = (JSON,)
    acts: Sequence[Act] = field(default=())
    streamed: bool = False
    tokens: int = 0


def whole(value: Any, *, tokens: int = 0) -> Answer:
    """An answer of one JSON value."""
    return Answer(acts=(orjson.dumps(value),), tokens=tokens)
