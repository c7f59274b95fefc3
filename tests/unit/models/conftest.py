"""A provider that misbehaves on demand, and a client that may call it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from quarterdeck.models.openai import OpenAIModel
from quarterdeck.net import GuardedClient
from tests.provider import Provider


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with Provider() as provider:
        yield provider


@pytest.fixture
async def make_model(provider: Provider) -> AsyncIterator[Callable[..., OpenAIModel]]:
    async with GuardedClient(allowed_origins=[provider.origin]) as client:

        def make(**options: Any) -> OpenAIModel:
            given = {"base_url": provider.base_url, "api_key": "sk-test-0123456789", "client": client, **options}
            return OpenAIModel("openai:gpt-test", **given)

        yield make


@pytest.fixture
def model(make_model: Callable[..., OpenAIModel]) -> OpenAIModel:
    return make_model()
