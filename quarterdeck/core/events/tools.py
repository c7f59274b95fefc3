"""What becomes of the calls a model makes: decided, begun, read, returned, or nobody knows."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar, Literal

from quarterdeck.core.decisions import Decision
from quarterdeck.core.messages import ToolResult
from quarterdeck.core.usage import Usage

__all__ = ["Decided", "DoubtResolved", "Extracted", "InDoubt", "ToolReturned", "ToolStarted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """Policy's answers for the calls of one turn.

    Attributes:
        revision: 0 for the calls as the model made them; one more each time some of them are decided again, because a person
            approved them, or because another worker took the run and rights may have changed.
    """

    kind: ClassVar[str] = "decided"
    turn: int
    decisions: tuple[Decision, ...]
    revision: int = 0
    v: int = 1

    @property
    def key(self) -> str:
        return f"p:{self.turn}" if not self.revision else f"p:{self.turn}:{self.revision}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolStarted:
    """A call that may change the world is about to be executed. Durable before the effect.

    Attributes:
        idempotent: Its target deduplicates by `idem_key`, so that after a crash it is called again.
        operation: Id of the business operation, for a tool that has a key for those; it is the `idem_key` then.
        behind: Set where nothing was executed, because another call had begun the operation and nobody knows its end:
            version of the operation's row, so that what a person says of it counts for that attempt only.
    """

    kind: ClassVar[str] = "tool_started"
    id: str
    name: str
    args_hash: str
    idem_key: str
    attempt: int
    timeout_s: float
    idempotent: bool = False
    operation: str | None = None
    behind: int | None = None
    v: int = 1

    @property
    def key(self) -> str:
        return f"s:{self.id}:{self.attempt}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracted:
    """A model that can do nothing read what a call returned; the values it took out of it are the call's result.

    Attributes:
        model: That read it, empty if none could.
        bits: How much an outsider could say by what was endorsed; 0 where nothing was.
        dropped: Values that were none of the declared kind, and so count as not said.
        problem: Code of the error why there are no values, empty where there are.
    """

    kind: ClassVar[str] = "extracted"
    id: str
    model: str = ""
    usage: Usage = field(default_factory=Usage)
    bits: float = 0.0
    dropped: tuple[str, ...] = ()
    problem: str = ""
    v: int = 1

    @property
    def key(self) -> str:
        return f"y:{self.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolReturned:
    """What came of a call."""

    kind: ClassVar[str] = "tool_result"
    result: ToolResult
    v: int = 1

    @property
    def key(self) -> str:
        return f"r:{self.result.call_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class InDoubt:
    """A write was started, its worker died, and its target cannot deduplicate: a person must say what happened.

    Attributes:
        started_seq: Seq of the `ToolStarted` this is about; an answer belongs to that one attempt.
        not_before: Until then a zombie may still be executing it, and no answer is taken.
    """

    kind: ClassVar[str] = "in_doubt"
    id: str
    started_seq: int
    not_before: datetime
    v: int = 1

    @property
    def key(self) -> str:
        return f"i:{self.id}:{self.started_seq}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DoubtResolved:
    """A person said what became of a started write.

    Attributes:
        outcome: `done` it happened, `repeat` do it again, `failed` it did not happen and shall not.
        output: What it gave, as far as the person knows, when done.
    """

    kind: ClassVar[str] = "doubt_resolved"
    id: str
    started_seq: int
    outcome: Literal["done", "repeat", "failed"]
    by: str
    output: str = ""
    v: int = 1

    @property
    def key(self) -> str:
        return f"u:{self.id}:{self.started_seq}"
