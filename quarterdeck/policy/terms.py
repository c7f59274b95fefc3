"""Who must agree to a call: what the entry of its tool says and what rules add."""

from __future__ import annotations

from collections.abc import Iterable

from quarterdeck.core.decisions import Level, Terms
from quarterdeck.policy.base import ToolPolicy

__all__ = ["everybody_named", "terms_asked"]

_NOBODY_NAMED = ("approver",)  # the role that decides where the policy says nothing


def terms_asked(entry: ToolPolicy, rules: Iterable[tuple[str, ...]]) -> Terms:
    """What is asked for a call: the levels of its tool's entry, then one for each rule that names who must agree.

    A rule adds a level and never lets others decide in place of those of the entry: it can only tighten.
    """
    said = entry.terms or Terms(levels=(Level(by=entry.approvers, expires_s=entry.expires_s),) if entry.approvers else ())
    levels = list(said.levels)
    for by in rules:
        if by and all(set(by) != set(level.by) for level in levels):
            levels.append(Level(by=by, expires_s=entry.expires_s))
    return Terms(
        levels=tuple(levels) or (Level(by=_NOBODY_NAMED, expires_s=entry.expires_s),),
        four_eyes=said.four_eyes or entry.risk >= 3,
        reason_required=said.reason_required,
        on_expiry=said.on_expiry,
    )


def everybody_named(terms: Terms) -> tuple[str, ...]:
    """Roles and people of all levels."""
    return tuple(dict.fromkeys(name for level in terms.levels for name in level.by))
