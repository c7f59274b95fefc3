"""What people who answer for a deployment need of it: its audit log, erasures, and taking back what was done."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from quarterdeck.app.audit import opened_witness
from quarterdeck.app.stores import Store
from quarterdeck.app.workers import Task
from quarterdeck.core.ids import content_hash
from quarterdeck.service.access import User
from quarterdeck.service.auditing import AuditLog
from quarterdeck.service.configured import told_configuration
from quarterdeck.service.privacy import Privacy
from quarterdeck.settings import Configuration
from quarterdeck.workflow.undoing import Undoing

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["Governance", "attach", "opened_governance"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Governance:
    """The objects the routes need, and what goes on beside them.

    Attributes:
        tasks: Run until they are cancelled.
        tell_policy: Writes down that the policy says something else from now on.
        tell_people: Writes down that others may come from now on, or may do something else.
    """

    audit: AuditLog
    tasks: tuple[Task, ...]
    tell_policy: Callable[[str], Awaitable[None]]
    tell_people: Callable[[Sequence[User]], Awaitable[None]]


@contextlib.asynccontextmanager
async def opened_governance(configuration: Configuration, store: Store) -> AsyncIterator[Governance]:
    """Open it while the block lasts; what the configuration says now is written down where it differs from before.

    Raises as `app.audit.opened_witness` does.
    """
    async with opened_witness(configuration, store.records) as witness:
        tenants = set(configuration.tenants or {"default"})
        told: dict[str, Any] = {
            "settings": configuration.settings.model_dump(mode="json"),  # secrets are masked
            "agents": {name: content_hash(asdict(spec)) for name, spec in configuration.agents.items()},
            "policy": configuration.policy,
            "users": _said(configuration.users),
        }

        async def tell(**parts: Any) -> None:
            told.update(parts)  # also when it fails: whoever tells next tells of both
            await told_configuration(store.records, tenants, told)

        async def tell_policy(text: str) -> None:
            await tell(policy=text)

        async def tell_people(users: Sequence[User]) -> None:
            tenants.update(user.tenant for user in users)
            await tell(users=_said(users))

        await tell()
        tasks = () if witness is None else (witness.serve,)
        yield Governance(audit=AuditLog(store.records), tasks=tasks, tell_policy=tell_policy, tell_people=tell_people)


def _said(users: Sequence[User]) -> list[dict[str, Any]]:
    return [asdict(user) for user in users]  # a key stands there as its hash


def attach(app: FastAPI, governance: Governance, privacy: Privacy, undoing: Undoing) -> None:
    """Give an application the routes of it."""
    from quarterdeck.transports.http.routes import audit
    from quarterdeck.transports.http.routes import privacy as people
    from quarterdeck.transports.http.routes import undoing as undoings

    app.state.audit = governance.audit
    app.include_router(audit.router)
    app.state.privacy = privacy
    app.include_router(people.router)
    app.state.undoing = undoing
    app.include_router(undoings.router)
