"""What people who come with tokens may do while they are away: their runs go on when no token is at hand."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from quarterdeck.core.context import Principal
from quarterdeck.core.errors import Conflict
from quarterdeck.core.ids import hashed_id
from quarterdeck.service.access import narrowed
from quarterdeck.service.issued import Issued, Tokens
from quarterdeck.service.logins import Logins
from quarterdeck.store.base import Put, Record, Records

__all__ = ["Grants", "TokenHolders"]

_KIND = "grant"
_REMEMBERED = 10_000  # people per process
_REFRESH_S = 60.0  # a grant that is nearly as new is not written again


class Grants:
    """What the newest token of each person said, until some time after one was last seen.

    It lies in one record per person, that of a tenant; erasing the person, or `end`, takes it away, and his runs stop.
    """

    def __init__(self, records: Records, *, life_s: float, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """
        Args:
            life_s: Seconds a grant counts after a token was last seen.
        """
        self._records = records
        self._life = timedelta(seconds=life_s)
        self._now = now
        self._seen: OrderedDict[tuple[str, str], tuple[Principal, datetime]] = OrderedDict()

    async def note(self, issued: Issued) -> None:
        """Keep what a token says, unless a newer one said otherwise."""
        who, present = issued.principal, self._now()
        place = (who.tenant, who.user)
        seen = self._seen.get(place)
        if seen is not None and seen[0] == who and present - seen[1] < min(timedelta(seconds=_REFRESH_S), self._life / 2):
            return
        slot = hashed_id(*place)
        record = await self._records.get(who.tenant, _KIND, slot)
        at = issued.issued_at
        if (
            record is None
            or at is None
            or not record.data["issued_at"]
            or (datetime.fromisoformat(record.data["issued_at"]) <= at)
        ):
            data = {
                "roles": list(who.roles),
                "groups": list(who.groups),
                "scopes": list(who.scopes),
                "issued_at": at.isoformat() if at is not None else "",
                "until": (present + self._life).isoformat(),
            }
            kept = Record(kind=_KIND, id=slot, data=data, owner=who.user)
            try:
                await self._records.write(who.tenant, [Put(record=kept, expect=record.version if record else 0)])
            except Conflict:
                return  # another request of his, a moment ago
        self._seen[place] = (who, present)
        self._seen.move_to_end(place)
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)

    async def current(self, principal: Principal) -> Principal | None:
        """What the person may do now, never more than `principal` says where that says anything; None for nothing."""
        record = await self._records.get(principal.tenant, _KIND, hashed_id(principal.tenant, principal.user))
        if record is None or record.owner != principal.user or datetime.fromisoformat(record.data["until"]) <= self._now():
            return None
        granted = Principal(
            user=principal.user,
            tenant=principal.tenant,
            roles=tuple(record.data["roles"]),
            groups=tuple(record.data["groups"]),
            scopes=tuple(record.data["scopes"]),
        )
        return narrowed(granted, principal)


class TokenHolders:
    """`Credentials` of those who come with tokens of issuers."""

    name = "token"

    def __init__(self, tokens: Tokens, grants: Grants, logins: Logins | None = None) -> None:
        self._tokens = tokens
        self._grants = grants
        self._logins = logins

    def meant(self, credential: str) -> bool:
        return self._tokens.meant(credential)

    async def holder(self, credential: str) -> Principal:
        issued = await self._tokens.check(credential)
        await self._grants.note(issued)
        if self._logins is not None:
            await self._logins.allowed(issued.principal, f"token:{issued.issuer}")
        return issued.principal

    def tenant_of(self, credential: str) -> str | None:
        return None  # what is not proved says nothing

    async def until(self, credential: str) -> datetime | None:
        return (await self._tokens.check(credential)).until

    async def current(self, principal: Principal) -> Principal | None:
        return await self._grants.current(principal) if principal.credential is None else None

    async def ends(self, principal: Principal) -> datetime | None:
        return None  # the token itself said so, and is not kept
