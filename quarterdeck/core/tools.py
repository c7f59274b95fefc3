"""A tool: something an agent may do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from quarterdeck.core.context import Principal
from quarterdeck.core.errors import Forbidden
from quarterdeck.core.extraction import Extraction
from quarterdeck.core.propagation import carried

__all__ = ["Effect", "FieldKind", "Progress", "Tool", "ToolContext"]

FieldKind = Literal["trusted", "untrusted", "readers"]
"""Of a field of a result: our own system fills it, outsiders may write it, or it names who may read what it stands in."""


class Effect(StrEnum):
    """What a tool does to the world. A fetch of an address the model chose is `READ_EGRESS`, not a read."""

    READ = "read"
    READ_EGRESS = "read_egress"
    WRITE_LOCAL = "write_local"
    WRITE = "write"
    WRITE_EGRESS = "write_egress"


Progress = Callable[[str], Awaitable[None]]


async def _silence(text: str) -> None:
    """Progress that nobody watches."""


def _no_secret(name: str) -> str:
    """The secrets of a tool that may have none."""
    raise Forbidden(f"this tool has no secret {name!r}: declare it in `secrets`, and name the tool there")


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolContext:
    """The surroundings of a call, for a tool that asks for them with a parameter ``ctx: ToolContext``.

    Attributes:
        principal: On whose behalf it acts.
        idempotency_key: The same on every repeat of this call, and for a tool with a key on every call for the same business
            operation: hand it to the target.
        deadline: Monotonic seconds.
        emit: Report progress to whoever watches the run.
        trace_id, request_id, tags: Of the request the run answers.
        secret: Gives the value of a secret the configuration lets this tool have; raises Forbidden for any other. What the
            tool returns, reports or fails with is freed of it.
    """

    principal: Principal
    run_id: str
    call_id: str
    idempotency_key: str
    deadline: float
    emit: Progress = _silence
    trace_id: str | None = None
    request_id: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    secret: Callable[[str], str] = field(default=_no_secret, repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """What a call to another service carries so that it is part of the same trace: W3C context, request id, tags."""
        return carried(self.trace_id, self.tags, request_id=self.request_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A named function with a schema and what policy must know of it. What is not declared counts as dangerous.

    Attributes:
        input_schema: JSON Schema 2020-12 of the arguments, type object.
        bind: Validates decoded arguments and returns them normalised, as JSON values (raises InvalidArguments).
        run: Executes validated arguments; a returned tuple of ``Passage`` becomes citable.
        risk: 0 none, 1 low, 2 medium, 3 high.
        idempotent: The target deduplicates by the idempotency key; a started call of any other write is never repeated.
        key_args: Arguments that name the business operation: among runs of a tenant, calls equal in these have one effect.
        identity_args: Who and where: recipient, path, url, account, id.
        content_args: Free text that goes out.
        scope: Right the caller must hold, None if none.
        trusted: Its results cannot contain text chosen by outsiders (security rule 9).
        resolver: Its results may ground identity arguments (contacts, own profile).
        resolver_fields: Field of its results that our own system fills, such as an id → the argument, of any tool, that it
            grounds where the user's words named what was looked up and one thing was found.
        fields: Path of a field of its results → what it is.
        extraction: What is taken out of its results; a model that can do nothing reads them, and no other does.
        timeout_s: Seconds one execution may take.
        retries: How often a read is tried again after a time-out.
        max_output_chars: Longer output is cut, with a marker.
        needs_approval: Every call becomes a draft, whatever the context.
        sink: Who can read what it sends, by a name of the policy's table of sinks; empty for the effect's default.
        undo: Name of the tool that takes back what a call of it did; empty where nothing does.
        declared: Its author stated the effect. A policy file can only tighten that; of other tools it says what they are.
    """

    name: str
    description: str
    input_schema: Mapping[str, Any]
    bind: Callable[[Mapping[str, Any]], dict[str, Any]]
    run: Callable[[dict[str, Any], ToolContext], Awaitable[Any]]
    effect: Effect = Effect.WRITE
    risk: int = 2
    idempotent: bool = False
    key_args: tuple[str, ...] = ()
    identity_args: tuple[str, ...] = ()
    content_args: tuple[str, ...] = ()
    scope: str | None = None
    trusted: bool = False
    resolver: bool = False
    resolver_fields: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, FieldKind] = field(default_factory=dict)
    extraction: Extraction | None = None
    timeout_s: float = 30.0
    retries: int = 0
    max_output_chars: int = 20_000
    needs_approval: bool = False
    sink: str = ""
    undo: str = ""
    declared: bool = False
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_read(self) -> bool:
        """True when repeating it changes nothing in the world."""
        return self.effect in (Effect.READ, Effect.READ_EGRESS)
