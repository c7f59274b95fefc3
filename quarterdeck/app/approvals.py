"""Who decides drafts, checked against who is there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from quarterdeck.core.decisions import Level
from quarterdeck.policy import Decider, Policy
from quarterdeck.policy.terms import terms_asked
from quarterdeck.service.access import User

__all__ = ["unheld"]

_SCOPE = "approvals"


def unheld(policy: Decider, users: Sequence[User]) -> list[str]:
    """A warning for each level of a tool that nobody, or too few, of a tenant could agree to: its drafts only expire."""
    if not isinstance(policy, Policy):
        return []
    may = [user for user in users if _SCOPE in user.scopes]
    tenants = sorted({user.tenant for user in users})
    return [
        f"policy.yaml: tools.{tool}.approvals: level {step} wants {_wanted(level)}, and {_there(found)} of tenant {tenant}"
        f" {'is' if found <= 1 else 'are'} that and may decide drafts"
        for tool, levels in _levels(policy).items()
        for step, level in enumerate(levels, 1)
        for tenant in tenants
        if (found := _holders(level, (user for user in may if user.tenant == tenant))) < level.quorum
    ]


def _levels(policy: Policy) -> Mapping[str, Sequence[Level]]:
    """By tool, what is asked whatever the call: of the tools whose entry names somebody, or that always need a person."""
    return {
        name: terms_asked(entry, ()).levels
        for name, entry in policy.table.items()
        if entry.terms is not None or entry.needs_approval or entry.risk >= 3
    }


def _holders(level: Level, users: Iterable[User]) -> int:
    named = {*level.by, *level.escalate_to}
    return sum(not named.isdisjoint({*user.roles, f"user:{user.id}"}) for user in users)


def _wanted(level: Level) -> str:
    who = " or ".join((*level.by, *level.escalate_to))
    return who if level.quorum == 1 else f"{level.quorum} of {who}"


def _there(count: int) -> str:
    return "nobody" if count == 0 else f"only {count}"
