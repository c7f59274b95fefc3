"""Tokens for connections that cannot carry a key: a browser's WebSocket sends no header of its own."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from quarterdeck.agent.base import Directory
from quarterdeck.core.context import Principal
from quarterdeck.core.errors import Conflict, Unauthenticated
from quarterdeck.core.ids import hashed_id
from quarterdeck.service.stays import Stay
from quarterdeck.store.base import Put, Record, Records

__all__ = ["StreamToken", "StreamTokens"]

_KIND = "stream_token"
_FORM = re.compile(r"qs_([a-z0-9_-]{1,64})\.([0-9a-f]{32})\.([0-9a-f]{64})\Z")
_LIFE_S = 60.0
_OPEN = 32  # tokens one person may hold at once; a further one takes the place of the oldest
_ATTEMPTS = 3 * _OPEN  # of writing a record: each that fails is another's success, and all open tokens may come at once


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamToken:
    """A token as its holder is told it, once."""

    token: str
    expires_at: datetime


class StreamTokens:
    """Makes tokens and takes them back, each once, at whichever server shares the database.

    A token names its tenant and its person's record, so that it is found without a search; what makes it one are 256 random
    bits, of which only a hash is kept. All tokens of a person lie in one record: what is over goes with the next write.

    Args:
        directory: Says what its person may do when the token comes back.
    """

    def __init__(
        self, records: Records, directory: Directory, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._records = records
        self._directory = directory
        self._now = now

    async def make(self, principal: Principal, ends: datetime | None = None) -> StreamToken:
        """A token that lets its holder in as the principal, once, within a minute.

        Args:
            ends: When what the principal came with is over; what the token opens does not outlast it.
        """
        secret = secrets.token_hex(32)
        until = self._now() + timedelta(seconds=_LIFE_S)
        slot = hashed_id(principal.tenant, principal.user)
        for _ in range(_ATTEMPTS):
            record = await self._records.get(principal.tenant, _KIND, slot)
            kept = {**self._living(record), _digest(secret): until.isoformat()}
            living = dict(list(kept.items())[-_OPEN:])
            scopes = {**_scopes(record), _digest(secret): list(principal.scopes)}
            held = {**_held(record), _digest(secret): [principal.credential, ends.isoformat() if ends is not None else None]}
            if await self._written(principal.tenant, slot, principal.user, record, living, scopes, held):
                return StreamToken(token=f"qs_{principal.tenant}.{slot}.{secret}", expires_at=until)
        raise Conflict("too many tokens are made for one person at once; try again")

    async def redeem(self, token: str) -> Stay:
        """Who is behind a token, which is worth nothing from then on.

        Raises:
            Unauthenticated: It is unknown, used or too old, or its person may not act any more.
        """
        form = _FORM.match(token)
        taken = await self._taken(form[1], form[2], _digest(form[3])) if form is not None else None
        found = await self._directory.current(taken.principal) if taken is not None else None
        if taken is None or found is None:
            raise Unauthenticated("the token is not known here, was used, or is older than a minute")
        return Stay(principal=found, until=taken.until)

    async def _taken(self, tenant: str, slot: str, digest: str) -> Stay | None:
        """Whose token it was, with the scopes he had then, once taken out of the record; None if it is not there."""
        for _ in range(_ATTEMPTS):
            record = await self._records.get(tenant, _KIND, slot)
            living = self._living(record)
            if record is None or living.pop(digest, None) is None:
                return None
            scopes, held = _scopes(record), _held(record)
            if await self._written(tenant, slot, record.owner, record, living, scopes, held):
                credential, ends = held.get(digest, (None, None))
                may = tuple(scopes.get(digest, ()))
                maker = Principal(user=record.owner, tenant=tenant, scopes=may, credential=credential)
                return Stay(principal=maker, until=datetime.fromisoformat(ends) if ends is not None else None)
        return None

    def _living(self, record: Record | None) -> dict[str, str]:
        """End by hash, oldest first."""
        present = self._now()
        kept = record.data["tokens"] if record is not None else {}
        ordered = sorted(kept.items(), key=lambda item: str(item[1]))
        return {digest: end for digest, end in ordered if datetime.fromisoformat(end) > present}

    async def _written(
        self,
        tenant: str,
        slot: str,
        user: str,
        old: Record | None,
        tokens: dict[str, str],
        scopes: Mapping[str, Sequence[str]],
        held: Mapping[str, Sequence[str | None]],
    ) -> bool:
        """False when somebody else wrote the record first."""
        data = {
            "tokens": tokens,
            "scopes": {digest: list(each) for digest, each in scopes.items() if digest in tokens},
            "held": {digest: list(each) for digest, each in held.items() if digest in tokens},
        }
        record = Record(kind=_KIND, id=slot, data=data, owner=user)
        try:
            await self._records.write(tenant, [Put(record=record, expect=old.version if old is not None else 0)])
        except Conflict:
            return False
        return True


def _scopes(record: Record | None) -> dict[str, list[str]]:
    """By hash of a token, what its maker could do as he came: a token gives no more than the key it was made with."""
    return dict(record.data.get("scopes", {})) if record is not None else {}


def _held(record: Record | None) -> dict[str, list[str | None]]:
    """By hash of a token, what can be taken back of what its maker came with, and when that is over."""
    return dict(record.data.get("held", {})) if record is not None else {}


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
