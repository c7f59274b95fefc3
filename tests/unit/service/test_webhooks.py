from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from quarterdeck.core.answers import Answer, Confidence
from quarterdeck.core.context import Principal
from quarterdeck.core.errors import Conflict, Forbidden, InvalidInput, KeyReused, NotFound
from quarterdeck.core.events import Event, FinalAnswer, RunFailed
from quarterdeck.core.labels import Label, Readers
from quarterdeck.core.runs import StopReason
from quarterdeck.devtools.fakes import FakeClock
from quarterdeck.service.deliveries import Happened, Notice
from quarterdeck.service.webhooks import ConfiguredWebhook, Webhooks, WebhookWanted, secret_bytes, secret_text
from quarterdeck.store.memory import MemoryStore

EMMA = Principal(user="emma", tenant="acme", groups=("hr",), scopes=("chat", "webhooks"))
OMAR = Principal(user="omar", tenant="acme", scopes=("chat", "webhooks"))
GIL = Principal(user="gil", tenant="globex")
WANTED = WebhookWanted(url="https://crm.example/hook", events=("run_finished",))
CRM = ConfiguredWebhook(
    name="crm",
    url="http://10.0.0.7/hook",
    tenant=None,
    events=frozenset({"run_finished"}),
    secrets=(b"k" * 32,),
    readers=("user:emma",),
)


class People:
    """A directory of those who may still act."""

    def __init__(self) -> None:
        self.there = {person.user: person for person in (EMMA, OMAR, GIL)}
        self.revoked: set[str] = set()

    async def current(self, principal: Principal) -> Principal | None:
        return None if principal.credential in self.revoked else self.there.get(principal.user)


class Shop:
    def __init__(self, *configured: ConfiguredWebhook) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(clock=self.clock.now)
        self.people = People()
        self.hooks = Webhooks(
            self.store.records,
            self.people,
            configured=configured,
            secret=b"the deployment's own",
            check_url=self.check,
            now=self.clock.now,
        )

    def check(self, url: str) -> None:
        if "private" in url:
            raise InvalidInput("url: is not public")

    async def told(self, event: Event, tenant: str = "acme") -> dict[str, object]:
        """What is sent beyond the notice, by the webhook it is sent to."""
        kind = "run_finished" if isinstance(event, FinalAnswer) else event.kind
        notice = Notice(id="evt_1", type=kind, tenant=tenant, run_id="r1", at=datetime(2026, 1, 1, tzinfo=UTC))
        targets = await self.hooks.targets(Happened(notice=notice, event=event, agent="support", user="emma"))
        return {target.address: target.content for target in targets}


def answered(*readers: str) -> FinalAnswer:
    answer = Answer(text="Twelve hours.", confidence=Confidence.HIGH, sources=("vpn-1",), citations=())
    return FinalAnswer(answer=answer, stop_reason=StopReason.COMPLETED, label=Label(readers=Readers.of(*readers)))


def test_secret_is_told_as_standard_webhooks_has_it() -> None:
    key = bytes(range(32))

    assert secret_bytes(secret_text(key)) == key
    for wrong in ("", "whsec_", "whsec_c2hvcnQ=", "whsec_%%%", "a" * 40, secret_text(b"x" * 65)):
        with pytest.raises(InvalidInput):
            secret_bytes(wrong)


async def test_webhook_is_made_listed_and_forgotten() -> None:
    shop = Shop(CRM)

    made, secret = await shop.hooks.create(EMMA, WANTED)
    listed = await shop.hooks.of("acme")
    elsewhere = await shop.hooks.of("globex")
    await shop.hooks.delete(OMAR, made.id)

    assert [webhook.id for webhook in listed] == ["crm", made.id]
    assert [webhook.id for webhook in elsewhere] == ["crm"]
    assert len(secret_bytes(secret)) == 32
    assert [webhook.id for webhook in await shop.hooks.of("acme")] == ["crm"]
    rows = await shop.store.records.audit_rows("acme")
    assert [row["decision"] for row in rows] == ["webhook_created", "webhook_deleted"]


async def test_webhook_of_another_tenant_is_not_there() -> None:
    shop = Shop()
    made, _ = await shop.hooks.create(EMMA, WANTED)

    for attempt in (
        shop.hooks.get("globex", made.id),
        shop.hooks.delete(GIL, made.id),
        shop.hooks.rotate(GIL, made.id),
        shop.hooks.enable(GIL, made.id),
    ):
        with pytest.raises(NotFound):
            await attempt
    assert await shop.told(answered("tenant:acme"), tenant="globex") == {}


async def test_address_that_may_not_be_called_and_event_there_is_not_are_refused() -> None:
    shop = Shop()

    for wanted in (
        WebhookWanted(url="https://private.example", events=("run_finished",)),
        WebhookWanted(url="https://crm.example", events=()),
        WebhookWanted(url="https://crm.example", events=("moon_landed",)),
    ):
        with pytest.raises(InvalidInput):
            await shop.hooks.create(EMMA, wanted)
    assert await shop.hooks.of("acme") == []


async def test_tenant_has_a_bounded_number_of_webhooks() -> None:
    shop = Shop()
    for _ in range(49):
        await shop.hooks.create(EMMA, WANTED)
    last = await shop.hooks.create(EMMA, WANTED, "the key")

    with pytest.raises(Conflict):
        await shop.hooks.create(EMMA, WANTED)

    assert await shop.hooks.create(EMMA, WANTED, "the key") == last


@pytest.mark.row("S12", part="webhooks")
async def test_same_key_is_the_same_webhook_and_secret_and_another_body_is_refused() -> None:
    shop = Shop()

    first = await shop.hooks.create(EMMA, WANTED, "k1")
    again = await shop.hooks.create(EMMA, WANTED, "k1")
    other = await shop.hooks.create(OMAR, WANTED, "k1")

    assert first == again
    assert other[0].id != first[0].id
    with pytest.raises(KeyReused):
        await shop.hooks.create(EMMA, WebhookWanted(url="https://erp.example", events=("run_failed",)), "k1")


async def test_rotated_secret_signs_beside_the_old_one_for_a_day() -> None:
    shop = Shop()
    made, old = await shop.hooks.create(EMMA, WANTED)

    turned, new = await shop.hooks.rotate(EMMA, made.id, "k1")
    again = await shop.hooks.rotate(EMMA, made.id, "k1")
    both = shop.hooks.secrets("acme", turned)
    shop.clock.advance(86_400)

    assert again == (turned, new)
    assert both == (secret_bytes(new), secret_bytes(old))
    assert shop.hooks.secrets("acme", turned) == (secret_bytes(new),)
    assert old != new


async def test_secrets_are_kept_nowhere() -> None:
    shop = Shop()
    made, secret = await shop.hooks.create(EMMA, WANTED)

    rows = await shop.store.records.find("acme", "webhook")

    assert [row.id for row in rows] == [made.id]
    assert secret.removeprefix("whsec_") not in str(rows)


async def test_webhooks_are_told_what_they_asked_for_and_disabled_ones_nothing() -> None:
    shop = Shop(CRM)
    made, _ = await shop.hooks.create(EMMA, WANTED)
    failed = RunFailed(code="x", error="y")

    before, of_another_kind = await shop.told(answered("user:emma")), await shop.told(failed)
    await shop.hooks.disable("acme", made.id, "410")
    await shop.hooks.disable("acme", "crm", "410")
    silent = await shop.told(answered("user:emma"))
    elsewhere = await shop.told(answered("user:emma"), tenant="globex")
    await shop.hooks.enable(EMMA, "crm")
    await shop.hooks.enable(EMMA, made.id)

    assert (before.keys(), of_another_kind, silent) == ({"crm", made.id}, {}, {})
    assert elsewhere.keys() == {"crm"}
    assert (await shop.told(answered("user:emma"))).keys() == {"crm", made.id}


@pytest.mark.row("S15", part="content")
async def test_answer_is_sent_along_only_to_who_may_read_it() -> None:
    shop = Shop(CRM)
    wanted = WebhookWanted(url="https://hr.example", events=("run_finished",), content=True)
    hers, _ = await shop.hooks.create(EMMA, wanted)
    his, _ = await shop.hooks.create(OMAR, wanted)
    bare, _ = await shop.hooks.create(EMMA, WANTED)
    text = {"answer": "Twelve hours.", "sources": ["vpn-1"]}

    for_emma = await shop.told(answered("user:emma"))
    for_hr = await shop.told(answered("group:hr"))
    del shop.people.there["emma"]
    once_she_left = await shop.told(answered("user:emma"))

    assert for_emma == {"crm": text, hers.id: text, his.id: {}, bare.id: {}}
    assert for_hr == {"crm": {}, hers.id: text, his.id: {}, bare.id: {}}
    assert once_she_left[hers.id] == {}


async def test_no_answer_is_sent_by_the_right_of_a_key_that_was_taken_back_or_of_one_who_reads_none() -> None:
    shop = Shop()
    wanted = WebhookWanted(url="https://hr.example", events=("run_finished",), content=True)
    made, _ = await shop.hooks.create(replace(EMMA, credential="key:k1:00"), wanted)

    with pytest.raises(Forbidden, match="scope chat"):
        await shop.hooks.create(replace(EMMA, scopes=("webhooks",), credential="key:k2:00"), wanted)
    with_key = await shop.told(answered("user:emma"))
    shop.people.there["emma"] = replace(EMMA, scopes=("webhooks",))
    once_she_reads_none = await shop.told(answered("user:emma"))
    shop.people.there["emma"] = EMMA
    shop.people.revoked.add("key:k1:00")
    once_revoked = await shop.told(answered("user:emma"))

    assert with_key == {made.id: {"answer": "Twelve hours.", "sources": ["vpn-1"]}}
    assert once_she_reads_none == once_revoked == {made.id: {}}


async def test_webhook_of_the_configuration_is_changed_there() -> None:
    shop = Shop(CRM)

    with pytest.raises(InvalidInput):
        await shop.hooks.delete(EMMA, "crm")
    with pytest.raises(InvalidInput):
        await shop.hooks.rotate(EMMA, "crm")
