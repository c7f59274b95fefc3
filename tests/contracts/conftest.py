"""Fixtures of the contract suites."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.contracts.stores import STORES, Clock, Store


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=list(STORES))
async def store(request: pytest.FixtureRequest, clock: Clock) -> AsyncIterator[Store]:
    async with STORES[request.param](request, clock) as opened:
        yield opened
