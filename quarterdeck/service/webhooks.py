"""Webhooks: addresses that are told what happens, named in the configuration or made by a tenant over the interface."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeGuard

from quarterdeck.agent.base import Directory
from quarterdeck.core.context import Principal
from quarterdeck.core.errors import Conflict, Forbidden, InvalidInput, KeyReused, NotFound
from quarterdeck.core.events import Event, FinalAnswer
from quarterdeck.core.ids import content_hash, hashed_id, new_id
from quarterdeck.core.labels import Label
from quarterdeck.net.written import check_written
from quarterdeck.service.deliveries import NOTICES, Happened, Target
from quarterdeck.store.base import Audit, Beside, Put, Record, Records

__all__ = ["SINK", "ConfiguredWebhook", "Webhook", "WebhookWanted", "Webhooks", "secret_bytes", "secret_text"]

SINK = "webhook"
ACTIVE, DISABLED, _DELETED = "active", "disabled", "deleted"
_KIND = "webhook"
_PER_TENANT = 50
_OVERLAP = timedelta(hours=24)  # how long a rotated secret still signs beside its successor
_PREFIX = "whsec_"
_READS = "chat"  # without it nobody is shown an answer


def secret_bytes(text: str) -> bytes:
    """The key behind ``whsec_`` and base64. Raises InvalidInput for a text that is none of 24 to 64 bytes."""
    try:
        key = base64.b64decode(text.removeprefix(_PREFIX), validate=True) if text.startswith(_PREFIX) else b""
    except ValueError:
        key = b""
    if not 24 <= len(key) <= 64:
        raise InvalidInput("a webhook's secret is whsec_ and then 24 to 64 random bytes as base64")
    return key


def secret_text(key: bytes) -> str:
    """The secret as its receiver is told it."""
    return _PREFIX + base64.b64encode(key).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfiguredWebhook:
    """A webhook of the configuration, which only the administrator changes.

    Attributes:
        tenant: Whose runs; None for those of all tenants.
        events: Keys of `NOTICES`.
        secrets: What its deliveries are signed with, one signature each.
        readers: Names, such as ``user:crm``; an answer that these may read is sent along. None are told nothing but ids.
    """

    name: str
    url: str
    tenant: str | None
    events: frozenset[str]
    secrets: tuple[bytes, ...]
    readers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookWanted:
    """What somebody asks for who makes a webhook.

    Attributes:
        content: Whether answers that its maker may read are sent along.
    """

    url: str
    events: tuple[str, ...]
    description: str = ""
    content: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A webhook as its tenant sees it.

    Attributes:
        configured: It stands in the configuration, and cannot be changed over the interface.
        user: Who made it, empty for a configured one.
        status: ``active`` or ``disabled``: somebody, or its receiver by answering 410, wants nothing more.
        reason: Why it is disabled, empty while it is not.
        generation: Of its secret, from 1.
        rotated_at: When the present secret took the place of the one before, None for the first.
    """

    id: str
    url: str
    events: tuple[str, ...]
    description: str = ""
    content: bool = False
    configured: bool = False
    user: str = ""
    status: str = ACTIVE
    reason: str = ""
    generation: int = 1
    rotated_at: datetime | None = None
    created_at: datetime | None = None


class Webhooks:
    """The webhooks of all tenants: kept, told of what they want to hear, and what they are signed with.

    A secret that was made here is nowhere kept: it is derived from the deployment's own, the webhook and its generation.

    Args:
        directory: Says what the maker of a webhook may read now.
        secret: The deployment's own; the same for all its processes.
        check_url: Raises InvalidInput for an address that a tenant may not have called.
        now: Gives aware UTC.
    """

    def __init__(
        self,
        records: Records,
        directory: Directory,
        *,
        configured: Sequence[ConfiguredWebhook] = (),
        secret: bytes,
        check_url: Callable[[str], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._records = records
        self._directory = directory
        self._configured = {webhook.name: webhook for webhook in configured}
        self._secret = secret
        self._check_url = check_url
        self._now = now

    async def create(self, principal: Principal, wanted: WebhookWanted, key: str | None = None) -> tuple[Webhook, str]:
        """Make a webhook for the principal's tenant; returns it with its secret, which is told now and when rotated.

        Args:
            key: With the same key the same principal gets the same webhook, however often it is asked for.

        Raises:
            InvalidInput: The address may not be called, or there is no such event.
            Forbidden: Answers are wanted, which the principal may not read as he came.
            Conflict: The tenant has as many as it may have.
            KeyReused: The key was used for another webhook.
        """
        self._check(wanted)
        if wanted.content and _READS not in principal.scopes:
            raise Forbidden(f"content: who is sent answers needs the scope {_READS}, which {principal.user} came without")
        made = new_id() if key is None else hashed_id("webhook", principal.tenant, principal.user, key)
        asked = content_hash([wanted.url, sorted(wanted.events), wanted.description, wanted.content])
        data = {
            "url": wanted.url,
            "events": sorted(set(wanted.events)),
            "description": wanted.description,
            "content": wanted.content,
            "generation": 1,
            "asked": asked,
            "credential": principal.credential,
        }
        record = Record(kind=_KIND, id=made, data=data, status=ACTIVE, owner=principal.user)
        if await self._crowded(principal.tenant, made):
            raise Conflict(f"a tenant has at most {_PER_TENANT} webhooks; delete one")
        try:
            rows: Sequence[Beside] = [Put(record=record, expect=0), _audit(principal, made, "webhook_created")]
            await self._records.write(principal.tenant, rows)
        except Conflict:
            known = await self._records.get(principal.tenant, _KIND, made)
            if known is None or known.data.get("asked") != asked:
                raise KeyReused("this Idempotency-Key was used for another webhook; take a new one") from None
        webhook = await self.get(principal.tenant, made)
        return webhook, secret_text(self.secrets(principal.tenant, webhook)[0])

    async def of(self, tenant: str) -> list[Webhook]:
        """Those of the configuration that hear of this tenant, then its own, newest first."""
        disabled = await self._rows(tenant, DISABLED)
        rows = {**await self._rows(tenant, ACTIVE), **disabled}
        named = [_configured(webhook, disabled.get(webhook.name)) for webhook in self._named(tenant)]
        made = [_webhook(row) for row in rows.values() if "url" in row.data]
        return [*named, *sorted(made, key=lambda webhook: (webhook.created_at or self._now(), webhook.id), reverse=True)]

    async def get(self, tenant: str, webhook_id: str) -> Webhook:
        """Raises NotFound, also for another tenant's."""
        found = await self.find(tenant, webhook_id)
        if found is None:
            raise NotFound(f"there is no webhook {webhook_id}")
        return found

    async def find(self, tenant: str, webhook_id: str) -> Webhook | None:
        """The webhook, None if this tenant has no such one."""
        record = await self._records.get(tenant, _KIND, webhook_id)
        named = self._configured.get(webhook_id)
        if named is not None and named.tenant in (None, tenant):
            return _configured(named, record)
        return _webhook(record) if _is_made(record) else None

    async def delete(self, principal: Principal, webhook_id: str) -> None:
        """Forget a webhook; what is on its way to it is not sent any more.

        Raises:
            NotFound: There is no such webhook.
            InvalidInput: It stands in the configuration.
        """
        record = await self._own(principal.tenant, webhook_id)
        gone = Record(kind=_KIND, id=webhook_id, data={}, status=_DELETED)
        audit = _audit(principal, webhook_id, "webhook_deleted")
        await self._records.write(principal.tenant, [Put(record=gone, expect=record.version), audit])
        await self._records.forget(_KIND, [_DELETED], self._now())

    async def rotate(self, principal: Principal, webhook_id: str, key: str | None = None) -> tuple[Webhook, str]:
        """Take a new secret, which is returned; for a day deliveries are signed with both.

        Args:
            key: That of the last rotation again changes nothing more.

        Raises as `delete` does, and Conflict when somebody rotates it at the same moment.
        """
        record = await self._own(principal.tenant, webhook_id)
        by = None if key is None else hashed_id(principal.user, key)
        if by is None or record.data.get("rotated_by") != by:
            turned = {"generation": int(record.data["generation"]) + 1, "rotated_at": self._now().isoformat()}
            changed = _changed(record, {**record.data, **turned, "rotated_by": by}, record.status)
            audit = _audit(principal, webhook_id, "webhook_rotated")
            await self._records.write(principal.tenant, [Put(record=changed, expect=record.version), audit])
        webhook = await self.get(principal.tenant, webhook_id)
        return webhook, secret_text(self.secrets(principal.tenant, webhook)[0])

    async def enable(self, principal: Principal, webhook_id: str) -> Webhook:
        """Have a disabled webhook hear again of what happens from now on. Raises NotFound."""
        await self.get(principal.tenant, webhook_id)
        await self._set(principal.tenant, webhook_id, ACTIVE, "", _audit(principal, webhook_id, "webhook_enabled"))
        return await self.get(principal.tenant, webhook_id)

    async def disable(self, tenant: str, webhook_id: str, reason: str) -> None:
        """Tell a webhook nothing more until somebody enables it."""
        audit = Audit(actor="service:webhooks", subject="", action="config", object=webhook_id, decision="webhook_disabled")
        await self._set(tenant, webhook_id, DISABLED, reason, audit)

    async def targets(self, happened: Happened) -> Sequence[Target]:
        """`Subscribers`: the active webhooks that want to hear of an event."""
        tenant, kind = happened.notice.tenant, happened.notice.type
        found: list[Target] = []
        named = [webhook for webhook in self._named(tenant) if kind in webhook.events]
        disabled = await self._rows(tenant, DISABLED) if named else {}
        for webhook in named:
            if webhook.name not in disabled:
                content = _content(happened.event, webhook.readers)
                found.append(Target(sink=SINK, address=webhook.name, content=content))
        for row in (await self._rows(tenant, ACTIVE)).values():
            if kind in row.data.get("events", ()):
                readers = await self._names(tenant, row) if row.data.get("content") else ()
                found.append(Target(sink=SINK, address=row.id, content=_content(happened.event, readers)))
        return found

    def secrets(self, tenant: str, webhook: Webhook) -> tuple[bytes, ...]:
        """What its deliveries are signed with now, the present secret first."""
        if webhook.configured:
            return self._configured[webhook.id].secrets
        present = self._derived(tenant, webhook.id, webhook.generation)
        rotated = webhook.rotated_at
        if rotated is None or self._now() - rotated >= _OVERLAP:
            return (present,)
        return present, self._derived(tenant, webhook.id, webhook.generation - 1)

    def _derived(self, tenant: str, webhook_id: str, generation: int) -> bytes:
        # Neither a tenant nor an id can hold a slash, so that no two webhooks are told apart by nothing.
        return hmac.new(self._secret, f"webhook/{tenant}/{webhook_id}/{generation}".encode(), hashlib.sha256).digest()

    def _named(self, tenant: str) -> list[ConfiguredWebhook]:
        return [webhook for webhook in self._configured.values() if webhook.tenant in (None, tenant)]

    async def _rows(self, tenant: str, status: str) -> dict[str, Record]:
        return {row.id: row for row in await self._records.find(tenant, _KIND, status=status, limit=1000)}

    async def _crowded(self, tenant: str, but: str) -> bool:
        """True if the tenant has as many webhooks as it may, without that of this id."""
        rows = {**await self._rows(tenant, ACTIVE), **await self._rows(tenant, DISABLED)}
        return sum("url" in row.data for row in rows.values() if row.id != but) >= _PER_TENANT

    async def _own(self, tenant: str, webhook_id: str) -> Record:
        if webhook_id in self._configured and self._configured[webhook_id].tenant in (None, tenant):
            raise InvalidInput(f"webhook {webhook_id} stands in the configuration; change it there")
        record = await self._records.get(tenant, _KIND, webhook_id)
        if not _is_made(record):
            raise NotFound(f"there is no webhook {webhook_id}")
        return record

    async def _set(self, tenant: str, webhook_id: str, status: str, reason: str, audit: Audit) -> None:
        record = await self._records.get(tenant, _KIND, webhook_id)
        if record is None:
            # Of a configured webhook only this is kept: that it is disabled, and why.
            record = Record(kind=_KIND, id=webhook_id, data={})
        if record.status != status:
            changed = _changed(record, {**record.data, "reason": reason}, status)
            await self._records.write(tenant, [Put(record=changed, expect=record.version), audit])

    async def _names(self, tenant: str, record: Record) -> Sequence[str]:
        """What the maker of a webhook goes by now; nobody who may act or read no more, or came with what was taken back."""
        came = Principal(user=record.owner, tenant=tenant, credential=record.data.get("credential"))
        maker = await self._directory.current(came)
        return tuple(maker.names) if maker is not None and _READS in maker.scopes else ()

    def _check(self, wanted: WebhookWanted) -> None:
        if not wanted.events:
            raise InvalidInput(f"say of which events it is told: {', '.join(NOTICES)}")
        for name in wanted.events:
            if name not in NOTICES:
                raise InvalidInput(f"there is no event {name!r}; there are: {', '.join(NOTICES)}")
        check_written(wanted.url)
        self._check_url(wanted.url)


def _content(event: Event, readers: Sequence[str]) -> Mapping[str, Any]:
    """What a subscriber who goes by these names is told beyond a notice: of an answer they may read, the text."""
    match event:
        case FinalAnswer(answer=answer, label=Label(readers=clauses)) if readers and clauses.admits(readers):
            return {"answer": answer.text, "sources": list(answer.sources)}
    return {}


def _is_made(record: Record | None) -> TypeGuard[Record]:
    """True for a webhook that somebody made; of a configured one, a record only says that it is disabled."""
    return record is not None and "url" in record.data


def _changed(record: Record, data: Mapping[str, Any], status: str) -> Record:
    return Record(kind=_KIND, id=record.id, data=data, status=status, owner=record.owner)


def _configured(named: ConfiguredWebhook, record: Record | None) -> Webhook:
    disabled = record is not None and record.status == DISABLED
    return Webhook(
        id=named.name,
        url=named.url,
        events=tuple(sorted(named.events)),
        content=bool(named.readers),
        configured=True,
        status=DISABLED if disabled else ACTIVE,
        reason=str(record.data.get("reason", "")) if record is not None and disabled else "",
    )


def _webhook(record: Record) -> Webhook:
    data = record.data
    rotated = data.get("rotated_at")
    return Webhook(
        id=record.id,
        url=str(data["url"]),
        events=tuple(data["events"]),
        description=str(data.get("description", "")),
        content=bool(data.get("content")),
        user=record.owner,
        status=record.status,
        reason=str(data.get("reason", "")),
        generation=int(data["generation"]),
        rotated_at=None if rotated is None else datetime.fromisoformat(rotated),
        created_at=record.created_at,
    )


def _audit(principal: Principal, webhook_id: str, what: str) -> Audit:
    actor = f"user:{principal.user}"
    return Audit(actor=actor, subject=actor, action="config", object=webhook_id, decision=what)
