"""Rules of a policy file: conditions over tool, label and arguments that make a verdict stricter.

A rule can only tighten, and of all that match the strictest counts, whatever their order. Conditions on the label say "this
bad or worse", so a worse label never meets fewer of them: no attacker gains by making the context worse.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from quarterdeck.core.decisions import Verdict
from quarterdeck.core.labels import Integrity, Label
from quarterdeck.policy.base import ToolPolicy
from quarterdeck.policy.grounding import leaves

__all__ = ["Bundle", "Comparison", "Rule", "bundled", "comparison", "matches", "met"]

_SINGLE = frozenset({str, int, float, bool})  # kinds of most arguments: of anything else the leaves are looked at
_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


def matches(pattern: str, text: str) -> bool:
    """True if `text` is `pattern`, in which ``*`` stands for any characters."""
    if "*" not in pattern:
        return text == pattern
    first, *rest = pattern.split("*")
    last = rest.pop()
    if not text.startswith(first) or not text.endswith(last) or len(text) < len(first) + len(last):
        return False
    position, end = len(first), len(text) - len(last)
    for piece in rest:
        found = text.find(piece, position, end)
        if found < 0:
            return False
        position = found + len(piece)
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """``>=3``, ``!draft``, ``T-*``: what a value is compared with.

    Attributes:
        sign: ``>=``, ``<=``, ``>``, ``<`` with a number; ``=`` or ``!`` with a number, truth value or pattern.
    """

    sign: str
    operand: str | float | bool

    @property
    def orders(self) -> bool:
        """True if it asks for larger or smaller, which only a number can be."""
        return self.sign in _OPERATORS

    def holds(self, value: Any) -> bool:
        """True if it holds for `value`, or for any item of a list; of nothing it never holds."""
        if type(value) in _SINGLE:
            return self._holds(value)
        return value is not None and any(self._holds(leaf) for leaf in leaves(value) if leaf is not None)

    def _holds(self, value: Any) -> bool:
        ordered = _OPERATORS.get(self.sign)
        if ordered is not None:
            return type(value) is not bool and isinstance(value, (int, float)) and ordered(value, self.operand)
        equal = matches(self.operand, str(value)) if isinstance(self.operand, str) else value == self.operand
        return equal if self.sign == "=" else not equal


def comparison(written: str | float | bool) -> Comparison:
    """Read a comparison. Raises ValueError for a sign without a finite number behind it."""
    if not isinstance(written, str):
        return Comparison(sign="=", operand=written)
    for sign in _OPERATORS:
        if written.startswith(sign):
            operand = float(written.removeprefix(sign))
            if not math.isfinite(operand):
                raise ValueError(f"{written!r} compares with what is no finite number")
            return Comparison(sign=sign, operand=operand)
    if written.startswith("!"):
        return Comparison(sign="!", operand=written[1:])
    return Comparison(sign="=", operand=written)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule.

    Attributes:
        tool: Pattern of the tool's name.
        integrity: The context is this bad or worse.
        not_public: The context holds something not everybody may read.
        risk, effect: Of the tool's entry.
        args: Argument → comparison.
        verdict: APPROVE or DENY.
        approvers: Roles of which one must agree, beside those of the tool's entry.
    """

    id: str
    verdict: Verdict
    tool: str = "*"
    integrity: Integrity = Integrity.TRUSTED
    not_public: bool = False
    risk: Comparison | None = None
    effect: Comparison | None = None
    args: Mapping[str, Comparison] | None = None
    approvers: tuple[str, ...] = ()

    def concerns(self, name: str, entry: ToolPolicy) -> bool:
        """True if calls of the tool may meet it, in some context and with some arguments."""
        return (
            matches(self.tool, name)
            and (self.risk is None or self.risk.holds(entry.risk))
            and (self.effect is None or self.effect.holds(entry.effect.value))
        )

    def applies(self, label: Label, args: Mapping[str, Any]) -> bool:
        """True if a call of a tool it concerns meets it, in this context and with these arguments."""
        if label.integrity < self.integrity or (self.not_public and label.readers.is_public):
            return False
        # Written out: every rule about a tool is asked at each of its calls, and most end at their first comparison.
        for argument, wanted in self.args.items() if self.args else ():  # noqa: SIM110
            if not wanted.holds(args.get(argument)):
                return False
        return True


@dataclass(frozen=True, slots=True)
class Bundle:
    """Rules that differ in how large or small they want one argument, asked as one.

    Attributes:
        widest: Met wherever one of them is.
        rules: Each behind its place in the policy.
    """

    widest: Rule
    rules: tuple[tuple[int, Rule], ...]


def bundled(rules: Sequence[Rule]) -> tuple[Bundle, ...]:
    """All of `rules`, put together where they can be."""
    alike: dict[Any, list[tuple[int, Rule]]] = {}
    for place, rule in enumerate(rules):
        bound = _bound(rule)
        what = place if bound is None else (rule.integrity, rule.not_public, bound[0], bound[1].sign)
        alike.setdefault(what, []).append((place, rule))
    return tuple(Bundle(_widest([rule for _, rule in placed]), tuple(placed)) for placed in alike.values())


def met(bundles: Sequence[Bundle], label: Label, args: Mapping[str, Any]) -> list[Rule]:
    """The rules that a call meets in this context and with these arguments, in the order of the policy."""
    hits: list[tuple[int, Rule]] = []
    for bundle in bundles:
        if bundle.widest.applies(label, args):
            hits += [placed for placed in bundle.rules if placed[1].applies(label, args)]
    return [rule for _, rule in sorted(hits, key=lambda placed: placed[0])] if hits else []


def _bound(rule: Rule) -> tuple[str, Comparison] | None:
    """The argument a rule asks for first, and how large or small it wants that; None if it asks for something else."""
    first = next(iter(rule.args.items()), None) if rule.args else None
    return first if first is not None and first[1].orders and not isinstance(first[1].operand, str) else None


def _widest(rules: Sequence[Rule]) -> Rule:
    """The rule itself of one; of several the first, with the bound that is met most easily and no other condition."""
    bounds = [bound for bound in map(_bound, rules) if bound is not None]
    if len(rules) == 1 or not bounds:
        return rules[0]
    argument, wanted = bounds[0]
    most_easily = min if wanted.sign in (">=", ">") else max
    return replace(rules[0], args={argument: most_easily((each for _, each in bounds), key=lambda each: each.operand)})
