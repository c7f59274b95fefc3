"""A stream token is good once, whichever store the servers share."""

from __future__ import annotations

import anyio
import pytest

from quarterdeck.core.context import Principal
from quarterdeck.core.errors import Unauthenticated
from quarterdeck.service.access import Access, User
from quarterdeck.service.stream_tokens import StreamTokens
from tests.contracts.stores import Store

EMMA = User(id="emma", tenant="acme", scopes=("chat",))


@pytest.mark.row("S6", part="tokens")
async def test_of_those_who_come_with_one_token_at_the_same_moment_one_gets_in(store: Store) -> None:
    access = Access((EMMA,), {}, keyless=False)
    made = await StreamTokens(store.records, access).make(EMMA.principal)
    admitted: list[Principal] = []
    refused: list[Unauthenticated] = []

    async def come() -> None:
        try:
            admitted.append((await StreamTokens(store.records, access).redeem(made.token)).principal)
        except Unauthenticated as error:
            refused.append(error)

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(come)

    assert (admitted, len(refused)) == ([EMMA.principal], 7)
