"""Policy files: a table and rules that people can read, checked as a whole before anything is decided by them.

A file says of a declared tool only what makes it stricter; of a tool nobody declared (a bare function, a tool of an MCP
server) it says what it is. Every error is reported at once, with file and line.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from quarterdeck.core.decisions import Verdict
from quarterdeck.core.errors import Misconfigured
from quarterdeck.core.labels import Integrity
from quarterdeck.core.tools import Effect, FieldKind, Tool
from quarterdeck.policy import approvals_file
from quarterdeck.policy.approvals_file import Approvals
from quarterdeck.policy.base import Bound, Known, ToolPolicy
from quarterdeck.policy.decide import Policy
from quarterdeck.policy.extracts import Extract, extraction_of
from quarterdeck.policy.rules import Comparison, Rule, comparison, matches
from quarterdeck.policy.table import check_sink, declared, takes_number, takes_text, values_taken
from quarterdeck.policy.terms import everybody_named

if TYPE_CHECKING:
    from quarterdeck.store.strict_yaml import YamlDocument

__all__ = ["load_policy"]

_SEVERITY = (Effect.READ, Effect.WRITE_LOCAL, Effect.WRITE, Effect.READ_EGRESS, Effect.WRITE_EGRESS)
_MAX_WAIT_S = 30 * 86400.0

Risk = Annotated[int, Field(ge=0, le=3)]
Wait = Annotated[float, Field(gt=0, le=_MAX_WAIT_S)]
Violation = Literal["approve", "deny"]
Day = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
Phrase = Annotated[str, Field(pattern=r"\S", max_length=400)]
Trust = Literal["trusted", "untrusted"]
FieldPath = Annotated[str, Field(pattern=r"^[^.]+(\.[^.]+)*$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Result(_Strict):
    """`readers: from_acl` says what is always so: passages carry the access list of their document."""

    integrity: Trust | None = None  # untrusted, unless only fields are spoken of
    readers: Literal["from_acl", "user", "public"] | None = None
    fields: dict[FieldPath, FieldKind] = {}


class _Resolver(_Strict):
    """`fields`: a field that our own system fills → the argument of other tools that its value is for."""

    fields: Annotated[dict[str, str], Field(min_length=1)]


class _Bound(_Strict):
    min: float | None = None
    max: float | None = None
    earliest: Day | None = None
    latest: Day | None = None
    one_of: list[str | float | bool] = []


class _Known(_Strict):
    values: list[str | int | float] = []
    domains: list[str] = []


class _Entry(_Strict):
    effect: Effect | None = None
    risk: Risk | None = None
    scope: str | None = None
    roles: list[str] = []
    approvals: Approvals | None = None
    needs_approval: bool | None = None
    result: Trust | _Result | None = None
    resolver: bool | _Resolver | None = None
    asked: list[Phrase] = []
    identity: list[str] | None = None
    content: list[str] | None = None
    bounds: dict[str, _Bound] = {}
    endorse: list[str] = []
    known: dict[str, _Known] = {}
    extract: Extract | None = None
    sink: str | None = None
    expires_s: Wait | None = None
    max_calls: Annotated[int, Field(ge=0)] | None = None
    allow_domains: list[str] = []

    @property
    def trusted(self) -> bool | None:
        if self.result is None:
            return None
        if isinstance(self.result, str):
            return self.result == "trusted"
        if self.result.integrity is None and self.result.fields:
            return None
        return self.result.integrity == "trusted"

    @property
    def public(self) -> bool:
        return isinstance(self.result, _Result) and self.result.readers == "public"

    @property
    def fields(self) -> Mapping[str, FieldKind]:
        return self.result.fields if isinstance(self.result, _Result) else {}

    @property
    def resolves(self) -> bool | None:
        return False if isinstance(self.resolver, _Resolver) else self.resolver

    @property
    def resolver_fields(self) -> Mapping[str, str]:
        return self.resolver.fields if isinstance(self.resolver, _Resolver) else {}


class _Defaults(_Strict):
    """Of tools without an entry: never less than a write of risk 2 with an untrusted result."""

    result: Literal["untrusted"] = "untrusted"
    effect: Literal["write", "write_egress"] = "write"
    risk: Annotated[int, Field(ge=2, le=3)] = 2
    on_violation: Violation = "approve"
    expires_s: Wait = 3600.0


class _Rule(_Strict):
    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    when: dict[str, str | bool | float]
    then: Violation
    by: str | list[str] = []


class _File(_Strict):
    policy: Literal["v1"]
    defaults: _Defaults = _Defaults()
    tools: dict[str, _Entry] = {}
    rules: list[_Rule] = []


def load_policy(text: str, source: str, tools: Iterable[Tool]) -> Policy:
    """Read a policy file over the declarations of `tools`; `source` is its name in error messages.

    Raises:
        Misconfigured: The file is no policy, or loosens a declaration; one line per problem, each ``file:line: what``.
    """
    from quarterdeck.store.strict_yaml import read_yaml  # PyYAML comes with the server extra

    document = read_yaml(text, source)
    file = _parsed(document)
    known = {tool.name: tool for tool in tools}
    problems = _Problems(document)
    fallback = ToolPolicy(effect=Effect(file.defaults.effect), risk=file.defaults.risk, expires_s=file.defaults.expires_s)
    table = {name: replace(declared(tool), expires_s=file.defaults.expires_s) for name, tool in known.items()}
    for name, entry in file.tools.items():
        if name not in known:
            similar = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {similar[0]}?" if similar else f"there are {', '.join(known) or 'none'}"
            problems.add(("tools", name), f"there is no tool {name!r}; {hint}")
            continue
        before = len(problems.found)
        for key, why in _contradictions(known[name], entry):
            problems.add(("tools", name, key), f"tools.{name}.{key}: {why}")
        if entry.approvals is not None:
            waits_s = entry.expires_s or table[name].expires_s
            for why in approvals_file.problems(entry.approvals, waits_s):
                problems.add(("tools", name, "approvals"), f"tools.{name}.approvals: {why}")
        if len(problems.found) == before:
            table[name] = _tightened(table[name], entry, known[name])
    rules = tuple(rule for position, each in enumerate(file.rules) if (rule := _rule(each, position, problems)) is not None)
    for position, each in enumerate(file.rules):
        if any(each.id == earlier.id for earlier in file.rules[:position]):
            problems.add(("rules", position, "id"), f"rules.{position}.id: there is a rule {each.id} already")
    for position, rule in enumerate(rules if len(rules) == len(file.rules) else ()):
        for key, why in _never_holds(rule, known.values()):
            problems.add(("rules", position, "when", key), f"rules.{position}.when.{key}: {why}")
    problems.raise_any()
    return Policy(table=table, rules=rules, on_violation=Verdict(file.defaults.on_violation), fallback=fallback)


class _Problems:
    """What is wrong with a file, told all at once."""

    def __init__(self, document: YamlDocument) -> None:
        self.document = document
        self.found: list[tuple[int, str]] = []

    def add(self, path: Sequence[str | int], text: str) -> None:
        self.found.append((self.document.line(path), text))

    def raise_any(self) -> None:
        if self.found:
            raise Misconfigured("\n".join(f"{self.document.source}:{line}: {text}" for line, text in sorted(self.found)))


def _parsed(document: YamlDocument) -> _File:
    try:
        return _File.model_validate_json(json.dumps(document.data), strict=True)
    except ValidationError as error:
        problems = _Problems(document)
        for problem in error.errors(include_url=False, include_context=False, include_input=False):
            path = problem["loc"]
            text = {"extra_forbidden": "unknown key", "missing": "is missing"}.get(problem["type"], problem["msg"])
            problems.add(path, f"{'.'.join(map(str, path)) or 'the file'}: {text}")
        problems.raise_any()
        raise


def _contradictions(tool: Tool, entry: _Entry) -> Iterator[tuple[str, str]]:
    """(key, why) of whatever names what the tool does not have, or loosens what its author declared."""
    known = tool.input_schema.get("properties", {})
    naming = {"identity": entry.identity, "content": entry.content, "bounds": entry.bounds}
    for key, named in (naming | {"endorse": entry.endorse, "known": entry.known}).items():
        if missing := [name for name in named or () if name not in known]:
            yield key, f"{tool.name} takes no argument {', '.join(missing)}; it takes {', '.join(known) or 'none'}"
    for name, bound in entry.bounds.items():
        if _empty(declared(tool).bounds.get(name), bound):
            yield "bounds", f"the bounds of {name} leave no value of those {tool.name} takes"
    if entry.allow_domains and not (entry.identity or tool.identity_args):
        yield "allow_domains", f"{tool.name} has no identity argument whose domain could be checked"
    if entry.sink is not None:
        try:
            check_sink(entry.sink, tool)
        except Misconfigured as error:
            yield "sink", str(error)
    if entry.extract is not None:
        try:
            extraction_of(entry.extract, tool, entry.effect or tool.effect)
        except Misconfigured as error:
            yield "extract", str(error)
    if tool.declared:
        yield from _loosened(tool, entry)


def _loosened(tool: Tool, entry: _Entry) -> Iterator[tuple[str, str]]:
    can = "a policy file can only tighten that"
    if entry.effect is not None and _SEVERITY.index(entry.effect) < _SEVERITY.index(tool.effect):
        yield "effect", f"{tool.name} declares {tool.effect}; {can}"
    if entry.risk is not None and entry.risk < tool.risk:
        yield "risk", f"{tool.name} declares risk {tool.risk}; {can}"
    if entry.scope is not None and tool.scope not in (None, entry.scope):
        yield "scope", f"{tool.name} declares {tool.scope}; {can}, so use roles beside it"
    if entry.needs_approval is False and tool.needs_approval:
        yield "needs_approval", f"{tool.name} declares that it needs approval; {can}"
    if entry.trusted and not tool.trusted:
        yield "result", f"{tool.name} does not declare a trusted result; {can}"
    if entry.public:
        yield "result", f"{tool.name} is declared, so its results are for its caller; {can}"
    if better := [path for path, kind in entry.fields.items() if kind != "untrusted" and tool.fields.get(path) != kind]:
        yield "result", f"{tool.name} does not declare what {', '.join(better)} would be; {can}"
    if entry.resolver and not tool.resolver and not _among(entry, tool):
        yield "resolver", f"{tool.name} does not declare itself a resolver; {can}"
    if entry.identity is not None and (left := [name for name in tool.identity_args if name not in entry.identity]):
        yield "identity", f"{tool.name} declares {', '.join(left)} too; {can}"
    if entry.content is not None and (new := [name for name in entry.content if name not in tool.content_args]):
        yield "content", f"{tool.name} does not declare {', '.join(new)}; {can}"
    if entry.sink is not None and entry.sink not in (tool.sink, "everybody"):
        yield "sink", f"{tool.name} declares {tool.sink or 'none, so everybody'}; {can}"


def _among(entry: _Entry, tool: Tool) -> bool:
    """True if the ids that ground are some of those the tool's author named."""
    return not entry.resolves and entry.resolver_fields.items() <= tool.resolver_fields.items()


def _tightened(base: ToolPolicy, entry: _Entry, tool: Tool) -> ToolPolicy:
    """`base` with what `entry` says; bounds of both hold."""
    identity = base.identity_args if entry.identity is None else tuple(entry.identity)
    content = base.content_args if entry.content is None else tuple(entry.content)
    expires_s = entry.expires_s or base.expires_s
    terms = None if entry.approvals is None else approvals_file.written(entry.approvals, expires_s)
    return replace(
        base,
        effect=entry.effect or base.effect,
        risk=base.risk if entry.risk is None else entry.risk,
        scope=entry.scope or base.scope,
        roles=tuple(entry.roles),
        approvers=() if terms is None else everybody_named(terms),
        terms=terms,
        needs_approval=base.needs_approval if entry.needs_approval is None else entry.needs_approval,
        result_trusted=base.result_trusted if entry.trusted is None else entry.trusted,
        result_public=entry.public,
        resolver=base.resolver if entry.resolves is None else entry.resolves,
        resolver_fields=base.resolver_fields if entry.resolver is None else entry.resolver_fields,
        fields={**base.fields, **entry.fields},
        extraction=base.extraction
        if entry.extract is None
        else extraction_of(entry.extract, tool, entry.effect or tool.effect),
        asked=tuple(entry.asked),
        identity_args=identity,
        content_args=tuple(name for name in content if name not in identity),
        bounds={**base.bounds, **{name: _both(base.bounds.get(name), bound) for name, bound in entry.bounds.items()}},
        endorse=tuple(entry.endorse),
        known={name: Known(values=tuple(each.values), domains=tuple(each.domains)) for name, each in entry.known.items()},
        sink=base.sink if entry.sink is None else entry.sink,
        expires_s=expires_s,
        max_calls=entry.max_calls,
        allow_domains=tuple(entry.allow_domains),
    )


def _both(base: Bound | None, bound: _Bound) -> Bound:
    base = base or Bound()
    lower = [each for each in (base.minimum, bound.min) if each is not None]
    upper = [each for each in (base.maximum, bound.max) if each is not None]
    allowed = tuple(bound.one_of) if bound.one_of else base.one_of
    return Bound(
        minimum=max(lower, default=None),
        maximum=min(upper, default=None),
        one_of=tuple(each for each in allowed if not base.one_of or each in base.one_of),
        earliest=max(filter(None, (base.earliest, bound.earliest)), default=None),
        latest=min(filter(None, (base.latest, bound.latest)), default=None),
    )


def _empty(base: Bound | None, bound: _Bound) -> bool:
    """True if both together allow nothing, which `Bound` cannot say: without values it allows any."""
    both = _both(base, bound)
    if both.minimum is not None and both.maximum is not None and both.minimum > both.maximum:
        return True
    if both.earliest is not None and both.latest is not None and both.earliest > both.latest:
        return True
    return base is not None and bool(base.one_of) and bool(bound.one_of) and not both.one_of


def _rule(written: _Rule, position: int, problems: _Problems) -> Rule | None:
    before = len(problems.found)
    conditions: dict[str, Any] = {}
    args: dict[str, Comparison] = {}
    for key, value in written.when.items():
        try:
            _condition(key, value, conditions, args)
        except ValueError as error:
            problems.add(("rules", position, "when", key), f"rules.{position}.when.{key}: {error}")
    if written.by and written.then == "deny":
        why = "nobody is asked where a rule denies: leave `by` out, or say `then: approve`"
        problems.add(("rules", position, "by"), f"rules.{position}.by: {why}")
    if len(problems.found) > before:
        return None
    by = (written.by,) if isinstance(written.by, str) else tuple(written.by)
    return Rule(id=written.id, verdict=Verdict(written.then), approvers=by, args=args, **conditions)


def _never_holds(rule: Rule, tools: Iterable[Tool]) -> Iterator[tuple[str, str]]:
    """(key, why) of conditions that no call can meet: a rule that never applies protects nobody, and looks as if it did."""
    meant = [tool for tool in tools if matches(rule.tool, tool.name)]
    if not meant and "*" not in rule.tool:
        yield "tool", f"there is no tool {rule.tool!r}"
    for name, wanted in (rule.args or {}).items() if meant else ():
        takers = [tool for tool in meant if name in tool.input_schema.get("properties", {})]
        if not takers:
            yield f"args.{name}", f"{', '.join(tool.name for tool in meant)} takes no argument {name}"
        elif wanted.orders and (texts := [tool.name for tool in takers if not takes_number(tool, name)]):
            yield f"args.{name}", f"{name} of {', '.join(texts)} is no number, so it is neither larger nor smaller"
        elif not any(_may_be(tool, name, wanted) for tool in takers):
            yield f"args.{name}", f"{name} of {', '.join(tool.name for tool in takers)} is never {wanted.operand!r}"


def _may_be(tool: Tool, name: str, wanted: Comparison) -> bool:
    """True if there is a value of an argument that meets `wanted`, as far as its schema says."""
    if values := values_taken(tool, name):
        return any(map(wanted.holds, values))
    text = wanted.operand
    if not isinstance(text, str):
        return wanted.orders or not takes_text(tool, name)
    return wanted.sign == "!" or "*" in text or _is_number(text) or not takes_number(tool, name)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _condition(key: str, value: str | float | bool, conditions: dict[str, Any], args: dict[str, Comparison]) -> None:
    """Read one condition into `conditions` or `args`. Raises ValueError."""
    match key:
        case "tool" if isinstance(value, str):
            conditions["tool"] = value
        case "label.integrity":
            levels: Mapping[Any, Integrity] = {level.name.lower(): level for level in Integrity}
            if value not in levels:
                raise ValueError(f"{value!r} is none of {', '.join(levels)}")
            conditions["integrity"] = levels[value]
        case "label.readers":
            if value != "!public":
                raise ValueError("the only condition is '!public': a rule for public contexts would let worse ones pass")
            conditions["not_public"] = True
        case "tool.risk":
            conditions["risk"] = _one_of(value, range(4))
        case "tool.effect":
            conditions["effect"] = _one_of(value, [effect.value for effect in Effect])
        case _ if key.startswith("args."):
            args[key.removeprefix("args.")] = comparison(value)
        case _:
            raise ValueError("unknown; there are tool, tool.risk, tool.effect, label.integrity, label.readers, args.<name>")


def _one_of(written: str | float | bool, there_are: Sequence[str | int]) -> Comparison:
    """A comparison that holds for one of `there_are`. Raises ValueError if it holds for none."""
    wanted = comparison(written)
    if not any(map(wanted.holds, there_are)):
        raise ValueError(f"{written!r} holds for none of {', '.join(map(str, there_are))}")
    return wanted
