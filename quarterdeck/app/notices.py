"""Telling the outside what happens, put together: who is told, by which ways, and what delivers it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from quarterdeck.agent.base import Directory
from quarterdeck.app.documents import WebClient
from quarterdeck.app.implementations import EVENT_LOGS, resolve
from quarterdeck.app.mail import approval_mail
from quarterdeck.app.stores import Store, scheme_of, sealing_secret
from quarterdeck.core.errors import Forbidden, InvalidInput, Misconfigured
from quarterdeck.service import mail, stream_sink, webhooks
from quarterdeck.service.deliveries import Sink, Subscribers
from quarterdeck.service.notifying import NotifyingJournal
from quarterdeck.service.outbox import Outbox, Patience
from quarterdeck.service.stream_sink import EventStream, EventStreams
from quarterdeck.service.webhook_sink import WebhookSink
from quarterdeck.service.webhooks import ConfiguredWebhook, Webhooks, secret_bytes
from quarterdeck.settings import Configuration, Settings
from quarterdeck.settings.webhooks import EventStreamFile, WebhookFile
from quarterdeck.store.base import Journal, KeyValue, Records

if TYPE_CHECKING:
    from fastapi import FastAPI

    from quarterdeck.telemetry.metrics import Metrics

__all__ = ["Notices", "NotifyingStore", "attach", "check_notices", "opened_notices"]

_LEASE_BEYOND_S = 20.0  # what else an attempt takes: reading and writing the record, waiting for the processor


@dataclass(frozen=True, slots=True)
class NotifyingStore:
    """A store whose events are told to who wants to hear of them."""

    journal: Journal
    records: Records
    keyvalue: KeyValue

    async def close(self) -> None:
        """Nothing: the store is another's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notices:
    """What tells the outside.

    Attributes:
        store: What everything that writes events uses.
        outbox: Its `serve` delivers.
    """

    store: Store
    webhooks: Webhooks
    sink: WebhookSink
    outbox: Outbox


@contextlib.asynccontextmanager
async def opened_notices(
    configuration: Configuration, store: Store, directory: Directory, metrics: Metrics
) -> AsyncIterator[Notices]:
    """Webhooks, event streams and their outbox over a store, while the block lasts.

    Args:
        metrics: Count what was delivered.

    Raises Misconfigured if something in their settings is wrong, or the client of Redis is not installed.
    """
    settings = configuration.settings
    patience = settings.deliveries
    named = check_notices(settings)
    async with contextlib.AsyncExitStack() as stack:
        trusted = await stack.enter_async_context(WebClient({_origin(webhook.url) for webhook in named}))
        public = await stack.enter_async_context(WebClient(patience.allowed_origins))
        hooks = Webhooks(
            store.records,
            directory,
            configured=named,
            secret=await sealing_secret(configuration),
            check_url=_checking(patience.allowed_origins),
        )
        streams = EventStreams(await stack.enter_async_context(_streams(configuration)))
        sink = WebhookSink(hooks, trusted=trusted.client, public=public.client, timeout_s=patience.timeout_s)
        sinks: dict[str, Sink] = {webhooks.SINK: sink, stream_sink.SINK: streams}
        told: list[Subscribers] = [hooks, streams]
        if (mailing := approval_mail(settings.mail)) is not None:
            sinks[mail.SINK] = mailing
            told.append(mailing)
        outbox = Outbox(
            store.records,
            sinks,
            patience=Patience(
                first_s=patience.retry_base_s,
                longest_s=patience.retry_longest_s,
                give_up_s=patience.give_up_s,
                lease_s=max(patience.timeout_s, settings.mail.timeout_s) + _LEASE_BEYOND_S,
                keep=timedelta(days=patience.keep_days),
            ),
            concurrency=patience.concurrency,
            counted=metrics.delivery,
        )
        journal = NotifyingJournal(store.journal, told, outbox.hurry)
        telling = NotifyingStore(journal, store.records, store.keyvalue)
        yield Notices(store=telling, webhooks=hooks, sink=sink, outbox=outbox)


def check_notices(settings: Settings) -> list[ConfiguredWebhook]:
    """The webhooks of a configuration. Raises Misconfigured if one has no secret, or an event stream no address."""
    for name, file in settings.event_streams.items():
        _stream_url(settings, name, file)
    return [_configured(name, file) for name, file in settings.webhooks.items()]


def attach(app: FastAPI, notices: Notices) -> None:
    """Give an HTTP application the routes of webhooks and deliveries."""
    from quarterdeck.transports.http.routes import webhooks as routes

    app.state.webhooks = notices.webhooks
    app.state.webhook_sink = notices.sink
    app.state.outbox = notices.outbox
    app.include_router(routes.router)


@contextlib.asynccontextmanager
async def _streams(configuration: Configuration) -> AsyncIterator[list[EventStream]]:
    async with contextlib.AsyncExitStack() as stack:
        found = []
        for name, file in configuration.settings.event_streams.items():
            url = _stream_url(configuration.settings, name, file)
            log = resolve(EVENT_LOGS, scheme_of(url), "event stream")(url, file.key, max_entries=file.max_entries)
            stack.push_async_callback(log.close)
            found.append(EventStream(name=name, log=log, tenant=file.tenant, events=file.events))
        yield found


def _stream_url(settings: Settings, name: str, file: EventStreamFile) -> str:
    given = file.url or settings.store.redis_url
    if given is None:
        raise Misconfigured(f"event_streams.{name} needs a url, or store.redis_url")
    return given.get_secret_value()


def _configured(name: str, file: WebhookFile) -> ConfiguredWebhook:
    if file.secret is None:
        raise Misconfigured(f"webhooks.{name}.secret is missing; put it into QUARTERDECK_WEBHOOKS__{name.upper()}__SECRET")
    secrets = (file.secret,) if file.old_secret is None else (file.secret, file.old_secret)
    return ConfiguredWebhook(
        name=name,
        url=file.url,
        tenant=file.tenant,
        events=frozenset(file.events),
        secrets=tuple(secret_bytes(secret.get_secret_value()) for secret in secrets),
        readers=file.readers,
    )


def _checking(allowed_origins: Collection[str]) -> Callable[[str], None]:
    """What refuses addresses that a tenant may not have called. Names are looked up, and checked again, at each call."""

    # The client's package takes 0.3 s to import; the guard is needed only where somebody makes a webhook.
    def check(url: str) -> None:
        from quarterdeck.net.guard import Guard

        guard = Guard(allowed_origins)
        try:
            target = guard.check(url)
        except Forbidden as error:
            raise InvalidInput(f"url: {error}") from error
        known = {_origin(origin) for origin in allowed_origins}
        if target.scheme != "https" and _origin(url) not in known:
            raise InvalidInput("url: must begin with https://; only an administrator can allow another origin")

    return check


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
