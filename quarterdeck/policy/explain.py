"""A policy in words, for whoever answers for it: what each tool may do, what it needs, and who is asked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from quarterdeck.core.tools import Effect, Tool
from quarterdeck.policy.base import Bound, ToolPolicy
from quarterdeck.policy.decide import Policy
from quarterdeck.policy.intent import phrases_of
from quarterdeck.policy.sinks import named_sink

__all__ = ["Explained", "explain"]

_FIELDS = {
    "trusted": "of its results our own system fills",
    "untrusted": "of its results outsiders may write",
    "readers": "who may read a result stands in",
}
_EFFECTS = {
    Effect.READ: "reads",
    Effect.READ_EGRESS: "reads from an address the model chose, which tells that address something",
    Effect.WRITE_LOCAL: "writes for the user alone",
    Effect.WRITE: "writes",
    Effect.WRITE_EGRESS: "writes and sends out of the house",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """What the policy says of one tool.

    Attributes:
        says: Sentences in the order of the checks.
    """

    tool: str
    effect: str
    risk: int
    says: tuple[str, ...]


def explain(policy: Policy, tools: Iterable[Tool]) -> tuple[Explained, ...]:
    """What `policy` says of each of `tools`, by name."""
    return tuple(_explained(policy, tool) for tool in sorted(tools, key=lambda tool: tool.name))


def _explained(policy: Policy, tool: Tool) -> Explained:
    entry = policy.entry(tool)
    says = [_EFFECTS[entry.effect], *_rights(entry), *_limits(entry), *_result(entry)]
    if entry.effect is not Effect.READ:
        says += _approval(entry) or [
            *_untrusted(entry, tool),
            f"what it sends is read by {named_sink(entry.sink, entry.effect)}",
        ]
    rules = [rule.id for rule in policy.rules if rule.concerns(tool.name, entry)]
    if rules:
        says.append(f"also under {', '.join(rules)} of the rules")
    return Explained(tool=tool.name, effect=entry.effect.value, risk=entry.risk, says=tuple(says))


def _rights(entry: ToolPolicy) -> list[str]:
    says = []
    if entry.scope is not None:
        says.append(f"only with the right {entry.scope}")
    if entry.roles:
        says.append(f"only for {' or '.join(entry.roles)}")
    return says


def _limits(entry: ToolPolicy) -> list[str]:
    says = [f"{name} within {_span(bound)}" for name, bound in entry.bounds.items()]
    if entry.max_calls is not None:
        says.append(f"at most {entry.max_calls} times in a run")
    if entry.allow_domains:
        says.append(f"only for {', '.join(entry.allow_domains)}")
    return says


def _result(entry: ToolPolicy) -> list[str]:
    says = ["its results hold no outsider's text" if entry.result_trusted else "its results may hold an outsider's text"]
    if entry.extraction is not None:
        free = f"; {', '.join(entry.extraction.free)} stay untrusted" if entry.extraction.free else ""
        says.append(f"no agent reads its results; what is taken out of them: {', '.join(entry.extraction.slots)}{free}")
    if entry.result_public:
        says.append("its results are known to everybody")
    for kind, words in _FIELDS.items():
        if named := [path for path, given in entry.fields.items() if given == kind]:
            says.append(f"{words}: {', '.join(named)}")
    if entry.resolver:
        what = "what no outsider wrote of its results grounds" if entry.fields else "its results ground"
        says.append(f"{what} who and where")
    if entry.resolver_fields:
        grounded = ", ".join(f"{field} as {argument}" for field, argument in entry.resolver_fields.items())
        says.append(f"of the one thing it finds, these ground who and where: {grounded}")
    return says


def _approval(entry: ToolPolicy) -> list[str]:
    by = f" of {' or '.join(entry.approvers)}" if entry.approvers else ""
    if entry.risk >= 3:
        return [f"always with the approval{by} of somebody else"]
    return [f"always with an approval{by}"] if entry.needs_approval else []


def _untrusted(entry: ToolPolicy, tool: Tool) -> list[str]:
    if entry.effect is Effect.WRITE_LOCAL and entry.risk == 0:
        return ["in any context without being asked for"]
    phrases = entry.asked or phrases_of(tool.name)
    says = [f"after an outsider's text, only where the user asks for it: {'; '.join(phrases)}"]
    if entry.identity_args:
        says.append(f"then {', '.join(entry.identity_args)} must stand in the user's words or come from a resolver")
    if entry.endorse:
        says.append(f"then of what stands nowhere in {', '.join(entry.endorse)} somebody must endorse each value first")
    if entry.known:
        known = (f"{name} {', '.join(map(str, (*each.values, *each.domains)))}" for name, each in entry.known.items())
        says.append(f"endorsed in advance: {'; '.join(known)}")
    free = set(tool.input_schema.get("properties", {})) - {*entry.identity_args, *entry.content_args, *entry.bounds}
    whole = [*sorted(free), *([] if entry.identity_args else entry.content_args)]
    if whole:
        says.append(f"then {', '.join(whole)} must stand there word by word")
    return says


def _span(bound: Bound) -> str:
    if bound.one_of:
        return ", ".join(map(str, bound.one_of))
    low = bound.earliest if bound.minimum is None else f"{bound.minimum:g}"
    high = bound.latest if bound.maximum is None else f"{bound.maximum:g}"
    return f"{'any' if low is None else low} to {'any' if high is None else high}"
