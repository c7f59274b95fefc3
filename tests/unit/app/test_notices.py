from __future__ import annotations

import base64
from pathlib import Path

import pytest

from quarterdeck.app.notices import opened_notices
from quarterdeck.core.context import Principal
from quarterdeck.core.errors import InvalidInput, Misconfigured
from quarterdeck.service.webhooks import WebhookWanted
from quarterdeck.settings import Configuration, load
from quarterdeck.store.memory import MemoryStore
from quarterdeck.telemetry.metrics import Metrics

EMMA = Principal(user="emma", tenant="acme")
SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()


class Nobody:
    async def current(self, principal: Principal) -> Principal | None:
        return None


def folder(path: Path, text: str, **environ: str) -> Configuration:
    (path / "agents").mkdir()
    (path / "agents" / "desk.yaml").write_text("name: desk\n")
    (path / "quarterdeck.yaml").write_text(text)
    return load(path, environ)


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://crm.example/hook", True),
        ("http://hooks.internal:9000/hook", True),
        ("http://crm.example/hook", False),
        ("http://hooks.internal:9001/hook", False),
        ("https://hooks.internal:9000/hook", False),
        ("https://127.0.0.1/hook", False),
        ("https://[::1]/hook", False),
        ("https://2130706433/hook", False),
        ("https://169.254.169.254/latest/meta-data", False),
        ("https://user:pass@crm.example/hook", False),
        ("https://crm.example:22/hook", False),
        ("ftp://crm.example/hook", False),
        ("crm.example", False),
        ("", False),
    ],
)
async def test_tenants_may_have_public_addresses_called_and_those_that_were_allowed(
    tmp_path: Path, url: str, allowed: bool
) -> None:
    configuration = folder(tmp_path, "deliveries: {allowed_origins: ['http://hooks.internal:9000']}")

    async with opened_notices(configuration, MemoryStore(), Nobody(), Metrics()) as notices:
        try:
            await notices.webhooks.create(EMMA, WebhookWanted(url=url, events=("run_finished",)))
            made = True
        except InvalidInput:
            made = False

    assert made is allowed


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("webhooks: {crm: {url: 'https://crm.example'}}", "QUARTERDECK_WEBHOOKS__CRM__SECRET"),
        ("event_streams: {bus: {key: events}}", "store.redis_url"),
    ],
)
async def test_what_is_missing_is_named(tmp_path: Path, text: str, said: str) -> None:
    configuration = folder(tmp_path, text)

    with pytest.raises(Misconfigured) as caught:
        async with opened_notices(configuration, MemoryStore(), Nobody(), Metrics()):
            pass

    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("webhooks: {crm: {url: crm.example}}", "webhooks.crm.url"),
        ("webhooks: {crm: {url: 'https://crm.example', secret: short}}", "webhooks.crm.secret"),
        ("webhooks: {crm: {url: 'https://crm.example', events: [moon_landed]}}", "webhooks.crm.events"),
        ("event_streams: {bus: {kind: kafka}}", "event_streams.bus.kind"),
        ("deliveries: {timeout_s: 0}", "deliveries.timeout_s"),
    ],
)
def test_mistakes_of_the_configuration_are_told_with_their_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        folder(tmp_path, text)

    assert said in str(caught.value)
    assert "quarterdeck.yaml:1" in str(caught.value)


async def test_webhook_of_the_configuration_takes_its_secret_from_the_environment(tmp_path: Path) -> None:
    text = "webhooks: {crm: {url: 'http://10.0.0.7/hook', events: [run_failed]}}"
    configuration = folder(tmp_path, text, QUARTERDECK_WEBHOOKS__CRM__SECRET=SECRET)

    async with opened_notices(configuration, MemoryStore(), Nobody(), Metrics()) as notices:
        (crm,) = await notices.webhooks.of("acme")
        secrets = notices.webhooks.secrets("acme", crm)

    assert (crm.id, crm.configured, crm.events, secrets) == ("crm", True, ("run_failed",), (b"k" * 32,))
