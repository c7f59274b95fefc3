"""Refused logins stand in the audit log, however many there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import anyio
import pytest

from quarterdeck.core.errors import StoreUnavailable, Unauthenticated
from quarterdeck.service.access import Access, Caller, User
from quarterdeck.service.api_keys import ApiKeys
from quarterdeck.service.refused import RefusedLogins
from quarterdeck.store.base import Audit, Put, Records
from quarterdeck.store.memory import MemoryStore

pytestmark = pytest.mark.row("S9", part="refused logins")

INES = User(id="ines", tenant="acme", scopes=("chat", "keys.write"))


def caller(key: str | None, address: str = "198.51.100.1") -> Caller:
    return Caller(key=key, forwarded=True, known_origin=False, loopback=False, address=address)


async def rows(store: MemoryStore, tenant: str = "acme") -> list[tuple[str, str, str]]:
    found = await store.records.audit_rows(tenant)
    return [(str(row["actor"]), str(row["object"]), str(row["decision"])) for row in found if row["action"] == "login"]


async def test_who_is_refused_is_a_row_by_where_he_came_from() -> None:
    store = MemoryStore()
    refused = RefusedLogins(store.records, tenant="acme")
    access = Access([INES], {}, keyless=False, refused=refused)

    for address in ("198.51.100.1", "198.51.100.1", "2001:db8:0:1::7", "2001:db8:0:1::8"):
        with pytest.raises(Unauthenticated):
            await access.admit(caller("qd_guess", address))
    with pytest.raises(Unauthenticated):
        await access.admit(caller(None))  # nothing was tried
    await refused.write()
    await refused.write()

    assert await rows(store) == [
        ("address:198.51.100.1", "key", "refused:2"),
        ("address:2001:db8:0:1::/64", "key", "refused:2"),
    ]


async def test_flood_from_everywhere_is_a_few_rows_a_minute() -> None:
    store = MemoryStore()
    refused = RefusedLogins(store.records, tenant="acme")

    for number in range(10_000):
        refused.note(f"198.51.{number % 100}.{number // 100}", "token", None)
    await refused.write()

    found = await rows(store)
    assert len(found) == 9
    assert found[-1] == ("address:others", "token", "refused:9992")
    assert sum(int(decision.split(":")[1]) for _, _, decision in found) == 10_000


async def test_key_that_was_taken_back_is_told_to_its_own_tenant_and_an_invented_one_to_nobodys() -> None:
    store = MemoryStore()
    refused = RefusedLogins(store.records, tenant=None)
    keys = ApiKeys(store.records, Access([INES], {}, keyless=False))
    access = Access([INES], {}, keyless=False, others=[keys], refused=refused)
    made, text = await keys.make(INES.principal, name="a", scopes=["chat"])
    await keys.revoke(INES.principal, made.id)

    for credential in (text, f"qk_globex.{'0' * 32}.{'0' * 64}"):
        with pytest.raises(Unauthenticated):
            await access.admit(caller(credential))
    await refused.write()

    assert await rows(store) == [("address:198.51.100.1", "api_key", "refused:1")]
    assert await rows(store, "globex") == []


async def test_what_cannot_be_written_is_counted_on_and_the_rest_is_written_at_the_end() -> None:
    store = MemoryStore()
    records = AwayAtFirst(store.records)
    refused = RefusedLogins(cast(Records, records), tenant="acme")
    refused.note("198.51.100.1", "key", None)
    await refused.write()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(refused.serve)
        await anyio.lowlevel.checkpoint()
        refused.note("198.51.100.1", "key", None)
        tasks.cancel_scope.cancel()

    assert await rows(store) == [("address:198.51.100.1", "key", "refused:2")]


class AwayAtFirst:
    """Records of a database that does not answer the first time."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._tried = False

    async def write(self, tenant: str, rows: Sequence[Put | Audit]) -> None:
        if not self._tried:
            self._tried = True
            raise StoreUnavailable("away")
        await self._records.write(tenant, rows)
