"""What may be asked, read, done and said: the values policy decides over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from quarterdeck.core.context import Principal
from quarterdeck.core.decisions import Decision, Terms, Value
from quarterdeck.core.extraction import Extraction
from quarterdeck.core.labels import Label
from quarterdeck.core.messages import ToolCall
from quarterdeck.core.tools import Effect, FieldKind, Tool
from quarterdeck.policy.intent import Words

__all__ = ["Bound", "Decider", "Grounds", "Known", "Resolved", "ToolPolicy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """Limits of one argument. Outside them a call is denied.

    Attributes:
        minimum, maximum: Of a number, inclusive.
        one_of: The allowed values.
        earliest, latest: Of a date as ``YYYY-MM-DD``, perhaps with a time behind it; inclusive. Nothing else is inside.
    """

    minimum: float | None = None
    maximum: float | None = None
    one_of: tuple[Any, ...] = ()
    earliest: str | None = None
    latest: str | None = None

    @property
    def is_choice(self) -> bool:
        """True where what is inside is one of few: an enumeration, or a date between two."""
        return bool(self.one_of) or (self.earliest is not None and self.latest is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Values of an argument that an administrator endorses in advance.

    Attributes:
        values: These, to the letter.
        domains: Addresses and links whose host matches one of these patterns.
    """

    values: tuple[Any, ...] = ()
    domains: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolPolicy:
    """A tool's entry in the policy. It starts as what ``@tool`` declared; a policy file can only tighten it.

    Attributes:
        risk: 0 none, 1 low, 2 medium, 3 high.
        roles: Roles that may call it, empty for everybody with the scope.
        approvers: Roles of which one must agree when it needs approval, if `terms` do not say more.
        needs_approval: True: every call of it becomes a draft, whatever the context.
        result_trusted: Its results cannot contain text chosen by outsiders.
        result_public: Its results are known to everybody, as a catalogue is, and so no secret of whoever asked.
        resolver: Its results may ground identity arguments.
        resolver_fields: Field of its results that our own system fills, such as an id, → the argument, of any tool, that it
            grounds where the user's words named what was looked up and one thing was found.
        fields: Path of a field of its results → what it is; of a resolver only the trusted ones ground.
        extraction: What is taken out of its results, which no model sees that can do anything.
        asked: Phrases by which a user asks for it, see `policy.intent`; empty for those its name suggests.
        endorse: Arguments whose values somebody must endorse, where nothing grounds them; approving the call is not enough.
        known: Argument → what an administrator endorses in advance.
        sink: Name of a function in the fixed table that says who can read what it sends; empty for the effect's default.
        expires_s: Seconds a draft of it may wait.
        max_calls: How often one run may call it, None for any number.
        allow_domains: Patterns; the host of every identity argument must match one of them. Empty for any.
    """

    effect: Effect = Effect.WRITE
    risk: int = 2
    scope: str | None = None
    roles: tuple[str, ...] = ()
    approvers: tuple[str, ...] = ()
    terms: Terms | None = None
    needs_approval: bool = False
    result_trusted: bool = False
    result_public: bool = False
    resolver: bool = False
    resolver_fields: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, FieldKind] = field(default_factory=dict)
    extraction: Extraction | None = None
    asked: tuple[str, ...] = ()
    identity_args: tuple[str, ...] = ()
    content_args: tuple[str, ...] = ()
    bounds: Mapping[str, Bound] = field(default_factory=dict)
    endorse: tuple[str, ...] = ()
    known: Mapping[str, Known] = field(default_factory=dict)
    sink: str = ""
    expires_s: float = 3600.0
    max_calls: int | None = None
    allow_domains: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounds:
    """What a call may rest on besides its arguments.

    Attributes:
        words: The user's own typed words, one entry per message.
        resolved: Results of resolver tools.
        ids: Argument → ids our own systems gave to what the user's words named: an entry's id says nothing of a file.
        endorsed: Values a person said are right: each grounds itself, in that argument of that tool.
        known: The same of those the policy endorses; whoever may choose one of them has not thereby been asked for the call.
        calls_made: How often each tool was called in this run.
        read: The same words where they have been read already; None to read them for this call.
        asking: Guards that found something in the arguments and want a person to look.
        intent: Tools the user asked for with what is left of each count, where somebody who knows said so; None: the words
            say it.
    """

    words: tuple[str, ...] = ()
    resolved: tuple[str, ...] = ()
    ids: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    endorsed: tuple[Value, ...] = ()
    known: tuple[Value, ...] = ()
    calls_made: Mapping[str, int] = field(default_factory=dict)
    read: Words | None = None
    asking: tuple[str, ...] = ()
    intent: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """What of a resolver's result may ground arguments.

    Attributes:
        texts: For any argument.
        ids: Argument → id our own system chose, of a result that found one thing only.
    """

    texts: tuple[str, ...] = ()
    ids: Mapping[str, str] = field(default_factory=dict)


class Decider(Protocol):
    """The one decision point, bound to a policy."""

    @property
    def version(self) -> str:
        """Content hash of the policy."""
        ...

    def decide(self, call: ToolCall, tool: Tool | None, label: Label, principal: Principal, grounds: Grounds) -> Decision:
        """Allow, approve or deny one call with validated arguments. Pure; an error inside it is a denial.

        Args:
            tool: The registered tool, None when there is none of that name (deny).
            label: Join of everything the model has seen, except the user's typed words, which are in `grounds`.
        """
        ...

    def resolves(self, tool: Tool) -> bool:
        """True if results of `tool`, or ids in them, may ground identity arguments: declared so, and not taken back."""
        ...

    def resolved(self, tool: Tool, text: str) -> Resolved:
        """What of a result of `tool` may ground arguments, by what is declared of its fields."""
        ...

    def known(self, call: ToolCall, tool: Tool) -> Sequence[Value]:
        """Those values in a call's arguments that an administrator endorsed in advance."""
        ...

    def result_label(self, tool: Tool, arguments: Label, principal: Principal, text: str = "") -> Label:
        """The label of what `tool` returns, joined with that of the context that chose its arguments.

        Args:
            arguments: Join of what the model has seen; the user's own words may be left out, for whom results are anyway.
            text: What it returned, whose fields may make it better or worse than its results are without them.
        """
        ...

    def extraction(self, tool: Tool) -> Extraction | None:
        """What is taken out of results of `tool` in place of showing them; None where they are shown."""
        ...
