"""What can be told of a policy before anything runs: where an agent has all three dangers, and where an entry helps nobody.

The rule of two: an agent that reads what outsiders write, knows what is private, and acts in the world may be turned against
its user by a text. Two of the three are safe whatever the model does; with all three its writes need the user's own words or
a person.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from quarterdeck.core.extraction import MAX_BITS_PER_CALL
from quarterdeck.core.tools import Effect, Tool
from quarterdeck.policy.base import ToolPolicy
from quarterdeck.policy.decide import Policy

__all__ = ["Finding", "RuleOfTwo", "lint", "rule_of_two"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleOfTwo:
    """The three dangers of an agent, each with the tools that bring it.

    Attributes:
        outsiders: Tools whose results may hold an outsider's text.
        private: Tools whose results are not for everybody.
        acting: Tools that change something, or tell somebody something.
        unasked: Those of them no person is asked about in every case.
        harmless: Those of them that write for the user alone, at no risk: they ask for nothing.
    """

    agent: str
    outsiders: tuple[str, ...]
    private: tuple[str, ...]
    acting: tuple[str, ...]
    unasked: tuple[str, ...]
    harmless: tuple[str, ...]

    @property
    def all_three(self) -> bool:
        return bool(self.outsiders and self.private and self.acting)

    @property
    def verdict(self) -> str:
        """One sentence for a person."""
        if not self.all_three:
            missing = [
                what
                for what, tools in (
                    ("it reads no outsider's text", self.outsiders),
                    ("it knows nothing private", self.private),
                    ("it changes nothing and sends nothing", self.acting),
                )
                if not tools
            ]
            return f"at most two of three: {', '.join(missing)}"
        if not (self.unasked or self.harmless):
            return "all three, and a person is asked before everything it does"
        needs = [
            f"{', '.join(tools)} need {what}"
            for tools, what in (
                (self.unasked, "the user's own words or an approval"),
                (self.harmless, "nothing, as they write for the user alone"),
            )
            if tools
        ]
        return f"all three: after {', '.join(self.outsiders)}, {'; '.join(needs)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something about a tool's entry that somebody should look at."""

    level: Literal["warning", "note"]
    tool: str
    text: str


def rule_of_two(policy: Policy, agent: str, tools: Sequence[Tool]) -> RuleOfTwo:
    """The dangers of an agent with `tools`, from configuration alone."""
    entries = [(tool.name, policy.entry(tool)) for tool in tools]
    reading = [(name, entry) for name, entry in entries if entry.effect in (Effect.READ, Effect.READ_EGRESS)]
    acting = [(name, entry) for name, entry in entries if entry.effect is not Effect.READ]
    return RuleOfTwo(
        agent=agent,
        outsiders=tuple(name for name, entry in entries if not (entry.result_trusted or _bounded(entry))),
        private=tuple(name for name, entry in reading if not entry.result_public),
        acting=tuple(name for name, _ in acting),
        unasked=tuple(name for name, entry in acting if not (_always_asks(entry) or _harmless(entry))),
        harmless=tuple(name for name, entry in acting if _harmless(entry)),
    )


def lint(policy: Policy, tools: Iterable[Tool]) -> tuple[Finding, ...]:
    """Entries that say less than they seem to, or let more pass than they seem to."""
    return tuple(
        Finding(level=level, tool=tool.name, text=text) for tool in tools for level, text in _findings(policy, tool)
    )


def _findings(policy: Policy, tool: Tool) -> list[tuple[Literal["warning", "note"], str]]:
    entry = policy.entry(tool)
    found: list[tuple[Literal["warning", "note"], str]] = []
    if tool.name not in policy.table:
        found.append(("warning", "has no entry, so it counts as a write of risk 2"))
    if entry.resolver and not entry.result_trusted and "trusted" not in entry.fields.values():
        found.append(("warning", "grounds who and where by results an outsider may have written: name the fields instead"))
    if entry.result_trusted or "trusted" in entry.fields.values():
        found.append(("note", "is trusted: a test should plant a marker in every field an outsider can write"))
    if entry.extraction is not None and entry.extraction.bits > MAX_BITS_PER_CALL:
        bits = f"{entry.extraction.bits:.0f} bits, and at most {MAX_BITS_PER_CALL:.0f} are endorsed"
        found.append(("warning", f"has so many values taken out that an outsider can say much by them: {bits}"))
    if entry.effect is Effect.READ_EGRESS and not entry.allow_domains:
        found.append(("note", "may be sent to any address the user types: allow_domains would bound it"))
    if entry.effect is Effect.READ or _always_asks(entry) or _harmless(entry):
        return found
    properties = set(tool.input_schema.get("properties", {}))
    free = sorted(properties - {*entry.identity_args, *entry.content_args, *entry.bounds})
    if free:
        named = ", ".join(free)
        found.append(("note", f"says nothing of {named}: in an outsider's context only the user's very words pass there"))
    if properties and not entry.identity_args:
        found.append(("note", "names no identity: nobody is told who or where it concerns"))
    if entry.effect is Effect.WRITE_EGRESS and not entry.sink:
        found.append(("note", "names no sink, so what it sends counts as readable by everybody"))
    return found


def _bounded(entry: ToolPolicy) -> bool:
    """True if all that agents see of its results are values that an outsider cannot say anything by."""
    extraction = entry.extraction
    return extraction is not None and not extraction.free and extraction.bits <= MAX_BITS_PER_CALL


def _always_asks(entry: ToolPolicy) -> bool:
    return entry.risk >= 3 or entry.needs_approval


def _harmless(entry: ToolPolicy) -> bool:
    """True if calls are allowed whatever the model has read, unless a person is always asked."""
    return entry.effect is Effect.WRITE_LOCAL and entry.risk == 0 and not entry.needs_approval
