"""API keys people make for themselves: with fewer rights than they have, for a time, taken back at any server."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from quarterdeck.agent.base import Directory
from quarterdeck.core.context import Principal
from quarterdeck.core.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthenticated
from quarterdeck.core.ids import new_id
from quarterdeck.store.base import Audit, Put, Record, Records

__all__ = ["MAKING", "ApiKey", "ApiKeys", "key_of", "told_before"]

MAKING = "keys.write"
_KIND = "api_key"
_LIVE, _REVOKED = "live", "revoked"
_PREFIX = "qk_"
_CREDENTIAL = "key:"  # before the id and what tells texts of a key apart, in what is known of somebody who came with one
_APART = 16  # digits of a text's hash
_FORM = re.compile(r"qk_([a-z0-9_-]{1,64})\.([a-z0-9_-]{1,64})\.([0-9a-f]{64})\Z")
_KNOWN_S = 5.0  # a key that was taken back elsewhere still counts this long
_KNOWN = 10_000
_TURNS = 20  # of a key, the last that are known by their ids
_USED_EVERY = timedelta(hours=1)
_UNKNOWN = "the key is not known here, is over, or was taken back"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key as people see it; the key itself is told once, when it is made.

    Attributes:
        scopes: Of its holder's, as many as it has.
        used_at: When it was last used, to the hour.
        old_until: Until when the one it took the place of counts too, None if there is none.
    """

    id: str
    user: str
    name: str
    scopes: tuple[str, ...]
    made_at: datetime | None
    expires_at: datetime | None
    used_at: datetime | None
    old_until: datetime | None
    revoked: bool


class ApiKeys:
    """Makes keys, and knows their holders: `Credentials` of `Access`.

    A key names its tenant and its record, so that it is found without a search; what makes it one are 256 random bits, of
    which only a hash is kept. Reads are kept for seconds: a call costs no query, and a key taken back is worth nothing soon.
    """

    name = "api_key"

    def __init__(
        self,
        records: Records,
        people: Directory,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            people: Says what the holder himself may do.
        """
        self._records = records
        self._people = people
        self._now = now
        self._clock = clock
        self._known: OrderedDict[tuple[str, str], tuple[float, Record]] = OrderedDict()

    async def make(
        self,
        caller: Principal,
        *,
        name: str,
        scopes: Collection[str],
        expires_at: datetime | None = None,
        id: str | None = None,
    ) -> tuple[ApiKey, str]:
        """A key of the caller's own, and its text.

        Args:
            id: Of the key; None for a new one.

        Raises:
            Forbidden: It would have a scope he lacks, or could make further keys.
            InvalidInput: It has no scope, or is over already.
            Conflict: There is a key with that id: it was made before.
        """
        wanted = sorted(set(scopes))
        if MAKING in wanted:
            raise Forbidden(f"a key cannot have {MAKING}: it could outlive itself by making others")
        if missing := [scope for scope in wanted if scope not in caller.scopes]:
            raise Forbidden(f"a key cannot have more rights than its holder, who lacks {', '.join(missing)}")
        if not wanted or (expires_at is not None and expires_at <= self._now()):
            raise InvalidInput("a key needs a scope, and an end that is yet to come")
        secret, made = secrets.token_hex(32), id or new_id()
        data = {"name": name, "scopes": wanted, "digest": _digest(secret), "expires_at": _said(expires_at)}
        record = Record(kind=_KIND, id=made, data=data, status=_LIVE, owner=caller.user)
        try:
            await self._write(caller, record, 0, "made")
        except Conflict as error:
            raise told_before(made) from error
        return await self._told(caller.tenant, made), f"{_PREFIX}{caller.tenant}.{made}.{secret}"

    async def list(self, caller: Principal, *, before: str | None = None, limit: int = 200) -> list[ApiKey]:
        """Keys of the tenant, newest first; `before` is the id of one to go on from."""
        return [_key(record) for record in await self._records.find(caller.tenant, _KIND, before=before, limit=limit)]

    async def rotate(self, caller: Principal, id: str, *, grace_s: float, turn: str | None = None) -> tuple[ApiKey, str]:
        """Another text for a key of the caller's own; the one before counts for `grace_s` more.

        Args:
            turn: Id of this rotation; None for one that nobody repeats.

        Raises:
            NotFound: He has no such key that counts.
            Conflict: This rotation was done before, or the key was changed at the same moment.
        """
        record = await self._record(caller.tenant, id)
        if record.owner != caller.user or record.status != _LIVE:
            raise NotFound(f"there is no key {id} of yours that counts")
        turns = record.data.get("turns", [])
        if turn in turns:
            raise told_before(id)
        secret = secrets.token_hex(32)
        until = self._now() + timedelta(seconds=grace_s)
        data = {**record.data, "digest": _digest(secret), "old": record.data["digest"], "old_until": _said(until)}
        if turn is not None:
            data["turns"] = [*turns, turn][-_TURNS:]
        await self._write(caller, _with(record, data), record.version, "rotated")
        return await self._told(caller.tenant, id), f"{_PREFIX}{caller.tenant}.{id}.{secret}"

    async def revoke(self, caller: Principal, id: str) -> ApiKey:
        """Take a key back, of whomever in the tenant. Raises NotFound."""
        record = await self._record(caller.tenant, id)
        if record.status == _LIVE:
            await self._write(caller, _with(record, record.data, status=_REVOKED), record.version, "revoked")
        return await self._told(caller.tenant, id)

    def meant(self, credential: str) -> bool:
        return credential.startswith(_PREFIX)

    async def holder(self, credential: str) -> Principal:
        form = _FORM.match(credential)
        record = await self._found(form[1], form[2]) if form is not None else None
        if form is None or record is None or not self._counts(record, _digest(form[3])):
            raise Unauthenticated(_UNKNOWN)
        person = await self._people.current(Principal(user=record.owner, tenant=form[1]))
        scopes = tuple(scope for scope in person.scopes if scope in record.data["scopes"]) if person else ()
        if person is None or not scopes:
            raise Unauthenticated("the holder of the key may not act any more")
        await self._used(form[1], record)
        return replace(person, scopes=scopes, credential=f"{_CREDENTIAL}{record.id}:{_digest(form[3])[:_APART]}")

    def tenant_of(self, credential: str) -> str | None:
        form = _FORM.match(credential)
        return form[1] if form is not None and (form[1], form[2]) in self._known else None

    async def until(self, credential: str) -> datetime | None:
        form = _FORM.match(credential)
        record = await self._found(form[1], form[2]) if form is not None else None
        if form is None or record is None or not self._counts(record, _digest(form[3])):
            raise Unauthenticated(_UNKNOWN)
        return self._end(record, _digest(form[3]))

    async def ends(self, principal: Principal) -> datetime | None:
        came = _came(principal)
        record = await self._found(principal.tenant, came[0]) if came is not None else None
        return self._end(record, came[1]) if came is not None and record is not None else None

    async def current(self, principal: Principal) -> Principal | None:
        """The holder of a key, with no more than he came with; nobody once it was taken back.

        One that has come to its end lets what was begun with it go on: nobody meant to stop it.
        """
        came = _came(principal)
        record = await self._found(principal.tenant, came[0]) if came is not None else None
        if record is None or record.status != _LIVE or record.owner != principal.user:
            return None
        person = await self._people.current(replace(principal, credential=None))
        return replace(person, credential=principal.credential) if person is not None else None

    def _counts(self, record: Record, digest: str) -> bool:
        data, present = record.data, self._now()
        until, old_until = _instant(data["expires_at"]), _instant(data.get("old_until"))
        same = hmac.compare_digest(data["digest"], digest)
        old = hmac.compare_digest(data.get("old", ""), digest) and old_until is not None and present < old_until
        return record.status == _LIVE and (until is None or present < until) and (same or old)

    def _end(self, record: Record, digits: str) -> datetime | None:
        """When the text whose hash begins so is over; now, if it has been changed for others since."""
        ends = [_instant(record.data["expires_at"])]
        if not record.data["digest"].startswith(digits):
            old = record.data.get("old", "").startswith(digits)
            ends.append(_instant(record.data["old_until"]) if old else self._now())
        return min((end for end in ends if end is not None), default=None)

    async def _found(self, tenant: str, id: str) -> Record | None:
        kept = self._known.get((tenant, id))
        if kept is not None and self._clock() - kept[0] < _KNOWN_S:
            return kept[1]
        record = await self._records.get(tenant, _KIND, id)
        if record is not None:
            self._known[tenant, id] = (self._clock(), record)
            self._known.move_to_end((tenant, id))
            if len(self._known) > _KNOWN:
                self._known.popitem(last=False)
        return record

    async def _used(self, tenant: str, record: Record) -> None:
        """Write down that a key is used, once an hour, with a row of the audit log."""
        used, present = _instant(record.data.get("used_at")), self._now()
        if used is not None and present - used < _USED_EVERY:
            return
        marked = _with(record, {**record.data, "used_at": _said(present)}, status=_LIVE)
        who = f"user:{record.owner}"
        row = Audit(actor=who, subject=who, action="login", object=f"key:{record.id}", decision="allowed")
        with suppress(Conflict):  # another request with it, or it was changed: the next one looks again
            await self._records.write(tenant, [Put(record=marked, expect=record.version), row])
        self._known.pop((tenant, record.id), None)

    async def _write(self, caller: Principal, record: Record, version: int, what: str) -> None:
        actor, subject = f"user:{caller.user}", f"user:{record.owner}"
        row = Audit(actor=actor, subject=subject, action="key", object=f"key:{record.id}", decision=what)
        await self._records.write(caller.tenant, [Put(record=record, expect=version), row])
        self._known.pop((caller.tenant, record.id), None)

    async def _record(self, tenant: str, id: str) -> Record:
        record = await self._records.get(tenant, _KIND, id)
        if record is None:
            raise NotFound(f"there is no key {id}")
        return record

    async def _told(self, tenant: str, id: str) -> ApiKey:
        return _key(await self._record(tenant, id))


def told_before(id: str) -> Conflict:
    """What who asks again hears of a key whose text was told, or went astray: nobody has it any more."""
    return Conflict(
        f"this was done before: it is API key {id}, whose text was told once and is not kept; rotate or revoke it"
    )


def key_of(principal: Principal) -> str | None:
    """Id of the API key somebody came with, which stays when its text is changed; None for who came otherwise."""
    came = _came(principal)
    return came[0] if came is not None else None


def _came(principal: Principal) -> tuple[str, str] | None:
    """Id of the key somebody came with, and the digits that tell which text of it; None for who came otherwise."""
    credential = principal.credential or ""
    key_id, _, digits = credential.removeprefix(_CREDENTIAL).partition(":")
    return (key_id, digits) if credential.startswith(_CREDENTIAL) else None


def _with(record: Record, data: Mapping[str, Any], *, status: str | None = None) -> Record:
    return Record(kind=_KIND, id=record.id, data=data, status=status or record.status, owner=record.owner)


def _key(record: Record) -> ApiKey:
    data = record.data
    return ApiKey(
        id=record.id,
        user=record.owner,
        name=data["name"],
        scopes=tuple(data["scopes"]),
        made_at=record.created_at,
        expires_at=_instant(data["expires_at"]),
        used_at=_instant(data.get("used_at")),
        old_until=_instant(data.get("old_until")),
        revoked=record.status == _REVOKED,
    )


def _said(at: datetime | None) -> str | None:
    return at.isoformat() if at is not None else None


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
