"""Fixtures of the contract suites."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from quarterdeck.knowledge.base import KEYWORDS, KnowledgeIndex, Space
from tests.contracts.indexes import INDEXES, PLANE, Open
from tests.contracts.stores import STORES, Clock, Store


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=list(STORES))
async def store(request: pytest.FixtureRequest, clock: Clock) -> AsyncIterator[Store]:
    async with STORES[request.param](request, clock) as opened:
        yield opened


@pytest.fixture(params=list(INDEXES))
async def open_index(request: pytest.FixtureRequest) -> AsyncIterator[Open]:
    """Opens one index, which is empty at first; what is still open at the end is closed."""
    opened: list[KnowledgeIndex] = []
    async with INDEXES[request.param](request) as opens:

        async def reopen(space: Space) -> KnowledgeIndex:
            opened.append(await opens(space))
            return opened[-1]

        yield reopen
        for index in reversed(opened):
            await index.close()


@pytest.fixture
async def index(open_index: Open) -> KnowledgeIndex:
    """An index without vectors."""
    return await open_index(KEYWORDS)


@pytest.fixture
async def plane(open_index: Open) -> KnowledgeIndex:
    """An index with vectors of two numbers."""
    return await open_index(PLANE)
