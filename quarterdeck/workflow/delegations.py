"""Delegations: a person lets another decide drafts in his place for a while. What is delegated is not delegated on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from quarterdeck.agent.base import Directory
from quarterdeck.core.context import Principal
from quarterdeck.core.errors import InvalidInput, NotFound
from quarterdeck.core.ids import new_id
from quarterdeck.store.base import Audit, Put, Record, Records, ref_of
from quarterdeck.store.codec import from_json, to_json

__all__ = ["KIND", "Delegation", "Delegations", "Seat"]

KIND = "delegation"
_ACTIVE, _REVOKED = "active", "revoked"
_LONGEST = timedelta(days=366)
_MOST = 100  # delegations to one person that are looked at
_SCOPE = "approvals"  # without it nobody gets to decide anything


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """A right to decide: one's own, or that of somebody who delegated it.

    Attributes:
        user: Whose right it is.
        own: It is the principal's own.
    """

    user: str
    roles: tuple[str, ...]
    own: bool = True

    @property
    def names(self) -> frozenset[str]:
        return frozenset({*self.roles, f"user:{self.user}"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Delegation:
    """Who may decide in whose place, and when.

    Attributes:
        giver: Whose right it is.
        roles: Those the giver had when he gave it; only the ones he still has count.
        credential: What let the giver in, where it can be taken back: then it may not have been he who gave it.
    """

    id: str
    giver: str
    to: str
    begins_at: datetime
    ends_at: datetime
    roles: tuple[str, ...] = ()
    reason: str = ""
    revoked: bool = False
    credential: str | None = None

    def holds(self, now: datetime) -> bool:
        return not self.revoked and self.begins_at <= now < self.ends_at


class Delegations:
    """The delegations of a tenant."""

    def __init__(
        self, records: Records, directory: Directory, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._records = records
        self._directory = directory
        self._now = now

    async def give(
        self, principal: Principal, to: str, *, ends_at: datetime, begins_at: datetime | None = None, reason: str = ""
    ) -> Delegation:
        """Let `to` decide in the principal's place, with the roles the principal has himself.

        Raises InvalidInput: there is nobody called so who can decide drafts, or the period is none.
        """
        now = self._now()
        begins = max(begins_at or now, now)
        if not begins < ends_at <= begins + _LONGEST:
            raise InvalidInput(f"ends_at: must come after the beginning, {_LONGEST.days} days later at most")
        known = await self._directory.current(Principal(user=to, tenant=principal.tenant))
        if to == principal.user or known is None or _SCOPE not in known.scopes:
            raise InvalidInput(f"to: {to} is nobody else here with the scope {_SCOPE}")
        given = Delegation(
            id=new_id(),
            giver=principal.user,
            to=to,
            begins_at=begins,
            ends_at=ends_at,
            roles=principal.roles,
            reason=reason,
            credential=principal.credential,
        )
        until = f"{begins.isoformat()}..{ends_at.isoformat()}"
        await self._records.write(principal.tenant, [Put(record=_row(given), expect=0), _audit(given, f"delegated:{until}")])
        return given

    async def list(self, principal: Principal) -> Sequence[Delegation]:
        """Those the principal gave and got that are not over or revoked, newest first."""
        given = await self._records.find(principal.tenant, KIND, status=_ACTIVE, ref=ref_of(principal.user), limit=_MOST)
        got = await self._records.find(principal.tenant, KIND, status=_ACTIVE, owner=principal.user, limit=_MOST)
        found = (from_json(Delegation, record.data) for record in (*given, *got))
        return sorted((each for each in found if each.ends_at > self._now()), key=lambda each: each.id, reverse=True)

    async def revoke(self, principal: Principal, delegation_id: str) -> Delegation:
        """End a delegation before its time: its giver, or who got it. Raises NotFound; Conflict if it changed just now."""
        record = await self._records.get(principal.tenant, KIND, delegation_id)
        found = from_json(Delegation, record.data) if record is not None else None
        if record is None or found is None or principal.user not in (found.giver, found.to):
            raise NotFound(f"there is no delegation {delegation_id!r}")
        if found.revoked:
            return found
        revoked = replace(found, revoked=True)
        row = Put(record=replace(_row(revoked), version=record.version), expect=record.version)
        await self._records.write(principal.tenant, [row, _audit(revoked, f"revoked by {principal.user}")])
        return revoked

    async def seats(self, principal: Principal) -> tuple[Seat, ...]:
        """The rights the principal may decide by now: his own first, then those of people who delegated theirs."""
        own = Seat(user=principal.user, roles=principal.roles)
        rows = await self._records.find(principal.tenant, KIND, status=_ACTIVE, owner=principal.user, limit=_MOST)
        found = [each for row in rows if (each := from_json(Delegation, row.data)).holds(self._now())]
        seats = [await self._seat(principal.tenant, each) for each in found]
        return (own, *(seat for seat in seats if seat is not None))

    async def _seat(self, tenant: str, delegation: Delegation) -> Seat | None:
        gave = Principal(user=delegation.giver, tenant=tenant, roles=delegation.roles, credential=delegation.credential)
        giver = await self._directory.current(gave)
        if giver is None:
            return None
        kept = tuple(role for role in giver.roles if role in delegation.roles)
        return Seat(user=delegation.giver, roles=kept, own=False)


def _row(delegation: Delegation) -> Record:
    return Record(
        kind=KIND,
        id=delegation.id,
        data=to_json(delegation),
        status=_REVOKED if delegation.revoked else _ACTIVE,
        owner=delegation.to,
        ref=ref_of(delegation.giver),
    )


def _audit(delegation: Delegation, decision: str) -> Audit:
    return Audit(
        actor=f"user:{delegation.giver}",
        subject=f"user:{delegation.to}",
        action="approval",
        object=f"delegation:{delegation.id}",
        decision=decision,
    )
