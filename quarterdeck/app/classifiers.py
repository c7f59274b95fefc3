"""The classifiers of a configuration: opened with the connections they need."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import assert_never
from urllib.parse import urlsplit

from quarterdeck.app.models import ModelShelf
from quarterdeck.net.client import GuardedClient
from quarterdeck.policy.guards.asked import Bounded, Remembering
from quarterdeck.policy.guards.base import Guard
from quarterdeck.policy.guards.classifiers import HttpClassifier, ModelClassifier
from quarterdeck.settings.guards import ClassifierGuard, GuardSettings

__all__ = ["opened_classifiers"]


@contextlib.asynccontextmanager
async def opened_classifiers(settings: GuardSettings, models: ModelShelf) -> AsyncIterator[Mapping[str, Guard]]:
    """By name, who is asked about texts while the block lasts. An administrator's address may be any, also a private one.

    Raises Misconfigured for a model that cannot be had.
    """
    origins = [_origin(one.url.get_secret_value()) for one in settings.classifiers if one.url is not None]
    async with contextlib.AsyncExitStack() as stack:
        client = GuardedClient(allowed_origins=origins)
        if origins:
            await stack.enter_async_context(client)
        yield {one.id: _patient(one, client, models) for one in settings.classifiers}


def _patient(one: ClassifierGuard, client: GuardedClient, models: ModelShelf) -> Guard:
    asked = Remembering(_asking(one, client, models), ttl_s=one.cache_s)
    return Bounded(asked, timeout_s=one.timeout_s, closed=one.on_failure == "found")


def _asking(one: ClassifierGuard, client: GuardedClient, models: ModelShelf) -> Guard:
    match one.kind:
        case "http":
            assert one.url is not None  # as the settings check
            key = one.api_key
            return HttpClassifier(
                name=one.id,
                client=client,
                url=one.url.get_secret_value(),
                threshold=one.threshold,
                timeout_s=one.timeout_s,
                headers={} if key is None else {"Authorization": f"Bearer {key.get_secret_value()}"},
            )
        case "model":
            models.get(one.model)  # a missing key is a mistake now, not at the first text
            return ModelClassifier(name=one.id, model=partial(models.get, one.model), question=one.question)
    assert_never(one.kind)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
