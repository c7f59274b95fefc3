"""`decide`: may this call happen, in this context, for this person, resting on these words?

The order of checks, with the ids of their rules:

1. Rights: ``rights.unknown_tool``, ``rights.arguments``, ``rights.scope``, ``rights.role``. Deny.
2. Hard limits: ``limits.bounds``, ``limits.calls``, ``limits.domain``. Deny.
3. Readers: ``readers.sink``, what is sent would reach somebody who may not read it. Approve, or deny if the policy says so.
4. ``approval.risk`` (risk 3, always) and ``approval.required``. Approve.
5. ``effect.read`` and ``effect.local`` (risk 0). Allow.
6. ``context.trusted``: no outsider had a say. Allow.
7. An outsider had a say: ``ground.intent``, ``ground.endorsement``, ``ground.identity``, ``ground.undeclared``,
   ``ground.content``, ``ground.address``, ``ground.nothing``. Approve, or deny if the policy says so.
8. ``context.grounded``. Allow.

Rules of the policy file may make the outcome stricter, under their own ids, and so may guards of arguments (``guard:ID``).
An ``error`` inside denies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

from quarterdeck.core.context import Principal
from quarterdeck.core.decisions import Decision, Value, Verdict
from quarterdeck.core.extraction import Extraction
from quarterdeck.core.ids import canonical_json, content_hash
from quarterdeck.core.labels import PUBLIC, Integrity, Label, Readers
from quarterdeck.core.messages import ToolCall
from quarterdeck.core.tools import Effect, Tool
from quarterdeck.policy.base import Bound, Grounds, Known, Resolved, ToolPolicy
from quarterdeck.policy.fields import grounding_texts, of_fields
from quarterdeck.policy.grounding import Ground, addresses, date_in, host_of, leaves, lines, names_something
from quarterdeck.policy.intent import Words, phrases_of
from quarterdeck.policy.resolving import only_ids
from quarterdeck.policy.rules import Bundle, Rule, bundled, matches, met
from quarterdeck.policy.sinks import audience
from quarterdeck.policy.table import declared, field_names
from quarterdeck.policy.terms import terms_asked

__all__ = ["Policy"]

_STRICTNESS = {Verdict.ALLOW: 0, Verdict.APPROVE: 1, Verdict.DENY: 2}
_EGRESS = (Effect.READ_EGRESS, Effect.WRITE_EGRESS)


@dataclass(frozen=True, slots=True)
class _Finding:
    """What one check found."""

    verdict: Verdict
    rule: str
    reasons: tuple[str, ...]


_GROUNDED = _Finding(Verdict.ALLOW, "context.grounded", ("what it says and whom it concerns stand in the user's words",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A table of tools and rules over it. Two policies of equal content have equal versions.

    Attributes:
        on_violation: APPROVE or DENY, where readers or grounds do not suffice.
        fallback: The entry of a tool that is in no table: a write of risk 2 with an untrusted result.
        version: Hash of everything above.
    """

    table: Mapping[str, ToolPolicy] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    on_violation: Verdict = Verdict.APPROVE
    fallback: ToolPolicy = field(default_factory=ToolPolicy)
    version: str = field(init=False)
    _concerning: Mapping[str, tuple[Bundle, ...]] = field(init=False, repr=False, compare=False)  # rules by the tool's name

    def __post_init__(self) -> None:
        content = {
            "table": {name: asdict(entry) for name, entry in self.table.items()},
            "rules": [asdict(rule) for rule in self.rules],
            "on_violation": self.on_violation,
            "fallback": asdict(self.fallback),
        }
        object.__setattr__(self, "version", content_hash(content))
        concerning = {name: self._rules_of(name, entry) for name, entry in self.table.items()}
        object.__setattr__(self, "_concerning", concerning)

    @classmethod
    def default(cls, tools: Iterable[Tool] = ()) -> Policy:
        """What the tools declare of themselves, and nothing else. Raises Misconfigured for a wrong declaration."""
        return cls(table={tool.name: declared(tool) for tool in tools})

    def entry(self, tool: Tool) -> ToolPolicy:
        """What counts for `tool`; one the policy was not made for gets no more than the fallback."""
        known = self.table.get(tool.name)
        if known is not None:
            return known
        fallback = self.fallback
        return replace(
            fallback,
            scope=tool.scope or fallback.scope,
            risk=max(tool.risk, fallback.risk),
            needs_approval=tool.needs_approval or fallback.needs_approval,
        )

    def decide(self, call: ToolCall, tool: Tool | None, label: Label, principal: Principal, grounds: Grounds) -> Decision:
        """Allow, approve or deny one call; see the top of this file."""
        try:
            return self._decide(call, tool, label, principal, grounds)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a call or a policy, it must not be allowed
            why = f"the policy could not decide: {type(error).__name__}"
            return Decision(
                call_id=call.id, verdict=Verdict.DENY, rule="error", policy_version=self.version, label=label, reasons=(why,)
            )

    def resolves(self, tool: Tool) -> bool:
        """True if results of `tool`, or ids in them, may ground identity arguments."""
        entry = self.entry(tool)
        return entry.extraction is None and (entry.resolver or bool(entry.resolver_fields))

    def resolved(self, tool: Tool, text: str) -> Resolved:
        """All of a resolver's text, or its trusted fields where fields are declared; and ids, where one thing was found."""
        entry = self.entry(tool)
        if entry.extraction is not None:  # what was taken out of a text is whatever its writer made it
            return Resolved()
        texts = grounding_texts(text, entry) if entry.resolver else ()
        return Resolved(texts=texts, ids=only_ids(text, entry.resolver_fields) if entry.resolver_fields else {})

    def known(self, call: ToolCall, tool: Tool) -> Sequence[Value]:
        """Those values in a call's arguments that stand in a list of the policy file, or belong to a domain of one."""
        return [
            Value(tool=tool.name, argument=name, value=leaf)
            for name, known in self.entry(tool).known.items()
            for leaf in leaves(call.args.get(name))
            if _is_known(leaf, known)
        ]

    def result_label(self, tool: Tool, arguments: Label, principal: Principal, text: str = "") -> Label:
        """Trusted or public only if declared so, else for the caller's eyes; joined with what the arguments came from."""
        entry = self.entry(tool)
        user = f"user:{principal.user}"
        trusted, readers = entry.result_trusted, PUBLIC if entry.result_public else Readers.of(user)
        if entry.fields:
            trusted, readers = of_fields(text, entry, user)
        integrity = Integrity.TRUSTED if trusted else Integrity.UNTRUSTED
        return Label(integrity=integrity, readers=readers, sources=(f"tool:{tool.name}",)).join(arguments)

    def extraction(self, tool: Tool) -> Extraction | None:
        """What is taken out of results of `tool`."""
        return self.entry(tool).extraction

    def _decide(self, call: ToolCall, tool: Tool | None, label: Label, principal: Principal, grounds: Grounds) -> Decision:
        if tool is None:
            finding = _Finding(Verdict.DENY, "rights.unknown_tool", (f"there is no tool {call.name[:64]}",))
            return self._decision(call, label, finding, self.fallback)
        entry = self.entry(tool)
        case = _Case(call, tool, entry, label, principal, grounds, self.on_violation)
        finding = case.finding()
        asked: list[tuple[str, ...]] = []
        rules = self._concerning.get(tool.name)
        for rule in met(self._rules_of(tool.name, entry) if rules is None else rules, label, call.args):
            asked.append(rule.approvers)
            if _STRICTNESS[rule.verdict] > _STRICTNESS[finding.verdict]:
                finding = _Finding(rule.verdict, rule.id, (f"rule {rule.id} of the policy asks for it",))
        if grounds.asking and finding.verdict is Verdict.ALLOW:
            why = (f"the guard {name} found something in the arguments" for name in grounds.asking)
            finding = _Finding(Verdict.APPROVE, f"guard:{grounds.asking[0]}", (*finding.reasons, *why))
        decision = self._decision(call, label, finding, entry)
        if finding.verdict is not Verdict.APPROVE:
            return decision
        terms = terms_asked(entry, asked)
        reached = audience(entry.sink, entry.effect, call.args, principal)
        sink = ("everybody",) if reached is None else tuple(reached)
        named = tuple(dict.fromkeys((*entry.approvers, *(name for by in asked for name in by))))
        return replace(decision, terms=terms, approvers=named, risk=entry.risk, sink=sink, endorse=tuple(case.unendorsed()))

    def _rules_of(self, name: str, entry: ToolPolicy) -> tuple[Bundle, ...]:
        return bundled([rule for rule in self.rules if rule.concerns(name, entry)])

    def _decision(self, call: ToolCall, label: Label, finding: _Finding, entry: ToolPolicy) -> Decision:
        return Decision(
            call_id=call.id,
            verdict=finding.verdict,
            rule=finding.rule,
            policy_version=self.version,
            label=label,
            reasons=finding.reasons,
            expires_s=entry.expires_s,
        )


class _Case:
    """One call before the policy: everything the checks look at."""

    def __init__(
        self,
        call: ToolCall,
        tool: Tool,
        entry: ToolPolicy,
        label: Label,
        principal: Principal,
        grounds: Grounds,
        on_violation: Verdict,
    ) -> None:
        self.call = call
        self.tool = tool
        self.entry = entry
        self.label = label
        self.principal = principal
        self.grounds = grounds
        self.on_violation = on_violation
        self.words = grounds.read or Words(grounds.words)
        # The user's words and what resolver tools said.
        self.ground = Ground((*grounds.words, *grounds.resolved)) if grounds.resolved else self.words

    @cached_property
    def fields(self) -> frozenset[str]:
        return field_names(self.tool.input_schema)

    def _leaves(self, value: Any) -> Iterable[Any]:
        """`leaves`, where the keys of the tool's schema are none; the schema is read for values that can have keys only."""
        return (value,) if isinstance(value, str | int | float) else leaves(value, self.fields)

    @cached_property
    def endorsed(self) -> frozenset[tuple[str, str]]:
        """(argument, value as it stands in JSON) of those a person endorsed for this tool."""
        return self._of_this_tool(self.grounds.endorsed)

    @cached_property
    def known(self) -> frozenset[tuple[str, str]]:
        """The same of those the policy endorses."""
        return self._of_this_tool(self.grounds.known)

    def _of_this_tool(self, values: Iterable[Value]) -> frozenset[tuple[str, str]]:
        mine = (each for each in values if each.tool == self.tool.name)
        return frozenset((each.argument, canonical_json(each.value)) for each in mine)

    def unendorsed(self) -> Iterator[Value]:
        """The values policy wants endorsed and nobody has: where no outsider had a say there are none."""
        if self.label.integrity is not Integrity.UNTRUSTED:
            return
        for name in self.entry.endorse:
            for leaf in leaves(self.call.args.get(name)):
                if names_something(leaf) and not self._grounds(name, leaf):
                    yield Value(tool=self.tool.name, argument=name, value=leaf)

    def finding(self) -> _Finding:
        """The verdict: what the first of the checks finds that finds something."""
        return self._rights() or self._limits() or self._readers() or self._by_kind() or self._grounded() or _GROUNDED

    def _rights(self) -> _Finding | None:
        entry, principal = self.entry, self.principal
        if self.call.malformed is not None:
            return _Finding(Verdict.DENY, "rights.arguments", ("the arguments could not be read",))
        if entry.scope is not None and entry.scope not in principal.scopes:
            return _Finding(Verdict.DENY, "rights.scope", (f"{principal.user} lacks the right {entry.scope}",))
        if entry.roles and set(entry.roles).isdisjoint(principal.roles):
            return _Finding(Verdict.DENY, "rights.role", (f"only {', '.join(entry.roles)} may call {self.tool.name}",))
        return None

    def _limits(self) -> _Finding | None:
        entry, args = self.entry, self.call.args
        outside = [
            f"{name} = {_shown(leaf)} is outside {_span(bound)}"
            for name, bound in entry.bounds.items()
            for leaf in leaves(args.get(name))
            if leaf is not None and not _inside(leaf, bound)
        ]
        if outside:
            return _Finding(Verdict.DENY, "limits.bounds", tuple(outside))
        made = self.grounds.calls_made.get(self.tool.name, 0)
        if entry.max_calls is not None and made >= entry.max_calls:
            why = f"{self.tool.name} was called {made} times in this run and may be called {entry.max_calls} times"
            return _Finding(Verdict.DENY, "limits.calls", (why,))
        if entry.allow_domains:
            named = [
                leaf for name in entry.identity_args for leaf in leaves(args.get(name)) if isinstance(leaf, str) and leaf
            ]
            if foreign := [leaf for leaf in named if not _allowed(leaf, entry.allow_domains)]:
                why = f"{_shown(foreign[0])} is not within {', '.join(entry.allow_domains)}"
                return _Finding(Verdict.DENY, "limits.domain", (why,))
        return None

    def _readers(self) -> _Finding | None:
        """What is sent must be readable for whoever gets it.

        What the user typed may go to the recipients the user typed, and carries nothing else along; anything besides brings
        the readers of all the model has seen. A write that declares no sink stays among the systems the user works in: as
        long as no outsider had a say, it is taken to go where the user's words lead.
        """
        entry = self.entry
        if not entry.sink and entry.effect not in _EGRESS and self.label.integrity is not Integrity.UNTRUSTED:
            return None
        reached = audience(entry.sink, entry.effect, self.call.args, self.principal)
        if reached is not None and not reached:
            return None
        needed = self.label.readers if self._carries_more_than_words() else Readers()
        if reached is None:
            if needed.is_public:
                return None
            why = f"{self.tool.name} sends to anybody what only {_named(needed)} may read"
            return _Finding(self.on_violation, "readers.sink", (why,))
        if any(reached.values()):
            typed = (name for name, value in reached.items() if value and self.words.holds(value))
            needed = needed.meet(Readers.of(f"user:{self.principal.user}", *typed))
        outside = [value or name for name, value in reached.items() if not needed.admits(self._names(name))]
        if not outside:
            return None
        why = f"{', '.join(map(_shown, outside))} would read what only {_named(needed)} may read"
        return _Finding(self.on_violation, "readers.sink", (why,))

    def _by_kind(self) -> _Finding | None:
        """What the kind of tool decides, and the context as a whole."""
        entry = self.entry
        if entry.risk >= 3:
            return _Finding(Verdict.APPROVE, "approval.risk", ("a tool of risk 3 always needs approval",))
        if entry.needs_approval:
            return _Finding(Verdict.APPROVE, "approval.required", (f"{self.tool.name} needs approval",))
        if entry.effect is Effect.READ:
            return _Finding(Verdict.ALLOW, "effect.read", ())
        if entry.effect is Effect.WRITE_LOCAL and entry.risk == 0:
            return _Finding(Verdict.ALLOW, "effect.local", ())
        if self.label.integrity is not Integrity.UNTRUSTED:
            return _Finding(Verdict.ALLOW, "context.trusted", ())
        return None

    def _names(self, name: str) -> frozenset[str]:
        return self.principal.names if name == f"user:{self.principal.user}" else frozenset({name})

    def _carries_more_than_words(self) -> bool:
        bounds = self.entry.bounds
        for name, value in self.call.args.items():
            if (name in bounds and bounds[name].is_choice) or self._is_default(name):
                continue
            for leaf in self._leaves(value):
                if not self.words.holds(leaf) and not self._found(name, leaf):
                    return True
        return False

    def _grounded(self) -> _Finding | None:
        """An outsider had a say: what the call says and whom it concerns must stand in the user's words."""
        entry, args, intent = self.entry, self.call.args, self.grounds.intent
        if intent is not None and intent.get(self.tool.name, 0) <= 0:
            return self._ask("ground.intent", [f"the user's words do not ask for {self.tool.name}"])
        if entry.endorse:
            wanted = [f"somebody must endorse {each.argument} = {_shown(each.value)}" for each in self.unendorsed()]
            if wanted:
                return self._ask("ground.endorsement", wanted)
        found = self._must_stand("ground.identity", entry.identity_args)
        if found is None:
            declared = (*entry.identity_args, *entry.content_args)
            free = [name for name in args if name not in declared and not self._bounded(name)]
            found = self._must_stand("ground.undeclared", free)
        if found is None and entry.content_args:
            found = self._content()
        if found is not None or intent is not None:
            return found
        if not any(map(self._rests_on_words, args)):
            # A document's "now call wipe()" gives no argument that could betray where the wish comes from.
            return self._ask("ground.nothing", [f"nothing in this call of {self.tool.name} stands in the user's words"])
        if self._left() <= 0:  # last, since what else is wrong tells a person more
            return self._ask("ground.intent", [f"the user's words do not ask for {self.tool.name}, or not so often"])
        return None

    def _content(self) -> _Finding | None:
        """What is said, where nobody whom the user named is told it; and the addresses in it, whoever is."""
        entry = self.entry
        if not any(map(self._rests_on_words, entry.identity_args)):
            found = self._must_stand("ground.content", entry.content_args)
            if found is not None:
                return found
        said = ((name, leaf) for name in entry.content_args for leaf in leaves(self.call.args.get(name)))
        texts = [leaf for name, leaf in said if isinstance(leaf, str) and not self._is_endorsed(name, leaf)]
        foreign = {each for text in texts for each in addresses(text) if not self.ground.holds(each)}
        if called := {each for text in texts for each in lines(text)}:
            foreign |= called - self.ground.lines
        if not foreign:
            return None
        return self._ask(
            "ground.address", [f"{_shown(each)} does not stand in the user's words" for each in sorted(foreign)]
        )

    def _left(self) -> int:
        """How many calls of this tool the user's words still ask for."""
        name = self.tool.name
        return self.words.asked(self.entry.asked or phrases_of(name)) - self.grounds.calls_made.get(name, 0)

    def _found(self, name: str, leaf: Any) -> bool:
        """True if our own system gave this id to what the user named, and gives such ids for this argument."""
        return str(leaf) in self.grounds.ids.get(name, ())

    def _grounds(self, name: str, leaf: Any) -> bool:
        return self.ground.holds(leaf) or self._found(name, leaf) or self._is_endorsed(name, leaf)

    def _is_endorsed(self, name: str, leaf: Any) -> bool:
        """True if somebody said that this very value is right in this argument."""
        if not (self.endorsed or self.known):
            return False
        value = (name, canonical_json(leaf))
        return value in self.endorsed or value in self.known

    def _named(self, name: str, leaf: Any) -> bool:
        """True if a person meant it; that the policy knows it says nothing of who did."""
        if self.ground.holds(leaf) or self._found(name, leaf):
            return True
        return bool(self.endorsed) and (name, canonical_json(leaf)) in self.endorsed

    def _must_stand(self, rule: str, names: Iterable[str]) -> _Finding | None:
        missing = [
            f"{name} = {_shown(leaf)} does not stand in the user's words"
            for name in names
            if not self._is_default(name)
            for leaf in self._leaves(self.call.args.get(name))
            if not self._grounds(name, leaf)
        ]
        return self._ask(rule, missing) if missing else None

    def _rests_on_words(self, name: str) -> bool:
        """True if somebody named something by this argument: a default, a truth value and a blank text name nothing."""
        return not self._is_default(name) and any(
            names_something(leaf) and self._named(name, leaf) for leaf in self._leaves(self.call.args.get(name))
        )

    def _is_default(self, name: str) -> bool:
        """What the tool's author chose needs no ground, and tells nobody anything."""
        node = self.tool.input_schema.get("properties", {}).get(name, {})
        return "default" in node and bool(node["default"] == self.call.args.get(name))

    def _bounded(self, name: str) -> bool:
        """Inside its limits a number or choice is harmless whoever made it; outside it was denied already."""
        bound = self.entry.bounds.get(name)
        if bound is None or (not bound.is_choice and bound.maximum is None):
            return False
        # A maximum alone leaves room without end below nothing.
        if bound.is_choice or bound.minimum is not None:
            return True
        return all(leaf is None or leaf >= 0 for leaf in leaves(self.call.args.get(name)))

    def _ask(self, rule: str, reasons: list[str]) -> _Finding:
        return _Finding(self.on_violation, rule, tuple(reasons[:8]))


def _inside(value: Any, bound: Bound) -> bool:
    if bound.one_of and value not in bound.one_of:
        return False
    if bound.earliest is not None or bound.latest is not None:
        date = date_in(value)
        return date is not None and (bound.earliest or date) <= date <= (bound.latest or date)
    if bound.minimum is None and bound.maximum is None:
        return True
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return (bound.minimum is None or value >= bound.minimum) and (bound.maximum is None or value <= bound.maximum)


def _is_known(leaf: Any, known: Known) -> bool:
    if any(leaf == value and type(leaf) is type(value) for value in known.values):
        return True
    return isinstance(leaf, str) and bool(known.domains) and _allowed(leaf, known.domains)


def _allowed(address: str, domains: tuple[str, ...]) -> bool:
    host = host_of(address)
    return host is not None and any(matches(domain.lower(), host) for domain in domains)


def _span(bound: Bound) -> str:
    if bound.one_of:
        return ", ".join(map(_shown, bound.one_of[:10]))
    if bound.earliest or bound.latest:
        return f"the dates {bound.earliest or 'any'} to {bound.latest or 'any'}"
    least = "any" if bound.minimum is None else f"{bound.minimum:g}"
    most = "any" if bound.maximum is None else f"{bound.maximum:g}"
    return f"{least} to {most}"


def _named(readers: Readers) -> str:
    return " and ".join(" or ".join(clause) or "nobody" for clause in readers.clauses)


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
