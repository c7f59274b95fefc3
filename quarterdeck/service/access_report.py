"""Who can read and do what, told from the configuration alone: for whoever has to look through it from time to time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from quarterdeck.core.tools import Tool
from quarterdeck.policy import Policy
from quarterdeck.policy.base import ToolPolicy
from quarterdeck.service.access import User

__all__ = ["AccessRow", "access_report"]

_APPROVES = "approvals"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRow:
    """What one person or service may do.

    Attributes:
        logs_in: Has a key, or is let in without one on loopback in development.
        reads: Groups whose documents are found for it, beside those opened to it alone.
        tools: What it may have done by agents in its name, subject to policy at each call.
        with_approval: Those of them that always wait for a person.
        approves: Tools whose drafts it may decide.
    """

    user: str
    tenant: str
    roles: tuple[str, ...]
    scopes: tuple[str, ...]
    logs_in: bool
    reads: tuple[str, ...]
    tools: tuple[str, ...]
    with_approval: tuple[str, ...]
    approves: tuple[str, ...]


def access_report(users: Iterable[User], tools: Sequence[Tool], policy: Policy) -> list[AccessRow]:
    """A row for each user, by tenant and id. `policy` is the one over `tools`."""
    entries = {tool.name: policy.entry(tool) for tool in tools}
    return [_row(user, entries) for user in sorted(users, key=lambda user: (user.tenant, user.id))]


def _row(user: User, entries: dict[str, ToolPolicy]) -> AccessRow:
    allowed = {name: entry for name, entry in entries.items() if "chat" in user.scopes and _may_call(user, entry)}
    decides = [
        name for name, entry in entries.items() if _APPROVES in user.scopes and set(user.roles) & set(entry.approvers)
    ]
    return AccessRow(
        user=user.id,
        tenant=user.tenant,
        roles=user.roles,
        scopes=user.scopes,
        logs_in=user.key is not None or user.default,
        reads=tuple(sorted(user.groups)),
        tools=tuple(sorted(allowed)),
        with_approval=tuple(sorted(name for name, entry in allowed.items() if entry.needs_approval)),
        approves=tuple(sorted(decides)),
    )


def _may_call(user: User, entry: ToolPolicy) -> bool:
    return (entry.scope is None or entry.scope in user.scopes) and (
        not entry.roles or bool(set(user.roles) & set(entry.roles))
    )
